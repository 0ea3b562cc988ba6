"""monitoring/: the rules for Prometheus and the dashboard for Grafana ask for what the roles show, and no rule is untested.

What the rules tell of, and when, is tried by Prometheus' own promtool: `make test-monitoring`.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import generate_latest

from runstream.agent import AgentState
from runstream_consumers.compaction.state import CompactorState
from runstream_consumers.storing.consumer import ConsumerState
from runstream_query.alerts.state import AlertsState
from runstream_query.http.counters import ServerCounters
from runstream_schemas.metrics import SECONDS, Durations, registry_of

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((MONITORING / "grafana.json").read_text())
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for target in TARGETS]


def shown() -> dict[str, set[str]]:
    """Names of all samples the roles can show, and the labels of each."""
    names = {
        "up": {"job", "instance"},
        "process_resident_memory_bytes": {"job"},
        "process_cpu_seconds_total": {"job"},
    }
    for state in (AgentState(), CompactorState(), ConsumerState(), AlertsState(), ServerCounters()):
        for family in state.collect():
            kinds = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            for end in kinds.get(family.type, [""]):
                labels = set(family._labelnames)  # type: ignore[attr-defined]
                names[family.name + end] = (
                    labels | {"instance", "job"} | ({"le"} if end == "_bucket" else set())
                )
    return names


def selectors(node: Any) -> Iterator[Any]:
    """The vector selectors of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for name in ("expr", "lhs", "rhs", "vs", "vector_selector", "param"):
        part = getattr(node, name, None)
        if part is not None:
            yield from selectors(part)
    for part in getattr(node, "args", None) or ():
        yield from selectors(part)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_what_is_shown(expression: str) -> None:
    names = shown()
    parsed = promql_parser.parse(expression.replace("$__rate_interval", "5m"))
    asked = list(selectors(parsed))
    assert len(asked) == len(re.findall(r"\b(?:runstream|process)_\w+|\bup\{", expression)), (
        "a selector was not seen"
    )
    for selector in asked:
        assert selector.name in names
        for matcher in selector.matchers.matchers:
            assert matcher.name in names[selector.name], (selector.name, matcher.name)
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        for label in map(str.strip, labels.split(",")):
            assert any(label in names[selector.name] for selector in asked), label


def test_each_rule_says_what_to_do_and_is_tried() -> None:
    tried = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    told = {
        asked["alertname"] for test in tried for asked in test["alert_rule_test"] if asked.get("exp_alerts")
    }
    assert told == {rule["alert"] for rule in RULES}
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        for page in re.findall(r"docs/[\w/.-]+\.md", rule["annotations"]["description"]):
            assert (ROOT / page).exists(), page


def test_the_dashboard_is_as_written_and_fits_the_grid() -> None:
    spec = importlib.util.spec_from_file_location("monitoring_generate", MONITORING / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert json.loads((MONITORING / "grafana.json").read_text()) == module.document(), "make docs"
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < module.WIDTH
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_metric_of_a_role_is_in_the_dashboard_or_left_out_on_purpose() -> None:
    """What nobody looks at need not be counted."""
    left_out = {
        # Shares of what is shown, for who looks closer.
        "runstream_consumer_events_total", "runstream_consumer_duplicates_total", "runstream_stale_waits_total",
        "runstream_agent_producers_total", "runstream_server_start_time_seconds", "runstream_compactor_rounds_total",
        "runstream_compactor_runs_total", "runstream_compactor_files_total", "runstream_compactor_seconds_total",
        "runstream_compactor_merged_files_total", "runstream_compactor_summaries_corrected_total",
        "runstream_compactor_snapshots_total", "runstream_http_request_seconds_count",
    }  # fmt: skip
    asked = {
        name for target in TARGETS for name in re.findall(r"\b(?:runstream|process)_\w+", target["expr"])
    }
    assert {name for name in shown() if name.startswith("runstream_")} == (
        {name for name in asked if name.startswith("runstream_")} | left_out
    )


def test_durations_are_counted_in_classes_that_prometheus_reads() -> None:
    counters = ServerCounters()
    for seconds in (0.005, 0.006, 3.0, 99.0):
        counters.durations["/a"].add(seconds)
    text = generate_latest(registry_of([counters])).decode()
    lines = dict(re.findall(r'runstream_http_request_seconds_bucket\{le="([^"]+)",route="/a"\} (\S+)', text))
    assert lines == {
        **dict.fromkeys(map(str, SECONDS), "2.0"), "0.005": "1.0", "5.0": "3.0", "10.0": "3.0", "30.0": "3.0", "+Inf": "4.0",
    }  # fmt: skip
    assert 'runstream_http_request_seconds_sum{route="/a"} 102.011' in text
    assert list(Durations().classes())[-1] == ("+Inf", 0)
