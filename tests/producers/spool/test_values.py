"""What can be logged, and how it is stored: types, steps, names, arrays, rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.producers.reading import drain, logged, settings_for, values_of

from runstream.exceptions import AzureMLException, UserErrorException
from runstream.spool.collecting.collector import Collector
from runstream.spool.writing import writer as spool
from runstream_schemas.errors import LimitExceeded
from runstream_schemas.wire.events import MetricsEvent
from runstream_schemas.wire.payload_reading import decode_points


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (0.5, 0.5), (3, 3), (True, True), (None, None), ("text", "text"), ("", ""),
        (math.inf, math.inf), (-math.inf, -math.inf),
        (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (np.float64(1.5), 1.5), (np.float32(0.5), 0.5), (np.float16(0.5), 0.5),
        (np.int64(5), 5), (np.uint64(7), 7), (np.int8(-3), -3), (np.bool_(True), True), (np.str_("s"), "s"),
        (np.array(4), 4),
        (b"bytes", "b'bytes'"), ((1, 2), "(1, 2)"), ({"a": 1}, "{'a': 1}"), (1 + 2j, "(1+2j)"),
    ],
)  # fmt: skip
def test_a_value_keeps_its_type_and_content(directory: Path, value: Any, stored: Any) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("before", 1)
    writer.log("x", value)
    writer.log("x", value)
    (first, second) = values_of(directory, "x")
    assert (first, type(first)) == (second, type(second)) == (stored, type(stored))


def test_nan_is_a_value(directory: Path) -> None:
    spool.RunWriter(settings_for(directory), "run").log("x", math.nan)
    assert math.isnan(values_of(directory, "x")[0])


@pytest.mark.parametrize(
    ("name", "value", "step", "error", "says"),
    [
        ("x", [1, 2], None, UserErrorException, "log_list"),
        ("x", range(3), None, UserErrorException, "log_list"),
        ("x", 2**63, None, LimitExceeded, "64"),
        ("x", np.uint64(2**63), None, LimitExceeded, "64"),
        ("", 1.0, None, LimitExceeded, "empty"),
        ("n" * 1025, 1.0, None, LimitExceeded, "1024"),
        (7, 1.0, None, LimitExceeded, "expected a string"),
        (["x"], 1.0, None, LimitExceeded, "expected a string"),
        ("lone \ud800", 1.0, None, LimitExceeded, "surrogate"),
        ("x", "t" * ((1 << 20) + 1), None, LimitExceeded, "upload_file"),
        ("x", 1.0, "three", UserErrorException, "step"),
        ("x", 1.0, 2**63, LimitExceeded, "step"),
        ("x", 1.0, math.nan, UserErrorException, "step"),
    ],
)
def test_bad_input_is_refused_by_name_and_leaves_the_rest_alone(
    directory: Path, name: Any, value: Any, step: Any, error: type[Exception], says: str
) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("x", 1.0)
    with pytest.raises(error, match=says):
        writer.log(name, value, step=step)
    writer.log("x", 2.0)
    assert values_of(directory, "x") == [1.0, 2.0]


def test_steps_are_numbered_per_series_and_taken_as_given(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    for value in (1.0, 2.0, 3.0):
        writer.log("auto", value)
    writer.log("given", 1.0, step=10)
    writer.log("given", 1.0, step=3.0)
    writer.log("given", 1.0, step=np.int64(-5))
    (event,) = [e for e in drain(Collector(settings_for(directory))) if isinstance(e, MetricsEvent)]
    points = decode_points(event.payload)
    assert points.steps.tolist() == [0, 1, 2, 10, 3, -5]


def test_names_are_kept_byte_for_byte(directory: Path) -> None:
    names = ["π/loss", "e\u0301", "\u00e9", " padded ", "a\nb", "\0", "x" * 1024]
    writer = spool.RunWriter(settings_for(directory), "run")
    for name in names:
        writer.log(name, 1)
    recorded = logged(drain(Collector(settings_for(directory))))
    assert sorted(name for _, name, _ in recorded) == sorted(names)


def test_log_list_extends_and_integers_among_floats_become_floats(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log_list("a", [1, 2])
    writer.log_list("a", (3,))
    writer.log_list("b", (i for i in (1, 2.5)))
    writer.log_list("c", ["x", None, True])
    writer.log_list("d", [])
    with pytest.raises(AzureMLException, match="not supported"):
        writer.log_list("e", [1, {"a": 1}])
    recorded = {
        name: values for (_, name, _), values in logged(drain(Collector(settings_for(directory)))).items()
    }
    assert recorded == {"a": [1, 2, 3], "b": [1.0, 2.5], "c": ["x", None, True]}


def test_log_metrics_takes_one_step_for_all(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    for step in range(3):
        writer.log_metrics({"f": step / 2, "i": step, "t": "x"}, step)
    recorded = {
        name: values for (_, name, _), values in logged(drain(Collector(settings_for(directory)))).items()
    }
    assert recorded == {"f": [0.0, 0.5, 1.0], "i": [0, 1, 2], "t": ["x"] * 3}


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u2", "?"])
def test_log_array_of_a_million_points_is_exact(directory: Path, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, 1_000_000).astype(dtype)
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log("x", 0)
    writer.log_array("a", values, steps=np.arange(1_000_000) * 2, times=np.full(1_000_000, 1.7e9))
    events = [e for e in drain(Collector(settings_for(directory)), 1000) if isinstance(e, MetricsEvent)]
    values_back, steps = [], []
    for event in events:
        points = decode_points(event.payload, {k for k, _ in event.series if k.name == "a"})
        if len(points.series):
            values_back.append(points.floats(0))
            steps.append(points.steps)
    assert np.array_equal(np.concatenate(values_back), values.astype(float))
    assert np.array_equal(np.concatenate(steps), np.arange(1_000_000) * 2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda w: w.log_array("a", np.zeros((2, 2))), "one dimension"),
        (lambda w: w.log_array("a", np.array(["x"])), "no numbers"),
        (lambda w: w.log_array("a", np.zeros(2, dtype=complex)), "no numbers"),
        (lambda w: w.log_array("a", [1, 2], steps=[1]), "steps of shape"),
        (lambda w: w.log_array("a", [1, 2], steps=[1.5, 2]), "no integers"),
        (lambda w: w.log_array("a", [1.0], times=[math.nan]), "NaN"),
        (lambda w: w.log_array("a", np.array([2**63], dtype=np.uint64)), "64"),
    ],
)
def test_log_array_refuses_what_it_cannot_keep(
    directory: Path, call: Callable[[Any], None], says: str
) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    with pytest.raises((UserErrorException, LimitExceeded), match=says):
        call(writer)


def test_rows_and_tables_make_typed_columns_numbered_by_row(directory: Path) -> None:
    writer = spool.RunWriter(settings_for(directory), "run")
    writer.log_row("t", {"x": 1, "y": 0.5})
    writer.log_row("t", {"x": np.int64(2), "z": "new"})
    writer.log_table("t", {"x": [3, 4], "y": np.array([1.0, 2.0])})
    with pytest.raises(AzureMLException, match="same length"):
        writer.log_table("t", {"x": [1], "y": [1, 2]})
    with pytest.raises(AzureMLException, match="list values"):
        writer.log_row("t", {"x": [1]})
    recorded = {
        column: values for (_, _, column), values in logged(drain(Collector(settings_for(directory)))).items()
    }
    assert recorded == {"x": [1, 2, 3, 4], "y": [0.5, 1.0, 2.0], "z": ["new"]}
