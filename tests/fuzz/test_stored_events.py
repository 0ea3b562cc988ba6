"""Events that a hostile agent could send, under a right checksum: refused, or stored, and in no case in others' way.

Every run takes a seed of its own (`tests.seeds`).
"""

from __future__ import annotations

import asyncio
import random
import zlib
from typing import Any

import asyncpg
import msgpack
import numpy as np
import pytest

from runstream_consumers.sources.source import DeadLetter, Fetched, Origin, Partition
from runstream_consumers.storing.writer import Writer
from runstream_schemas.database import create_pool
from runstream_schemas.errors import EventError, RefusedEvent
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.settings import Settings
from runstream_schemas.wire.event_reading import decode_event
from runstream_schemas.wire.events import (
    SUMMARY_FLOATS,
    SUMMARY_INTS,
    MetricsEvent,
    encode_event,
    metrics_event,
)
from runstream_schemas.wire.points import build_points
from tests.seeds import SEED

from . import TIMES

pytestmark = pytest.mark.attack

TIME = 1_790_000_000_000_000
NUMBERS = [0, 1, 5, -1, 2**31, 2**32, 2**62, -(2**62), 2**63 - 1, -(2**63), 2**64 - 1, TIME]
TEXTS = ["", "x", "a\0b", "\u2400", "é" * 300, "x" * 3000, "NaN", "\ufffe", "loss", "{}", "x" * 70_000]
ODD = [None, True, 1.5, float("nan"), float("inf"), b"", b"\xff", [], {}, [[]], {"a": [{}]}]
SOURCES = [bytes([i]) * 16 for i in range(3)]
RUNS = ["run-0", "run-1", "r\0n", "é", "x" * 256]
STEPS = [
    "create", "start", "complete", "fail", "cancel", "error", "heartbeat", "warning", "describe", "source_done", "field",
    "queued", "paused", "x\0y", "x" * 3000,
]  # fmt: skip


class Chance(random.Random):
    """Values that may be wrong, mostly a little."""

    def number(self) -> Any:
        return self.choice(
            [self.choice(NUMBERS), self.randrange(20), self.odd()] if self.random() < 0.1 else [TIME]
        )

    def small(self) -> Any:
        return (
            self.odd()
            if self.random() < 0.02
            else self.choice(NUMBERS)
            if self.random() < 0.05
            else self.randrange(9)
        )

    def text(self) -> Any:
        return self.odd() if self.random() < 0.03 else self.choice(TEXTS)

    def odd(self) -> Any:
        return self.choice(ODD)

    def data(self, levels: int = 3) -> Any:
        keys = (
            "workspace", "experiment", "parent_run_id", "root_run_id", "name", "display_name", "type", "target", "details",
            "tags", "properties", "error", "message", "ends", "tag_ends", "key", "value", "code", "text", "00" * 16,
        )  # fmt: skip
        made: dict[Any, Any] = {}
        for _ in range(self.randrange(5)):
            value = self.choice(
                [self.text, self.small, self.odd, lambda: self.data(levels - 1) if levels else {}]
            )()
            made[self.choice(keys)] = value
        return made


def hostile(chance: Chance) -> bytes:
    """One event."""
    kind = chance.choice(["metrics", "tags", "status"])
    first = chance.randrange(40)
    count = chance.randrange(12)
    body: dict[str, Any] = {
        "run": chance.choice(RUNS),
        "src": chance.choice(SOURCES),
        "first": first,
        "count": count,
    }
    if kind == "metrics":
        n = chance.randrange(5)
        rows = [
            (SeriesKey(chance.randrange(3), chance.choice(TEXTS[1:5])), chance.choice([Kind.FLOAT, Kind.INT, Kind.NULL]),
             i + first, i, TIME + i, None) for i in range(n)
        ]  # fmt: skip
        rows = [
            (key, kind_, seq, step, at, {Kind.FLOAT: 0.5, Kind.INT: 7}.get(kind_))
            for key, kind_, seq, step, at, _ in rows
        ]
        event = metrics_event("r", SOURCES[0], first, count, build_points(rows))
        series = [[key.cls, key.name, key.column, int(k)] for key, k in event.series]
        if series and chance.random() < 0.3:
            series[chance.randrange(len(series))] = [
                chance.small(),
                chance.text(),
                chance.text(),
                chance.small(),
            ]
        if series and chance.random() < 0.2:
            series = [series[0]] * len(series)  # the same one several times
        body["series"] = series
        summary = {}
        for name in (*SUMMARY_INTS, *SUMMARY_FLOATS):
            column = getattr(event.summary, name).copy()
            if len(column) and chance.random() < 0.1:
                floats = [float("nan"), float("inf"), -1e308, 1e308]
                wild = chance.choice(floats) if name in SUMMARY_FLOATS else chance.choice(NUMBERS[:-2])
                column[chance.randrange(len(column))] = (
                    np.int64(wild) if name in SUMMARY_INTS and abs(wild) < 2**63 else 1
                )
            summary[name] = column.tobytes()
        body["summary"] = summary
        body["points"] = event.points if chance.random() < 0.9 else chance.small()
        body["payload"] = event.payload if chance.random() < 0.8 else event.payload[: chance.randrange(60)]
        if chance.random() < 0.3:
            body["dropped"] = chance.small()
        if chance.random() < 0.3:
            body["texts"] = {chance.choice([0, 1, -1, "k", 2**40]): chance.text()}
    else:
        ops = []
        for _ in range(chance.randrange(4)):
            seq = first + chance.randrange(max(count, 1)) if chance.random() < 0.9 else chance.small()
            if kind == "tags":
                op = (
                    chance.choice(["set", "remove", "property", "field"])
                    if chance.random() < 0.95
                    else chance.odd()
                )
                ops.append([seq, chance.number(), op, chance.text(), chance.text()])
            else:
                ops.append(
                    [
                        seq,
                        chance.number(),
                        chance.choice(STEPS),
                        chance.data() if chance.random() < 0.97 else chance.odd(),
                    ]
                )
        body["ops"] = ops
    if chance.random() < 0.05:
        body[chance.choice(list(body))] = chance.choice(
            [chance.odd(), chance.choice(NUMBERS), chance.choice(TEXTS)]
        )
    packed = msgpack.packb(body)
    return bytes(msgpack.packb([1, kind, zlib.crc32(packed, zlib.crc32(kind.encode())), packed]))


def good(n: int, first: int) -> MetricsEvent:
    """Points of somebody who does nothing wrong."""
    rows = [(SeriesKey(0, "loss"), Kind.FLOAT, first + i, first + i, TIME + first + i, 0.5) for i in range(3)]
    return metrics_event(f"good-{n}", bytes([100 + n]) * 16, first, 3, build_points(rows))


async def test_whatever_an_event_holds_all_others_are_stored(postgres: str) -> None:
    pool = await create_pool(Settings(database=postgres))
    letters: list[DeadLetter] = []

    async def reject(some: Any) -> None:
        letters.extend(some)

    writer = Writer(pool, Settings(), reject)
    partition = Partition("cluster", "topic", "runstream.metrics", 0)
    chance = Chance(SEED)
    offset = 0
    refused = 0
    for turn in range(15 * TIMES):
        fetched = Fetched(partition, offset, offset)
        for n in range(40):
            message = hostile(chance) if n % 8 else encode_event(good(n // 8, 3 * turn))
            try:
                fetched.events.append(decode_event(message))
                fetched.origins.append(Origin(offset, b"key", message))
            except EventError as error:
                letter = DeadLetter(partition, offset, str(error), b"key", message)
                if isinstance(error, RefusedEvent):
                    letter.topic, letter.span = error.topic, error.span
                fetched.dead.append(letter)
                refused += 1
            offset += 1
        fetched.next = offset
        async with asyncio.timeout(120):  # not at once refused, it would be tried again for ever
            await writer.store([fetched])
        rows = await pool.fetch(
            "select r.run_id, sum(c.points) as n from chunks c join runs r on r.key = c.run_key "
            "where r.run_id like 'good-%' group by 1"
        )
        assert {row["run_id"]: row["n"] for row in rows} == {f"good-{n}": 3 * (turn + 1) for n in range(5)}
    assert refused > 20
    assert len({id(letter) for letter in letters}) == len(letters) >= refused
    assert await writer.load_offsets([partition]) == {partition: offset}
    await _times_can_be_read(pool)
    pool.terminate()


async def _times_can_be_read(pool: asyncpg.Pool) -> None:
    for row in await pool.fetch("select created_at, start_time, end_time, last_seen from runs"):
        assert all(moment is None or 1 <= moment.year <= 9999 for moment in row)
