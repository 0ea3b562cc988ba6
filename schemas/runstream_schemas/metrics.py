"""What a role counts, as Prometheus asks for it: the state it keeps of itself, and its process.

A state is a plain object whose `collect` makes families of what it holds. The library is loaded by whoever asks: neither a
trainer's agent nor the start of a service pays for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def _filled(family: Metric, value: float | Mapping[Any, float]) -> Metric:
    for labels, number in value.items() if isinstance(value, Mapping) else [((), value)]:
        family.add_metric(labels, number)  # type: ignore[attr-defined]
    return family
