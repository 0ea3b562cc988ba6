"""Vectors from the hot tier."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from runstream_schemas.series import Kind, SeriesClass, SeriesKey

LOSS = SeriesKey(SeriesClass.METRIC, "loss")


def source(n: int) -> bytes:
    return bytes([n]) * 16


async def test_kinds_survive(database: Any) -> None:
    run = await database.add_run("r")
    values: list[tuple[Kind, Any]] = [
        (Kind.FLOAT, 0.5),
        (Kind.INT, 2**62 + 1),
        (Kind.BOOL, True),
        (Kind.TEXT, "é"),
        (Kind.NULL, None),
        (Kind.FLOAT, math.nan),
    ]
    await database.add_chunk(
        run, source(1), [(LOSS, kind, i, i, 100 + i, value) for i, (kind, value) in enumerate(values)]
    )
    vectors = await database.query.vectors(["r"])
    assert [str(v) for v in vectors.series[0].python_values()] == [str(v) for _, v in values]
    table = vectors.to_arrow().to_pylist()
    assert [row["int_value"] for row in table] == [None, 2**62 + 1, 1, None, None, None]
    assert [row["text"] for row in table] == [None, None, "true", "é", None, None]
    assert table[4]["value"] is None
    assert math.isnan(table[5]["value"])


async def test_series_of_one_moment_are_in_the_order_first_logged_whatever_their_kinds(database: Any) -> None:
    run = await database.add_run("r")
    whole, float_ = SeriesKey(SeriesClass.METRIC, "whole"), SeriesKey(SeriesClass.METRIC, "float")
    await database.add_chunk(
        run, source(1), [(whole, Kind.INT, 0, 3, 100, 1), (float_, Kind.FLOAT, 1, 3, 100, 2.5)]
    )
    assert [series.name for series in await database.query.vectors(["r"])] == ["whole", "float"]


async def test_points_of_two_writers_lie_by_writer_whatever_their_clocks_say(database: Any) -> None:
    run = await database.add_run("r")
    first = [
        (LOSS, Kind.FLOAT, i, i, t, float(t)) for i, t in enumerate([10, 30, 20, 50])
    ]  # its clock went back
    second = [(LOSS, Kind.FLOAT, i, i, t, float(t)) for i, t in enumerate([15, 25, 45])]
    await database.add_chunk(run, source(1), first[:2])
    await database.add_chunk(run, source(1), first[2:])
    await database.add_chunk(run, source(2), second, ordinal=1)
    series = await database.query.series("r", "loss")
    assert series.times.tolist() == [10, 30, 20, 50, 15, 25, 45]


async def test_one_series_of_a_large_chunk_is_read_by_substrings(database: Any) -> None:
    run = await database.add_run("r")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(30_000):
        key = SeriesKey(SeriesClass.METRIC, f"m{i % 5}")
        rows.append((key, Kind.FLOAT, i, i // 5, i, float(rng.normal())))
    await database.add_chunk(run, source(1), rows)
    series = await database.query.series("r", "m3")
    assert series.to_numpy().tolist() == [row[5] for row in rows if row[0].name == "m3"]
    assert series.steps.tolist() == list(range(6000))
    assert await database.query.series("r", "absent") is None


async def test_a_very_wide_chunk_needs_more_than_the_first_bytes(database: Any) -> None:
    run = await database.add_run("r")
    rows = [(SeriesKey(0, f"{'x' * 100}{i}"), Kind.FLOAT, i, 0, i, float(i)) for i in range(2000)]
    await database.add_chunk(run, source(1), rows)
    series = await database.query.series("r", "x" * 100 + "1999")
    assert series.to_numpy().tolist() == [1999.0]
    vectors = await database.query.vectors(["r"])
    assert [s.name for s in vectors] == [row[0].name for row in rows]  # in the order first logged
