"""Writes grafana.json, the dashboard of what the roles show: `make docs`, or `python monitoring/generate.py`.

A test fails when they differ. Grafana takes the file by Dashboards -> New -> Import.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "grafana.json"
WIDTH, PANELS_A_ROW, HEIGHT = 24, 3, 8
_RATE = "$__rate_interval"
_SQL = 'runstream_http_request_seconds_bucket{route=~".*/sql"}'

ROWS: dict[str, dict[str, tuple[str, dict[str, str]]]] = {
    "From the nodes to the database": {
        "Events the broker has": (
            "cps",
            {f"sum by (instance) (rate(runstream_agent_events_acknowledged_total[{_RATE}]))": "{{instance}}"},
        ),
        "Points stored": (
            "cps",
            {f"sum by (loop) (rate(runstream_consumer_points_total[{_RATE}]))": "{{loop}}"},
        ),
        "Records that wait": ("short", {"sum by (loop) (runstream_consumer_lag)": "{{loop}}"}),
        "Age of the batch under way": (
            "s",
            {"max by (instance, loop) (runstream_consumer_batch_age_seconds)": "{{instance}} {{loop}}"},
        ),
        "Batches stored, tried again, thrown away": (
            "cps",
            {
                f"sum(rate(runstream_consumer_commits_total[{_RATE}]))": "stored",
                f"sum(rate(runstream_consumer_retries_total[{_RATE}]))": "tried again",
                f"sum(rate(runstream_consumer_fences_lost_total[{_RATE}]))": "another consumer has the partition",
            },
        ),
        "Dead letters": (
            "short",
            {
                "sum by (loop) (increase(runstream_consumer_dead_letters_total[1h]))": "{{loop}}, within an hour"
            },
        ),
        "Spool": ("bytes", {"sum by (instance) (runstream_agent_spool_bytes)": "{{instance}}"}),
        "Sources": (
            "short",
            {
                "sum(runstream_agent_live_sources)": "of live runs",
                "sum(runstream_agent_waiting_sources)": "with something the broker does not have",
            },
        ),
        "Events in flight": (
            "short",
            {"sum by (instance) (runstream_agent_events_in_flight)": "{{instance}}"},
        ),
    },
    "From the database to Parquet": {
        "Points in the hot tier": (
            "short",
            {"max by (state) (runstream_compactor_hot_points)": "{{state}}"},
        ),
        "Runs in the hot tier": ("short", {"max by (state) (runstream_compactor_hot_runs)": "{{state}}"}),
        "Since the last round": (
            "s",
            {"time() - max by (instance) (runstream_compactor_last_round_time_seconds)": "{{instance}}"},
        ),
        "Points moved": ("cps", {f"sum(rate(runstream_compactor_points_total[{_RATE}]))": "points"}),
        "Bytes a point": (
            "bytes",
            {
                "sum(increase(runstream_compactor_bytes_total[1h])) / sum(increase(runstream_compactor_points_total[1h]))": (
                    "of what was moved within an hour"
                )
            },
        ),
        "Rounds that failed, claims lost": (
            "cps",
            {
                f"sum(rate(runstream_compactor_failures_total[{_RATE}]))": "failed",
                f"sum(rate(runstream_compactor_lost_claims_total[{_RATE}]))": "claims lost",
            },
        ),
    },
    "What is asked": {
        "Requests": (
            "reqps",
            {f"sum by (status) (rate(runstream_http_requests_total[{_RATE}]))": "{{status}}"},
        ),
        "How long they take": (
            "s",
            {
                f"histogram_quantile({q}, sum by (le) (rate(runstream_http_request_seconds_bucket[{_RATE}])))": name
                for q, name in ((0.5, "half of them"), (0.95, "95 %"), (0.99, "99 %"))
            },
        ),
        "Routes that take most time": (
            "percentunit",
            {
                f"topk(8, sum by (route) (rate(runstream_http_request_seconds_sum[{_RATE}])))": "{{route}}",
            },
        ),
        "How long SQL takes": (
            "s",
            {
                f"histogram_quantile({q}, sum by (le) (rate({_SQL}[10m])))": name
                for q, name in ((0.5, "half of them"), (0.95, "95 %"))
            },
        ),
        "Under way": (
            "short",
            {
                "sum(runstream_http_requests_in_flight)": "requests",
                "sum(runstream_open_streams)": "pages that are open",
            },
        ),
        "Points sent, bytes taken": (
            "short",
            {
                f"sum(rate(runstream_points_served_total[{_RATE}]))": "points a second",
                f"sum(rate(runstream_uploaded_bytes_total[{_RATE}]))": "bytes a second",
            },
        ),
    },
    "Alerts and processes": {
        "Alerts": (
            "short",
            {
                "sum(increase(runstream_alerts_raised_total[1h]))": "raised within an hour",
                "sum by (receiver, outcome) (increase(runstream_alerts_attempts_total[1h]))": "{{receiver}}: {{outcome}}",
            },
        ),
        "Memory": ("bytes", {'process_resident_memory_bytes{job=~"runstream.*"}': "{{instance}}"}),
        "CPU": (
            "percentunit",
            {f'rate(process_cpu_seconds_total{{job=~"runstream.*"}}[{_RATE}])': "{{instance}}"},
        ),
    },
}
"""Title of a row to its panels: title to unit, and expressions with their legends."""


def document() -> dict[str, Any]:
    """The dashboard, as Grafana imports it."""
    source = {"type": "prometheus", "uid": "${source}"}
    panels: list[dict[str, Any]] = []
    y = 0
    for row, charts in ROWS.items():
        panels.append(
            {"type": "row", "title": row, "id": len(panels) + 1, "collapsed": False, "panels": [],
             "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}}
        )  # fmt: skip
        y += 1
        for at, (title, (unit, lines)) in enumerate(charts.items()):
            width = WIDTH // PANELS_A_ROW
            place = {
                "x": at % PANELS_A_ROW * width,
                "y": y + at // PANELS_A_ROW * HEIGHT,
                "w": width,
                "h": HEIGHT,
            }
            panels.append(
                {
                    "type": "timeseries",
                    "title": title,
                    "id": len(panels) + 1,
                    "datasource": source,
                    "gridPos": place,
                    "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                    "targets": [
                        {
                            "refId": chr(ord("A") + n),
                            "expr": expr,
                            "legendFormat": legend,
                            "datasource": source,
                        }
                        for n, (expr, legend) in enumerate(lines.items())
                    ],
                }
            )
        y += -(-len(charts) // PANELS_A_ROW) * HEIGHT
    return {
        "title": "runstream",
        "uid": "runstream",
        "tags": ["runstream"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": panels,
    }


def main() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(document(), indent=1) + "\n")


if __name__ == "__main__":
    main()
