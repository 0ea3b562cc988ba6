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
    PENDING_GRACE,
    TRASH_GRACE,
    Broken,
    ChunkKey,
    ConnectionLost,
    Event,
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
