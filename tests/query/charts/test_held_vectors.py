"""Held vectors: whatever was stored and moved meanwhile, they are what a fresh look finds, and only what is new is read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.seeds import new_random

from runstream_query.charts.held_vectors import HeldVectors
from runstream_query.http.caching import Shared
from runstream_query.points.reader import Query
from runstream_schemas.order import position
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

NAMES = ["loss", "val", "rare"]


def metric(name: str) -> SeriesKey:
    return SeriesKey(SeriesClass.METRIC, name)


class Log:
    """A run that logs, stored as the writer stores it: chunk, slots and summaries in one transaction."""

    def __init__(self, database: Any, key: int, number: int, ordinal: int = 0) -> None:
        self.database, self.key, self.source = database, key, bytes([number]) * 16
        self.slot, self.ordinal = 0, ordinal

    async def store(self, names: list[str], n: int, *, at: int | None = None, time: int = 0) -> None:
        first = self.slot if at is None else at
        rows = [
            (metric(name), Kind.FLOAT, first + i * len(names) + j, first + i, time + first + i, i + j / 8)
            for i in range(n)
            for j, name in enumerate(names)
        ]
        self.slot = max(self.slot, rows[-1][2] + 1)
        await self.database.add_chunk(self.key, self.source, rows, self.ordinal)
        here = position(self.ordinal, first)
        for name in names:
            updated = await self.database.pool.execute(
                "update live_summaries set count = count + $3, last_position = greatest(last_position, $4) "
                "where run_key = $1 and series_id = (select id from series where name = $2)",
                self.key,
                name,
                n,
                here,
            )
            if updated == "UPDATE 0":
                await self.database.add_summary(self.key, name, count=n, last_position=here)
        source = await self.database.source_key(self.key, self.source)
        await self.database.pool.execute("update sources set next = $2 where key = $1", source, self.slot)


class CountingQuery(Query):
    """Counts how often vectors are read whole: of runs with one source, for points of two belong between one another."""

    whole = 0

    async def vectors(self, run_ids: Any, **options: Any) -> Any:
        self.whole += list(run_ids) != ["r2"]
        return await super().vectors(run_ids, **options)


def shown(vectors: Any) -> dict[Any, list[Any]]:
    return {
        key: [vector.steps.tolist(), vector.times.tolist(), vector.values.tolist()]
        for key, vector in vectors.items()
    }


async def test_held_is_what_a_fresh_look_finds(database: Any) -> None:
    chance = new_random(5)
    logs = []
    for n in range(3):
        key = await database.add_run(f"r{n}", settled_at=None)
        logs += [Log(database, key, 10 * n + m, m) for m in range(2 if n == 2 else 1)]
    query = CountingQuery(database.pool, database.store, database.settings)
    held = HeldVectors(query)
    runs = ["r0", "r1", "r2", "nobody"]
    now = steps = 0
    for _ in range(30):
        now += 1000
        for log in logs:
            if chance.random() < 0.6:
                await log.store(
                    chance.sample(NAMES, chance.randrange(1, 4)), chance.randrange(1, 40), time=now
                )
                steps += 1
        if chance.random() < 0.15:
            await database.compact()
        names = NAMES if chance.random() < 0.7 else chance.sample(NAMES, 2)
        fresh = HeldVectors(Query(database.pool, database.store, database.settings))
        expected = await fresh.get(runs, names)
        assert shown(await held.get(runs, names)) == shown(expected)
    assert steps > 40
    assert query.whole < 20


async def test_a_run_that_goes_on_is_continued(database: Any) -> None:
    log = Log(database, await database.add_run("r"), 1)
    query = CountingQuery(database.pool, database.store, database.settings)
    held = HeldVectors(query)
    await log.store(NAMES, 100)
    before = (await held.get(["r"], NAMES))["r", "loss"]
    for names in (["loss"], ["loss", "val"], ["loss"], NAMES):
        await log.store(names, 10)
        vectors = await held.get(["r"], NAMES)
        assert len(vectors["r", "rare"]) == (110 if names is NAMES else 100)
    assert query.whole == 1
    assert (len(vectors["r", "loss"]), len(before)) == (140, 100)
    assert before.steps.tolist() == list(range(100))  # whoever draws it is not disturbed
    # Compacted before it was seen: read anew. A gap that is filled later: likewise.
    await log.store(NAMES, 10)
    await database.compact()
    assert len((await held.get(["r"], NAMES))["r", "loss"]) == 150
    assert query.whole == 2
    log.slot += 30
    await log.store(NAMES, 10)
    assert len((await held.get(["r"], NAMES))["r", "loss"]) == 160
    await log.store(NAMES, 10, at=log.slot - 60)
    assert len((await held.get(["r"], NAMES))["r", "loss"]) == 170
    assert query.whole == 3


async def test_those_who_ask_the_same_at_once_wait_for_one() -> None:
    shared, made, go = Shared(most=25), 0, asyncio.Event()

    async def make() -> bytes:
        nonlocal made
        made += 1
        await go.wait()
        return b"0123456789"

    async def refuse() -> bytes:
        raise ValueError("no")

    first, *others = [asyncio.create_task(shared.get("a", make)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()  # its client went away
    go.set()
    assert await asyncio.gather(*others) == [b"0123456789"] * 4
    assert made == 1
    for tag in "abc":
        await shared.get(tag, make)
    assert made == 3
    await shared.get("a", make)  # there was no room for three
    assert made == 4
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await shared.get("d", refuse)
