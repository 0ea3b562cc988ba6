"""The way of a point, step 7 of 10: one Postgres transaction stores a batch of events, exactly once.

Two things make it so. The *fence*: a partition's row in `offsets` moves from the batch's start to its end by
compare-and-set; who finds another value lost the partition, and nothing of the batch is written. And the *slots*: every
source numbers what it writes, and `sources` says which numbers are stored, so that a resend with other borders stores only
what is new. Both are checked by the database inside the transaction.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import asyncpg

from runstream_schemas.runs import life as run_life
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import METRICS, Event, MetricsEvent, StatusEvent, StatusOp

from ..sources.source import DeadLetter, Fetched, Horizon, Partition
from ..uptime import Uptime
from . import queries
from .notices import notice, notices_of
from .plan import Plan, Planner
from .refused import dead_letter, find_refused
from .retrying import TRANSIENT, persist
from .rewinding import ColdPoints, rewound
from .run_states import RunChanges, storable, store_run_changes
from .transaction import FenceLost, move_offsets, store_points, store_sources
from .undelivered import Undelivered, give_up
from .whole_runs import StoredWhole, store_whole_runs

log = logging.getLogger(__name__)

MIN_SILENCE = 120.0
"""Seconds without a heartbeat after which a running run is shown as not responding, at least."""

V = TypeVar("V")

Reject = Callable[[Sequence[DeadLetter]], Awaitable[None]]


class _Rollback(Exception):
    """Leaves a transaction that was only a trial."""


@dataclass(slots=True)
class WriterCounts:
    """What a writer did since it was made."""

    commits: int = 0
    events: int = 0
    points: int = 0
    duplicates: int = 0
    retries: int = 0
    fences_lost: int = 0
    dead_letters: int = 0


class Writer:
    """Stores batches. One at a time: every loop has a writer of its own.

    Args:
        pool: connections to a migrated database.
        settings: the interval of heartbeats is read.
        reject: publishes dead letters; called before the offset that covers them is committed.
        counters: count on in these.
        cold: brings points of runs that are rewound back from files.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        settings: Settings,
        reject: Reject | None = None,
        counters: WriterCounts | None = None,
        cold: ColdPoints | None = None,
    ) -> None:
        self.pool = pool
        self._cold = cold
        self.settings = settings
        self.counters = WriterCounts() if counters is None else counters
        self._reject = reject
        self._planner = Planner(pool)
        self._at_rest = asyncio.Lock()
        self._uptime = Uptime()
        self._undelivered = Undelivered(pool, self.load_offsets)
        self._created: set[int] = set()  # runs whose families are to be looked at
        self._looked_for_created = False

    async def load_offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        """How far partitions are stored; None: never seen. Waits for a database that is away.

        Waits for a batch under way too: a source that continued from before it would lose the fence to its own writer.
        """
        columns = (
            [p.cluster for p in partitions],
            [p.topic_id for p in partitions],
            [p.index for p in partitions],
        )

        async def load() -> dict[Partition, int | None]:
            rows = await self.pool.fetch(queries.LOAD_OFFSETS, *columns)
            stored = {(row["cluster"], row["topic"], row["partition"]): row["next"] for row in rows}
            return {p: stored.get((p.cluster, p.topic_id, p.index)) for p in partitions}

        async with self._at_rest:
            return await self._persist("offsets cannot be read", load)

    async def store(self, batch: Sequence[Fetched]) -> None:
        """Commit everything in `batch`, in one transaction. Waits, as long as it takes, for a database that is away.

        Args:
            batch: at most one entry a partition.

        Raises:
            FenceLost: another writer moved some partition's offset. Nothing was stored, of any partition.
            MemoryError: there is none. Nothing was stored either.
        """
        if not batch:
            return
        async with self._at_rest:
            await self._store(batch)

    async def _store(self, batch: Sequence[Fetched]) -> None:
        dead = [letter for fetched in batch for letter in fetched.dead]
        await self._publish_dead(dead)
        try:
            await self._persist("a batch cannot be stored", lambda: self._commit(batch))
        except FenceLost:
            self._planner.forget()
            self.counters.fences_lost += 1
            raise
        except MemoryError:
            raise  # the loop begins anew: an event that is well must not become a dead letter
        except Exception as error:
            await self._without_refused(batch, error)

    async def _persist(self, what: str, attempt: Callable[[], Awaitable[V]]) -> V:
        def read_again() -> None:
            self._planner.forget()
            self.counters.retries += 1

        return await persist(what, attempt, read_again)

    # --- events that are refused ------------------------------------------------------------------------------------

    async def _without_refused(self, batch: Sequence[Fetched], error: BaseException) -> None:
        """Store `batch` without the events the database or a decoder refuses; those become dead letters."""
        log.warning(
            "some event of %d is refused, looking for it: %s", sum(len(f.events) for f in batch), error
        )
        kept: list[Fetched] = []
        for fetched in batch:
            refused = await find_refused(fetched.events, self._why_not)
            letters = [dead_letter(fetched, event, reason) for event, reason in refused]
            await self._publish_dead(letters)
            wrong = {id(event) for event, _ in refused}
            good = [event for event in fetched.events if id(event) not in wrong]
            kept.append(replace(fetched, events=good, origins=[], dead=[*fetched.dead, *letters]))
        await self._persist("a batch cannot be stored", lambda: self._commit(kept, step_by_step=True))

    async def _why_not(self, events: Sequence[Event]) -> str | None:
        """Why these events cannot be stored together; None when they can. Nothing is stored."""
        trial = [Fetched(_NOWHERE, 0, 0, list(events))]
        try:
            await self._persist("an event cannot be tried", lambda: self._commit(trial, trial=True))
        except MemoryError:
            raise
        except Exception as error:
            self._planner.forget()
            return f"{type(error).__name__}: {error}"
        return None

    async def _publish_dead(self, letters: Sequence[DeadLetter]) -> None:
        if letters:
            self.counters.dead_letters += len(letters)
            for letter in letters[:3]:
                log.warning(
                    "dead letter: %s at offset %d: %s", letter.partition, letter.offset, letter.reason
                )
            if self._reject is not None:
                await self._reject(letters)

    # --- the transaction --------------------------------------------------------------------------------------------

    async def _commit(
        self, batch: Sequence[Fetched], *, trial: bool = False, step_by_step: bool = False
    ) -> None:
        """
        Args:
            trial: store nothing.
            step_by_step: whole runs, too, as others are stored.
        """
        plan = await self._planner.plan(batch)
        if self._cold is not None and (run_ids := rewound(plan)):
            await self._cold.recall(run_ids)
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                if not trial:
                    await move_offsets(connection, batch)
                whole = StoredWhole() if step_by_step else await store_whole_runs(connection, plan)
                await self._planner.find_runs(connection, plan)
                await store_sources(connection, plan)
                written = [change for change in plan.changes if change.topic == METRICS and change.is_written]
                if written:
                    await connection.execute(queries.UNPACK, list({change.run_key for change in written}))
                points = await store_points(connection, plan, self._cold)
                changes = _changes_of_runs(plan)
                await self._warn_of_dead(connection, batch, changes)
                created = await store_run_changes(connection, changes)
                if ended := _ended(plan):
                    await give_up(connection, ended)
                if dropped := sorted({change.run_key for change in plan.changes if change.has_dropped}):
                    # Locked before it is counted: the second of two writers sees what the first one has.
                    await connection.fetch(run_life.LOCK_RUNS, dropped)
                    await connection.execute(queries.COUNT_DROPPED, dropped)
                texts = notices_of([*plan.accepted, *whole.accepted])
                if whole.runs:
                    texts.append(notice("settled", [run.run_id for run in whole.runs]))
                for text in texts:
                    await connection.execute(queries.NOTIFY, text)
                if trial:
                    raise _Rollback
        except _Rollback:
            return
        self._planner.remember(plan)
        self.counters.commits += 1
        self.counters.events += len(plan.accepted) + len(whole.accepted)
        self.counters.points += points + whole.points
        self.counters.duplicates += plan.duplicates
        await self._conclude(plan, [*created, *(run.key for run in whole.runs)])

    async def _warn_of_dead(
        self, connection: asyncpg.Connection[Any], batch: Sequence[Fetched], changes: RunChanges
    ) -> None:
        """Events of runs that are known and became dead letters are said on those runs, one warning a source and batch."""
        refused: dict[tuple[str, bytes, str], list[DeadLetter]] = {}
        for letter in (letter for fetched in batch for letter in fetched.dead):
            if letter.span is not None:
                refused.setdefault((letter.span[0], letter.span[1], letter.topic), []).append(letter)
        if not refused:
            return
        rows = await connection.fetch(
            queries.FIND_RUNS, sorted({storable(run_id) for run_id, _, _ in refused})
        )
        keys = {row["run_id"]: row["key"] for row in rows}
        for (run_id, source, topic), letters in refused.items():
            if storable(run_id) in keys:
                first = letters[0]
                assert first.span is not None
                message = (
                    f"{len(letters)} events of {topic} could not be stored and lie in the dead letters, the first from "
                    f"{first.partition} at offset {first.offset}: {first.reason:.300}"
                )
                step = StatusOp(first.span[2], time.time_ns() // 1000, "warning", {"message": message})
                changes.add_status(keys[storable(run_id)], source, step, f"dead {topic}")

    async def _conclude(self, plan: Plan, created: list[int]) -> None:
        """What needs to see the commits of other writers too. Lost in a crash, it is made up for by `look_after_runs`."""
        try:
            self._created.update(created)
            await self._adopt()
            if touched := {change.run_key for change in plan.changes}:
                await self.announce_settled(await self.pool.fetch(queries.SETTLE, list(touched)))
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("runs may show as settled a little later: %s: %s", type(error).__name__, error)

    async def look_after_runs(self, horizon: Horizon | None = None) -> None:
        """Look after runs of which no event tells: settled between two commits, or silent. Only when nothing is waiting.

        Args:
            horizon: the source's; None: what the ends of runs count is always stored before them.
        """
        silence = max(MIN_SILENCE, 4 * self.settings.heartbeat_interval)
        try:
            await self._uptime.tick(self.pool)
            if not self._looked_for_created:
                self._created.update(row["key"] for row in await self.pool.fetch(queries.CHILDREN_UNDER_WAY))
                self._looked_for_created = True
            await self._adopt()
            if horizon is not None:
                await self._undelivered.look(horizon)
            await self.pool.execute(queries.FIND_AGAIN)
            await self.announce_settled(await self.pool.fetch(queries.SETTLE_ALL))
            rows = await self.pool.fetch(queries.MARK_SILENT, silence)
            if rows:
                await self.pool.execute(queries.NOTIFY, notice("status", [row["run_id"] for row in rows]))
        except (*TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("runs cannot be looked after now: %s: %s", type(error).__name__, error)

    async def _adopt(self) -> None:
        if some := set(self._created):
            await self.pool.execute(queries.ADOPT, list(some))
            self._created -= some

    async def announce_settled(self, rows: Sequence[Any]) -> None:
        """Tell listeners which runs are settled now."""
        if rows:
            await self.pool.execute(queries.NOTIFY, notice("settled", [row["run_id"] for row in rows]))


_NOWHERE = Partition("", "", "", 0)


def _changes_of_runs(plan: Plan) -> RunChanges:
    """What the accepted events say of runs: steps of their life, tags, properties."""
    changes = RunChanges()
    for run_key, accepted in plan.of_runs():
        event = accepted.event
        if isinstance(event, StatusEvent):
            for step in event.ops:
                changes.add_status(run_key, event.source, step)
        elif not isinstance(event, MetricsEvent):
            for op in event.ops:
                changes.add_tag(run_key, event.source, op)
    return changes


def _ended(plan: Plan) -> list[int]:
    """Runs whose ends were told by batches before which everything they count came."""
    events = [event for fetched in plan.batch if fetched.complete for event in fetched.events]
    return sorted(
        {
            plan.run_keys[event.run_id]
            for event in events
            if isinstance(event, StatusEvent)
            and event.run_id in plan.run_keys
            and any("ends" in op.data or "tag_ends" in op.data for op in event.ops)
        }
    )
