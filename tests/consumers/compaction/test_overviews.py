"""Overviews in Parquet files: of row groups that hold one long series, equal to what its points say, never misread."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.seeds import new_random

from runstream_consumers.compaction.row_groups import RowGroups
from runstream_consumers.compaction.sorted_points import SortedPoints
from runstream_schemas.errors import StoreError
from runstream_schemas.parquet.arrow import METRICS
from runstream_schemas.parquet.footer_seal import check_footer
from runstream_schemas.parquet.overviews import FINENESS, LEAST_POINTS, GroupOverview, read_overviews
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

LONG = LEAST_POINTS + 5000


def parquet(lengths: dict[str, int], steps: Any) -> bytes:
    """A run with these series, all of the same values and steps."""
    n = sum(lengths.values())
    values = np.tile(series_values(max(lengths.values())), len(lengths))[:n]
    series = [SeriesKey(SeriesClass.METRIC, name) for name in lengths]
    points = SortedPoints(
        "run",
        series,
        np.array(list(lengths.values())),
        steps,
        np.arange(n),
        values.view(np.uint64),
        Kind.FLOAT,
        [],
        np.arange(0),
        np.arange(0),
    )
    sink = io.BytesIO()
    groups = RowGroups(sink, METRICS)
    groups.add(1, points.metrics_table(), points.ends)
    groups.close()
    return sink.getvalue()


def series_values(n: int) -> Any:
    values = np.random.default_rng(1).standard_normal(n)
    values[[100, 2000, 60_000]] = [np.nan, np.inf, 1e9]
    return values


def same(a: GroupOverview, b: GroupOverview) -> bool:
    columns = ("x", "last", "low", "high", "marks", "n")
    return (a.size, a.distinct) == (b.size, b.distinct) and all(
        np.array_equal(getattr(a.buckets, name), getattr(b.buckets, name), equal_nan=name != "marks")
        for name in columns
    )


def test_a_long_series_has_one() -> None:
    data = parquet({"loss": LONG}, np.arange(LONG) * 3)
    [(number, overview)] = read_overviews(pa.BufferReader(data), "file", range(99)).items()
    expected = GroupOverview.of(np.arange(LONG) * 3, series_values(LONG))
    assert number == 0
    assert expected is not None
    assert same(overview, expected)
    assert FINENESS / 2 < len(overview.buckets.x) <= FINENESS
    assert (overview.points, overview.last, overview.distinct) == (LONG, 3 * LONG - 3, True)
    assert overview.buckets.high.max() == 1e9
    assert pq.read_table(pa.BufferReader(data)).num_rows == LONG
    check_footer(pa.BufferReader(data), "file")
    assert read_overviews(pa.BufferReader(data), "file", {7}) == {}


@pytest.mark.parametrize(
    ("lengths", "steps"),
    [
        pytest.param({"loss": LEAST_POINTS - 1}, np.arange(LEAST_POINTS - 1), id="short"),
        pytest.param({"a": 90_000, "b": 30_000}, np.arange(120_000), id="two series in a group"),
        pytest.param({"loss": LONG}, np.arange(LONG)[::-1].copy(), id="steps fall"),
    ],
)
def test_others_have_none(lengths: dict[str, int], steps: Any) -> None:
    assert read_overviews(pa.BufferReader(parquet(lengths, steps)), "file", range(99)) == {}


def test_files_without_any() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), sink)
    for data in (sink.getvalue(), b"", b"PAR1"):
        assert read_overviews(pa.BufferReader(data), "file", range(99)) == {}


def test_damaged_ones_are_refused() -> None:
    data = parquet({"loss": LONG}, np.arange(LONG))
    footer = int.from_bytes(data[-8:-4], "little") + 8 + 8  # and the seal
    end = len(data) - footer
    size = int.from_bytes(data[end - 12 : end - 8], "little") + 12
    good = read_overviews(pa.BufferReader(data), "file", range(99))[0]
    chance, refused = new_random(4), 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[end - size + chance.choice((chance.randrange(size), size - 1 - chance.randrange(12)))] ^= (
            1 << chance.randrange(8)
        )
        try:
            found = read_overviews(pa.BufferReader(bytes(damaged)), "file", range(99))
        except StoreError:
            refused += 1
        else:  # only the mark was hit: the points are read instead
            assert not found or same(found[0], good)
    assert refused > 200
    damaged = bytearray(data)
    damaged[end - 20] ^= 1
    with pytest.raises(StoreError, match="file: the overviews in it are damaged"):
        read_overviews(pa.BufferReader(bytes(damaged)), "file", range(99))


def test_files_of_an_earlier_version_are_read() -> None:
    """Written when all overviews of a file were one frame: two row groups, of which either can be had alone."""
    data = (Path(__file__).parent / "golden" / "overviews_rso1.parquet").read_bytes()
    assert data.count(b"RSO1") == 1
    table = pq.read_table(pa.BufferReader(data))
    for number, name in enumerate(("a", "b")):
        mine = table.filter(pc.field("name") == name)
        steps, values = mine.column("step").to_numpy(), mine.column("value").to_numpy()
        expected = GroupOverview.of(steps, values)
        found = read_overviews(pa.BufferReader(data), "file", {number})
        assert list(found) == [number]
        assert expected is not None
        assert same(found[number], expected)
    assert len(read_overviews(pa.BufferReader(data), "file", range(2))) == 2
