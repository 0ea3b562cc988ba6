"""The dictionary `get_metrics` makes of series: one row of the table a case."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from runstream.client.metrics import Series, decode_series, shape_metrics
from runstream_schemas.series import Kind, SeriesClass

METRIC, TABLE, IMAGE = SeriesClass.METRIC, SeriesClass.TABLE, SeriesClass.IMAGE


def series(
    name: str,
    values: list[Any],
    cls: SeriesClass = METRIC,
    column: str = "",
    steps: list[int] | None = None,
    times: list[int] | None = None,
) -> Series:
    steps = list(range(len(values))) if steps is None else steps
    return Series(int(cls), name, column, -1, values, steps, times or [1000 + step for step in steps])


CASES: list[tuple[str, list[Series], dict[str, Any]]] = [
    ("nothing logged", [], {}),
    ("scalar once", [series("a", [0.5])], {"a": 0.5}),
    ("int once", [series("a", [1])], {"a": 1}),
    ("text once", [series("a", ["hello"])], {"a": "hello"}),
    ("bool once", [series("a", [True])], {"a": True}),
    ("several", [series("a", [3, 1, 2])], {"a": [3, 1, 2]}),
    ("None once is absent", [series("a", [None])], {}),
    ("None several times stays", [series("a", [None, None])], {"a": [None, None]}),
    ("int then float: all floats", [series("a", [1, 2.5])], {"a": [1.0, 2.5]}),
    ("int, None, float", [series("a", [1, None, 2.5])], {"a": [1.0, None, 2.5]}),
    ("numbers then text stay as logged", [series("a", [1, 2.5, "x"])], {"a": [1, 2.5, "x"]}),
    ("bools are no numbers", [series("a", [True, 2])], {"a": [True, 2]}),
    ("one row", [series("t", [1], TABLE, "x"), series("t", [0.5], TABLE, "y")], {"t": {"x": 1, "y": 0.5}}),
    (
        "two rows",
        [series("t", [1, 2], TABLE, "x"), series("t", ["a", "b"], TABLE, "y")],
        {"t": {"x": [1, 2], "y": ["a", "b"]}},
    ),
    (
        "rows with differing columns are filled with None",
        [series("t", [1, 3], TABLE, "x", steps=[0, 2]), series("t", [5], TABLE, "y", steps=[1])],
        {"t": {"x": [1, None, 3], "y": [None, 5, None]}},
    ),
    (
        "rows of two writers are told apart by their times",
        [
            series("t", [1, 2], TABLE, "x", steps=[0, 0], times=[10, 20]),
            series("t", [7], TABLE, "y", steps=[0], times=[20]),
        ],
        {"t": {"x": [1, 2], "y": [None, 7]}},
    ),
    (
        "a row, clock set back",
        [series("t", [1, 2], TABLE, "x", steps=[0, 1], times=[20, 10])],
        {"t": {"x": [1, 2]}},
    ),
    ("image: the first", [series("i", ["aml://1", "aml://2"], IMAGE)], {"i": "aml://1"}),
    ("order first logged", [series("b", [1]), series("a", [2])], {"b": 1, "a": 2}),
    (
        "names byte for byte",
        [series("a ", [1]), series("a", [2]), series("é\n", [3])],
        {"a ": 1, "a": 2, "é\n": 3},
    ),
]


@pytest.mark.parametrize(
    ("logged", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_shape(logged: list[Series], expected: dict[str, Any]) -> None:
    shaped = shape_metrics(logged)
    assert shaped == expected
    assert list(shaped) == list(expected)
    assert str(shaped) == str(expected)  # 1 == 1.0 == True: the types count too


def test_nan_and_infinities_come_back() -> None:
    shaped = shape_metrics([series("a", [float("nan")]), series("b", [math.inf, -math.inf])])
    assert math.isnan(shaped["a"])  # type: ignore[arg-type]
    assert shaped["b"] == [math.inf, -math.inf]


def test_first_kind_of_a_name_wins_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    shaped = shape_metrics([series("a", [1, 2]), series("a", [9], TABLE, "x")])
    assert shaped == {"a": [1, 2]}
    assert "Conflicting metric types" in caplog.text
    assert "'a'" in caplog.text


def test_a_series_is_read_from_little_endian_bytes() -> None:
    document = {
        "cls": 0,
        "name": "loss",
        "column": "",
        "kind": int(Kind.FLOAT),
        "values": struct.pack("<2d", 0.5, 0.25),
        "steps": struct.pack("<2q", 0, 7),
        "times": struct.pack("<2q", 10, 11),
    }
    assert decode_series(document) == Series(0, "loss", "", Kind.FLOAT, [0.5, 0.25], [0, 7], [10, 11])
    whole = decode_series({**document, "kind": int(Kind.INT), "values": struct.pack("<2q", 2**62, -1)})
    assert whole.values == [2**62, -1]
