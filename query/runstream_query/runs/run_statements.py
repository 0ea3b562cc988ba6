"""The statements that find a page of a list of runs.

A run without the ordering value comes last, whatever the direction; so a list is two lists, the runs with a value and those
without, and each can follow an index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

from runstream_schemas.errors import QueryError
from runstream_schemas.runs.params import number_of
from runstream_schemas.runs.status import STATUSES

from .. import queries
from .run_filter import AnyValue, LabelFilter, RunFilter
from .run_order import COLUMNS, STATS, Order

_RANKED = ("last", "min", "max", "mean")
"""Those that are ranked."""

_OPERATORS = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "=": "=", "==": "=", "!=": "<>"}
_TIME_FORMAT: Final = """'YYYY-MM-DD"T"HH24:MI:SS.US"+00" BC'"""


@dataclass(slots=True)
class Statement:
    """A statement under construction: its conditions and arguments."""

    arguments: list[Any] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)

    def bind(self, value: Any, kind: str) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}::{kind}"


def is_ranked(filters: RunFilter, order: Order) -> bool:
    """Whether runs with a value are taken in the order of ranks, not found first and sorted."""
    return order.metric is not None and order.stat in _RANKED and not _is_selective(filters)


def is_walked(filters: RunFilter, order: Order) -> bool:
    """Whether the first runs of the list are looked at one by one, before all runs that pass are found and sorted: if many
    pass, these are enough."""
    costly = bool(filters.words or filters.metrics)
    by_start = order.metric is None and order.label is None and order.column == "start_time"
    return costly and by_start and not _names_runs(filters)


def reach_sql(order: Order, position: tuple[Any, int] | None, pieces: int) -> tuple[str, list[Any]]:
    """The statement of how far a page in the order of ranks reaches that looks at so many pieces."""
    statement = Statement()
    bound = (
        ""
        if position is None
        else f"and {'low <=' if order.descending else 'high >='} " + statement.bind(position[0], "float8")
    )
    text = queries.REACH["desc" if order.descending else "asc"].format(
        metric=queries.METRIC_ID.format(name=statement.bind(order.metric, "text")),
        stat=order.stat,
        beyond=bound,
        pieces=statement.bind(pieces, "int8"),
    )
    return text, statement.arguments


def page_sql(
    filters: RunFilter,
    order: Order,
    with_value: bool,
    position: tuple[Any, int] | None,
    limit: int,
    reach: float | None = None,
    looked_at: int | None = None,
) -> tuple[str, list[Any]]:
    """The statement of a page and its arguments.

    Args:
        with_value: whether this is the part of the list of runs with a value to order by, or of that of runs without one.
        position: value and key of the last run of the page before.
        reach: no values beyond it; only in the order of ranks.
        looked_at: look at so many runs only, the first of the list that may pass; only in the order of start (`is_walked`).

    Raises:
        QueryError: a filter or order that makes no sense.
    """
    statement = Statement()
    add_conditions(statement, filters, one_by_one=None if looked_at is None else True)
    if reach is not None:
        return _ranked_sql(statement, order, position, limit, reach)
    direction, beyond = ("desc nulls last", "<") if order.descending else ("asc", ">")
    number = queries.NUMBER
    if order.label is not None and order.label[0] == "param":
        join = "join" if with_value else "left join"
        statement.joins.append(
            f"{join} params l on l.run_key = r.key and l.name = {statement.bind(order.label[1], 'text')}"
        )
        value, number = 'left(l.text, 200) collate "C"', "coalesce(l.number, 'NaN')"
    elif order.label is not None:
        name, key = order.label
        label = queries.LABELS[name].format(key=statement.bind(key, "text"))
        statement.joins.append(f'cross join lateral (select {label} collate "C" as value) l')
        value = "l.value"
    elif order.metric is None:
        value, _ = COLUMNS[order.column]
    else:
        value = _statistic("o", order.stat)
        metric = queries.METRIC_ID.format(name=statement.bind(order.metric, "text"))
        statement.joins.append(
            f"{'' if with_value else 'left '}join lateral (select * from summaries m "
            f"where m.run_key = r.key and m.series_id = {metric} offset 0) o on true"
        )
    if with_value:
        # Texts that are numbers come in the order of these, before the others.
        labelled = order.label is not None
        ranks = [number.format(text=value), value] if labelled else [value]
        statement.where.append(f"{value} is not null")
        if position is not None:
            last, row = _bound(statement, position[0], order), statement.bind(position[1], "int8")
            bounds = [last]
            if labelled:
                bounds = [_number_bound(statement, position[0], order, last), last]
            statement.where.append(f"({', '.join(ranks)}, r.key) {beyond} ({', '.join(bounds)}, {row})")
        by = ", ".join(f"{rank} {direction}" for rank in [*ranks, "r.key"])
    else:
        statement.where.append(f"{value} is null")
        if position is not None:
            statement.where.append(f"r.key {beyond} {statement.bind(position[1], 'int8')}")
        by = f"r.key {direction}"
    if order.sql_type == "timestamptz":
        # As a text: a cursor has to say it exactly, be it later than what Python has dates for.
        value = f"to_char({value} at time zone 'UTC', {_TIME_FORMAT})"
    runs = "runs"
    if looked_at is not None:
        runs = queries.FIRST_RUNS.format(
            beyond=f"and {statement.where[-1]}" if position is not None else "",
            direction=direction,
            looked_at=statement.bind(looked_at, "int8"),
        )
    text = queries.RUN_PAGE.format(
        runs=runs,
        value=value,
        joins=" ".join(statement.joins),
        where=" and ".join(statement.where),
        order=by,
        limit=statement.bind(limit, "int8"),
    )
    return text, statement.arguments


def _bound(statement: Statement, value: Any, order: Order) -> str:
    if order.sql_type == "timestamptz":
        return f"{statement.bind(value, 'text')}::timestamptz"
    return statement.bind(value, order.sql_type)


def _number_bound(statement: Statement, value: str, order: Order, last: str) -> str:
    """The number of the label a page ended with, as what it is compared with has it."""
    if order.label is None or order.label[0] != "param":
        return queries.NUMBER.format(text=last)
    number = number_of(value)
    return statement.bind(math.nan if number is None else number, "float8")


def _ranked_sql(
    statement: Statement, order: Order, position: tuple[Any, int] | None, limit: int, reach: float
) -> tuple[str, list[Any]]:
    """A page in the order of a metric's statistic that is ranked."""
    end = statement.bind(reach, "float8")
    pieces = f"k.low <= {end}" if not order.descending else f"k.high >= {end}"
    within = f"value {'>=' if order.descending else '<='} {end}"
    if position is not None:
        last, key = statement.bind(position[0], "float8"), statement.bind(position[1], "int8")
        pieces += f" and k.low <= {last}" if order.descending else f" and k.high >= {last}"
        within += f" and (value, run_key) {'<' if order.descending else '>'} ({last}, {key})"
    text = queries.RANKED_PAGE.format(
        metric=queries.METRIC_ID.format(name=statement.bind(order.metric, "text")),
        ranks=queries.RANKS.format(
            metric="(select id from metric)", stat=order.stat, pieces=pieces, values=within
        ),
        value=_statistic("m", order.stat),
        where=" and ".join(statement.where or ["true"]),
        within=within,
        direction="desc" if order.descending else "asc",
        limit=statement.bind(limit, "int8"),
    )
    return text, statement.arguments


def _is_selective(filters: RunFilter) -> bool:
    """Whether few runs may pass: then those are found first, and the metric looked up for each."""
    return _names_runs(filters) or any((filters.tags, filters.properties, filters.words, filters.labels))


def _names_runs(filters: RunFilter) -> bool:
    """Whether so few runs may pass that each is looked at by itself, and no list of all that have something is made."""
    return filters.run_ids is not None or filters.parent not in (None, "none") or filters.ancestor is not None


def _statistic(alias: str, stat: str) -> str:
    if stat not in STATS:
        raise QueryError(f"{stat!r} is no statistic of a metric; use one of {', '.join(STATS)}")
    if stat == "mean":
        return f"nullif({alias}.sum / nullif({alias}.finite, 0), 'NaN')"
    if stat == "count":
        return f"{alias}.count::float8"
    # Postgres sorts NaN above every number; for us a run without a number has no value to sort by.
    return f"nullif({alias}.{stat}, 'NaN')"


def add_conditions(statement: Statement, filters: RunFilter, *, one_by_one: bool | None = None) -> None:
    """Add what a filter says.

    Args:
        one_by_one: each run is looked at by itself, which is best for few; else all that have a word or a metric are found
            first. None: as the filter suggests.

    Raises:
        QueryError: a comparison or statistic there is not.
    """
    where, bind = statement.where, statement.bind
    if one_by_one is None:
        one_by_one = _names_runs(filters)
    for status in filters.status:
        if status not in STATUSES:
            raise QueryError(f"status={status!r:.40}: use one of {', '.join(STATUSES)}")
    if filters.workspace is not None:
        where.append(f"e.workspace = {bind(filters.workspace, 'text')}")
    if filters.experiment is not None:
        # By id, not by name: so the index on (experiment, start) is followed.
        where.append(
            "r.experiment_id in (select id from experiments where "
            f"name = {bind(filters.experiment, 'text')}"
            + (
                f" and workspace = {bind(filters.workspace, 'text')})"
                if filters.workspace is not None
                else ")"
            )
        )
    if filters.run_ids is not None:
        where.append(f"r.run_id = any({bind(list(filters.run_ids), 'text[]')})")
    if len(filters.status) == 1:
        where.append(f"r.status = {bind(filters.status[0], 'text')}")
    elif filters.status:
        where.append(f"r.status = any({bind(list(filters.status), 'text[]')})")
    if filters.type is not None:
        kind = bind(filters.type, "text")
        where.append(
            f"(r.type = {kind} or exists (select from properties s where s.run_key = r.key "
            f"and s.key = 'azureml.runsource' and s.value = {kind}))"
        )
    if filters.target is not None:
        where.append(f"r.target = {bind(filters.target, 'text')}")
    if filters.parent == "none":
        where.append("r.parent_run_id is null")
    elif filters.parent is not None:
        where.append(f"r.parent_run_id = {bind(filters.parent, 'text')}")
    if filters.ancestor is not None:
        where.append(queries.IS_DESCENDANT.format(ancestor=bind(filters.ancestor, "text")))
    if filters.started_from is not None:
        where.append(f"r.start_time >= {bind(filters.started_from, 'timestamptz')}")
    if filters.started_to is not None:
        where.append(f"r.start_time < {bind(filters.started_to, 'timestamptz')}")
    if filters.archived is not None:
        # Who names an archived experiment means it.
        where.append(
            "r.archived_at is null" + ("" if filters.experiment else " and e.archived_at is null")
            if not filters.archived
            else "(r.archived_at is not null or e.archived_at is not null)"
        )
    for table, alive, pairs in (
        ("tags", " and not k.removed", filters.tags),
        ("properties", "", filters.properties),
    ):
        for key, value in pairs:
            match = f"k.key = {bind(key, 'text')}{alive}"
            if value is None:
                match += " and k.value is null"
            elif isinstance(value, str):
                text = bind(value, "text")
                match += f" and {queries.IS_TEXT.format(value='k.value', text=text)}"
            where.append(f"exists (select from {table} k where k.run_key = r.key and {match})")
    for word in filters.words:
        # U+0001 stands between tags in what is searched.
        text = queries.HOLDS_WORD if one_by_one or "\x01" in word else queries.HOLD_WORD
        where.append(text.format(word=bind(word, "text")))
    for metric in filters.metrics:
        operator = _OPERATORS.get(metric.operator)
        if operator is None:
            raise QueryError(f"{metric.operator!r} is no comparison; use one of {' '.join(_OPERATORS)}")
        series = queries.METRIC_ID.format(name=bind(metric.name, "text"))
        statistic, bound = _statistic("m", metric.stat), bind(float(metric.value), "float8")
        passes = f"{{value}} {operator} {bound} and {{value}} not in ('infinity', '-infinity')"
        if one_by_one:
            where.append(
                f"exists (select from summaries m where m.run_key = r.key and m.series_id = {series} "
                f"and {passes.format(value=statistic)} offset 0)"
            )
        elif metric.stat in _RANKED and operator != "<>":
            pieces = {"<": f"k.low {operator} {bound}", ">": f"k.high {operator} {bound}"}.get(
                operator[0], f"k.low <= {bound} and k.high >= {bound}"
            )
            values = passes.format(value="value")
            ranks = queries.RANKS.format(metric=series, stat=metric.stat, pieces=pieces, values=values)
            where.append(
                queries.RANKED_RUNS.format(metric=series, statistic=statistic, values=values, ranks=ranks)
            )
        else:
            where.append(queries.UNRANKED_RUNS.format(metric=series, passes=passes.format(value=statistic)))
    for label in filters.labels:
        where.append(_param_passes(statement, label) if label.kind == "param" else _passes(statement, label))
    seconds = "(extract(epoch from coalesce(r.end_time, now())) - extract(epoch from r.start_time))"
    if filters.longer is not None:
        where.append(f"{seconds} > {bind(filters.longer, 'float8')}")
    if filters.shorter is not None:
        where.append(f"{seconds} < {bind(filters.shorter, 'float8')}")
    for unwanted in filters.without:
        inner = Statement(statement.arguments)
        add_conditions(inner, unwanted, one_by_one=one_by_one)
        where.append(f"({' and '.join(inner.where or ['true'])}) is not true")


def _passes(statement: Statement, label: LabelFilter) -> str:
    """The condition that a tag or property says."""
    held = queries.LABELS[label.kind].format(key=statement.bind(label.key, "text"))
    operator = _OPERATORS.get(label.operator, "=")
    if isinstance(label.value, AnyValue):
        return f"{held} is not null"
    if isinstance(label.value, str):
        return f"{held} {operator} {statement.bind(label.value, 'text')}"
    number = f"nullif({queries.NUMBER.format(text='held.value')}, 'NaN')"
    return (
        f"exists (select from (select {held} as value) held "
        f"where {number} {operator} {statement.bind(label.value, 'float8')})"
    )


_TRUTHS: Final = {"yes": "true", "no": "false"}
"""How truths are written besides."""


def _param_passes(statement: Statement, label: LabelFilter) -> str:
    """The condition that a parameter says. A text that is a number equals every parameter that is this number."""
    bind, operator = statement.bind, _OPERATORS.get(label.operator, "=")
    passes = f"k.name = {bind(label.key, 'text')}"
    if isinstance(label.value, str):
        equals = [queries.IS_TEXT.format(value="k.text", text=bind(label.value, "text"))]
        number, truth = number_of(label.value), label.value.lower()
        if number is not None:
            equals.append(f"k.number = {bind(number, 'float8')}")
        if (truth := _TRUTHS.get(truth, truth)) in ("true", "false"):
            equals.append(f"(k.kind = 2 and k.text = {bind(truth, 'text')})")
        equal = f"({' or '.join(equals)})"
        passes += f" and {equal}" if operator == "=" else f" and {equal} is not true"
    elif not isinstance(label.value, AnyValue):
        passes += f" and k.number {operator} {bind(label.value, 'float8')}"
    return f"exists (select from params k where k.run_key = r.key and {passes})"
