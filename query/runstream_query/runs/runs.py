"""Lists of runs: their records, pages, counts and summaries, all from Postgres. A run list never touches history."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from runstream_schemas.errors import QueryError
from runstream_schemas.runs.params import KINDS, ORIGINS, ParamOrigin
from runstream_schemas.runs.record import ParamRecord, RunRecord, StoredRun, SummaryRecord
from runstream_schemas.series import Kind, SeriesClass
from runstream_schemas.times import shown_time

from .. import queries
from ..json_values import from_json, iso, json_number, plain
from .run_filter import RunFilter
from .run_order import Order, read_cursor, write_cursor
from .run_statements import Statement, add_conditions, is_ranked, is_walked, page_sql, reach_sql

if TYPE_CHECKING:
    import asyncpg

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
"""What statements run on."""

MAX_LIMIT = 1000
"""Most runs of one page."""

_LOOKED_AT = 500
"""Runs at the beginning of a list that are looked at one by one."""

MOST_COMMON = 20
"""Most metrics `common_metrics` is asked for."""
_MOST_LOOKED_AT = 20
"""Runs whose metrics are counted: each may have thousands."""


@dataclass(slots=True, kw_only=True)
class Run(StoredRun):
    """A run as stored; times in UTC, None where not set."""

    key: int
    created: datetime
    start_time: datetime | None
    end_time: datetime | None
    last_seen: datetime | None
    archived: datetime | None
    summaries: dict[str, Summary] | None = None
    params: dict[str, ParamRecord] | None = None

    def record(self) -> RunRecord:
        """The run as the HTTP API shows it."""
        shown = {name: getattr(self, name) for name in _AS_STORED}
        shown |= {name: plain(shown[name]) for name in ("error", "warnings", "details")}
        record = RunRecord(
            **shown,
            created_utc=iso(self.created),
            start_time_utc=iso(self.start_time),
            end_time_utc=iso(self.end_time),
            last_seen_utc=iso(self.last_seen),
            archived_utc=iso(self.archived),
        )
        if self.summaries is None:
            del record.summaries  # they were not asked for, and are no part of the answer
        else:
            record.summaries = {name: summary.record() for name, summary in self.summaries.items()}
        if self.params is None:
            del record.params
        else:
            record.params = self.params
        return record


_AS_STORED = tuple(item.name for item in fields(StoredRun))


@dataclass(slots=True)
class Summary:
    """Statistics of one series of a run. `first`, `last`, `min`, `max`, `mean` are None for texts and where no value is
    finite; `text` is the last text, cut to 256 characters."""

    name: str
    cls: int
    column: str
    kind: int
    count: int
    first: float | None
    last: float | None
    min: float | None
    max: float | None
    mean: float | None
    last_step: int | None
    last_time: int
    text: str | None

    @classmethod
    def from_row(cls, row: Any) -> Summary:
        """A row of `queries.SUMMARY_COLUMNS`. A page has thousands: unpacked by place, which takes half the time."""
        _, name, cls_, column, kind, count, first, last, min_, max_, mean, step, time, text = row
        if kind >= Kind.TEXT:
            first = last = None
        time = shown_time(time)
        return cls(name, cls_, column, kind, count, first, last, min_, max_, mean, step, time, text)

    def record(self) -> SummaryRecord:
        """The summary as the HTTP API shows it; JSON has no NaN and no infinity, so those are strings."""
        return {
            "cls": self.cls,
            "kind": self.kind,
            "count": self.count,
            "first": json_number(self.first),
            "last": json_number(self.last),
            "min": json_number(self.min),
            "max": json_number(self.max),
            "mean": json_number(self.mean),
            "last_step": self.last_step,
            "last_time": self.last_time,
            "text": self.text,
        }


class HeldParam(ParamRecord):
    """A value of a parameter: where it comes from, when it was written (microseconds since the epoch), and by whom it was
    overwritten."""

    origin: ParamOrigin
    time: int
    author: str | None


class FormerParam(HeldParam):
    """A value that held before, or that was refused because another one held."""

    name: str
    refused: bool


class RunParams(TypedDict):
    """The parameters of a run, and their former and refused values, oldest first."""

    params: dict[str, HeldParam]
    former: list[FormerParam]


@dataclass(slots=True)
class Page:
    """Some runs, and where the next page starts (None: that was the last one)."""

    runs: list[Run]
    next: str | None


async def list_runs(
    connection: Connection,
    filters: RunFilter | None = None,
    *,
    order: Order | None = None,
    limit: int = 50,
    after: str | None = None,
    summaries: bool = False,
) -> Page:
    """One page of the runs that pass `filters`.

    Args:
        connection: a connection, in a transaction or not.
        filters: which runs; None: all that are not archived.
        order: None: newest start first.
        limit: most runs of the page, 1 to `MAX_LIMIT`.
        after: `Page.next` of the page before.
        summaries: also the summaries of each run's metrics.

    Raises:
        QueryError: a filter, order, limit or cursor that makes no sense.
    """
    filters = filters or RunFilter()
    order = order or Order()
    if not 1 <= limit <= MAX_LIMIT:
        raise QueryError(f"limit={limit}: expected 1 to {MAX_LIMIT}")
    position = read_cursor(after, order) if after else None
    rows: list[Any] = []
    for part in ("value", "null"):
        if part == "value" and position is not None and position[0] is None:
            continue
        if part == "null" and str(order).lstrip("-") in ("created", "run_id", "status"):
            continue  # never null
        here = position if position is not None and (position[0] is None) == (part == "null") else None
        rows += await _fetch_rows(connection, filters, order, part == "value", here, limit + 1 - len(rows))
        if len(rows) > limit:
            break
    more = len(rows) > limit
    rows = rows[:limit]
    runs = await _load(connection, [row["key"] for row in rows])
    if summaries:
        await _attach_summaries(connection, runs)
    return Page(runs, write_cursor(order, rows[-1]["value"], rows[-1]["key"]) if more else None)


async def _fetch_rows(
    connection: Connection,
    filters: RunFilter,
    order: Order,
    with_value: bool,
    position: tuple[Any, int] | None,
    limit: int,
) -> list[Any]:
    """Rows of a page: from the beginning of the list, if enough runs pass there; else all that pass are found and sorted."""
    first: dict[str, Any] | None = None
    everything = -math.inf if order.descending else math.inf
    if with_value and is_ranked(filters, order):
        text, arguments = reach_sql(order, position, 1 + limit // 64)
        first = {"reach": await connection.fetchval(text, *arguments)}
    elif with_value and is_walked(filters, order):
        first = {"looked_at": _LOOKED_AT}
    if first is not None:
        text, arguments = page_sql(filters, order, with_value, position, limit, **first)
        rows: list[Any] = await connection.fetch(text, *arguments)
        if len(rows) == limit or first.get("reach") == everything:
            return rows
    text, arguments = page_sql(filters, order, with_value, position, limit)
    rows = await connection.fetch(text, *arguments)
    return rows


async def count_runs(connection: Connection, filters: RunFilter | None = None) -> dict[str, int]:
    """How many runs pass `filters`, by status.

    Raises:
        QueryError: a filter that makes no sense.
    """
    statement = Statement()
    add_conditions(statement, filters or RunFilter())
    rows = await connection.fetch(
        queries.COUNT_RUNS.format(
            joins=" ".join(statement.joins), where=" and ".join(statement.where or ["true"])
        ),
        *statement.arguments,
    )
    return {row["status"]: row["runs"] for row in rows}


async def get_run(connection: Connection, run_id: str, *, summaries: bool = False) -> Run | None:
    """One run, or None when there is no such run."""
    key = await connection.fetchval(queries.RUN_KEY, run_id)
    if key is None:
        return None
    runs = await _load(connection, [key])
    if summaries:
        await _attach_summaries(connection, runs)
    return runs[0] if runs else None


async def descendants(connection: Connection, run_id: str, *, type: str | None = None) -> list[str]:
    """Run ids of all descendants of a run, newest start first, at any depth."""
    return [row["run_id"] for row in await connection.fetch(queries.DESCENDANTS, run_id, type)]


async def get_summaries(
    connection: Connection, run_keys: Iterable[int], *, cls: int | None = SeriesClass.METRIC
) -> dict[int, list[Summary]]:
    """Summaries of the series of many runs in one query, by run key, in order first stored."""
    result: dict[int, list[Summary]] = {}
    for row in await connection.fetch(queries.SUMMARIES, list(run_keys), cls):
        result.setdefault(row["run_key"], []).append(Summary.from_row(row))
    return result


async def _attach_summaries(connection: Connection, runs: list[Run]) -> None:
    by_run = await get_summaries(connection, [run.key for run in runs])
    for run in runs:
        run.summaries = {summary.name: summary for summary in by_run.get(run.key, [])}


async def attach_named_summaries(connection: Connection, runs: list[Run], names: list[str]) -> None:
    """Give each run the summaries of just these metrics."""
    keys = {run.key: run for run in runs}
    for run in runs:
        run.summaries = {}
    for row in await connection.fetch(queries.NAMED_SUMMARIES, list(keys), names):
        summaries = keys[row["run_key"]].summaries
        assert summaries is not None
        summaries[row["name"]] = Summary.from_row(row)


async def attach_params(
    connection: Connection, runs: list[Run], names: list[str] | None = None, most: int | None = None
) -> None:
    """Give each run its parameters.

    Args:
        names: only these.
        most: characters of a text that are given; None: all.
    """
    by_key: dict[int, dict[str, ParamRecord]] = {run.key: {} for run in runs}
    for run in runs:
        run.params = by_key[run.key]
    for key, name, kind, text in await connection.fetch(queries.PARAMS, list(by_key), names, most):
        by_key[key][name] = {"kind": KINDS[kind], "text": text}


async def run_params(connection: Connection, run_id: str) -> RunParams | None:
    """The parameters of a run with all that became of them, or None when there is no such run."""
    key = await connection.fetchval(queries.RUN_KEY, run_id)
    if key is None:
        return None
    held = await connection.fetch(queries.RUN_PARAMS, key)
    former = await connection.fetch(queries.FORMER_PARAMS, key)
    return {
        "params": {row["name"]: _held_param(row) for row in held},
        "former": [{"name": row["name"], "refused": row["refused"], **_held_param(row)} for row in former],
    }


def _held_param(row: Any) -> HeldParam:
    return {
        "kind": KINDS[row["kind"]],
        "text": row["text"],
        "origin": ORIGINS[row["origin"]],
        "time": shown_time(row["time_us"]),
        "author": row["author"],
    }


async def common_metrics(connection: Connection, runs: list[Run], most: int) -> list[str]:
    """Names of the metrics that the first of these runs, or some of their children, have; the commonest first."""
    keys = [run.key for run in runs[:_MOST_LOOKED_AT]]
    rows = await connection.fetch(queries.COMMON_METRICS, keys, most)
    return [row["name"] for row in rows]


async def _load(connection: Connection, keys: list[int]) -> list[Run]:
    if not keys:
        return []
    rows = {row["key"]: row for row in await connection.fetch(queries.RUN_RECORDS, keys)}
    return [_run(rows[key]) for key in keys if key in rows]


def _run(row: Any) -> Run:
    return Run(
        key=row["key"],
        run_id=row["run_id"],
        number=row["number"],
        experiment=row["experiment"],
        workspace=row["workspace"],
        parent_run_id=row["parent_run_id"],
        root_run_id=row["root_run_id"],
        name=row["name"],
        display_name=row["display_name"],
        description=row["description"],
        type=row["type"],
        target=row["target"],
        status=row["status"],
        created=row["created_at"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        last_seen=row["last_seen"],
        archived=row["archived_at"],
        error=from_json(row["error"]),
        warnings=from_json(row["warnings"]) or [],
        details=from_json(row["details"]) or {},
        tags=from_json(row["tags"]) or {},
        properties=from_json(row["properties"]) or {},
        dropped=row["dropped"],
        gaps=row["gaps"],
        settled=row["settled_at"] is not None,
    )
