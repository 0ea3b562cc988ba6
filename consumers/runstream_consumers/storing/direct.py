"""Storing what clients ask a server to write: by the functions the writer has, in the transaction of the request.

The points of a run that come this way are of one source, whose id follows from the run's: so they have one order, whichever
server takes them. Its row in `sources` is locked first, as everywhere: sources, runs, summaries.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import numpy as np

from runstream_schemas.runs.params import Origin, ParamWrite
from runstream_schemas.runs.recording import NewPoints, NewRun, Place
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.events import METRICS, MetricsEvent, StatusOp, summarize
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.points import Points, order_dtype

from . import queries
from .notices import notice
from .params import store_params
from .plan import Accepted, Plan, SourceChange
from .run_states import RunChanges, storable, store_run_changes
from .slots import Slots
from .transaction import store_points

_SOURCES: Final = uuid.UUID("6f1f3a1e-3d0c-5d2b-9a54-7c1f0f6b8e21")
MOST_SERIES: Final = 100_000
_ATTEMPTS: Final = 5

_HOLD: Final = "select key, ordinal, next from sources where source = $1 and topic = 'metrics' for update"
_ADD: Final = """
insert into sources (source, topic, run_key, ordinal)
select $1, 'metrics', r.key,
    coalesce((select max(s.ordinal) + 1 from sources s where s.run_key = r.key and s.topic = 'metrics'), 0)
from runs r where r.run_id = $2
on conflict do nothing
"""
_STORED: Final = """
with moved as (
    update sources set next = $2 where key = $1
), seen as (
    update runs set seen_up = uptime() where key = $3 and seen_up < uptime() - 15
)
select pg_notify('runstream', $4)
"""
_KNOWN: Final = "select from runs where run_id = $1"


class DirectRecorder:
    """See `runstream_schemas.runs.recording.Recorder`.

    Args:
        pool: connections to a migrated database.
    """

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self._series: dict[str, int] = {}

    async def create_run(self, connection: asyncpg.Connection[Any], run: NewRun) -> int:
        """Create a run, which then runs; returns its key."""
        key: int = await connection.fetchval(
            "insert into runs (run_id) values ($1) returning key", run.run_id
        )
        data: dict[str, Any] = {
            "workspace": run.workspace,
            "experiment": run.experiment,
            "name": run.name,
            "display_name": run.name,
            "tags": dict(run.tags),
        }
        if run.parent_run_id is not None:
            data["parent_run_id"] = run.parent_run_id
        if run.description is not None:
            data["description"] = run.description
        changes, source = RunChanges(), uuid.uuid4().bytes
        changes.add_status(key, source, StatusOp(0, run.started_us, "create", data))
        changes.add_status(key, source, StatusOp(1, run.started_us, "start"))
        changes.seen.clear()  # no heartbeats are to come, so their absence says nothing
        await store_run_changes(connection, changes)
        await connection.execute(queries.NOTIFY, notice("status", [run.run_id]))
        return key

    async def series_ids(self, names: Sequence[str]) -> dict[str, int]:
        """Ids of metrics, which get one if need be."""
        if len(self._series) > MOST_SERIES:
            self._series.clear()
        if missing := sorted({storable(name) for name in names} - self._series.keys()):
            columns = [int(SeriesClass.METRIC)] * len(missing), missing, [""] * len(missing)
            rows = await self._pool.fetch(queries.FIND_SERIES, *columns)
            if len(rows) < len(missing):
                await self._pool.execute(queries.ADD_SERIES, *columns)
                rows = await self._pool.fetch(queries.FIND_SERIES, *columns)
            self._series |= {row["name"]: row["id"] for row in rows}
        return {name: self._series[storable(name)] for name in names}

    async def hold_place(self, connection: asyncpg.Connection[Any], run_id: str) -> Place | None:
        """Keep other servers from writing points of a run; None: there is no such run."""
        source = source_of(run_id)
        for _ in range(_ATTEMPTS):
            row = await connection.fetchrow(_HOLD, source)
            if row is not None:
                return Place(row["key"], row["ordinal"], row["next"])
            # Nothing was added: the run is not there, or another source got the number just now.
            added = await connection.execute(_ADD, source, run_id)
            if added == "INSERT 0 0" and await connection.fetchrow(_KNOWN, run_id) is None:
                return None
        raise TimeoutError(f"the points of run {run_id} cannot be numbered")

    async def add_points(
        self,
        connection: asyncpg.Connection[Any],
        run_key: int,
        run_id: str,
        place: Place,
        points: NewPoints,
        series_ids: Mapping[str, int],
        packed: bool,
    ) -> None:
        """Add points of a run whose place is held."""
        event = _event(run_id, place.next, points)
        end = place.next + event.count
        await connection.execute(_STORED, place.source_key, end, run_key, notice(METRICS, [run_id]))
        if packed:
            await connection.execute(queries.UNPACK, [run_key])
        change = SourceChange(METRICS, event.source, run_id, None, Slots(end))
        change.key, change.ordinal, change.run_key = place.source_key, place.ordinal, run_key
        change.known = place.next > 0
        ids = [series_ids[key.name] for key, _ in event.series]
        plan = Plan([], [Accepted(event, change, ids)], [change], run_keys={run_id: run_key})
        await store_points(connection, plan)

    async def add_params(
        self, connection: asyncpg.Connection[Any], run_key: int, params: Mapping[str, str]
    ) -> None:
        """Log parameters, by the JSON texts of their values."""
        now, source = time.time_ns() // 1000, uuid.uuid4().hex
        writes = {
            (run_key, name): [ParamWrite(value, Origin.LOGGED, now, source, slot)]
            for slot, (name, value) in enumerate(sorted(params.items()))
        }
        await store_params(connection, writes)

    async def settle(self, run_keys: Sequence[int]) -> None:
        """Mark ended runs of which everything is stored."""
        rows = await self._pool.fetch(queries.SETTLE, list(run_keys))
        if rows:
            await self._pool.execute(queries.NOTIFY, notice("settled", [row["run_id"] for row in rows]))


def source_of(run_id: str) -> uuid.UUID:
    """The id of the source of what servers write of a run."""
    return uuid.uuid5(_SOURCES, run_id)


def _event(run_id: str, first: int, points: NewPoints) -> MetricsEvent:
    """The points as an event of the slots from `first` on."""
    count = len(points.which)
    grouped = np.argsort(points.which, kind="stable")
    columns = Points(
        series=[(SeriesKey(SeriesClass.METRIC, name), Kind.FLOAT) for name in points.names],
        order=points.which.astype(order_dtype(len(points.names))),
        seqs=np.arange(first, first + count, dtype=np.int64),
        steps=points.steps[grouped],
        times=points.times[grouped],
        values=points.values[grouped].view(np.uint64),
        texts=[],
        counts=np.bincount(points.which, minlength=len(points.names)).astype(np.int64),
    )
    return MetricsEvent(
        run_id,
        source_of(run_id).bytes,
        first,
        count,
        count,
        columns.series,
        summarize(columns),
        encode_points(columns),
    )
