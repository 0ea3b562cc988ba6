"""/metrics of each role, scraped from a real one that runs."""

from __future__ import annotations

import socket
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.processes import processes_of

from runstream.home.autostart import agent_running
from runstream.home.layout import running_service

if TYPE_CHECKING:
    from conftest import Shell

POINTS = 1000
PLACES = {"agent": 0, "consumer-1": 1, "consumer-2": 2, "compactor-1": 3, "compactor-2": 4, "server": 5}
"""Of the roles among those of `up --kafka`: how far their ports lie behind the one that is set."""


def free_ports(n: int) -> int:
    """The first of so many free ports in a row."""
    for first in range(21_000, 32_000, n):
        try:
            for port in range(first, first + n):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


def scrape(url: str, token: str = "") -> Counter[str]:
    """Values by name, those of all labels added up."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = answer.read().decode()
    values: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values[sample.name] += sample.value  # type: ignore[assignment]
    return values


@pytest.fixture(scope="module")
def cluster(
    shell_of: Callable[[Path], Shell], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Counter[str]]]:
    """`up --kafka`, through which a run has gone: what a role shows."""
    shell = shell_of(tmp_path_factory.mktemp("m") / "home")
    first = free_ports(len(PLACES))
    try:
        shell.run("up", "--kafka", "--metrics-port", str(first))
        run_id = shell.train(POINTS)
        shell.wait_until(lambda: shell.points(run_id) == POINTS)
        yield lambda role: scrape(f"http://127.0.0.1:{first + PLACES[role]}/metrics")
    finally:
        shell.close()


@pytest.mark.kafka
class TestRoles:
    """Of a cluster."""

    def test_an_agent_shows_what_it_sent_and_what_is_left(
        self, cluster: Callable[[str], Counter[str]]
    ) -> None:
        values = cluster("agent")
        assert values["runstream_agent_events_acknowledged_total"] >= 2  # points, and the steps of a life
        assert values["runstream_agent_producers_total"] == 1
        assert {"runstream_agent_waiting_sources", "runstream_agent_spool_bytes"} <= set(values)

    def test_the_consumers_show_what_they_stored_and_how_far_they_are_behind(
        self, cluster: Callable[[str], Counter[str]]
    ) -> None:
        both = cluster("consumer-1") + cluster("consumer-2")
        assert both["runstream_consumer_points_total"] == POINTS
        assert both["runstream_consumer_commits_total"] >= 2
        for name in ("lag", "batch_age_seconds", "fences_lost_total", "dead_letters_total", "retries_total"):
            assert f"runstream_consumer_{name}" in cluster("consumer-1")

    def test_a_compactor_shows_its_rounds(self, cluster: Callable[[str], Counter[str]]) -> None:
        for role in ("compactor-1", "compactor-2"):
            values = cluster(role)
            assert values["runstream_compactor_rounds_total"] >= 1
            assert "runstream_compactor_points_total" in values

    def test_a_server_shows_its_requests(self, cluster: Callable[[str], Counter[str]]) -> None:
        assert cluster("server")["runstream_http_requests_total"] >= 1

    @pytest.mark.parametrize("role", PLACES)
    def test_each_shows_its_process(self, role: str, cluster: Callable[[str], Counter[str]]) -> None:
        assert cluster(role)["process_resident_memory_bytes"] > 1e6


def test_the_embedded_service_shows_all_its_parts_by_both_ways(shell: Shell) -> None:
    port = free_ports(1)
    shell.variables["RUNSTREAM_METRICS_PORT"] = str(port)
    shell.run("up")
    run_id = shell.train(POINTS)
    shell.wait_until(lambda: shell.points(run_id) == POINTS)
    info = running_service(shell.home)
    assert info is not None
    for values in (scrape(f"http://127.0.0.1:{port}/metrics"), scrape(f"{info.url}/metrics", info.token)):
        assert values["runstream_consumer_points_total"] == POINTS
        assert values["runstream_compactor_rounds_total"] >= 1
        assert values["runstream_http_requests_total"] >= 1


def test_a_port_that_is_taken_stops_no_work(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        shell.variables["RUNSTREAM_METRICS_PORT"] = str(taken.getsockname()[1])
        shell.run("up")
        run_id = shell.train(10)
        shell.wait_until(lambda: shell.points(run_id) == 10)
    assert (
        f"RUNSTREAM_METRICS_PORT={shell.variables['RUNSTREAM_METRICS_PORT']}: nothing is shown" in shell.log()
    )


@pytest.mark.attack
def test_nothing_listens_unless_it_is_asked_to(shell: Shell) -> None:
    import psutil

    shell.run("up")
    info = running_service(shell.home)
    assert info is not None
    listening = {
        connection.laddr.port
        for connection in psutil.Process(info.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {int(info.url.rpartition(":")[2])}


def test_a_shell_that_is_closed_leaves_no_agent_behind(
    shell_of: Callable[[Path], Shell], tmp_path: Path
) -> None:
    shell = shell_of(tmp_path / "home")
    shell.variables |= {"RUNSTREAM_KAFKA": "127.0.0.1:1", "RUNSTREAM_URL": "http://127.0.0.1:1"}
    shell.train(1)
    shell.wait_until(lambda: agent_running(shell.home), what="the agent that the run starts")
    assert processes_of(shell.root)
    shell.close()
    assert not processes_of(shell.root)
