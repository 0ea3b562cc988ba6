"""One order of points everywhere: whatever sources, clocks, resends, late chunks, compactions and merges do, the summaries
are the fold of the vector that is read, as lists, files and held vectors show it."""

from __future__ import annotations

import logging
import math
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow.parquet as pq
import pytest

from runstream_consumers.compaction import hot_to_parquet, merge, selection
from runstream_consumers.compaction.merge import merge_small_files
from runstream_consumers.compaction.worker import Worker
from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.storing.writer import Writer
from runstream_query.charts.held_vectors import HeldVectors
from runstream_query.points.reader import Query
from runstream_query.runs.runs import get_summaries, list_runs
from runstream_schemas.order import (
    UNKNOWN_PLACE,
    Piece,
    Place,
    joined,
    overlap,
    place_of,
    position,
    unpack_place,
)
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.events import MetricsEvent, metrics_event
from runstream_schemas.wire.points import build_points

T0 = 1_790_000_000_000_000
KINDS = {float: Kind.FLOAT, int: Kind.INT, bool: Kind.BOOL, str: Kind.TEXT, type(None): Kind.NULL}


@dataclass
class Source:
    """A process that logs to the run; a slot a point."""

    id: bytes = field(default_factory=lambda: uuid.uuid4().bytes)
    points: list[tuple[str, int, Any]] = field(default_factory=list)  # name, time, value
    stored: set[int] = field(default_factory=set)

    def event(self, first: int, end: int) -> MetricsEvent:
        rows = [
            (SeriesKey(SeriesClass.METRIC, name), KINDS[type(value)], slot, slot % 7, time, value)
            for slot, (name, time, value) in enumerate(self.points[first:end], first)
        ]
        return metrics_event("run", self.id, first, end - first, build_points(rows))


class World:
    """A run in a database and a store, and what was logged to it."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.writer = Writer(database.pool, database.settings)
        self.next = 0
        self.sources: list[Source] = []

    async def store(self, *events: tuple[Source, int, int]) -> None:
        """Store events, each of some slots of a source, in one commit."""
        made = [source.event(first, end) for source, first, end in events]
        where = Partition("cluster", "topic", "runstream.metrics", 0)
        await self.writer.store([Fetched(where, self.next, self.next + len(made), list(made))])
        self.next += len(made)
        for source, first, end in events:
            if source not in self.sources:
                self.sources.append(source)  # as the database saw them first
            source.stored |= set(range(first, end))

    def expected(self) -> dict[str, list[tuple[int, int, Any]]]:
        """(step, time, value) by name."""
        logged: dict[str, list[tuple[int, int, Any]]] = {}
        for source in self.sources:
            for slot in sorted(source.stored):
                name, time, value = source.points[slot]
                logged.setdefault(name, []).append((slot % 7, time, value))
        return logged

    async def compact(self) -> int:
        worker = Worker()
        try:
            compactor = hot_to_parquet.Compactor(
                self.database.pool, self.database.store, self.database.settings, worker
            )
            return (await compactor.compact(now=True)).summaries_corrected
        finally:
            worker.close()

    async def merge(self) -> None:
        worker = Worker()
        try:
            await merge_small_files(self.database.pool, self.database.store, worker)
        finally:
            worker.close()

    async def check(self, held: HeldVectors) -> None:
        """Every reader sees what was logged, in the same order."""
        expected = self.expected()
        vectors = await self.database.query.vectors(["run"])
        read = {
            series.name: list(
                zip(series.steps.tolist(), series.times.tolist(), series.python_values(), strict=True)
            )
            for series in vectors
        }
        assert repr(read) == repr({name: expected[name] for name in read})
        assert read.keys() == expected.keys()
        kept = await held.get(["run"], list(expected))
        for (_, name), vector in kept.items():
            numbers = [math.nan if not isinstance(v, int | float) else float(v) for _, _, v in expected[name]]
            assert repr(vector.values.tolist()) == repr(numbers)
            assert vector.steps.tolist() == [step for step, _, _ in expected[name]]
        async with self.database.pool.acquire() as connection:
            (run,) = (await list_runs(connection, summaries=True)).runs
            rows = await connection.fetch(
                "select n.name, s.* from summaries s join series n on n.id = s.series_id"
            )
            assert (await get_summaries(connection, [run.key]))[run.key]
        assert {row["name"] for row in rows} == expected.keys()
        for row in rows:
            points = expected[row["name"]]
            (_, first_time, first), (last_step, last_time, last) = points[0], points[-1]
            assert row["count"] == len(points)
            assert (row["first_time"], row["last_time"], row["last_step"]) == (
                first_time,
                last_time,
                last_step,
            )
            assert (row["first"], row["last"]) == (number(first), number(last))
            assert row["kind"] == KINDS[type(last)]
            assert row["last_text"] == (last if isinstance(last, str) else None)
            assert run.summaries is not None
            assert run.summaries[row["name"]].last == row["last"]

    async def in_files(self) -> dict[str, list[tuple[int, Any]]]:
        """(step, value) by name, of the only file there is, as it lies."""
        (path,) = await self.database.pool.fetch("select path from files where state = 'live'")
        stored: dict[str, list[tuple[int, Any]]] = {}
        table = pq.read_table(self.database.store.locate(path["path"]), partitioning=None)
        for row in table.to_pylist():
            stored.setdefault(row["name"], []).append((row["step"], row["value"]))
        return stored


def number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


@pytest.fixture
async def world(database: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(merge, "FANOUT", 2)
    await database.add_run("run")
    await database.pool.execute("update runs set settled_at = now()")
    return World(database)


def held_of(world: World) -> HeldVectors:
    database = world.database
    return HeldVectors(Query(database.pool, database.store, database.settings))


def source(name: str, values: Sequence[Any], clock: int = 0) -> Source:
    return Source(points=[(name, T0 + clock + 1000 * i, value) for i, value in enumerate(values)])


VALUES = (1.5, 2, -7.25, True, "words", None, 3, 0.5, 10**6)


@pytest.mark.parametrize("seed", range(30))
async def test_any_schedule(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(selection, "FILE_POINTS", chance.choice([7, 40, 4 << 20]))
    held = held_of(world)
    pending: list[tuple[Source, int, int]] = []
    for number_ in range(chance.randint(1, 4)):
        writer, clock = Source(), T0 + chance.randint(-(10**9), 10**9)
        for _ in range(chance.randint(1, 60)):
            clock += chance.choice([0, 0, 1000, -(10**7), 10**7])  # it is set back and forth
            writer.points.append((chance.choice("abc"), clock, chance.choice(VALUES)))
        for _ in range(chance.randint(1, 3)):  # it is sent again, with other borders
            cuts = {0, len(writer.points), *(chance.randint(0, len(writer.points)) for _ in range(5))}
            parts = [(writer, a, b) for a, b in pairwise(sorted(cuts))]
            if chance.random() < 0.7:
                chance.shuffle(parts)
            at = chance.randint(0, len(pending)) if number_ and chance.random() < 0.7 else len(pending)
            pending[at:at] = parts
    while pending:
        size = chance.randint(1, 4)
        await world.store(*pending[:size])
        pending = pending[size:]
        if chance.random() < 0.4:
            assert await world.compact() == 0, "nothing was wrong"
        if chance.random() < 0.3:
            await world.merge()
        await world.check(held)
    await world.compact()
    await world.merge()
    await world.check(held_of(world))
    if len(await world.database.pool.fetch("select from files where state = 'live'")) == 1:
        expected = {
            name: [(step, number(value)) for step, _, value in points]
            for name, points in world.expected().items()
        }
        assert await world.in_files() == expected


async def test_a_process_whose_clock_is_behind_goes_on(world: World) -> None:
    """The run was started again after the clock had been set back by an hour."""
    first, again = source("x", [1.0, 2.0]), source("x", [3.0, 4.0], clock=-3_600_000_000)
    await world.store((first, 0, 2))
    await world.store((again, 0, 2))
    assert await world.compact() == 0
    await world.check(held_of(world))


async def test_what_comes_late_is_not_the_last(world: World) -> None:
    writer = source("x", [1.0, 2.0, 3.0], clock=0)
    writer.points[1] = ("x", T0 + 10**12, 2.0)  # by its clock it would be
    await world.store((writer, 0, 1), (writer, 2, 3))
    await world.compact()
    await world.check(held_of(world))
    await world.store((writer, 1, 2))
    await world.check(held_of(world))
    await world.compact()
    await world.merge()
    await world.check(held_of(world))
    assert (await world.in_files())["x"] == [(0, 1.0), (1, 2.0), (2, 3.0)]


async def test_a_resend_around_what_is_stored_comes_in_parts(world: World) -> None:
    writer = source("x", [float(i) for i in range(9)])
    await world.store((writer, 3, 6))
    await world.store((writer, 0, 9))
    chunks = await world.database.pool.fetch("select first, count from chunks order by first")
    assert [tuple(chunk) for chunk in chunks] == [(0, 3), (3, 3), (6, 3)]
    await world.check(held_of(world))


async def test_values_of_several_kinds_in_one_batch(world: World) -> None:
    writer = source("x", [1, 2.5, 3])
    writer.points += [("y", T0, 0.5), ("y", T0, 7), ("z", T0, "a"), ("z", T0, 1.5)]
    await world.store((writer, 0, 7))
    await world.check(held_of(world))
    assert await world.compact() == 0


async def test_sources_that_take_turns_while_files_are_made(world: World) -> None:
    """The second source's points lie in the first file, and those of the first source that follow come before them."""
    first_writer, second_writer = (
        source("x", [float(i) for i in range(8)]),
        source("x", [float(i) for i in range(100, 108)]),
    )
    for at in range(0, 8, 2):
        await world.store((first_writer, at, at + 2), (second_writer, at, at + 2))
        if at < 6:
            await world.compact()
            await world.check(held_of(world))
    await world.check(held_of(world))
    await world.merge()
    await world.check(held_of(world))
    await world.compact()
    await world.merge()
    await world.check(held_of(world))


async def test_a_wide_run_needs_no_correction(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Many series a step, in batches whose borders fall anywhere, of a clock that goes back now and then."""
    writer = Source()
    for step in range(5):
        for i in range(3000):
            writer.points.append(
                (f"series/{i}", T0 + 1_000_000 * step - 700_000 * (step % 2) - 7 * (i % 3), i / 8 + step)
            )
    cuts = [0, 2500, 2999, 6100, 9500, 12_001, 15_000]
    for a, b in pairwise(cuts):
        await world.store((writer, a, b))
    with caplog.at_level(logging.WARNING):
        assert await world.compact() == 0
    assert "summaries" not in caplog.text


async def test_what_is_corrected_is_said_once_a_run(world: World, caplog: pytest.LogCaptureFixture) -> None:
    writer = Source(points=[(f"s{i}", T0 + i, float(i)) for i in range(500)])
    await world.store((writer, 0, 500))
    await world.database.pool.execute("update live_summaries set last = 77, last_time = last_time + 5")
    with caplog.at_level(logging.WARNING):
        assert await world.compact() == 500
    said = [record.getMessage() for record in caplog.records if "summaries" in record.getMessage()]
    assert len(said) == 1
    assert "run run: 500 of its series" in said[0]
    await world.check(held_of(world))


async def test_a_database_of_an_earlier_version_goes_on(world: World) -> None:
    """Files and summaries that know nothing of positions come before all that is stored from now on."""
    first_writer, second_writer = (
        source("x", [float(i) for i in range(8)]),
        source("x", [float(i) for i in range(100, 104)]),
    )
    pool = world.database.pool
    await world.store((first_writer, 0, 2))
    await world.compact()
    await world.store((first_writer, 2, 4))
    await world.compact()
    await pool.execute("update file_runs set first_position = null, end_position = null, pieces = null")
    await pool.execute("update live_summaries set first_position = -1, last_position = -1")
    await world.check(held_of(world))
    await world.store((first_writer, 4, 6))
    await world.check(held_of(world))
    await world.store((second_writer, 0, 4), (first_writer, 6, 8))
    await world.check(held_of(world))
    await world.compact()
    await world.merge()
    await world.check(held_of(world))
    # Hot chunks of an earlier version: their summaries learn where their values come from, and nothing was wrong.
    await pool.execute("truncate files, file_runs, iceberg_files, live_summaries")
    again = source("y", [5.0, 6.0])
    world.sources.clear()
    await world.store((again, 0, 2))
    await pool.execute("update live_summaries set first_position = -1, last_position = -1")
    assert await world.compact() == 0
    assert await pool.fetchval("select min(first_position) from summaries") == position(2, 0)


def test_positions_rise_by_source_and_then_by_slot() -> None:
    assert position(0, 5) < position(0, 6) < position(1, 0) < position(1, 1 << 39) < position(2, 0)
    assert position(1 << 60, 1 << 62) < 1 << 62  # whatever an event says


def test_places_are_kept_as_they_are() -> None:
    key = SeriesKey(SeriesClass.TABLE, "ü", "c")
    apart = place_of([(0, 4), (9, 12)], {key: [Piece(0, 4, 7), Piece(9, 12, 1)]})
    assert unpack_place(apart.start, apart.end, apart.pack()) == apart
    assert apart.of(key, 8) == [Piece(0, 4, 7), Piece(9, 12, 1)]
    whole = place_of([(4, 9), (0, 4)], {key: [Piece(0, 4, 7), Piece(4, 9, 1)]})
    assert whole == Place(0, 9) == unpack_place(0, 9, whole.pack())
    assert unpack_place(None, None, None) == UNKNOWN_PLACE
    assert not overlap([(-1, 0), (-1, 0), (0, 3), (5, 6), (3, 5)])
    assert overlap([(0, 3), (2, 4)])
    assert overlap([(-1, 6), (5, 7)])
    assert joined([Piece(0, 3, 1), Piece(3, 5, 2), Piece(7, 8, 1)]) == [Piece(0, 5, 3), Piece(7, 8, 1)]
