"""Searching runs: what a filter and an order say, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .. import queries
from .errors import invalid
from .experiments import view_of
from .grammar import LISTS, NULLS, TEXTUAL, Comparison, Grammar, read_token, write_token
from .inputs import CONTEXT
from .names import is_number
from .run_documents import NOTE, PARENT, RUN_NAME, STATUSES, USER, documents
from .scope import Document, Scope
from .sent import Sent
from .statements import Statement, compared, direction

MOST_RUNS: Final = 50_000

_ATTRIBUTES: Final = {
    name: name
    for name in ("run_id", "run_name", "status", "artifact_uri", "user_id", "start_time", "end_time")
}
GRAMMAR: Final = Grammar(
    kinds={
        **dict.fromkeys(("metric", "metrics"), "metric"),
        **dict.fromkeys(("parameter", "parameters", "param", "params"), "parameter"),
        **dict.fromkeys(("tag", "tags"), "tag"),
        **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
        **dict.fromkeys(("dataset", "datasets"), "dataset"),
    },
    attributes={
        **_ATTRIBUTES,
        **dict.fromkeys(("created", "Created"), "start_time"),
        **dict.fromkeys(("runname", "Runname", "RunName", "run name", "Run name", "Run Name"), "run_name"),
    },
    numeric=frozenset({"start_time", "end_time"}),
    listed=frozenset({"attribute.run_id", "dataset.name", "dataset.digest", "dataset.context"}),
    comparators={
        "parameter": TEXTUAL | NULLS,
        "tag": TEXTUAL | NULLS,
        "attribute": TEXTUAL | LISTS,
        "dataset": TEXTUAL | LISTS,
    },
    inner={"dataset": frozenset({"name", "digest", "context"})},
)

_MILLIS: Final = "floor(extract(epoch from {}) * 1000)::int8"
_STATUS: Final = (
    "(case r.status "
    + " ".join(f"when '{ours}' then '{theirs}'" for ours, theirs in STATUSES.items())
    + " else 'RUNNING' end)"
)
_EXPERIMENT_ID: Final = "(case when e.name = 'Default' then '0' else e.id::text end)"
_TAG: Final = (
    "(select coalesce(k.value, '') from tags k where k.run_key = r.key and k.key = {key} and not k.removed)"
)
_FIELDS: Final = {
    RUN_NAME: "coalesce(r.display_name, r.name)",
    PARENT: "r.parent_run_id",
    NOTE: "r.description",
}
"""What a run has a field of its own for, by the tags that say it."""
_SQL: Final = {
    "run_id": "r.run_id",
    "run_name": "coalesce(r.display_name, r.name, '')",
    "status": _STATUS,
    "user_id": f"coalesce({_TAG.format(key=chr(39) + USER + chr(39))}, 'unknown')",
    "artifact_uri": (
        f"(coalesce(e.artifact_location, 'mlflow-artifacts:/' || {_EXPERIMENT_ID}) || '/' || r.run_id || '/artifacts')"
    ),
    "start_time": _MILLIS.format("r.start_time"),
    "end_time": _MILLIS.format("r.end_time"),
}
_PARAM: Final = "(case k.kind when 2 then initcap(k.text) when 4 then 'None' else k.text end)"
_FINITE: Final = "greatest(least({}, 1.7976931348623157e308::float8), -1.7976931348623157e308::float8)"

# The value of one metric of every run that has it, whether its summaries are packed or not, and its latest point where that
# is not the one that was logged last.
_VALUES: Final = """(
    select m.run_key, coalesce(l.value, m.last) as value
    from (
        select run_key, last from live_summaries where series_id = {series} and kind <= 2
        union all
        select p.run_key, p.lasts[a.place] from packed_summaries p
        cross join lateral (select array_position(p.series_ids, {series}) as place offset 0) a
        where p.series_ids @> array[{series}] and coalesce(p.kinds[a.place], p.kinds[1]) <= 2
    ) m left join latest_points l on l.run_key = m.run_key and l.series_id = {series})"""


async def search(scope: Scope, sent: Sent) -> Document:
    """runs/search."""
    ids, text, order = sent.texts("experiment_ids"), sent.text("filter"), sent.texts("order_by")
    most = sent.most("max_results", default=1000, most=MOST_RUNS)
    offset, deleted = read_token(sent.text("page_token")), view_of(sent, "run_view_type")
    sql, arguments = runs_sql(scope.workspace, ids, text, order, deleted, offset, most + 1)
    rows = await scope.pool.fetch(sql, *arguments) if ids else []
    answer: Document = {"runs": await documents(scope, [row["key"] for row in rows[:most]])}
    if len(rows) > most:
        answer["next_page_token"] = write_token(offset + most)
    return answer


def runs_sql(
    workspace: str,
    experiment_ids: Sequence[str],
    text: str,
    order: Sequence[str],
    deleted: bool | None,
    offset: int,
    limit: int,
) -> tuple[str, list[Any]]:
    """The statement of a page of runs' keys, and its arguments.

    Raises:
        MlflowError: a filter or order that cannot be understood.
    """
    statement = Statement()
    where = [f"e.workspace = {statement.bind(workspace, 'text')}"]
    if numbers := [_number(text) for text in experiment_ids]:
        in_default = " or e.name = 'Default'" if 0 in numbers else ""
        where.append(f"(e.id = any({statement.bind(numbers, 'int8[]')}){in_default})")
    if deleted is not None:
        where.append(
            "(r.archived_at is not null or e.archived_at is not null)"
            if deleted
            else "r.archived_at is null and e.archived_at is null"
        )
    where += [_passes(statement, comparison) for comparison in GRAMMAR.parse(text)]
    joins: list[str] = []
    by: list[str] = []
    ordered = [GRAMMAR.order(part) for part in order]
    for place, (kind, key, falls) in enumerate(ordered):
        by += _by(statement, joins, f"o{place}", kind, key, direction(falls))
    named = {key for kind, key, _ in ordered if kind == "attribute"}
    if "start_time" not in named:
        by.append("r.start_time desc nulls last")
    by.append("r.run_id asc")
    sql = (
        f"select r.key from runs r join experiments e on e.id = r.experiment_id {' '.join(joins)} "
        f"where {' and '.join(where)} order by {', '.join(by)} "
        f"offset {statement.bind(offset, 'int8')} limit {statement.bind(limit, 'int8')}"
    )
    return sql, statement.arguments


def _number(text: str) -> int:
    if not is_number(text):
        raise invalid(f"Invalid experiment ID '{text}'. Experiment ID must be a valid integer.")
    return int(text)


def _passes(statement: Statement, comparison: Comparison) -> str:
    kind, key = comparison.kind, comparison.key
    if kind == "metric":
        values = _VALUES.format(series=queries.METRIC_ID.format(name=statement.bind(key, "text")))
        number = _FINITE.format("v.value")
        return f"r.key in (select v.run_key from {values} v where {compared(statement, number, comparison)})"
    if kind == "parameter":
        return _among(statement, "params", "name", _PARAM, comparison)
    if kind == "tag":
        if key in _FIELDS:
            tag = _TAG.format(key=statement.bind(key, "text"))
            return compared(statement, f"coalesce({tag}, {_FIELDS[key]})", comparison)
        return _among(statement, "tags", "key", "coalesce(k.value, '')", comparison, " and not k.removed")
    if kind == "dataset":
        value = f"(i.tags ->> '{CONTEXT}')" if key == "context" else f"i.{key}"
        passes = compared(statement, value, comparison)
        return f"exists (select from run_inputs i where i.run_key = r.key and {passes})"
    if key == "status" and comparison.comparator == "=":
        return _has_status(statement, str(comparison.value))
    return compared(statement, _SQL[key], comparison)


def _has_status(statement: Statement, status: str) -> str:
    """So that the index on the status may be used."""
    if status == "RUNNING":
        return f"not (r.status = any({statement.bind(list(STATUSES), 'text[]')}))"
    alike = [ours for ours, theirs in STATUSES.items() if theirs == status]
    return f"r.status = any({statement.bind(alike, 'text[]')})"


def _among(
    statement: Statement, table: str, name: str, value: str, comparison: Comparison, alive: str = ""
) -> str:
    """The condition that a run has a label, or one that passes."""
    there = f"select from {table} k where k.run_key = r.key and k.{name} = {statement.bind(comparison.key, 'text')}{alive}"
    if comparison.comparator == "IS NULL":
        return f"not exists ({there})"
    if comparison.comparator == "IS NOT NULL":
        return f"exists ({there})"
    return f"exists ({there} and {compared(statement, value, comparison)})"


def _by(statement: Statement, joins: list[str], alias: str, kind: str, key: str, way: str) -> list[str]:
    """What a list is ordered by; runs without the value come last, before them those whose metric is no number."""
    if kind == "metric":
        values = _VALUES.format(series=queries.METRIC_ID.format(name=statement.bind(key, "text")))
        joins.append(f"left join {values} {alias} on {alias}.run_key = r.key")
        return [f"({alias}.value is null), ({alias}.value = 'NaN')", f"{alias}.value {way}"]
    if kind == "parameter":
        value = _PARAM.replace("k.", f"{alias}.")
        joins.append(
            f"left join params {alias} on {alias}.run_key = r.key and {alias}.name = {statement.bind(key, 'text')}"
        )
        return [f'{value} collate "C" {way}']
    if kind == "tag":
        value = _TAG.format(key=statement.bind(key, "text"))
        value = f"coalesce({value}, {_FIELDS[key]})" if key in _FIELDS else value
        return [f'{value} collate "C" {way}']
    if kind == "dataset":
        raise invalid(f"Invalid order_by entity type '{kind}'")
    return [f"{_SQL[key]} {way}" if key in GRAMMAR.numeric else f'{_SQL[key]} collate "C" {way}']
