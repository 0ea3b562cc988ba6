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
from runstream_schemas.parquet import series_overviews
from runstream_schemas.parquet.arrow import METRICS
from runstream_schemas.parquet.footer_seal import check_footer
from runstream_schemas.parquet.overviews import FINENESS, LEAST_POINTS, GroupOverview, read_overviews
from runstream_schemas.parquet.series_overviews import SeriesOverview, read_series_overviews
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
            overviews = read_overviews(pa.BufferReader(bytes(damaged)), "file", range(99))
        except StoreError:
            refused += 1
        else:  # only the mark was hit: the points are read instead
            assert not overviews or same(overviews[0], good)
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
        overviews = read_overviews(pa.BufferReader(data), "file", {number})
        assert list(overviews) == [number]
        assert expected is not None
        assert same(overviews[number], expected)
    assert len(read_overviews(pa.BufferReader(data), "file", range(2))) == 2


SHARED = {"a": 70_000, "b": 10_000, "c": 4000}
"""Two of them long enough to have one where they share a row group."""


def of_series(data: bytes, *names: str) -> dict[str, SeriesOverview]:
    keys = [("run", name) for name in names] + [("other", names[0])]
    return {
        name: overview
        for (_, name), overview in read_series_overviews(pa.BufferReader(data), "file", keys).items()
    }


def alike(a: SeriesOverview, b: SeriesOverview) -> bool:
    columns = ("x", "last", "low", "high", "marks", "n")
    return (a.size, a.first, a.last, a.total, a.origin) == (
        b.size,
        b.first,
        b.last,
        b.total,
        b.origin,
    ) and all(
        np.array_equal(getattr(a.buckets, name), getattr(b.buckets, name), equal_nan=name != "marks")
        for name in columns
    )


def test_series_that_share_a_row_group_have_theirs_beside_those_of_long_ones() -> None:
    lengths = {"0": LONG + (1 << 20), **SHARED}  # the first fills row groups by itself
    n = sum(lengths.values())
    steps = np.concatenate(
        [np.arange(length)[::-1] if name == "b" else np.arange(length) for name, length in lengths.items()]
    )
    data = parquet(lengths, steps)
    assert read_overviews(pa.BufferReader(data), "file", range(99))
    kept = of_series(data, *lengths)
    assert {"a", "b"} <= kept.keys() <= lengths.keys() - {"c"}
    values = np.tile(series_values(max(lengths.values())), len(lengths))[:n]
    at = lengths["0"] + lengths["a"]
    part = slice(at, at + lengths["b"])
    least = series_overviews.IN_A_BUCKET
    assert alike(kept["b"], SeriesOverview.of(steps[part], np.arange(n)[part], values[part], least=least))
    assert kept["b"].total == lengths["b"]
    assert kept["b"].total / len(kept["b"].buckets.x) > least / 2
    assert list(of_series(data, "b")) == ["b"]
    assert of_series(data, "nobody") == {}


def test_damaged_ones_of_series_are_refused() -> None:
    data = parquet(SHARED, np.concatenate([np.arange(n) for n in SHARED.values()]))
    good = of_series(data, "a", "b")
    end = len(data) - int.from_bytes(data[-8:-4], "little") - 8 - 8
    frames, index = (
        int.from_bytes(data[end - 20 : end - 12], "little"),
        int.from_bytes(data[end - 12 : end - 8], "little"),
    )
    size = frames + index + 20
    chance, refused = new_random(5), 0
    for _ in range(200):
        damaged = bytearray(data)
        place = chance.choice((chance.randrange(size), size - 1 - chance.randrange(20 + index)))
        damaged[end - size + place] ^= 1 << chance.randrange(8)
        try:
            kept = of_series(bytes(damaged), "a", "b")
        except StoreError:
            refused += 1
        else:  # only the mark was hit: the points are read instead
            assert not kept or all(alike(kept[name], good[name]) for name in good)
    assert refused > 120


def test_files_without_any_of_series() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), sink)
    for data in (sink.getvalue(), b"", b"PAR1", parquet({"loss": LONG}, np.arange(LONG))):
        assert of_series(data, "loss") == {}
