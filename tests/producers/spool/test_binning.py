"""Values become the histogram numpy would make of them, whatever they are."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
import pytest

from runstream.exceptions import UserErrorException
from runstream.spool.binning import histogram_text
from runstream_schemas.errors import CorruptEvent
from runstream_schemas.values.histograms import Histogram, decode_histogram, encode_histogram, thinned


def binned(values: Any, bins: int = 64) -> Histogram:
    return decode_histogram(histogram_text("h", values, bins))


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "u1", "?"])
@pytest.mark.parametrize("bins", [1, 7, 64, 1024])
def test_counts_are_those_of_numpy(dtype: str, bins: int) -> None:
    values = (np.random.default_rng(7).normal(40, 10, 5000)).clip(0, 200).astype(dtype)
    histogram = binned(values, bins)
    expected, edges = np.histogram(values.astype("f8"), bins)
    if values.dtype == bool:
        return  # one value: the bins lie around it
    assert histogram.edges == pytest.approx(edges.tolist())
    assert histogram.count == sum(histogram.counts) == 5000
    assert (histogram.min, histogram.max) == (float(values.min()), float(values.max()))
    assert histogram.sum == pytest.approx(float(values.astype("f8").sum()), rel=1e-4)
    # A value beside an edge may be rounded to its other side.
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= (0 if dtype == "f8" else 400)


def test_a_value_on_an_edge_belongs_to_the_bin_on_its_right_and_the_last_edge_to_the_last_bin() -> None:
    assert binned(np.arange(11.0), 10).counts == [1] * 9 + [2]
    assert binned(np.arange(101) / 10, 100).counts == [1] * 99 + [2]


@pytest.mark.parametrize("values", [[], np.zeros(0), np.zeros((3, 0)), [math.nan, math.nan]])
def test_no_finite_value_makes_a_histogram_without_bins(values: Any) -> None:
    histogram = binned(values)
    assert (histogram.counts, histogram.edges, histogram.count, histogram.min, histogram.sum) == (
        [],
        [],
        0,
        None,
        None,
    )
    assert histogram.nan == len(np.ravel(values))


def test_what_is_not_finite_is_counted_apart() -> None:
    histogram = binned([1.0, math.nan, math.inf, 2.0, -math.inf, math.inf], 2)
    assert (histogram.counts, histogram.edges, histogram.count, histogram.sum) == (
        [1, 1],
        [1.0, 1.5, 2.0],
        2,
        3.0,
    )
    assert (histogram.nan, histogram.positive_infinite, histogram.negative_infinite) == (1, 2, 1)


@pytest.mark.parametrize(
    "values",
    [
        [5.0], [5.0] * 9, [1e300] * 3, [-1e300], [0.0], [5e-324, 0.0], [1.0, math.nextafter(1.0, 2.0)],
        [1e9, 1e9 + 1e-6], [-1.7e308, 1.7e308], [1e308, 1.7e308, 1.2e308], [math.nextafter(math.inf, 0)],
        np.array([1e7, 1e7 + 1, 1e7 + 2], "f4"), np.array([-3e38, 3e38], "f4"), [2**63, -(2**63)],
    ],
)  # fmt: skip
def test_every_value_lies_in_a_bin(values: Any) -> None:
    for bins in (1, 64, 1000):
        histogram = binned(values, bins)
        assert sum(histogram.counts) == histogram.count == len(values)
        assert len(histogram.counts) == bins
        assert all(map(math.isfinite, histogram.edges))
        assert all(a < b for a, b in zip(histogram.edges, histogram.edges[1:], strict=False))
        assert histogram.edges[0] <= min(values)
        assert max(values) <= histogram.edges[-1]


def test_counts_and_edges_of_somebody_else() -> None:
    assert binned(np.histogram([1.0, 2.0, 4.0], [0.0, 2.0, 5.0])) == Histogram([1, 2], [0.0, 2.0, 5.0], 3)
    assert binned(([], [1.0])) == Histogram([], [], 0)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("text", "no numbers"),
        (["a"], "no numbers"),
        ([1 + 2j], "no numbers"),
        (object(), "no"),
        (([1, 2], [0.0, 1.0]), "one edge more"),
        (([1, 2], [0.0, 1.0, 1.0]), "greater than the one before"),
        (([1], [0.0, math.nan]), "finite"),
        (([-1], [0.0, 1.0]), "no count"),
        (([0.5], [0.0, 1.0]), "no count"),
        (([1] * 1025, list(range(1026))), "the most is 1024"),
        (([1], ["a", "b"]), "edges are no numbers"),
    ],
)
def test_what_is_no_histogram_is_refused(values: Any, says: str) -> None:
    with pytest.raises(UserErrorException, match=says):
        histogram_text("h", values)


@pytest.mark.parametrize("bins", [0, -1, 1025, 2.5, None, True])
def test_bins_that_cannot_be(bins: Any) -> None:
    with pytest.raises(UserErrorException, match="bins="):
        histogram_text("h", [1.0], bins)


def test_without_numpy_lists_are_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.5, 1.0, math.nan, 3.0, -math.inf, 3.0]
    expected = binned(values, 5)
    importing = builtins.__import__

    def without_numpy(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "numpy":
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_numpy)
    assert binned(values, 5) == expected
    with pytest.raises(UserErrorException, match="pip install numpy"):
        histogram_text("h", [[1.0, 2.0]])


def test_a_histogram_survives_its_text() -> None:
    for histogram in (Histogram([3, 0], [0.1, 0.2, 0.5], 3, 0.1, 0.4, 0.9, 1, 2, 3), Histogram([], [], 0)):
        assert decode_histogram(encode_histogram(histogram)) == histogram


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "[]", "{}", '{"counts": [1], "edges": [1], "count": 1}', '{"counts": [-1], "edges": [0, 1], "count": 1}',
        '{"counts": 3, "edges": [], "count": 0}', "[" * 100_000, '{"counts": [1e999], "edges": [0, 1], "count": 1}',
    ],
)  # fmt: skip
def test_a_text_that_is_no_histogram_says_so(text: str) -> None:
    with pytest.raises(CorruptEvent, match="no histogram"):
        decode_histogram(text)


def test_thinning_keeps_the_last_of_each_bucket_and_what_is_shown_stays() -> None:
    assert thinned(list(range(5)), 10) == [0, 1, 2, 3, 4]
    few, more = (set(thinned(list(range(n)), 10)) for n in (60, 64))
    assert len(few) <= 10
    assert few - {59} <= more
    assert thinned([5, 5, 5], 1) == [2]
