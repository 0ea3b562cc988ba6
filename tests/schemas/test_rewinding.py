"""Points cut by rewinds, against a loop over lists."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.series import SeriesClass, SeriesKey
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import build_points
from runstream_schemas.wire.rewinding import Cut, CutsOfRun, cut_points

from .test_payload import logged_rows, unpack

any_step = st.integers(-(1 << 63), (1 << 63) - 1)
cuts = st.lists(
    st.builds(Cut, st.integers(0, 20), st.integers(-2, 20) | any_step, st.integers(1, 9)), max_size=9
)


@given(logged_rows(), st.integers(0, 20), cuts)
def test_each_point_goes_to_the_branch_of_the_first_rewind_behind_it_that_cuts_it_off(
    rows: list[Any], position: int, cuts: list[Cut]
) -> None:
    def branch(key: SeriesKey, step: int) -> SeriesKey:
        hiding = [cut.number for cut in sorted(cuts) if cut.position > position and step > cut.step]
        if key.cls != SeriesClass.METRIC or not hiding:
            return key
        return SeriesKey(int(SeriesClass.FORMER), key.name, str(hiding[0]))

    expected = [(branch(row[0], row[3]), *row[1:]) for row in rows]
    points = cut_points(build_points(rows), position, CutsOfRun(cuts))
    if points is None:
        assert expected == rows
        return
    assert any(key.cls == SeriesClass.FORMER for key, *_ in expected)
    again = unpack(decode_points(encode_points(points)))
    assert repr(again) == repr(unpack(build_points(expected)))


@given(st.lists(st.integers(-2, 20) | any_step, max_size=20), st.integers(-1, 21), cuts)
def test_the_first_rewind_that_cuts_a_point_off_is_found_among_any_number(
    steps: list[int], position: int, cuts: list[Cut]
) -> None:
    def branch(step: int) -> int:
        return next((c.number for c in sorted(cuts) if c.position > position and step > c.step), 0)

    of_run = CutsOfRun(cuts)
    branches = of_run.branches_of(np.array(steps, dtype=np.int64), position)
    assert branches.tolist() == [branch(step) for step in steps]
    assert of_run.are_behind(position) == any(cut.position > position for cut in cuts)
