"""Which of some runs meet which rules: one statement for all rules of a kind, whatever their number and that of the
runs.

Each leaves out what was raised already, and runs that had ended before the rule was made. A metric is held against
its summary: the lowest or highest value of the run until now, so that a value between two looks is not missed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from runstream_schemas.runs.alerts import ALERT_LEVELS, ALERT_STEP, Alert, read_alert, text_of, title_of
from runstream_schemas.runs.status import TERMINAL_SQL

from ..json_values import from_json
from ..runs.runs import Connection

NO_SOURCE = UUID(int=0)

_RUNS = f"""
runs r join experiments e on e.id = r.experiment_id
join alert_rules u on u.workspace = e.workspace and (u.experiment is null or u.experiment = e.name)
    and u.enabled and (r.status not in {TERMINAL_SQL} or r.end_time >= u.since)"""
_NOT_RAISED = "not exists (select from alerts a where a.rule_id = u.id and a.run_key = r.key)"
_RULE = "u.id as rule_id, u.name as rule, u.workspace, u.level, u.receivers, r.key as run_key"

# Of one series, also where the run's summaries are packed.
_SUMMARY = """cross join lateral (
    select kind, count, finite, min, max, last, last_step from live_summaries where run_key = r.key and series_id = s.id
    union all
    select p.kinds[least(a.place, cardinality(p.kinds))], p.counts[least(a.place, cardinality(p.counts))],
        p.finites[least(a.place, cardinality(p.finites))], p.mins[a.place], p.maxs[a.place], p.lasts[a.place],
        p.last_steps[least(a.place, cardinality(p.last_steps))]
    from packed_summaries p cross join lateral (select array_position(p.series_ids, s.id) as place offset 0) a
    where p.run_key = r.key and p.series_ids @> array[s.id]
) m"""

_METRIC: Final = f"""
select {_RULE}, u.metric, u.comparison, u.threshold, m.last, m.last_step,
    case when u.comparison in ('<', '<=') then m.min else m.max end as reached
from {_RUNS}
join series s on s.cls = 0 and md5(s.name) = md5(u.metric) and s.name = u.metric and md5(s."column") = md5('')
{_SUMMARY}
where r.key = any($1::int8[]) and u.kind = 'metric' and {_NOT_RAISED}
    and case u.comparison when '<' then m.min < u.threshold when '<=' then m.min <= u.threshold
        when '>' then m.max > u.threshold else m.max >= u.threshold end"""

# Of any metric: all of the run's, live or packed.
_NAN: Final = f"""
select distinct on (u.id, r.key) {_RULE}, s.name as metric, m.count, m.finite, m.last_step
from {_RUNS}
join series s on s.cls = 0 and md5(s.name) = md5(u.metric) and s.name = u.metric and md5(s."column") = md5('')
{_SUMMARY}
where r.key = any($1::int8[]) and u.kind = 'nan' and u.metric is not null and {_NOT_RAISED}
    and m.kind in (0, 1) and m.count > m.finite
union all
(select distinct on (u.id, r.key) {_RULE}, s.name as metric, m.count, m.finite, m.last_step
from {_RUNS}
cross join lateral (select * from summaries where run_key = r.key and kind in (0, 1) and count > finite offset 0) m
join series s on s.id = m.series_id and s.cls = 0
where r.key = any($1::int8[]) and u.kind = 'nan' and u.metric is null and {_NOT_RAISED}
order by u.id, r.key, s.id)"""

_FAILED: Final = f"""
select {_RULE}, r.error
from {_RUNS}
where r.key = any($1::int8[]) and u.kind = 'failed' and r.status = 'Failed' and {_NOT_RAISED}"""

_ENDED: Final = f"""
select {_RULE}, r.status, extract(epoch from r.end_time - r.start_time)::float8 as seconds
from {_RUNS}
where r.key = any($1::int8[]) and u.kind = 'ended' and r.status in {TERMINAL_SQL} and {_NOT_RAISED}"""

_LEVELS = f"array{list(ALERT_LEVELS)}"
_ALERTS: Final = f"""
select {_RULE}, t.source, t.seq, t.data
from {_RUNS}
join transitions t on t.run_key = r.key and t.kind = '{ALERT_STEP}'
    and t.time_us >= extract(epoch from u.since) * 1000000
where r.key = any($1::int8[]) and u.kind = 'alert'
    and array_position({_LEVELS}, u.level) <= coalesce(array_position({_LEVELS}, t.data ->> 'level'), 1) and not exists (
    select from alerts a where a.rule_id = u.id and a.run_key = r.key and a.source = t.source and a.seq = t.seq)
order by t.time_us, t.source, t.seq
limit $2"""

MOST_STEPS = 1000
"""Alerts that runs gave which are raised at one look; the next one takes those behind them."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A rule is met by a run, or by a step of it.

    Attributes:
        alert: what is to be told.
        source: the id of the step's writer, with its `seq`.
    """

    rule_id: int
    rule: str
    workspace: str
    receivers: tuple[str, ...]
    run_key: int
    alert: Alert
    source: UUID = NO_SOURCE
    seq: int = -1


async def occurrences(connection: Connection, kind: str, run_keys: Sequence[int]) -> list[Occurrence]:
    """What rules of a kind have to tell of these runs, and did not yet.

    Args:
        kind: metric, nan, failed, ended or alert; what is silent is told by `silence`.
    """
    rows: list[Any]
    if kind == "alert":
        rows = await connection.fetch(_ALERTS, run_keys, MOST_STEPS)
    else:
        statement = {"metric": _METRIC, "nan": _NAN, "failed": _FAILED, "ended": _ENDED}[kind]
        rows = await connection.fetch(statement, run_keys)
    return [of_row(row, _told(kind, row)) for row in rows]


def of_row(row: Any, alert: Alert) -> Occurrence:
    """An occurrence of a row that has the columns of its rule."""
    step = ("source" in row.keys()) and (row["source"], row["seq"])  # noqa: SIM118 - a row, no dictionary
    source, seq = step or (NO_SOURCE, -1)
    return Occurrence(
        row["rule_id"],
        row["rule"],
        row["workspace"],
        tuple(row["receivers"]),
        row["run_key"],
        alert,
        source,
        seq,
    )


def _told(kind: str, row: Any) -> Alert:
    if kind == "alert":
        return read_alert(from_json(row["data"]))
    title, text = {"metric": _metric, "nan": _nan, "failed": _failed, "ended": _ended}[kind](row)
    # Without the run: what is raised under one title within the wait of a rule is sent once.
    return Alert(title_of(f"{row['rule']}: {title}"), text_of(text), row["level"])


def _metric(row: Any) -> tuple[str, str]:
    limit = f"{row['metric']} {row['comparison']} {row['threshold']:g}"
    last = "" if row["last"] is None else f"; its last value is {row['last']:g}, at step {row['last_step']}"
    return limit, f"{row['metric']} reached {row['reached']:g}{last}."


def _nan(row: Any) -> tuple[str, str]:
    return (
        f"{row['metric']} is not finite",
        f"{row['count'] - row['finite']:,} of {row['count']:,} values of {row['metric']} are NaN, infinite or no numbers; "
        f"its last step is {row['last_step']}.",
    )


def _failed(row: Any) -> tuple[str, str]:
    error = from_json(row["error"]) if row["error"] else None
    if not isinstance(error, dict):
        return "run failed", "It says nothing of the reason."
    words = [str(error[part]) for part in ("code", "message") if error.get(part)]
    return "run failed", ": ".join(words) or json.dumps(error)


def _ended(row: Any) -> tuple[str, str]:
    seconds = row["seconds"]
    after = "" if seconds is None or seconds < 0 else f" after {_duration(seconds)}"
    return "run ended", f"{row['status']}{after}."


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
