"""What `define_metric` says of metrics: which metric is their step, and what of them goes into the summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runstream_schemas.runs.definitions import STATISTICS, MetricDefinition, MetricGoal

from .errors import Error

_STATISTICS = frozenset({*STATISTICS, "copy"})
_GOALS: dict[str, MetricGoal] = {"minimize": "min", "maximize": "max"}


@dataclass(slots=True)
class Metric:
    """The definition of one metric, or of all whose names begin alike (`val/*`).

    Attributes:
        name: the metric's, or the beginning of several and `*`.
        step_metric: the metric that is its step.
        step_sync: whether the latest value of the step metric is logged with it.
        hidden: it gets no chart by itself; recorded nowhere.
        summary: what of it goes into the summary; none: its last value.
        goal: which end of it is the good one.
    """

    name: str
    step_metric: str | None = None
    step_sync: bool | None = None
    hidden: bool | None = None
    summary: tuple[str, ...] = ()
    goal: MetricGoal | None = None

    def document(self) -> MetricDefinition:
        """What pages and lists go by."""
        defined: MetricDefinition = {}
        if self.step_metric:
            defined["step_metric"] = self.step_metric
        if known := [stat for stat in STATISTICS if stat in self.summary]:
            defined["summary"] = sorted(known, key=self.summary.index)
        if self.goal:
            defined["goal"] = self.goal
        return defined


@dataclass(slots=True)
class _Statistics:
    """Of one metric's values so far."""

    first: Any = None
    last: Any = None
    least: float | None = None
    most: float | None = None
    sum: float = 0.0
    count: int = 0

    def add(self, value: Any) -> None:
        if self.count == 0 and self.first is None:
            self.first = value
        self.last = value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self.least = value if self.least is None or _less(value, self.least) else self.least
            self.most = value if self.most is None or _less(self.most, value) else self.most
            self.sum += value
            self.count += 1

    def document(self, names: tuple[str, ...], goal: MetricGoal | None) -> dict[str, Any]:
        known = {
            "min": self.least, "max": self.most, "mean": self.sum / self.count if self.count else None,
            "last": self.last, "first": self.first, "best": self.most if goal == "max" else self.least,
        }  # fmt: skip
        return {name: known[name] for name in names if name in known}


def _less(value: float, other: float) -> bool:
    """Whether it is less; of numbers and NaN, NaN is both least and greatest, as W&B has it."""
    return math.isnan(value) or value < other


@dataclass(slots=True)
class Definitions:
    """The metrics of a run that were defined.

    Attributes:
        step_metrics: names of the metrics that are others' steps.
    """

    step_metrics: set[str] = field(default_factory=set)
    _exact: dict[str, Metric] = field(default_factory=dict)
    _globs: dict[str, Metric] = field(default_factory=dict)
    _statistics: dict[str, _Statistics] = field(default_factory=dict)
    _latest: dict[str, Any] = field(default_factory=dict)

    def define(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> Metric:
        """As `Run.define_metric`."""
        if isinstance(step_metric, Metric):
            step_metric = step_metric.name
        for what, value, kind in (
            ("name", name, str),
            ("step_metric", step_metric, str),
            ("step_sync", step_sync, bool),
            ("hidden", hidden, bool),
            ("summary", summary, str),
            ("goal", goal, str),
            ("overwrite", overwrite, bool),
        ):
            if value is not None and not isinstance(value, kind):
                raise Error(
                    f"Unhandled define_metric() arg: {what} type: {type(value).__name__}; expected {kind.__name__}"
                )
        if not name:
            raise Error("define_metric() requires non-empty name argument")
        if "*" in name[:-1]:
            raise Error(f"Unhandled define_metric() arg: name (glob suffixes only): {name}")
        statistics = tuple(part.strip().lower() for part in summary.split(",")) if summary else ()
        if unknown := [part for part in statistics if part not in _STATISTICS]:
            raise Error(
                f"Unhandled define_metric() arg: summary op: {unknown[0]}; expected {', '.join(sorted(_STATISTICS))}"
            )
        if goal and goal.lower() not in _GOALS:
            raise Error(f"Unhandled define_metric() arg: goal: {goal}; expected minimize or maximize")
        table = self._globs if name.endswith("*") else self._exact
        key = name.removesuffix("*")
        before = None if overwrite else table.get(key)
        metric = Metric(
            name,
            step_metric or (before.step_metric if before else None),
            step_sync
            if step_sync is not None
            else step_metric is not None or bool(before and before.step_sync),
            hidden,
            statistics or (before.summary if before else ()),
            _GOALS[goal.lower()] if goal else before.goal if before else None,
        )
        table[key] = metric
        if metric.step_metric:
            self.step_metrics.add(metric.step_metric)
        return metric

    def of(self, name: str) -> Metric | None:
        """The definition of a metric; None: there is none. The longest of those with `*` counts."""
        exact = self._exact.get(name)
        if exact is not None or not self._globs or name in self.step_metrics:
            return exact
        fitting = [prefix for prefix in self._globs if name.startswith(prefix)]
        return self._globs[max(fitting, key=len)] if fitting else None

    def is_plain(self, name: str) -> bool:
        """Whether nothing was said of a metric."""
        return name not in self.step_metrics and self.of(name) is None

    def complete(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The steps that are logged with a row, as it does not have them itself."""
        missing: dict[str, Any] = {}
        for name in row:
            metric = self.of(name)
            if metric is None or not metric.step_sync or metric.step_metric is None:
                continue
            if metric.step_metric not in row and metric.step_metric in self._latest:
                missing[metric.step_metric] = self._latest[metric.step_metric]
        return missing

    def note(self, name: str, value: Any) -> tuple[bool, Any]:
        """Note a value that was logged; whether it goes into the summary, and as what."""
        if name in self.step_metrics:
            self._latest[name] = value
        metric = self.of(name)
        if metric is None or not metric.summary or metric.summary == ("copy",):
            return True, value
        if "none" in metric.summary:
            return False, None
        statistics = self._statistics.setdefault(name, _Statistics())
        statistics.add(value)
        return True, statistics.document(metric.summary, metric.goal)
