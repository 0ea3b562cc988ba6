"""What a role counts, as Prometheus asks for it: the state it keeps of itself, and its process.

A state is a plain object whose `collect` makes families of what it holds. The library is loaded by whoever asks: neither a
trainer's agent nor the start of a service pays for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric


class Collected(Protocol):
    """State of a role."""

    def collect(self) -> Iterable[Metric]:
        """What it holds now; from any thread."""


def registry_of(states: Iterable[Collected]) -> CollectorRegistry:
    """A registry of some states and of this process (its memory, CPU time and files, where the system tells them)."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    for state in states:
        registry.register(state)
    ProcessCollector(registry=registry)
    return registry


def counter(name: str, meaning: str, value: float | Mapping[Any, float], *labels: str) -> Metric:
    """A family of what only grows: `value`, or one for each combination of values of `labels`."""
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"runstream_{name}", meaning, labels=labels), value)


def gauge(name: str, meaning: str, value: float | Mapping[Any, float], *labels: str) -> Metric:
    """A family of what goes up and down."""
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"runstream_{name}", meaning, labels=labels), value)


SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Up to so many seconds go the classes of a histogram of durations; what takes longer is in one more."""


@dataclass(slots=True, eq=False)
class Durations:
    """How many times something took how long.

    Attributes:
        total: seconds of all together.
    """

    total: float = 0.0
    _counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))

    def add(self, seconds: float) -> None:
        """It took so long once more."""
        self.total += seconds
        self._counts[bisect_left(SECONDS, seconds)] += 1

    def classes(self) -> Iterator[tuple[str, int]]:
        """The upper bound of each class, as Prometheus writes it, and how many are in it and all below."""
        return zip([*map(str, SECONDS), "+Inf"], accumulate(self._counts), strict=True)


def histogram(name: str, meaning: str, value: Mapping[Any, Durations], *labels: str) -> Metric:
    """A family of durations, in seconds, for each combination of values of `labels`."""
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"runstream_{name}", meaning, labels=labels)
    for of, durations in value.items():
        family.add_metric(of, list(durations.classes()), durations.total)
    return family


def _filled(family: Metric, value: float | Mapping[Any, float]) -> Metric:
    for labels, number in value.items() if isinstance(value, Mapping) else [((), value)]:
        family.add_metric(labels, number)  # type: ignore[attr-defined]
    return family
