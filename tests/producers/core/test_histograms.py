"""Histograms through the whole pipeline: the call, both tiers, SQL, HTTP, files that others read."""

from __future__ import annotations

import math
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest

import runstream
from runstream.core import Experiment, Run
from runstream.exceptions import LimitExceeded, UserErrorException


def record(run: Run, steps: int = 5) -> None:
    random = np.random.default_rng(1)
    for step in range(steps):
        run.log_histogram("weights", random.normal(step, 1, 1000), bins=8)


def test_what_is_logged_is_read_at_once_in_order_and_the_same_from_a_file(
    experiment: Experiment, served_home: Path
) -> None:
    run = experiment.start_logging()
    record(run)
    run.log_histogram("weights", [math.nan], step=40)
    run.log_histogram("weights", ([1, 2], [0.0, 1.0, 3.0]), description="of somebody else")
    run.log_histogram("ünïcödé / x", [1.0])
    hot = run.get_histograms("weights")
    assert isinstance(hot, list)
    assert [histogram.step for histogram in hot] == [0, 1, 2, 3, 4, 40, 41]
    assert all(
        sum(histogram.counts) == histogram.count == 1000 and len(histogram.edges) == 9
        for histogram in hot[:5]
    )
    assert (hot[5].counts, hot[5].nan, hot[5].count) == ([], 1, 0)
    assert (hot[6].counts, hot[6].edges, hot[6].min) == ([1, 2], [0.0, 1.0, 3.0], None)
    assert set(run.get_histograms()) == {"weights", "ünïcödé / x"}
    assert run.get_histograms("nothing") == []
    assert run.get_metrics() == {}, "histograms are no metrics"
    statement = f"select * from histograms where run_id = '{run.id}' and name = 'weights' order by step"
    in_hot = runstream.sql(statement).to_pylist()
    run.complete()
    deadline = time.monotonic() + 30
    while not (files := list((served_home / "store" / "histograms").rglob("*.parquet"))) or not any(
        run.id in duckdb.read_parquet(str(path)).project("run_id").fetchnumpy()["run_id"] for path in files
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    cold = run.get_histograms("weights")
    assert cold == hot
    assert runstream.sql(statement).to_pylist() == in_hot
    assert [row["counts"] for row in in_hot] == [histogram.counts for histogram in hot]
    glob = str(served_home / "store" / "histograms" / "**" / "*.parquet")
    others = duckdb.sql(
        f"select step, counts, edges, min, max, sum, count from '{glob}' "
        f"where run_id = '{run.id}' and name = 'weights' order by step"
    ).fetchall()
    assert [(row[1], row[2]) for row in others] == [(histogram.counts, histogram.edges) for histogram in hot]
    assert runstream.sql(f"select name from metrics where run_id = '{run.id}'").to_pylist() == []


def test_the_service_gives_them_thinned_and_as_files(experiment: Experiment) -> None:
    run = experiment.start_logging()
    record(run, 40)
    run.log_histogram("empty", [])
    run.get_histograms("weights")
    client = run._client
    path = f"/api/v1/runs/{run.id}/histograms"
    answer = client.get_json(path, [("name", "weights"), ("most", "10")])
    assert answer["total"] == 40
    assert [histogram["step"] for histogram in answer["histograms"]] == list(range(3, 40, 4))
    first = answer["histograms"][0]
    assert len(first["edges"]) == len(first["counts"]) + 1 == 9
    assert client.get_json(path, [("name", "empty")])["histograms"][0]["edges"] == []
    for wrong, status in (([("name", "no")], 404), ([("name", "weights"), ("most", "0")], 400)):
        with pytest.raises(runstream.exceptions.ServiceException) as refused:
            client.get_json(path, wrong)
        assert refused.value.status_code == status
    csv = client.request(
        "GET", "/api/v1/export/histograms", [("run", run.id), ("name", "weights")]
    ).body.decode()
    assert csv.splitlines()[0].startswith('"run_id","name","step","time","counts","edges","count"')
    assert len(csv.splitlines()) == 41
    run.complete()


def test_what_cannot_be_a_histogram_is_refused_and_records_nothing(experiment: Experiment) -> None:
    run = experiment.start_logging()
    for values, step, kind in (("text", None, UserErrorException), ([1.0], "x", UserErrorException)):
        with pytest.raises(kind):
            run.log_histogram("h", values, step)  # type: ignore[arg-type]
    with pytest.raises(LimitExceeded):
        run.log_histogram("", [1.0])
    assert run.get_histograms() == {}
    run.complete()


def test_a_deleted_run_takes_its_histograms_along(experiment: Experiment, served_home: Path) -> None:
    gone, stays = experiment.start_logging(), experiment.start_logging()
    for run in (gone, stays):
        record(run)
        run.complete()
    glob = str(served_home / "store" / "histograms" / "**" / "*.parquet")

    def in_files() -> set[str]:
        try:
            return {row[0] for row in duckdb.sql(f"select distinct run_id from '{glob}'").fetchall()}
        except duckdb.IOException:  # none yet, or replaced this very moment
            return set()

    def wait(needed: set[str], unwanted: set[str]) -> None:
        deadline = time.monotonic() + 40
        while not (needed <= (present := in_files()) and not unwanted & present):
            assert time.monotonic() < deadline, present
            time.sleep(0.2)

    wait({gone.id, stays.id}, set())
    gone._client.request("DELETE", f"/api/v1/runs/{gone.id}")
    wait({stays.id}, {gone.id})
    assert len(stays.get_histograms("weights")) == 5
