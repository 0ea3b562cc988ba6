"""What the server counts, for Prometheus."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream_schemas.metrics import Durations, counter, gauge, histogram

if TYPE_CHECKING:
    from prometheus_client import Metric


@dataclass(slots=True, eq=False)
class ServerCounters:
    """What the server did since it started."""

    started: float = field(default_factory=time.time)
    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # method, route, status
    durations: dict[str, Durations] = field(default_factory=lambda: defaultdict(Durations))  # by route
    points: int = 0
    uploaded_bytes: int = 0
    stale_waits: int = 0
    open_streams: int = 0
    in_flight: int = 0

    def collect(self) -> Iterator[Metric]:
        """See `runstream_schemas.metrics.Collected`."""
        requests = {
            (method, route, str(status)): n for (method, route, status), n in list(self.requests.items())
        }
        yield counter("http_requests", "Requests answered", requests, "method", "route", "status")
        durations = {(route,): value for route, value in list(self.durations.items())}
        yield histogram("http_request_seconds", "Seconds they took", durations, "route")
        yield counter("points_served", "Points of vectors sent", self.points)
        yield counter("uploaded_bytes", "Bytes of files taken", self.uploaded_bytes)
        yield counter(
            "stale_waits", "Reads answered before the caller's writes were stored", self.stale_waits
        )
        yield gauge("open_streams", "Event streams of pages that are open", self.open_streams)
        yield gauge("http_requests_in_flight", "Requests being answered", self.in_flight)
        yield gauge("server_start_time_seconds", "When the server started, since the epoch", self.started)
