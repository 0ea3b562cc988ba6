"""System metrics through the whole pipeline: what a node writes for a run, both tiers, SQL, HTTP, files that others read."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

import runstream
from runstream.core import Experiment, Run
from runstream.exceptions import UserErrorException
from runstream.spool.live_runs import _leave
from runstream.spool.writing.system_writer import SystemWriter

CPU, MEMORY = "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"


def sampled(run: Run, node: str, values: list[float]) -> None:
    """As the service of a machine does it, which is to be waited for here."""
    writer = SystemWriter(run._settings, run.id, node)
    for number, value in enumerate(values):
        writer.sample({CPU: value, MEMORY: 1000.0 + value}, 1_790_000_000.0 + 10 * number)
    writer.close()
    _leave(run._settings, writer.positions())
    run._experiment.workspace.get_run(run.id)
    list(run._experiment.get_runs())  # waits for all that was written


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_is_sampled_is_read_by_machine_and_the_same_from_a_file(
    experiment: Experiment, served_home: Path
) -> None:
    run = experiment.start_logging(snapshot_directory=None, outputs=False)
    run.log("loss", 0.5)
    sampled(run, "a", [1.0, 2.0, 3.0])
    sampled(run, "b", [7.0])
    hot = run.get_system_metrics()
    assert isinstance(hot, dict)
    assert sorted(hot) == [CPU, MEMORY]
    assert sorted((each.node, each.value) for each in hot[CPU]) == [("a", 1), ("a", 2), ("a", 3), ("b", 7)]
    assert [each.time for each in hot[CPU] if each.node == "a"] == [
        1_790_000_000_000_000 + 10_000_000 * number for number in range(3)
    ]
    assert run.get_system_metrics(CPU) == hot[CPU]
    assert run.get_system_metrics("system/nothing") == []
    statement = (
        f"select name, node, step, time, value from system_metrics where run_id = '{run.id}' order by all"
    )
    in_hot = runstream.sql(statement).to_pylist()
    assert [(row["node"], row["step"], row["value"]) for row in in_hot if row["name"] == CPU] == [
        ("a", 0, 1.0),
        ("a", 1, 2.0),
        ("a", 2, 3.0),
        ("b", 0, 7.0),
    ]
    run.complete()

    def in_a_file() -> bool:
        files = list((served_home / "store" / "system").rglob("*.parquet"))
        return any(
            run.id in duckdb.read_parquet(str(path)).project("run_id").fetchnumpy()["run_id"]
            for path in files
        )

    eventually(in_a_file)
    assert run.get_system_metrics() == hot
    assert runstream.sql(statement).to_pylist() == in_hot
    glob = str(served_home / "store" / "system" / "**" / "*.parquet")
    others = duckdb.sql(
        f"select node, value from '{glob}' where run_id = '{run.id}' and name = '{CPU}' order by all"
    ).fetchall()
    assert others == [("a", 1.0), ("a", 2.0), ("a", 3.0), ("b", 7.0)]


def test_they_are_no_metrics(experiment: Experiment) -> None:
    run = experiment.start_logging(snapshot_directory=None, outputs=False)
    run.log("loss", 0.5)
    sampled(run, "a", [1.0])
    assert run.get_metrics() == {"loss": 0.5}
    assert run.get_metrics(CPU) == {}
    record = run._client.get_json(f"/api/v1/runs/{run.id}", [("summaries", "1")])
    assert set(record["summaries"]) == {"loss"}
    names = run._client.get_json("/api/v1/metric-names", [("run", run.id)])["names"]
    assert [each["name"] for each in names] == ["loss"]
    for view in ("metrics", "summaries"):
        rows = runstream.sql(f"select distinct name from {view} where run_id = '{run.id}'").to_pylist()
        assert rows == [{"name": "loss"}]
    run.complete()


def test_a_run_that_ended_settles_with_them_and_later_ones_are_kept_too(experiment: Experiment) -> None:
    run = experiment.start_logging(snapshot_directory=None, outputs=False)
    sampled(run, "a", [1.0])
    run.complete()
    statement = f"select settled, status from runs where run_id = '{run.id}'"
    eventually(lambda: runstream.sql(statement).to_pylist() == [{"settled": True, "status": "Completed"}])
    sampled(run, "a", [2.0])
    samples = run.get_system_metrics(CPU)
    assert isinstance(samples, list)
    assert sorted(each.value for each in samples) == [1.0, 2.0]
    eventually(lambda: runstream.sql(statement).to_pylist() == [{"settled": True, "status": "Completed"}])


def test_the_service_gives_them_as_charts_of_machines(experiment: Experiment) -> None:
    run = experiment.start_logging(snapshot_directory=None, outputs=False)
    sampled(run, "a", [float(number % 7) for number in range(500)])
    sampled(run, "b", [3.0])
    path, json = f"/api/v1/runs/{run.id}/system-metrics", {"Accept": "application/json"}
    client = run._client
    charts = client.request("GET", path, [("name", CPU), ("width", "50")], headers=json).json()["charts"]
    (chart,) = charts
    assert (chart["name"], chart["x"]) == (CPU, "time")
    assert [(line["run_id"], line["total"]) for line in chart["lines"]] == [("a", 500), ("b", 1)]
    long = chart["lines"][0]
    assert 20 <= len(long["x"]) <= 55
    assert max(long["high"]) == 6.0
    assert min(long["low"]) == 0.0
    begin = 1_790_000_000_000_000
    asked = [("name", CPU), ("from", str(begin + 100_000_000)), ("to", str(begin + 200_000_000))]
    (part,) = client.request("GET", path, asked, headers=json).json()["charts"]
    assert part["lines"][0]["points"] == 11
    all_names = [each["name"] for each in client.request("GET", path, headers=json).json()["charts"]]
    assert all_names == [CPU, MEMORY]
    run.complete()


def test_a_name_that_is_no_text_is_refused(experiment: Experiment) -> None:
    run = experiment.start_logging(snapshot_directory=None, outputs=False)
    with pytest.raises(UserErrorException, match="get_system_metrics: name: expected a text, got int"):
        run.get_system_metrics(3)  # type: ignore[arg-type]
    run.complete()
