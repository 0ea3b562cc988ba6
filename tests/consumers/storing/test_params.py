"""Parameters through the writer: the same is stored whatever the order of arrival, and two processes harm nothing."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import Any

import asyncpg
import pytest
from tests.consumers.logged import T0

from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.storing.writer import Writer
from runstream_schemas.settings import Settings
from runstream_schemas.wire.events import Event, StatusEvent, StatusOp, TagOp, TagsEvent

ONE, TWO = bytes([1] * 16), bytes([2] * 16)


def written(source: bytes, first: int, time: int, *ops: tuple[Any, ...], run_id: str = "run") -> TagsEvent:
    return TagsEvent(
        run_id, source, first, len(ops), [TagOp(first + i, T0 + time + i, *op) for i, op in enumerate(ops)]
    )


class Arriving:
    """Sends events to a writer, one commit each."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool, self.writer, self.next = pool, Writer(pool, Settings()), 0
        self.partition = Partition("cluster", uuid.uuid4().hex, "runstream.tags", 0)

    async def __call__(self, *events: Event) -> None:
        self.next += 1
        await self.writer.store([Fetched(self.partition, self.next - 1, self.next, list(events))])

    async def held(self) -> dict[str, tuple[Any, ...]]:
        rows = await self.pool.fetch(
            "select name, kind, text, number, origin, author from params order by name"
        )
        return {row["name"]: tuple(row)[1:] for row in rows}

    async def former(self) -> list[tuple[Any, ...]]:
        rows = await self.pool.fetch(
            "select name, text, refused from former_params order by name, time_us, source, seq"
        )
        return [tuple(row) for row in rows]


@pytest.fixture
def arrive(pool: asyncpg.Pool) -> Arriving:
    return Arriving(pool)


async def test_every_order_of_arrival_and_every_grouping_gives_the_same(pool: asyncpg.Pool) -> None:
    events = [
        written(ONE, 0, 10, ("param", "lr", "0.1"), ("param", "opt", '"adam"'), ("param", "n", "null")),
        written(TWO, 0, 20, ("param", "lr", "0.2"), ("param", "opt", '"adam"'), ("param", "l", "[1,2]")),
        written(ONE, 3, 30, ("overwrite", "lr", "0.3", "me@here"), ("param", "b", "true")),
        written(TWO, 3, 40, ("param", "lr", "0.2"), ("param", "nan", "NaN")),
    ]
    groupings = [[[event] for event in order] for order in itertools.permutations(events)]
    groupings += [[events], [events[::-1]], [events[:2], events[2:], events]]  # the last: all of it again
    for groups in groupings:
        await pool.execute("truncate runs, sources, offsets cascade")
        arrive = Arriving(pool)
        for group in groups:
            await arrive(*group)
        assert await arrive.held() == {
            "lr": (0, "0.3", 0.3, 3, "me@here"),
            "opt": (3, "adam", None, 2, None),
            "n": (4, "null", None, 2, None),
            "l": (5, "[1,2]", None, 2, None),
            "b": (2, "true", None, 2, None),
            "nan": (0, "NaN", None, 2, None),
        }
        assert await arrive.former() == [("lr", "0.1", False), ("lr", "0.2", True)]


async def test_two_writers_store_one_run_s_parameters_at_once(pool: asyncpg.Pool) -> None:
    """Both find none yet; the one that comes second waits for the run, and finds the other's."""
    first, second = Arriving(pool), Arriving(pool)
    names = [f"p{i}" for i in range(200)]
    await asyncio.gather(
        first(written(ONE, 0, 0, *(("param", name, "1") for name in names))),
        second(written(TWO, 0, 1000, *(("param", name, "2") for name in reversed(names)))),
    )
    assert {text for _, text, *_ in (await first.held()).values()} == {"1"}
    assert await first.former() == sorted((name, "2", True) for name in names)


async def test_what_a_run_was_created_with_are_parameters(arrive: Arriving) -> None:
    details = {"runDefinition": {"arguments": ["--lr", "0.1", "--fast", "--seed=7"]}}
    create = StatusOp(0, T0, "create", {"experiment": "e", "details": details})
    await arrive(StatusEvent("run", ONE, 0, 1, [create]))
    await arrive(written(ONE, 0, 5, ("property", "sweep_parameters", '{"lr": 0.5, "net": "deep"}')))
    assert {name: (value[1], value[3]) for name, value in (await arrive.held()).items()} == {
        "lr": ("0.5", 1),
        "fast": ("true", 0),
        "seed": ("7", 0),
        "net": ("deep", 1),
    }
    await arrive(written(TWO, 0, 9, ("param", "lr", "0.25"), ("param", "fast", '"very"')))
    assert (await arrive.held())["lr"][1] == "0.25"
    assert (await arrive.held())["fast"][1] == "very"
    assert await arrive.former() == []


async def test_parameters_go_with_their_run(arrive: Arriving) -> None:
    await arrive(written(ONE, 0, 0, ("param", "a", "1"), ("overwrite", "a", "2", "me")))
    assert await arrive.former()
    await arrive.pool.execute("delete from runs")
    assert (await arrive.held(), await arrive.former()) == ({}, [])


async def test_the_longest_name_and_value_are_stored(arrive: Arriving) -> None:
    name, value = "ж" * 512, '"' + "日" * 21_844 + '"'
    await arrive(written(ONE, 0, 0, ("param", name, value), ("param", "n", "-9223372036854775808")))
    held = await arrive.held()
    assert held[name][1] == "日" * 21_844
    assert held["n"][:3] == (1, "-9223372036854775808", -(2.0**63))
