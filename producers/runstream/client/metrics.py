"""From the series the service sends to the dictionary `Run.get_metrics` returns.

The shapes are the reproduced API's: one value is the value itself, several are a list, a table is a dictionary of columns.
"""

from __future__ import annotations

import logging
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from runstream_schemas.errors import CorruptEvent
from runstream_schemas.series import Kind, SeriesClass
from runstream_schemas.values.histograms import Histogram, decode_histogram

_log = logging.getLogger("runstream")

Value: TypeAlias = "float | int | bool | str | None"
Metric: TypeAlias = "Value | list[Value] | dict[str, Value | list[Value]] | ArtifactMetric"
Metrics: TypeAlias = "dict[str, Metric]"


@dataclass(frozen=True, slots=True)
class ArtifactMetric:
    """An image or JSON metric with its content, as `get_metrics(populate=True)` returns it.

    Attributes:
        data: content of the file.
        filename: last part of its path.
        data_location: the address `get_metrics()` returns without `populate`.
        metric_type: kind of the metric, e.g. `azureml.v2.image`.
    """

    data: bytes
    filename: str
    data_location: str
    metric_type: str


@dataclass(frozen=True, slots=True)
class Series:
    """One series as received: values in order of logging, with their steps and times (microseconds since the epoch)."""

    cls: int
    name: str
    column: str
    kind: int
    values: list[Value]
    steps: list[int]
    times: list[int]


@dataclass(slots=True)
class LoggedHistogram(Histogram):
    """A histogram of `Run.log_histogram`, as `Run.get_histograms` returns it.

    Attributes:
        step: its place in the series.
        time: when it was logged, microseconds since the epoch.
    """

    step: int = 0
    time: int = 0


@dataclass(frozen=True, slots=True)
class SystemSample:
    """What a machine was doing for a run at one time.

    Attributes:
        node: name of the machine.
        time: when it was looked at, microseconds since the epoch.
        value: in the unit that the metric's name ends with.
    """

    node: str
    time: int
    value: float


def system_samples(all_series: Iterable[Series]) -> dict[str, list[SystemSample]]:
    """Samples by metric, of all machines in the order of their times."""
    by_name: dict[str, list[SystemSample]] = {}
    for series in all_series:
        samples = by_name.setdefault(series.name, [])
        for time, value in zip(series.times, series.values, strict=True):
            if isinstance(value, float):
                samples.append(SystemSample(series.column, time, value))
    for samples in by_name.values():
        samples.sort(key=lambda sample: sample.time)
    return by_name


def logged_histograms(series: Series) -> list[LoggedHistogram]:
    """The histograms of a series; what is none is left out, with a warning."""
    histograms: list[LoggedHistogram] = []
    for step, time, value in zip(series.steps, series.times, series.values, strict=True):
        try:
            binned = decode_histogram(str(value))
        except CorruptEvent as error:
            _log.warning("histogram %r at step %d is left out: %s", series.name, step, error)
            continue
        histograms.append(LoggedHistogram(**asdict(binned), step=step, time=time))
    return histograms


def decode_series(document: Mapping[str, Any]) -> Series:
    """Read one series of the service's answer."""
    kind, values = document["kind"], document["values"]
    if isinstance(values, bytes):
        values = _numbers("d" if kind == Kind.FLOAT else "q", values)
    return Series(
        document["cls"],
        document["name"],
        document.get("column", ""),
        kind,
        values,
        _numbers("q", document["steps"]),
        _numbers("q", document["times"]),
    )


def _numbers(code: str, data: bytes) -> list[Any]:
    numbers: array[Any] = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def shape_metrics(
    series: Iterable[Series], populate: Callable[[Series], ArtifactMetric] | None = None
) -> Metrics:
    """The dictionary of `get_metrics`, names in the order first logged.

    Args:
        series: one run's series, in the order first logged.
        populate: makes the content of an artifact metric; None returns its address.
    """
    by_name: dict[str, list[Series]] = {}
    for metric in series:
        kept = by_name.setdefault(metric.name, [])
        if kept and kept[0].cls != metric.cls:
            _log.warning(
                "Conflicting metric types: %r was first logged as %s; its %s values are not returned",
                metric.name,
                SeriesClass(kept[0].cls).name.lower(),
                SeriesClass(metric.cls).name.lower(),
            )
            continue
        kept.append(metric)
    result: Metrics = {}
    for name, parts in by_name.items():
        first = parts[0]
        if first.cls == SeriesClass.TABLE:
            result[name] = _table(parts)
        elif first.cls == SeriesClass.METRIC:
            values = _one_type(first.values)
            if values != [None]:  # a single None is as if it had not been logged: the reproduced API drops it
                result[name] = values[0] if len(values) == 1 else values
        else:
            result[name] = populate(first) if populate else first.values[0]
    return result


def _one_type(values: list[Value]) -> list[Value]:
    """Numbers are all floats as soon as one is, as a column of type double would read.

    Mixed with text they stay as logged.
    """
    kinds = set(map(type, values))
    if int in kinds and float in kinds and kinds <= {int, float, type(None)}:
        return [float(value) if type(value) is int else value for value in values]
    return values


def _table(columns: list[Series]) -> dict[str, Value | list[Value]]:
    """Columns of equal length: a row that lacks a column has None there."""
    rows = _rows(columns)
    table: dict[str, Value | list[Value]] = {}
    for column in columns:
        cells: list[Value] = [None] * len(rows)
        for step, time, value in zip(column.steps, column.times, column.values, strict=True):
            cells[rows[step, time]] = value
        cells = _one_type(cells)
        table[column.column] = cells[0] if len(cells) == 1 else cells
    return table


def _rows(columns: list[Series]) -> dict[tuple[int, int], int]:
    """Place of each row. Rows are numbered per writer: of several writers only the time tells them apart and orders them."""
    keys = {key for column in columns for key in zip(column.steps, column.times, strict=True)}
    one_writer = len({step for step, _ in keys}) == len(keys)
    order = sorted(keys) if one_writer else sorted(keys, key=lambda key: (key[1], key[0]))
    return {key: place for place, key in enumerate(order)}
