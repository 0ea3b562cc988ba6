"""M4 downsampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runstream_schemas.buckets import bucket_size, bucket_starts, downsample

VALUES = st.floats(width=64) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0])
STEPS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 200)


@st.composite
def vectors(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(0, 80))
    steps = draw(hnp.arrays(np.int64, n, elements=STEPS))
    if draw(st.booleans()):
        steps.sort()
    return steps, draw(hnp.arrays(np.float64, n, elements=VALUES))


@given(vectors(), st.integers(1, 20))
def test_every_bucket_keeps_first_last_extremes_and_gaps(
    vector: tuple[np.ndarray, np.ndarray], width: int
) -> None:
    steps, values = vector
    result = downsample(steps, values, width)
    assert result.points == len(steps)
    chosen = set(result.index.tolist())
    assert len(chosen) == len(result.index)
    assert steps[result.index].tolist() == sorted(steps[result.index].tolist())
    order = np.argsort(steps, kind="stable").tolist()
    buckets: dict[int, list[int]] = {}
    for i in order:
        buckets.setdefault(int(steps[i]) // result.bucket, []).append(i)
    assert len(buckets) <= max(width, 2)
    for members in buckets.values():
        kept = [i for i in members if i in chosen]
        assert kept[0] == members[0]
        assert kept[-1] == members[-1]
        assert len(kept) <= 7
        finite = [values[i] for i in members if np.isfinite(values[i])]
        kept_values = [values[i] for i in kept]
        if finite:
            assert min(finite) in kept_values
            assert max(finite) in kept_values
        for strange in (np.isnan, np.isposinf, np.isneginf):
            assert any(strange(values[i]) for i in members) == any(strange(value) for value in kept_values)


@pytest.mark.parametrize("step", [2**63 - 1, -(2**63)])
def test_the_outermost_steps_have_a_bucket_each(step: int) -> None:
    result = downsample(np.array([step, step], dtype=np.int64), np.array([1.0, 2.0]), 1)
    assert result.index.tolist() == [0, 1]
    assert bucket_starts(np.array([step], dtype=np.int64), 1).tolist() == [0]


@settings(max_examples=200)
@given(
    st.integers(2, 3000),
    st.integers(1, 50),
    st.integers(-500, 4000),
    st.integers(0, 4000),
    st.randoms(use_true_random=False),
)
def test_the_same_bucket_size_gives_the_same_points(
    n: int, width: int, start: int, length: int, random: object
) -> None:
    """What a zoomed range shows is what the whole shows there, if the buckets have the same size."""
    steps = np.arange(n)
    values = np.random.default_rng(n).normal(size=n)
    part = downsample(steps, values, width, start=start, stop=start + length)
    if not part.bucket:
        return
    low, high = (start // part.bucket) * part.bucket, ((start + length) // part.bucket + 1) * part.bucket
    whole_width = (n - 1) // part.bucket + 1
    if bucket_size(0, n - 1, whole_width) == part.bucket:
        whole = downsample(steps, values, whole_width)
        assert part.index.tolist() == [i for i in whole.index.tolist() if low <= i < high]


def test_a_spike_of_one_step_is_kept_at_every_width() -> None:
    values = np.zeros(100_000)
    values[77_777] = 1e9
    for width in (1, 7, 100, 2000):
        assert 77_777 in downsample(np.arange(100_000), values, width).index


@pytest.mark.parametrize(("width", "start", "stop"), [(0, None, None), (10**6, None, None), (5, 9, 3)])
def test_senseless_requests(width: int, start: int | None, stop: int | None) -> None:
    with pytest.raises(ValueError):
        downsample(np.arange(3), np.zeros(3), width, start=start, stop=stop)


def test_a_range_beyond_the_data_is_empty() -> None:
    assert downsample(np.arange(10), np.zeros(10), 5, start=100).index.tolist() == []
    assert downsample(np.arange(10), np.zeros(10), 5, stop=-1).index.tolist() == []
