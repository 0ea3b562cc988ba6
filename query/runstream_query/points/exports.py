"""Lists of runs and points as tables, a piece at a time, to be sent as files (`export_formats`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import pyarrow as pa
import pyarrow.compute as pc

from runstream_schemas.errors import QueryError
from runstream_schemas.runs.params import KINDS, value_of
from runstream_schemas.runs.record import ParamKind, ParamRecord
from runstream_schemas.series import SeriesClass
from runstream_schemas.values.typed_values import TYPED

from ..queries import PARAM_KINDS
from ..runs.run_filter import RunFilter
from ..runs.run_order import STATS, Order
from ..runs.runs import Run, attach_named_summaries, attach_params, list_runs
from .point_views import POINT_VIEWS
from .reader import Query
from .vectors import Vectors

MOST_COLUMNS = 1000
_PAGE = 1000
_PIECE = 1 << 20
"""Points of one look at the stores, where series have no more of them."""
_TIME = pa.timestamp("us", tz="UTC")
_MAP = pa.map_(pa.string(), pa.string())
_POINTS = ("run_id", "name", "step", "time", "value", "int_value", "text")
"""Columns of points, as `vectors.ARROW_SCHEMA` has them."""

METRIC_IS_TEXT: Final = """
select s.name from series s
where s.cls = 0 and s.name = any($1::text[])
    and not exists (select from live_summaries m where m.series_id = s.id and m.kind <> 3)
    and not exists (
        select from packed_summaries p
        where p.series_ids @> array[s.id] and coalesce(p.kinds[array_position(p.series_ids, s.id)], p.kinds[1]) <> 3)
    and (exists (select from live_summaries m where m.series_id = s.id)
        or exists (select from packed_summaries p where p.series_ids @> array[s.id]))
"""


POINTS_OF_RUNS: Final = """
select asked.run_id, coalesce(counted.points, 0)::bigint as points
from unnest($1::text[]) with ordinality as asked(run_id, place)
join runs r on r.run_id = asked.run_id
left join lateral (
    select sum(m.count) as points from summaries m join series s on s.id = m.series_id
    where m.run_key = r.key and s.cls = 0 and ($2::text[] is null or s.name = any($2))
) counted on true
order by asked.place"""
POINTS_OF_SERIES: Final = """
select s.name, m.count::bigint as points from summaries m join series s on s.id = m.series_id
where m.run_key = (select key from runs where run_id = $1) and s.cls = 0 and ($2::text[] is null or s.name = any($2))
order by s.id"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a list of runs: its name as asked for, its type, and how to get its value."""

    name: str
    type: pa.DataType
    value: Callable[[Run], Any]
    metric: str = ""
    params: bool = False


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _seconds(run: Run) -> float | None:
    if run.start_time is None or run.end_time is None:
        return None
    return (run.end_time - run.start_time).total_seconds()


_FIELDS: Final[dict[str, tuple[pa.DataType, Callable[[Run], Any]]]] = {
    "run_id": (pa.string(), lambda run: run.run_id),
    "number": (pa.int64(), lambda run: run.number),
    "experiment": (pa.string(), lambda run: run.experiment),
    "workspace": (pa.string(), lambda run: run.workspace),
    "parent_run_id": (pa.string(), lambda run: run.parent_run_id),
    "root_run_id": (pa.string(), lambda run: run.root_run_id),
    "name": (pa.string(), lambda run: run.name),
    "display_name": (pa.string(), lambda run: run.display_name),
    "description": (pa.string(), lambda run: run.description),
    "type": (pa.string(), lambda run: run.type),
    "target": (pa.string(), lambda run: run.target),
    "status": (pa.string(), lambda run: run.status),
    "created": (_TIME, lambda run: run.created),
    "start_time": (_TIME, lambda run: run.start_time),
    "end_time": (_TIME, lambda run: run.end_time),
    "duration": (pa.float64(), _seconds),
    "archived": (_TIME, lambda run: run.archived),
    "dropped": (pa.int64(), lambda run: run.dropped),
    "gaps": (pa.int64(), lambda run: run.gaps),
    "settled": (pa.bool_(), lambda run: run.settled),
    "error": (pa.string(), lambda run: _json(run.error)),
    "tags": (_MAP, lambda run: run.tags),
    "properties": (_MAP, lambda run: run.properties),
    "params": (_MAP, lambda run: {name: record["text"] for name, record in (run.params or {}).items()}),
}
DEFAULT_COLUMNS: Final = (
    "run_id", "number", "experiment", "display_name", "type", "target", "status", "parent_run_id",
    "start_time", "end_time", "duration", "tags", "properties", "params",
)  # fmt: skip


async def columns(pool: asyncpg.Pool[Any], names: Sequence[str]) -> list[Column]:
    """The columns a request names; none: the usual ones.

    Raises:
        QueryError: one that does not exist, twice the same, or too many.
    """
    if len(names) > MOST_COLUMNS:
        raise QueryError(f"{len(names)} columns; at most {MOST_COLUMNS}")
    if len(set(names)) < len(names):
        raise QueryError("column=: the same column twice; name it once")
    metrics = [
        name.removeprefix("metric:").rpartition(":")[0] for name in names if name.startswith("metric:")
    ]
    texts = {row["name"] for row in await pool.fetch(METRIC_IS_TEXT, metrics)} if metrics else set()
    params = [name.removeprefix("param:") for name in names if name.startswith("param:")]
    kinds = {row["name"]: row["kinds"] for row in await pool.fetch(PARAM_KINDS, params)} if params else {}
    return [_column(name, texts, kinds) for name in names or DEFAULT_COLUMNS]


def _column(name: str, texts: set[str], kinds: Mapping[str, Sequence[int]]) -> Column:
    kind, colon, key = name.partition(":")
    if not colon and name in _FIELDS:
        return Column(name, *_FIELDS[name], params=name == "params")
    if kind == "tag" and key:
        return Column(name, pa.string(), lambda run: run.tags.get(key))
    if kind == "param" and key:
        return _param_column(name, key, {KINDS[place] for place in kinds.get(key, ())} - {"null"})
    if kind == "property" and key:
        return Column(name, pa.string(), lambda run: run.properties.get(key))
    metric, _, stat = key.rpartition(":")
    if kind == "metric" and metric and stat in STATS:
        attribute, type_ = (stat, pa.float64()) if stat != "count" else (stat, pa.int64())
        if stat == "last" and metric in texts:
            attribute, type_ = "text", pa.string()
        return Column(
            name, type_, lambda run: getattr((run.summaries or {}).get(metric), attribute, None), metric
        )
    raise QueryError(
        f"column={name!r:.80}: expected tag:KEY, property:KEY, param:KEY, metric:NAME:STAT with one of {', '.join(STATS)}, "
        f"or one of {', '.join(_FIELDS)}"
    )


def _param_column(name: str, key: str, kinds: Set[ParamKind]) -> Column:
    """A column of a parameter: of numbers or truths if it is these in all runs, else of texts."""
    if kinds == {"int"}:
        type_, fitting = pa.int64(), kinds
    elif kinds and kinds <= {"int", "float"}:
        type_, fitting = pa.float64(), kinds | {"int", "float"}
    elif kinds == {"bool"}:
        type_, fitting = pa.bool_(), kinds
    else:
        type_, fitting = pa.string(), set(KINDS) - {"null"}

    def value(run: Run) -> Any:
        record: ParamRecord | None = (run.params or {}).get(key)
        if record is None or record["kind"] not in fitting:  # another kind may have come meanwhile
            return None
        return record["text"] if type_ == pa.string() else value_of(record)

    return Column(name, type_, value, params=True)


async def run_pages(
    pool: asyncpg.Pool[Any], filters: RunFilter, order: Order, chosen: Sequence[Column], timeout: float
) -> AsyncIterator[pa.Table]:
    """All runs that pass, a table a page."""
    metrics = [column.metric for column in chosen if column.metric]
    named_params: list[str] | None = [
        column.name.removeprefix("param:") for column in chosen if column.name.startswith("param:")
    ]
    if any(column.name == "params" for column in chosen):
        named_params = None
    after: str | None = None
    while True:
        async with asyncio.timeout(timeout), pool.acquire() as connection:
            page = await list_runs(connection, filters, order=order, limit=_PAGE, after=after)
            if metrics:
                await attach_named_summaries(connection, page.runs, metrics)
            if any(column.params for column in chosen):
                await attach_params(connection, page.runs, named_params)
        yield await asyncio.to_thread(_run_table, chosen, page.runs)
        after = page.next
        if after is None:
            return


def _run_table(chosen: Sequence[Column], runs: Sequence[Run]) -> pa.Table:
    arrays = []
    for column in chosen:
        values = [column.value(run) for run in runs]
        if column.type == _MAP:
            values = [list(value.items()) for value in values]
        arrays.append(pa.array(values, column.type))
    return pa.Table.from_arrays(arrays, schema=pa.schema([(column.name, column.type) for column in chosen]))


async def point_tables(
    query: Query, run_ids: Sequence[str], names: Sequence[str], timeout: float
) -> AsyncIterator[pa.Table]:
    """Points of metrics, a table a run, in order of logging."""
    for run_id in run_ids:
        async with asyncio.timeout(timeout):
            vectors = await query.vectors([run_id], names=names or None, cls=(SeriesClass.METRIC,))
        yield await asyncio.to_thread(_point_table, vectors)


async def point_pieces(
    query: Query, run_ids: Sequence[str], names: Sequence[str], timeout: float
) -> AsyncIterator[pa.Table]:
    """Points of metrics by runs and, within a run of more than `_PIECE` of them, by series; each series in order of logging.

    What is held at a time does not grow with how much is asked for: it is `_PIECE` points, or one series that has more.
    """
    asked = list(names) or None
    for group in _groups(await query.pool.fetch(POINTS_OF_RUNS, list(run_ids), asked)):
        series: list[list[str] | None] = [asked]
        if len(group) == 1 and group[0][1] > _PIECE:
            series = [
                [name for name, _ in part]
                for part in _groups(await query.pool.fetch(POINTS_OF_SERIES, group[0][0], asked))
            ]
        for part_of_run in series:
            async with asyncio.timeout(timeout):
                vectors = await query.vectors(
                    [run_id for run_id, _ in group], names=part_of_run, cls=(SeriesClass.METRIC,)
                )
            yield (await asyncio.to_thread(vectors.to_arrow)).select(_POINTS)


def _groups(counted: Sequence[Sequence[Any]]) -> list[list[tuple[str, int]]]:
    """Neighbours of at most `_PIECE` points together, or single ones that have more; at least one group, for the schema."""
    groups: list[list[tuple[str, int]]] = [[]]
    held = 0
    for name, points in counted:
        if groups[-1] and held + points > _PIECE:
            groups.append([])
            held = 0
        groups[-1].append((name, points))
        held += points
    return groups


async def histogram_tables(
    query: Query, run_ids: Sequence[str], names: Sequence[str], timeout: float
) -> AsyncIterator[pa.Table]:
    """Histograms, a table a run, in order of logging: the columns of the view `histograms`."""
    for run_id in run_ids:
        async with asyncio.timeout(timeout):
            vectors = await query.vectors([run_id], names=names or None, cls=(SeriesClass.HISTOGRAM,))
        yield await asyncio.to_thread(typed_table, vectors, "histograms")


def typed_table(vectors: Vectors, kind: str) -> pa.Table:
    """Typed values with the columns of their view, but for the experiment."""
    table = vectors.to_arrow()
    columns = {name: table.column(name) for name in ("run_id", "name", "step", "time")}
    texts = ["" if text is None else text for text in table.column("text").to_pylist()]
    columns |= dict(zip(TYPED[kind].names, TYPED[kind].columns(texts), strict=True))
    fields = list(POINT_VIEWS[kind])[1:]
    return pa.table({field.name: columns[field.name].cast(field.type) for field in fields})


def _point_table(vectors: Vectors) -> pa.Table:
    table = vectors.to_arrow().select(_POINTS)
    for place in (0, 1):  # dictionaries differ from run to run
        table = table.set_column(place, _POINTS[place], table.column(place).cast(pa.string()))
    return table


def one_value(table: pa.Table) -> pa.Table:
    """Points with one column for the value: as text, unless all are floats, so that ints keep their digits."""
    if not len(table.column("text").drop_null()) and not len(table.column("int_value").drop_null()):
        return table.drop_columns(["int_value", "text"])
    value = pc.coalesce(
        table.column("text"),
        table.column("int_value").cast(pa.string()),
        table.column("value").cast(pa.string()),
    )
    return table.select(_POINTS[:4]).append_column("value", value)
