"""Storing batches of events, exactly once: one Postgres transaction for the offsets and everything the events say.

Two things make it so. The *fence*: a partition's row in `offsets` moves from the batch's start to its end by
compare-and-set; who finds another value lost the partition, and nothing of the batch is written. And the *slots*: every
source numbers what it writes, and `sources` says which numbers are stored, so that a resend with other borders stores only
what is new. Both are checked by the database inside the transaction; what is cached here only saves reading them first.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from runstream_schemas.events import (
    Event,
    MetricsEvent,
    StatusEvent,
    StatusOp,
    cut_event,
    encode_event,
    topic_of,
)
from runstream_schemas.series import SeriesKey
from runstream_schemas.settings import Settings

from ..sources.source import DeadLetter, Fetched, Horizon, Partition
from ..uptime import Uptime
from . import queries
from .run_states import Changes, storable, store_changes
from .slots import Slots
from .transaction import FenceLost, Plan, SourceState, Stale, move_offsets, store_points, store_sources
from .undelivered import Undelivered, give_up

log = logging.getLogger(__name__)

ATTEMPT_TIMEOUT = 120.0
"""Seconds after which an attempt to commit is given up: a server that stopped answering does not close connections."""
MAX_NOTICE_BYTES = 7000  # Postgres refuses a notification of 8,000
MIN_SILENCE = 120.0
"""Seconds without a heartbeat after which a running run is shown as not responding, at least."""
CACHED_SOURCES = 100_000
CACHED_RUNS = 100_000
CACHED_SERIES = 200_000

_TRANSIENT = (
    OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError, asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError, asyncpg.QueryCanceledError, asyncpg.IdleInTransactionSessionTimeoutError,
)  # fmt: skip
# What an event can be guilty of at the database. Any other refusal (a full disk, a missing table) is the database's, and
# waited out. An exception that is not the database's is some event's: what cannot be stored must not stop what can.
_REFUSED = (
    asyncpg.DataError, asyncpg.ProgramLimitExceededError, asyncpg.NotNullViolationError, asyncpg.CheckViolationError,
    asyncpg.CardinalityViolationError,
)  # fmt: skip

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Reject = Callable[[Sequence[DeadLetter]], Awaitable[None]]


class _Rollback(Exception):
    """Leaves a transaction that was only a trial."""


class Bounded(dict[K, V]):
    """A dict that forgets its oldest half when it has more than `limit` entries."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def trim(self) -> None:
        """Forget, if there is too much."""
        if len(self) > self.limit:
            for key in list(self)[: len(self) // 2]:
                del self[key]


@dataclass(slots=True)
class Counters:
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
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        settings: Settings,
        reject: Reject | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.pool = pool
        self.settings = settings
        self.counters = Counters() if counters is None else counters
        self._reject = reject
        self._sources: Bounded[tuple[str, bytes], SourceState] = Bounded(CACHED_SOURCES)
        self._runs: Bounded[str, int] = Bounded(CACHED_RUNS)
        self._series: Bounded[SeriesKey, int] = Bounded(CACHED_SERIES)
        self._at_rest = asyncio.Lock()
        self._uptime = Uptime()
        self._undelivered = Undelivered(pool, self.load_offsets)

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
        """
        if not batch:
            return
        async with self._at_rest:
            await self._store(batch)

    async def _store(self, batch: Sequence[Fetched]) -> None:
        dead = [letter for fetched in batch for letter in fetched.dead]
        await self._bury(dead)

        async def attempt() -> None:
            plan = await self._plan(batch)
            await self._commit(plan)

        try:
            await self._persist("a batch cannot be stored", attempt)
        except FenceLost:
            self._forget()
            self.counters.fences_lost += 1
            raise
        except Exception as error:
            await self._without_refused(batch, error)

    # --- trying again -----------------------------------------------------------------------------------------------

    async def _persist(self, what: str, attempt: Callable[[], Awaitable[V]]) -> V:
        """Run `attempt` until it succeeds, is refused because of an event, or finds the fence moved."""
        pause = 0.02
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_TIMEOUT):
                    return await attempt()
            except FenceLost:
                raise
            except (Stale, asyncpg.ForeignKeyViolationError, asyncpg.UniqueViolationError) as error:
                if pause > 0.3:
                    log.warning("%s, reading again what is stored: %s: %s", what, type(error).__name__, error)
            except _TRANSIENT as error:
                # Also when the connection broke during the commit: if that one succeeded, the next attempt finds the
                # offset moved and loses the fence to itself.
                if pause > 0.3:
                    log.warning("%s, trying again: %s: %s", what, type(error).__name__, error)
            except _REFUSED:
                raise
            except asyncpg.PostgresError as error:
                pause = max(pause, 1.0)
                log.error("%s, trying again: %s: %s", what, type(error).__name__, error)
            self._forget()
            self.counters.retries += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _forget(self) -> None:
        self._sources.clear()
        self._runs.clear()
        self._series.clear()

    async def _without_refused(self, batch: Sequence[Fetched], error: BaseException) -> None:
        """Store `batch` without the events the database or a decoder refuses; those become dead letters."""
        log.warning(
            "some event of %d is refused, looking for it: %s", sum(len(f.events) for f in batch), error
        )
        kept: list[Fetched] = []
        for fetched in batch:
            bad = await self._refused(fetched.events)
            letters = [_letter(fetched, event, reason) for event, reason in bad]
            await self._bury(letters)
            wrong = {id(event) for event, _ in bad}
            good = [event for event in fetched.events if id(event) not in wrong]
            kept.append(replace(fetched, events=good, origins=[], dead=[*fetched.dead, *letters]))

        async def attempt() -> None:
            await self._commit(await self._plan(kept))

        await self._persist("a batch cannot be stored", attempt)

    async def _refused(self, events: Sequence[Event]) -> list[tuple[Event, str]]:
        reason = await self._why_not(events)
        if reason is None:
            return []
        if len(events) == 1:
            return [(events[0], reason)]
        half = len(events) // 2
        bad = await self._refused(events[:half]) + await self._refused(events[half:])
        if bad:
            return bad
        # Each half for itself is good, and together they are not: the first event that those before it do not bear.
        good, end = half, len(events)
        while end - good > 1:
            middle = (good + end) // 2
            why = await self._why_not(events[:middle])
            good, end, reason = (middle, end, reason) if why is None else (good, middle, why)
        rest = [*events[: end - 1], *events[end:]]
        return [(events[end - 1], reason), *await self._refused(rest)]

    async def _why_not(self, events: Sequence[Event]) -> str | None:
        """Why these events cannot be stored together; None when they can. Nothing is stored."""
        if not events:
            return None

        async def attempt() -> None:
            await self._commit(await self._plan([Fetched(_NOWHERE, 0, 0, list(events))]), trial=True)

        try:
            await self._persist("an event cannot be tried", attempt)
        except Exception as error:
            self._forget()
            return f"{type(error).__name__}: {error}"
        return None

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        if letters:
            self.counters.dead_letters += len(letters)
            for letter in letters[:3]:
                log.warning(
                    "dead letter: %s at offset %d: %s", letter.partition, letter.offset, letter.reason
                )
            if self._reject is not None:
                await self._reject(letters)

    # --- what to write ----------------------------------------------------------------------------------------------

    async def _plan(self, batch: Sequence[Fetched]) -> Plan:
        plan = Plan(batch)
        events = [event for fetched in batch for event in fetched.events]
        await self._load_sources(events)
        for event in events:
            at = (topic_of(event), event.source)
            state = plan.after.get(at)
            if state is None:
                stored = self._sources.get(at)
                plan.before[at] = stored
                state = SourceState(0, 0, 0, Slots()) if stored is None else SourceState(
                    stored.key, stored.run_key, stored.ordinal, stored.slots.copy(), stored.dropped
                )  # fmt: skip
                plan.after[at] = state
                plan.runs[at] = event.run_id
            slots, first, end = state.slots, event.first, event.first + event.count
            if isinstance(event, MetricsEvent):
                state.dropped = max(state.dropped, event.dropped)
            new = slots.missing(first, end)
            if not new:
                plan.duplicates += 1
                continue
            slots.add(first, end)
            parts = [event] if new == [(first, end)] else _parts(event, new)
            plan.accepted += ((part, at) for part in parts)
        await self._load_series(event for event, _ in plan.accepted)
        return plan

    async def _load_sources(self, events: Sequence[Event]) -> None:
        wanted = list(
            {(topic_of(e), e.source): None for e in events if (topic_of(e), e.source) not in self._sources}
        )
        if not wanted:
            return
        self._sources.trim()
        rows = await self.pool.fetch(
            queries.FIND_SOURCES, [UUID(bytes=source) for _, source in wanted], [topic for topic, _ in wanted]
        )
        for row in rows:
            self._sources[row["topic"], row["source"].bytes] = SourceState(
                row["key"],
                row["run_key"],
                row["ordinal"],
                Slots.parse(row["next"], row["ahead"]),
                row["dropped"],
            )

    async def _load_series(self, events: Iterable[Event]) -> None:
        """Ids of all series. In statements of their own: other writers do not wait for this one's commit to use a name."""
        cache = self._series
        missing = {
            key for e in events if isinstance(e, MetricsEvent) for key, _ in e.series if key not in cache
        }
        if not missing:
            return
        cache.trim()
        by_row = {(key.cls, storable(key.name), storable(key.column)): key for key in missing}
        rows = sorted(by_row)
        columns = (
            [cls for cls, _, _ in rows],
            [name for _, name, _ in rows],
            [column for _, _, column in rows],
        )
        found = await self.pool.fetch(queries.FIND_SERIES, *columns)
        if len(found) < len(rows):
            await self.pool.execute(queries.ADD_SERIES, *columns)
            found = await self.pool.fetch(queries.FIND_SERIES, *columns)
        ids = {(row["cls"], row["name"], row["column"]): row["id"] for row in found}
        for key in missing:
            cache[key] = ids[key.cls, storable(key.name), storable(key.column)]

    # --- the transaction --------------------------------------------------------------------------------------------

    async def _commit(self, plan: Plan, *, trial: bool = False) -> None:
        series_ids = self._series  # looked up before anything is awaited: a trim would take them away
        ids = {
            n: [series_ids[key] for key, _ in event.series]
            for n, (event, _) in enumerate(plan.accepted)
            if isinstance(event, MetricsEvent)
        }
        changes = Changes()
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                if not trial:
                    await move_offsets(connection, plan.batch)
                runs = await self._run_keys(connection, plan)
                plan.leave_out_others(runs)
                keys = await store_sources(connection, plan, runs)
                points = await store_points(connection, plan, runs, keys, ids)
                if written := {runs[plan.runs[at]] for at in plan.after if at[0] == "metrics"}:
                    await connection.execute(queries.UNRANK, list(written))
                for event, _ in plan.accepted:
                    if event.run_id not in runs:
                        continue
                    if isinstance(event, StatusEvent):
                        for step in event.ops:
                            changes.add_status(runs[event.run_id], event.source, step)
                    elif not isinstance(event, MetricsEvent):
                        for op in event.ops:
                            changes.add_tag(runs[event.run_id], event.source, op)
                await self._warn_of_dead(connection, plan.batch, changes)
                created = await store_changes(connection, changes)
                if ended := _ended(plan, runs):
                    await give_up(connection, ended)
                for notice in _notices(plan):
                    await connection.execute(queries.NOTIFY, notice)
                if trial:
                    raise _Rollback
        except _Rollback:
            return
        self._runs.trim()
        self._runs.update(runs)
        for at, state in plan.after.items():
            state.key, state.run_key = keys[at], runs[plan.runs[at]]
            self._sources[at] = state
        self.counters.commits += 1
        self.counters.events += len(plan.accepted)
        self.counters.points += points
        self.counters.duplicates += plan.duplicates
        await self._conclude(plan, runs, created)

    async def _warn_of_dead(
        self, connection: asyncpg.Connection[Any], batch: Sequence[Fetched], changes: Changes
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

    async def _run_keys(self, connection: asyncpg.Connection[Any], plan: Plan) -> dict[str, int]:
        """Keys of the runs of all sources; a run nobody has created yet gets a row that only knows its id. A run that was
        deleted has none: what is said of it is passed over."""
        wanted = sorted(set(plan.runs.values()))
        runs = {run_id: self._runs[run_id] for run_id in wanted if run_id in self._runs}
        missing = [run_id for run_id in wanted if run_id not in runs]
        if missing:
            texts = [storable(run_id) for run_id in missing]
            found = await connection.fetch(queries.FIND_RUNS, texts)
            if len(found) < len(missing):
                await connection.execute(queries.ADD_RUNS, texts)
                found = await connection.fetch(queries.FIND_RUNS, texts)
            keys = {row["run_id"]: row["key"] for row in found}
            runs.update((run_id, keys[storable(run_id)]) for run_id in missing if storable(run_id) in keys)
        return runs

    async def _conclude(self, plan: Plan, runs: dict[str, int], created: list[int]) -> None:
        """What needs to see the commits of other writers too. Lost in a crash, it is made up for by `sweep`."""
        try:
            if created:
                await self.pool.execute(queries.ADOPT, created)
            dropped = {
                runs[plan.runs[at]]
                for at, state in plan.after.items()
                if state.dropped > (before.dropped if (before := plan.before[at]) is not None else 0)
            }
            if dropped:
                await self.pool.execute(queries.COUNT_DROPPED, list(dropped))
            touched = {runs[plan.runs[at]] for at in plan.after}
            if touched:
                await self.announce_settled(await self.pool.fetch(queries.SETTLE, list(touched)))
        except (*_TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("runs may show as settled a little later: %s: %s", type(error).__name__, error)

    async def sweep(self, horizon: Horizon | None = None) -> None:
        """Look after runs of which no event tells: settled between two commits, or silent. Only when nothing is waiting.

        Args:
            horizon: the source's; None: what the ends of runs count is always stored before them.
        """
        silence = max(MIN_SILENCE, 4 * self.settings.heartbeat_interval)
        try:
            await self._uptime.tick(self.pool)
            if horizon is not None:
                await self._undelivered.look(horizon)
            await self.pool.execute(queries.FIND_AGAIN)
            await self.announce_settled(await self.pool.fetch(queries.SETTLE_ALL))
            rows = await self.pool.fetch(queries.MARK_SILENT, silence)
            if rows:
                for notice in _split("status", [row["run_id"] for row in rows]):
                    await self.pool.execute(queries.NOTIFY, notice)
        except (*_TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("runs cannot be looked after now: %s: %s", type(error).__name__, error)

    async def announce_settled(self, rows: Sequence[Any]) -> None:
        """Tell listeners which runs are settled now."""
        if rows:
            for notice in _split("settled", [row["run_id"] for row in rows]):
                await self.pool.execute(queries.NOTIFY, notice)


_NOWHERE = Partition("", "", "", 0)


def _letter(fetched: Fetched, event: Event, reason: str) -> DeadLetter:
    """The very record; of an event that never was one, what it would have been."""
    span = (event.run_id, event.source, event.first, event.count)
    for known, origin in zip(fetched.events, fetched.origins, strict=False):
        if known is event:
            offset, key, value = origin.offset, origin.key, origin.value
            break
    else:
        offset, key = fetched.start, event.run_id.encode("utf-8", "backslashreplace")
        try:
            value = encode_event(event)
        except Exception as error:
            value, reason = b"", f"{reason} (and it cannot be written: {type(error).__name__})"
    return DeadLetter(fetched.partition, offset, reason, key, value, topic_of(event), span)


def _ended(plan: Plan, runs: dict[str, int]) -> list[int]:
    """Runs whose ends were told by batches before which everything they count came."""
    events = [event for fetched in plan.batch if fetched.complete for event in fetched.events]
    return sorted(
        {
            runs[event.run_id]
            for event in events
            if isinstance(event, StatusEvent)
            and event.run_id in runs
            and any("ends" in op.data or "tag_ends" in op.data for op in event.ops)
        }
    )


def _parts(event: Event, new: Sequence[tuple[int, int]]) -> Sequence[Event]:
    """What of `event` lies in the ranges `new`. Of metrics an event a range: what is stored together has no gap."""
    if isinstance(event, MetricsEvent):
        return cut_event(event, new)
    ops = [op for op in event.ops if any(a <= op.seq < b for a, b in new)]
    return [type(event)(event.run_id, event.source, event.first, event.count, ops)] if ops else []  # type: ignore[arg-type]


def _notices(plan: Plan) -> list[str]:
    runs: dict[str, dict[str, None]] = {}
    for event, at in plan.accepted:
        runs.setdefault(at[0], {})[event.run_id] = None
    return [notice for topic, ids in runs.items() for notice in _split(topic, list(ids))]


def _split(topic: str, run_ids: list[str]) -> list[str]:
    """Notifications that name the runs; too many to name: `runs` is null, and any run may have changed."""
    notice = json.dumps({"topic": topic, "runs": run_ids})
    return [notice if len(notice) <= MAX_NOTICE_BYTES else json.dumps({"topic": topic, "runs": None})]
