"""What a test logs, how it becomes events, and what is stored of it: both as plain lists of points to compare."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.events import MetricsEvent, metrics_event
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import build_points

T0 = 1_790_000_000_000_000

Logged = tuple[int, str, int, int, float | int | bool | str | None]
"""(slot, name, step, time, value)"""


@dataclass
class LoggingSource:
    """A spool writer of a test: keeps what it logged, and cuts it into events at any borders."""

    run_id: str
    id: bytes = field(default_factory=lambda: uuid.uuid4().bytes)
    points: list[Logged] = field(default_factory=list)

    def log(self, name: str, value: Any, time_us: int | None = None) -> None:
        slot = len(self.points)
        time_us = T0 + slot * 1000 if time_us is None else time_us
        self.points.append((slot, name, slot, time_us, value))

    def event(self, first: int, end: int, dropped: int = 0) -> MetricsEvent:
        """The event over the slots [first, end)."""
        rows = [
            (SeriesKey(0, name), kind_of(value), slot, step, time, value)
            for slot, name, step, time, value in self.points[first:end]
        ]
        return metrics_event(self.run_id, self.id, first, end - first, build_points(rows), dropped)


async def stored_points(database: asyncpg.Connection, run_id: str) -> dict[bytes, list[Logged]]:
    """Every point in the chunks of a run, by source, in order of slot."""
    rows = await database.fetch(
        """select s.source, c.payload, c.points, c.first, c.count from chunks c join sources s on s.key = c.source_key
        join runs r on r.key = c.run_key where r.run_id = $1""",
        run_id,
    )
    by_source: dict[bytes, list[Logged]] = defaultdict(list)
    for row in rows:
        points = decode_points(row["payload"])
        assert len(points.seqs) == row["points"]
        assert all(row["first"] <= seq < row["first"] + row["count"] for seq in points.seqs.tolist())
        seqs = points.seqs[points.permutation()].tolist()
        at = 0
        for index, (key, _) in enumerate(points.series):
            for value in points.python_values(index):
                by_source[row["source"].bytes].append(
                    (seqs[at], key.name, int(points.steps[at]), int(points.times[at]), value)
                )
                at += 1
    return {source: sorted(points, key=lambda p: p[0]) for source, points in by_source.items()}


async def assert_stored(database: asyncpg.Connection, sources: Sequence[LoggingSource]) -> None:
    """What is stored is what was logged: every point once, and summaries that say the same."""
    for run_id in {source.run_id for source in sources}:
        mine = [source for source in sources if source.run_id == run_id and source.points]
        stored = await stored_points(database, run_id)
        assert {k.hex(): v for k, v in stored.items()} == {source.id.hex(): source.points for source in mine}
        await assert_summaries(database, run_id, mine)


async def assert_summaries(
    database: asyncpg.Connection, run_id: str, sources: Sequence[LoggingSource]
) -> None:
    """The summaries of a run, for float values without NaN."""
    rows = await database.fetch(
        "select s.name, m.* from summaries m join series s on s.id = m.series_id join runs r on r.key = m.run_key "
        "where r.run_id = $1",
        run_id,
    )
    ordinals = await database.fetch("select source from sources where topic = 'metrics' order by ordinal")
    by_id = {source.id: source for source in sources}
    expected: dict[str, list[Logged]] = defaultdict(list)
    for source in (by_id[row["source"].bytes] for row in ordinals if row["source"].bytes in by_id):
        for point in source.points:
            expected[point[1]].append(point)
    assert {row["name"] for row in rows} == expected.keys()
    for row in rows:
        mine = expected[row["name"]]
        values = [p[4] for p in mine]
        assert (row["count"], row["finite"]) == (len(mine), len(mine))
        assert (row["min"], row["max"], row["sum"]) == (min(values), max(values), sum(values))
        assert (row["first"], row["first_time"]) == (values[0], mine[0][3])
        assert (row["last"], row["last_time"], row["last_step"]) == (values[-1], mine[-1][3], mine[-1][2])


def kind_of(value: Any) -> Kind:
    """The kind a logged value gets."""
    kinds = {float: Kind.FLOAT, int: Kind.INT, bool: Kind.BOOL, str: Kind.TEXT, type(None): Kind.NULL}
    return kinds[type(value)]
