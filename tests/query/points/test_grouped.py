"""Points of several chunks brought together: each series' points as they were logged, whatever their kinds."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from tests.seeds import new_random

from runstream_query.points.grouped import bring_together
from runstream_query.points.hot import Chunk
from runstream_query.points.vectors import Series
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.points import build_points

Row = tuple[SeriesKey, Kind, int, int, int, Any]
A, B, CELL = SeriesKey(0, "a"), SeriesKey(0, "b"), SeriesKey(1, "t", "c")


def read(*batches: list[Row], names: set[str] | None = None) -> dict[SeriesKey, list[tuple[int, Any]]]:
    """(step, value) of each series in batches of one source, through chunks."""
    parts = []
    for number, rows in enumerate(batches):
        payload = encode_points(build_points(rows))
        chunk = Chunk(1, 1, 0, number * 100, 100, len(payload), [(0, payload)])
        assert chunk.plan(names)
        parts.append(chunk.decode())
    by_series = bring_together(parts).by_series()
    return {
        key: list(zip(points.steps.tolist(), Series("run", key, points).python_values(), strict=True))
        for key, points in by_series.items()
    }


def logged(random: Random, points: int) -> list[Row]:
    values: dict[Kind, Any] = {
        Kind.FLOAT: random.random(),
        Kind.INT: 2**62 + 1,
        Kind.BOOL: False,
        Kind.NULL: None,
    }
    rows = []
    for seq in range(points):
        kind = random.choice([*Kind])
        value = f"{random.random()}" if kind == Kind.TEXT else values[kind]
        rows.append((random.choice([A, B, CELL]), kind, seq, random.randrange(9), 100 + seq, value))
    return rows


@pytest.mark.parametrize("number", range(30))
def test_any_batches(number: int) -> None:
    random = new_random(number)
    batches = [logged(random, random.randrange(1, 12)) for _ in range(random.randrange(1, 4))]
    names = random.choice([None, {"a"}, {"a", "t"}])
    expected: dict[SeriesKey, list[tuple[int, Any]]] = {}
    for key, _, _, step, _, value in (row for rows in batches for row in rows):
        if names is None or key.name in names:
            expected.setdefault(key, []).append((step, value))
    assert repr(read(*batches, names=names)) == repr(
        expected
    )  # with types, and series in the order first logged


def test_texts_of_a_series_are_its_own() -> None:
    first = [(A, Kind.TEXT, 0, 0, 1, "x"), (B, Kind.TEXT, 1, 0, 2, "y"), (B, Kind.INT, 2, 1, 3, 5)]
    second = [(B, Kind.TEXT, 0, 2, 4, "z"), (A, Kind.TEXT, 1, 1, 5, "w")]
    assert read(first, second) == {A: [(0, "x"), (1, "w")], B: [(0, "y"), (1, 5), (2, "z")]}
