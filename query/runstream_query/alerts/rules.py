"""Rules: of which runs the server tells, when, and whom. They are rows; who holds them against runs is `evaluator`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict

import asyncpg

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name
from runstream_schemas.runs.alerts import AlertLevel, RuleKind

from ..json_values import utc
from ..not_there import NotThere
from ..runs.runs import Connection
from .receivers import SETTING, Receiver

Comparison = Literal["<", "<=", ">", ">="]

MOST_RULES = 200
"""Rules of a workspace."""
LEAST_SILENCE, LONGEST = 5.0, 30 * 86_400.0
"""Seconds: the shortest silence, and the longest silence or wait."""
USUAL_WAIT = 300.0
"""Seconds between two sends of one rule, unless it says otherwise."""
USUAL_LEVELS: Final[Mapping[str, AlertLevel]] = {
    "metric": "WARN",
    "nan": "ERROR",
    "silent": "WARN",
    "failed": "ERROR",
    "ended": "INFO",
    "alert": "INFO",
}
_TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "metric": ("metric", "comparison", "threshold"),
    "nan": ("metric",),
    "silent": ("metric", "seconds"),
}
_OPTIONAL: Final = frozenset({("nan", "metric"), ("silent", "metric")})

TOPIC: Final = "alerts"
"""Topic of the notification that rules were changed, or something waits to be sent."""
TELL: Final = f"""select pg_notify('runstream', '{{"topic": "{TOPIC}", "runs": []}}')"""

_LIST: Final = "select * from alert_rules where $1::text is null or workspace = $1 order by workspace, name"
# What tells the same of the same runs stays the same rule: it has raised what it has. Another condition is another rule.
_CHANGE: Final = """
update alert_rules set receivers = $10, wait_seconds = $11, enabled = $12,
    since = case when $12 and not enabled then now() else since end
where workspace = $1 and name = $2 and experiment is not distinct from $3 and kind = $4 and metric is not distinct from $5
    and comparison is not distinct from $6 and threshold is not distinct from $7 and seconds is not distinct from $8
    and level = $9
returning *"""
_ADD: Final = """
insert into alert_rules (workspace, name, experiment, kind, metric, comparison, threshold, seconds, level, receivers,
    wait_seconds, enabled, created_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) returning *"""
_REMOVE: Final = """
with removed as (
    delete from alert_rules where workspace = $1 and name = $2 returning id
), held as (
    update alert_sends s set state = 'held', error = 'its rule was removed', changed_at = now()
    from alerts a, removed r where a.rule_id = r.id and s.alert_id = a.id and s.state = 'waiting'
)
select count(*) from removed"""
_COUNT: Final = "select count(*) from alert_rules where workspace = $1"
_HOLD: Final = "select pg_advisory_xact_lock(hashtextextended('alert rules of ' || $1, 0))"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRule:
    """A rule as it is asked for.

    Attributes:
        experiment: the one whose runs it tells of; None: all in the workspace.
        metric: what is looked at (kinds metric, nan and silent); None: any metric (nan), or points of any (silent).
        seconds: how long there was no new point (kind silent).
        level: what is raised has it; of kind alert: the least level that is passed on. None: the usual one of the kind.
        wait_seconds: between two sends of what the rule raises under one title; what comes meanwhile is only noted.
    """

    name: str
    kind: RuleKind
    receivers: tuple[str, ...] = ()
    experiment: str | None = None
    metric: str | None = None
    comparison: Comparison | None = None
    threshold: float | None = None
    seconds: float | None = None
    level: AlertLevel | None = None
    wait_seconds: float = USUAL_WAIT
    enabled: bool = True


class RuleRecord(TypedDict):
    """A rule."""

    name: str
    workspace: str
    experiment: str | None
    kind: RuleKind
    metric: str | None
    comparison: Comparison | None
    threshold: float | None
    seconds: float | None
    level: AlertLevel
    receivers: list[str]
    wait_seconds: float
    enabled: bool
    created_utc: str
    created_by: str


async def list_rules(connection: Connection, workspace: str | None) -> list[RuleRecord]:
    """The rules (of one workspace), by name."""
    return [_record(row) for row in await connection.fetch(_LIST, workspace)]


async def put_rule(
    connection: Connection, workspace: str, rule: NewRule, receivers: Mapping[str, Receiver], author: str
) -> RuleRecord:
    """Make a rule, or put it in place of the one of that name.

    Args:
        receivers: those the server knows.
        author: who asks.

    Raises:
        QueryError: it cannot be kept: a field that its kind needs or does not take, a receiver nobody knows, too many.
    """
    _check(rule, receivers)
    columns = (
        workspace,
        rule.name,
        rule.experiment,
        rule.kind,
        rule.metric,
        rule.comparison,
        rule.threshold,
        rule.seconds,
        rule.level or USUAL_LEVELS[rule.kind],
        list(dict.fromkeys(rule.receivers)),
        rule.wait_seconds,
        rule.enabled,
    )
    async with connection.transaction():
        await connection.execute(_HOLD, workspace)
        row = await connection.fetchrow(_CHANGE, *columns)
        if row is None:
            await connection.execute(_REMOVE, workspace, rule.name)
            if await connection.fetchval(_COUNT, workspace) >= MOST_RULES:
                raise QueryError(f"workspace {workspace!r:.80} has {MOST_RULES} rules already; remove one")
            row = await connection.fetchrow(_ADD, *columns, author)
        await connection.execute(TELL)
    return _record(row)


async def remove_rule(connection: Connection, workspace: str, name: str) -> None:
    """Remove a rule. What it raised stays in the log; what was not sent yet is not.

    Raises:
        NotThere: there is none of that name.
    """
    async with connection.transaction():
        if not await connection.fetchval(_REMOVE, workspace, name):
            raise NotThere(
                f"workspace {workspace!r:.80} has no alert rule {name!r:.80}; list the rules to see those there are"
            )
        await connection.execute(TELL)


def _check(rule: NewRule, receivers: Mapping[str, Receiver]) -> None:
    check_name("name of the rule", rule.name)
    for field in ("experiment", "metric"):
        if (name := getattr(rule, field)) is not None:
            check_name(field, name)
    for field in ("name", "experiment", "metric"):
        if "\0" in (getattr(rule, field) or ""):
            raise QueryError(f"{field}: the character NUL cannot be kept; remove it")
    takes = _TAKES.get(rule.kind, ())
    for field in ("metric", "comparison", "threshold", "seconds"):
        given = getattr(rule, field) is not None
        if given and field not in takes:
            raise QueryError(f"{field}: a rule of kind {rule.kind} takes none; leave it out")
        if not given and field in takes and (rule.kind, field) not in _OPTIONAL:
            raise QueryError(f"{field}: a rule of kind {rule.kind} needs it; give one")
    if rule.threshold is not None and not math.isfinite(rule.threshold):
        raise QueryError(
            "threshold: expected a finite number; for values that are not finite there is the kind nan"
        )
    _check_seconds("seconds", rule.seconds, LEAST_SILENCE)
    _check_seconds("wait_seconds", rule.wait_seconds, 0.0)
    for name in rule.receivers:
        if name not in receivers:
            raise QueryError(unknown_receiver(name, receivers))


def _check_seconds(field: str, seconds: float | None, least: float) -> None:
    if seconds is not None and not least <= seconds <= LONGEST:
        raise QueryError(f"{field}: expected {least:g} to {LONGEST:g} seconds, got {seconds:g}")


def unknown_receiver(name: str, receivers: Mapping[str, Receiver]) -> str:
    """What is said of a receiver that a server does not know."""
    known = ", ".join(sorted(receivers)[:20]) or "none"
    return f"receiver {name!r:.80}: this server knows {known}; its operator names them in {SETTING}"


def _record(row: asyncpg.Record | Any) -> RuleRecord:
    return {
        "name": row["name"],
        "workspace": row["workspace"],
        "experiment": row["experiment"],
        "kind": row["kind"],
        "metric": row["metric"],
        "comparison": row["comparison"],
        "threshold": row["threshold"],
        "seconds": row["seconds"],
        "level": row["level"],
        "receivers": list(row["receivers"]),
        "wait_seconds": row["wait_seconds"],
        "enabled": row["enabled"],
        "created_utc": utc(row["created_at"]),
        "created_by": row["created_by"],
    }
