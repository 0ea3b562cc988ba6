"""What the server counts, for Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """What the server did since it started."""

    started: float = field(default_factory=time.time)
    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # method, route, status
    seconds: dict[str, float] = field(default_factory=dict)  # by route
    points: int = 0
    uploaded_bytes: int = 0
    stale_waits: int = 0
    open_streams: int = 0
    in_flight: int = 0

    def text(self) -> str:
        """Prometheus' text format."""
        lines = ["# TYPE runstream_http_requests_total counter"]
        for (method, route, status), n in sorted(self.requests.items()):
            lines.append(
                f'runstream_http_requests_total{{method="{method}",route="{route}",status="{status}"}} {n}'
            )
        lines.append("# TYPE runstream_http_request_seconds_total counter")
        lines += [
            f'runstream_http_request_seconds_total{{route="{route}"}} {value:.6f}'
            for route, value in sorted(self.seconds.items())
        ]
        for name, kind, value in (
            ("points_served_total", "counter", self.points),
            ("uploaded_bytes_total", "counter", self.uploaded_bytes),
            ("stale_waits_total", "counter", self.stale_waits),
            ("open_streams", "gauge", self.open_streams),
            ("http_requests_in_flight", "gauge", self.in_flight),
            ("server_start_time_seconds", "gauge", self.started),
        ):
            lines += [f"# TYPE runstream_{name} {kind}", f"runstream_{name} {value}"]
        return "\n".join(lines) + "\n"
