"""What the sending of alerts counts, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream_schemas.metrics import counter

if TYPE_CHECKING:
    from prometheus_client import Metric


@dataclass(slots=True, eq=False)
class AlertsState:
    """What was sent since the process started.

    Attributes:
        attempts: by receiver and outcome: `sent`, `refused` (asked again), `failed` (given up).
        raised: alerts that rules raised.
    """

    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    raised: int = 0

    def collect(self) -> Iterator[Metric]:
        """See `runstream_schemas.metrics.Collected`."""
        yield counter("alerts_raised", "Alerts that rules raised", self.raised)
        yield counter(
            "alerts_attempts",
            "Attempts to send one: sent, refused (asked again), failed (given up)",
            dict(self.attempts),
            "receiver",
            "outcome",
        )
