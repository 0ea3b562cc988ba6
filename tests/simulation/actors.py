"""The processes, as generators: between two `yield`s nothing else happens; at each of them one may die or stop for long."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from functools import partial
from operator import setitem
from random import Random
from typing import TYPE_CHECKING

from runstream_consumers.storing.slots import Slots

from .state import (
    ORPHAN_GRACE,
    PENDING_GRACE,
    TRASH_GRACE,
    Broken,
    ChunkKey,
    ConnectionLost,
    Event,
    File,
    Slot,
    Violation,
    transaction,
)

if TYPE_CHECKING:
    from .world import World

Steps = Iterator[None]
Batch = tuple[tuple[str, int], int, int, list[Event]]
"""Partition, the offset that has to be stored, the one that is stored then, events."""

SPOOL = ("spool", 0)


class FenceLost(Exception):
    """Another consumer moved the offset."""


class Stale(Exception):
    """What is cached is not what is stored."""


class ClaimLost(Exception):
    """Another compactor was faster, or the claim was swept."""


# --- trainer and agent -----------------------------------------------------------------------------------------------


def trainer(world: World, source: str) -> Steps:
    """Writes slots; a killed one stays what it is, a source that wrote less."""
    spool = world.spools[source]
    while spool.written < spool.total:
        spool.written = min(spool.total, spool.written + world.random.randint(1, 4))
        yield
    world.finished.add(source)


def agent(world: World) -> Steps:
    """Sends what lies in the spool, in order per source; frees what the broker acknowledged, in order."""
    session = object()
    position = {source: spool.noted for source, spool in world.spools.items()}
    told = {source for source, spool in world.spools.items() if spool.status_noted}
    waiting: dict[str, deque[tuple[Event, list[bool]]]] = {source: deque() for source in world.spools}
    while True:
        for source in world.random.sample(sorted(world.spools), len(world.spools)):
            spool = world.spools[source]
            event = None
            if position[source] < spool.written:
                end = min(spool.written, position[source] + world.random.randint(1, 5))
                event = Event(spool.run, source, position[source], end)
                position[source] = end
            elif source in world.finished and source not in told and world.run_finished(spool.run):
                ends = tuple((other, position[other]) for other in world.sources_of(spool.run))
                early = Broken.EARLY_END in world.broken
                if all(
                    world.spools[other].written == end and (early or world.spools[other].noted == end)
                    for other, end in ends
                ):
                    event = Event(spool.run, source, position[source], position[source], ends)
                    told.add(source)
            if event is not None and len(waiting[source]) < 4:
                acknowledged = [False]
                waiting[source].append((event, acknowledged))
                world.network.append((session, event, acknowledged))
                if Broken.ACKNOWLEDGE in world.broken:
                    spool.noted = max(spool.noted, event.end)
            elif event is not None:  # no room: read again later
                position[source] = event.first
                told.discard(source)
            yield
            while waiting[source] and waiting[source][0][1][0]:
                done, _ = waiting[source].popleft()
                spool.noted = max(spool.noted, done.end)
                spool.status_noted |= bool(done.ends)
        yield


# --- consumer --------------------------------------------------------------------------------------------------------


def consumer(world: World, name: str, topic: str) -> Steps:
    """`fetch -> store` with the next batch fetched while one is stored, over the partitions the group gave it."""
    while True:
        generation = world.generation
        mine = world.assignment(name, topic)
        yield
        position = {partition: world.database.offsets.get(partition, 0) for partition in mine}
        ahead: list[Batch] = []
        cache: dict[str, Slots] = {}
        while generation == world.generation:
            batch, ahead = ahead, []
            for partition in mine:
                start = position[partition]
                events = world.log(partition)[start : start + world.random.randint(1, 4)]
                if events:
                    ahead.append((partition, start, start + len(events), events))
                    position[partition] = start + len(events)
            yield
            if batch and not (yield from _store(world, batch, cache)):
                if Broken.IN_HAND not in world.broken:
                    ahead = []
                for partition in mine:
                    position[partition] = world.database.offsets.get(partition, 0)
            yield


def service(world: World) -> Steps:
    """A consumer that reads the spool itself. Its offset only says that nobody else has stored anything since."""
    database = world.database
    while True:
        position = {source: spool.noted for source, spool in world.spools.items()}
        told = {source for source, spool in world.spools.items() if spool.status_noted}
        offset = database.offsets.get(SPOOL, 0)
        ahead: list[Batch] = []
        cache: dict[str, Slots] = {}
        while True:
            batch, ahead = ahead, []
            events = list(_spooled(world, position, told))
            if events:
                start = offset
                offset += 1 if Broken.IN_HAND in world.broken else world.random.randint(1, 1 << 31)
                ahead = [(SPOOL, start, offset, events)]
            yield
            if batch and not (yield from _store(world, batch, cache)):
                if Broken.IN_HAND not in world.broken:
                    break
                position = {source: spool.noted for source, spool in world.spools.items()}
                offset = database.offsets.get(SPOOL, 0)
                told.clear()
            elif batch:
                for event in batch[0][3]:
                    spool = world.spools[event.source]
                    spool.noted = max(spool.noted, event.end)
                    spool.status_noted |= bool(event.ends)
            yield


def _spooled(world: World, position: dict[str, int], told: set[str]) -> Iterator[Event]:
    """What was written since, and the end of a run behind all that it counts."""
    for source, spool in world.spools.items():
        if position[source] < spool.written:
            yield Event(spool.run, source, position[source], spool.written)
            position[source] = spool.written
    for source, spool in world.spools.items():
        if source in world.finished and source not in told and world.run_finished(spool.run):
            ends = tuple((other, position[other]) for other in world.sources_of(spool.run))
            yield Event(spool.run, source, position[source], position[source], ends)
            told.add(source)


def _store(world: World, batch: list[Batch], cache: dict[str, Slots]) -> Generator[None, None, bool]:
    """Store a batch; False when another consumer had the partition."""
    while True:
        try:
            touched = yield from _commit(world, batch, cache)
            break
        except FenceLost:
            cache.clear()
            return False
        except (Stale, ConnectionLost):
            cache.clear()
            yield
    yield
    _settle(world, touched)
    return True


def _commit(world: World, batch: list[Batch], cache: dict[str, Slots]) -> Generator[None, None, set[str]]:
    """One attempt; returns the runs it touched."""
    database = world.database
    events = [event for _, _, _, events_read in batch for event in events_read]
    for source in {event.source for event in events}:
        if source not in cache:
            cache[source] = database.sources.get(source, Slots()).copy()
    before = {source: slots.copy() for source, slots in cache.items()}
    after = {source: slots.copy() for source, slots in cache.items()}
    chunks: dict[ChunkKey, frozenset[Slot]] = {}
    for number, event in enumerate(events):
        slots = after[event.source]
        if Broken.SLOTS in world.broken:
            parts = [(event.first, event.end, database.new_id() + number)]
        else:
            parts = [(first, end, 0) for first, end in slots.missing(event.first, event.end)]
        slots.add(event.first, event.end)
        for first, end, copy in parts:
            chunks[event.source, first, copy] = frozenset((event.source, n) for n in range(first, end))
    yield
    with transaction(database) as tx:
        for partition, start, next_, _ in sorted(batch, key=lambda item: item[0]):
            if Broken.FENCE not in world.broken:
                yield from tx.lock(("offset", partition))
                if database.offsets.get(partition, 0) != start:
                    raise FenceLost
            tx.changes.append(partial(setitem, database.offsets, partition, next_))
        yield
        for source in sorted({event.source for event in events}):
            if Broken.SOURCES not in world.broken:
                yield from tx.lock(("source", source))
                if database.sources.get(source, Slots()) != before[source]:
                    raise Stale
            tx.changes.append(partial(setitem, database.sources, source, after[source].copy()))
        yield
        if any(key in database.chunks for key in chunks):
            raise Stale
        tx.changes.append(lambda: database.chunks.update(chunks))
        tx.changes.append(lambda: database.ledger.update(*chunks.values()))
        for event in events:
            if event.ends:
                tx.changes.append(partial(_note_ends, world, event))
        tx.commit()
        if world.embedded and any(after[event.source].ahead for event in events):
            raise Violation("a reader sees a hole: a batch was stored whose predecessor was not")
        tx.answer()
    cache.update(after)
    return {event.run for event in events}


def _note_ends(world: World, event: Event) -> None:
    world.database.ends.setdefault(event.run, {}).update(event.ends)


def _settle(world: World, runs: set[str]) -> None:
    database = world.database
    for run in runs & set(database.ends):
        if Broken.ENDS in world.broken or run in database.given_up or not _waits(world, run):
            database.settled.add(run)
    database.check()


def _waits(world: World, run: str) -> bool:
    database = world.database
    return any(database.sources.get(source, Slots()).next < end for source, end in database.ends[run].items())


def settler(world: World) -> Steps:
    """Runs that were settled between two commits; and those that wait for what can never come."""
    database = world.database
    waiting: list[str] = []
    until: dict[tuple[str, int], int] = {}
    while True:
        _settle(world, set(database.ends))
        for _ in range(world.random.randint(1, 3)):
            yield
        if not waiting:
            waiting = [run for run in database.ends if run not in database.settled and _waits(world, run)]
            yield
            until = world.horizon()
        elif Broken.HORIZON in world.broken or all(
            partition not in world.horizon() or database.offsets.get(partition, 0) >= end
            for partition, end in until.items()
        ):
            for run in waiting:
                counted = {(source, n) for source, end in database.ends[run].items() for n in range(end)}
                lost = counted - database.ledger
                if lost and not world.deletions:
                    raise Violation(f"given up, and still on its way: {sorted(lost)[:5]}")
                database.lost |= lost
                database.given_up.add(run)
            waiting = []


# --- compactor -------------------------------------------------------------------------------------------------------


def compactor(world: World) -> Steps:
    """Compaction, merging and the sweep, one after another."""
    while True:
        for job in (_compact, _merge, _clean_rows, _clean_files):
            try:
                yield from job(world)
            except ClaimLost:
                pass
            except ConnectionLost:
                pass
            yield


def _claim(world: World, path: str, run: str) -> File:
    database = world.database
    if database.by_path(path) is not None:
        raise ClaimLost
    now = world.now
    file = File(database.new_id(), path, run, "pending", now, now)
    database.files[file.id] = file
    return file


def _release(world: World, file: File) -> None:
    row = world.database.files.get(file.id)
    if row is not None and row.state == "pending":
        world.store.files.pop(row.path, None)
        del world.database.files[file.id]


def _claimed(world: World, run: str) -> bool:
    return any(
        file.run == run and file.state == "pending" and world.now - file.changed < PENDING_GRACE
        for file in world.database.files.values()
    )


def _compact(world: World) -> Steps:
    database = world.database
    by_run: dict[str, list[ChunkKey]] = {}
    for key in database.chunks:
        by_run.setdefault(database.run_of[key[0]], []).append(key)
    due = [
        run
        for run, keys in by_run.items()
        if (run in database.settled or len(keys) >= 4) and not _claimed(world, run)
    ]
    if not due:
        return
    run = world.random.choice(sorted(due))
    keys = by_run[run][: world.random.randint(1, 6)]
    file = _claim(world, f"{run}/" + "+".join(f"{source}.{first}" for source, first, _ in sorted(keys)), run)
    yield
    try:
        contents = [database.chunks.get(key) for key in keys]
        if None in contents:
            raise ClaimLost
        slots = frozenset(slot for part in contents if part is not None for slot in part)
        yield
        row = database.files.get(file.id)
        if Broken.CLAIM not in world.broken and (row is None or row.state != "pending"):
            raise ClaimLost
        if row is not None:
            row.changed = world.now
        yield
        world.store.files[file.path] = (slots, world.now)
        yield
        yield from _publish(world, file, slots, keys)
    except ClaimLost:
        _release(world, file)
        raise


def _publish(world: World, file: File, slots: frozenset[Slot], keys: list[ChunkKey]) -> Steps:
    database = world.database
    with transaction(database) as tx:
        row = database.files.get(file.id)
        if row is None or row.state != "pending":
            if Broken.CLAIM not in world.broken:
                raise ClaimLost
            row = database.files.setdefault(file.id, file)
        if Broken.CHUNKS not in world.broken and any(key not in database.chunks for key in keys):
            raise ClaimLost

        def go_live() -> None:
            row.state, row.slots, row.changed = "live", slots, world.now

        def drop_chunks() -> None:
            for key in keys:
                database.chunks.pop(key, None)

        tx.changes.append(go_live)
        if Broken.PUBLISH in world.broken:
            tx.commit()
            tx.changes.clear()
            yield
        tx.changes.append(drop_chunks)
        tx.commit()
    yield


def _merge(world: World) -> Steps:
    database = world.database
    runs = [run for run in sorted(world.runs) if len(database.live(run)) >= 2 and world.random.random() < 0.7]
    if not runs:
        return
    old = database.live(world.random.choice(runs))[: world.random.randint(2, 4)]
    file = _claim(world, f"{old[0].run}/merged({', '.join(item.path for item in old)})", old[0].run)
    yield
    try:
        slots: set[Slot] = set()
        for item in old:
            if item.path not in world.store.files:
                raise ClaimLost  # replaced meanwhile, and swept
            slots |= world.store.files[item.path][0]
            yield
        world.store.files[file.path] = (frozenset(slots), world.now)
        yield
        with transaction(database) as tx:
            row = database.files.get(file.id)
            if row is None or row.state != "pending":
                raise ClaimLost
            rows = [database.files.get(item.id) for item in old]
            if any(item is None or item.state != "live" for item in rows):
                raise ClaimLost

            def replace() -> None:
                row.state, row.slots, row.changed = "live", frozenset(slots), world.now
                row.created = min(item.created for item in rows if item is not None)
                for item in rows:
                    if item is not None:
                        item.state, item.changed = "trash", world.now

            tx.changes.append(replace)
            tx.commit()
        yield
    except ClaimLost:
        _release(world, file)
        raise


def _clean_rows(world: World) -> Steps:
    database = world.database
    trash_grace = 0 if Broken.TRASH in world.broken else TRASH_GRACE
    for state, grace in (("pending", PENDING_GRACE), ("trash", trash_grace)):

        def due(file: File | None, state: str = state, grace: int = grace) -> bool:
            return file is not None and file.state == state and world.now - file.changed >= grace

        ids = [file.id for file in database.files.values() if due(file)]
        yield
        for number in ids:
            file = database.files.get(number)
            if file is not None and due(file):
                world.store.files.pop(file.path, None)
                del database.files[number]
            yield


def _clean_files(world: World) -> Steps:
    database = world.database
    old = [path for path, (_, made) in world.store.files.items() if world.now - made >= ORPHAN_GRACE]
    yield
    for path in old:
        if database.by_path(path) is None:  # holding its name, so that nobody can claim it meanwhile
            world.store.files.pop(path, None)
        yield


# --- reader ----------------------------------------------------------------------------------------------------------


def reader(world: World) -> Steps:
    """Reads everything by one snapshot, then the files it names; compares with what was committed at that moment."""
    database = world.database
    while True:
        began = world.now
        expected = set(database.ledger)
        read_slots = [slot for slots in database.chunks.values() for slot in slots]
        if Broken.SNAPSHOT in world.broken:
            yield
        live = database.live()
        for file in live:
            yield
            held = world.store.files.get(file.path)
            if held is None:
                if world.now - began < TRASH_GRACE:
                    raise Violation(f"a reader misses {file.path}, which its snapshot named")
                break  # longer than any query may take
            read_slots += held[0]
        else:
            if len(read_slots) != len(set(read_slots)):
                raise Violation("a reader saw a point twice")
            if set(read_slots) != expected:
                raise Violation(f"a reader misses {sorted(expected - set(read_slots))[:5]} of its snapshot")
        yield


def nemesis(world: World, random: Random) -> Steps:
    """Kills, stops, rebalances and restarts, until the world calls for quiet."""
    while True:
        what = random.random()
        if what < 0.35:
            world.kill(random.choice(world.mortal))
        elif what < 0.7:
            world.pause(random.choice(world.mortal), random.randint(5, 2 * PENDING_GRACE))
        elif what < 0.9:
            world.rebalance()
        elif what < 0.93:
            world.database.restarts += 1
        elif what < 0.95:
            world.late_until = world.now + random.randint(5, 2 * PENDING_GRACE)
        elif what < 0.98:
            world.database.unanswered = True
        else:
            world.delete_topic()
        for _ in range(random.randint(1, 6)):
            yield
