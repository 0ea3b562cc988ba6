"""Forks and rewinds through the whole pipeline: the calls, both tiers, SQL, lists, HTTP, deletion."""

from __future__ import annotations

import math
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

import runstream
from runstream.client.branches import Fork
from runstream.core import Experiment, Run
from runstream.exceptions import ServiceException, UserErrorException


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def train(run: Run, begin: int, end: int, offset: float = 0.0) -> None:
    for step in range(begin, end):
        run.log("loss", step + offset, step=step)


def last(run: Run) -> float:
    (record,) = run._client.get_json("/api/v1/runs", [("run", run.id), ("summaries", "1")])["runs"]
    value: float = record["summaries"]["loss"]["last"]
    return value


def test_a_rewound_run_goes_on_from_the_step_and_keeps_what_it_left(
    experiment: Experiment, served_home: Path
) -> None:
    run = experiment.start_logging()
    train(run, 0, 10)
    run.log("note", "first try", step=9)
    assert run.get_metrics()["loss"] == list(range(10))
    run.rewind(4)
    assert run.get_metrics() == {"loss": [0, 1, 2, 3, 4]}, "read one's own writes"
    train(run, 5, 7, 100.0)
    run.rewind(5)
    train(run, 6, 8, 200.0)
    visible = [0, 1, 2, 3, 4, 105, 206, 207]
    former = {1: {"loss": [5, 6, 7, 8, 9], "note": "first try"}, 2: {"loss": 106}}
    assert run.get_metrics() == {"loss": visible}
    assert run.get_former_metrics() == former
    branches = run.get_branches()
    assert [(rewind.branch, rewind.step, rewind.points) for rewind in branches.rewinds] == [
        (1, 4, 6),
        (2, 5, 1),
    ]
    chart = run._client.get_json("/api/v1/series", [("run", run.id), ("name", "loss")])
    assert chart["values"] == visible
    run.complete()
    statement = f"select step, value from metrics where run_id = '{run.id}' order by step"
    of_former = (
        f"select branch, name, step from former_metrics where run_id = '{run.id}' order by branch, name, step"
    )
    eventually(lambda: any((served_home / "store" / "former").rglob("*.parquet")), "a file of former points")
    assert [row["value"] for row in runstream.sql(statement).to_pylist()] == visible
    assert [(row["branch"], row["step"]) for row in runstream.sql(of_former).to_pylist()] == [
        *(("1", step) for step in range(5, 10)),
        ("1", 9),
        ("2", 6),
    ]
    assert (run.get_metrics()["loss"], run.get_former_metrics()) == (visible, former)
    export = run._client.request("GET", "/api/v1/export/points", [("run", run.id)]).body.decode()
    assert len(export.splitlines()) == 1 + len(visible)
    assert last(run) == 207
    # It has ended, and its points lie in a file: they come back for it.
    run.rewind(1)
    assert run.get_metrics() == {"loss": [0, 1]}
    assert run.get_former_metrics() == {**former, 3: {"loss": [2, 3, 4, 105, 206, 207]}}
    assert last(run) == 1


def test_a_fork_begins_with_what_the_other_run_shows_and_outlives_it(experiment: Experiment) -> None:
    parent = experiment.start_logging()
    values = [0.5, 7, True, None, math.inf, "text"]
    for step, value in enumerate(values):
        parent.log("mixed", value, step=step)
    train(parent, 0, 10)
    parent.rewind(6)
    parent.log("loss", 107.0, step=7)
    parent.log("late", 1.0, step=100)
    fork = experiment.start_logging(fork_from=(parent, 7))
    assert fork.get_metrics() == {"mixed": values, "loss": [0, 1, 2, 3, 4, 5, 6, 107]}
    fork.log("loss", 208.0)
    parent.log("loss", 108.0, step=8)
    again = experiment.start_logging(fork_from=(fork.id, 4))
    assert again.get_metrics()["loss"] == [0, 1, 2, 3, 4]
    assert fork.get_metrics()["loss"] == [0, 1, 2, 3, 4, 5, 6, 107, 208]
    assert (fork.get_branches().forked_from, fork.get_branches().forks) == (
        Fork(parent.id, 7),
        [Fork(again.id, 4)],
    )
    rows = runstream.sql(
        f"select step, time, value from metrics where run_id = '{fork.id}' and name = 'loss'"
    )
    of_parent = runstream.sql(
        f"select step, time, value from metrics where run_id = '{parent.id}' and name = 'loss' and step < 8"
    )
    assert sorted(map(str, rows.to_pylist()))[:-1] == sorted(map(str, of_parent.to_pylist()))[:8]
    fork.rewind(2)
    assert fork.get_metrics() == {"mixed": values[:3], "loss": [0, 1, 2]}
    for run in (parent, fork, again):
        run.complete()
    parent.wait_for_completion()
    parent._client.request("DELETE", f"/api/v1/runs/{parent.id}")
    assert fork.get_metrics()["loss"] == [0, 1, 2]
    assert fork.get_branches().forked_from == Fork(parent.id, 7)
    document = fork._client.get_json(f"/api/v1/runs/{fork.id}/branches")
    assert document["forked_from"] == {"run_id": parent.id, "step": 7}, "it is no longer there"


def test_a_fork_of_a_step_beyond_what_is_there_begins_with_all_that_is(experiment: Experiment) -> None:
    parent = experiment.start_logging()
    train(parent, 0, 3)
    fork = experiment.start_logging(fork_from=(parent, 1000))
    assert fork.get_metrics() == {"loss": [0, 1, 2]}
    nothing = experiment.start_logging(fork_from=(parent, -1))
    assert nothing.get_metrics() == {}
    for run in (parent, fork, nothing):
        run.complete()


def test_two_processes_rewind_one_run_by_their_order(experiment: Experiment) -> None:
    run = experiment.start_logging()
    train(run, 0, 5)
    run.get_metrics()
    other = Run.get(experiment.workspace, run.id)
    second = runstream.spool.writing.writer.RunWriter(run._settings, run.id)  # as another process has it
    second.log("other", 1.0, "", 9)
    assert run.get_metrics()["loss"] == [0, 1, 2, 3, 4]
    eventually(lambda: "other" in other.get_metrics(), "the other process' point")
    run.rewind(2)  # the other process' points lie behind it
    assert run.get_metrics() == {"loss": [0, 1, 2], "other": 1.0}
    second.rewind(1)  # and this one's before that
    train(run, 2, 4)
    eventually(lambda: other.get_metrics() == {"loss": [0, 1]}, "the other process' rewind")
    assert run.get_former_metrics() == {1: {"loss": [3, 4]}, 2: {"loss": [2, 2, 3], "other": 1.0}}
    second.close()
    run.complete()


PROCESS = """
import sys
from runstream.core import Experiment, Run, Workspace

run = Run(Experiment(Workspace(workspace_name=sys.argv[1]), "test"), sys.argv[2])
"""
REWINDS = "run.log('other', 1.0, step=9); run.rewind(4); run.log('other', 2.0, step=5); run.flush()"
GOES_ON = "run.log('loss', 105.0, step=5); run.flush()"


def test_of_two_processes_of_a_live_run_the_one_that_began_before_a_rewind_is_cut_and_a_third_goes_on(
    experiment: Experiment, served_home: Path, tmp_path: Path
) -> None:
    def process(code: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", PROCESS + code, experiment.workspace.name, run.id],
            env=environment(served_home),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SCRIPT_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    run = experiment.start_logging(outputs=False)
    train(run, 0, 10)
    assert len(run.get_metrics()["loss"]) == 10
    process(REWINDS)
    cut = {"loss": [0, 1, 2, 3, 4], "other": 2.0}
    eventually(lambda: run.get_metrics() == cut, "the other process' rewind")
    train(run, 10, 12)  # its points lie before the rewind, whenever it logs them
    assert run.get_metrics() == cut
    process(GOES_ON)
    eventually(lambda: run.get_metrics() == {**cut, "loss": [0, 1, 2, 3, 4, 105]}, "the third process' point")
    assert run.get_former_metrics() == {1: {"loss": [5, 6, 7, 8, 9, 10, 11], "other": 1.0}}
    run.complete()


def test_forks_of_forks_outlive_what_lies_between(experiment: Experiment) -> None:
    line = [experiment.start_logging(outputs=False)]
    train(line[0], 0, 10)
    for depth in range(1, 5):
        fork = experiment.start_logging(fork_from=(line[-1], 10 - 2 * depth), outputs=False)
        fork.log("loss", 100.0 * depth, step=11 - 2 * depth)
        line.append(fork)
    expected = [[*range(11 - 2 * depth), 100.0 * depth] for depth in range(1, 5)]
    assert [fork.get_metrics()["loss"] for fork in line[1:]] == expected
    for run in line:
        run.complete()
        run.wait_for_completion()
    for between in line[:-1]:
        between._client.request("DELETE", f"/api/v1/runs/{between.id}")
    assert line[-1].get_metrics() == {"loss": expected[-1]}
    assert line[-1].get_branches().forked_from == Fork(line[-2].id, 2)


def test_what_cannot_be_forked_or_rewound_is_refused_and_leaves_nothing(experiment: Experiment) -> None:
    run = experiment.start_logging()
    run.log("loss", 1.0)
    for wrong in (1.5, "x", None, [3], 1 << 64):
        with pytest.raises(UserErrorException):
            run.rewind(wrong)  # type: ignore[arg-type]
    assert run.get_metrics() == {"loss": 1.0}
    before = len(list(experiment.get_runs()))
    for fork in ("text", (run,), (run, "x"), (None, 1), ("", 1), 5):
        with pytest.raises(UserErrorException):
            experiment.start_logging(fork_from=fork)  # type: ignore[arg-type]
    with pytest.raises(UserErrorException, match="there is such a run"):
        experiment.start_logging(run_id=run.id, fork_from=(run, 0))
    with pytest.raises(ServiceException) as unknown:
        experiment.start_logging(fork_from=(str(uuid.uuid4()), 0))
    assert unknown.value.status_code == 404
    assert len(list(experiment.get_runs())) == before
    run.complete()


def test_a_fork_of_what_is_not_stored_yet_is_refused(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = experiment.start_logging()
    train(parent, 0, 3)
    with monkeypatch.context() as late:
        late.setattr("runstream.core._run.forking.STORED_SECONDS", 0.2, raising=False)
        late.setattr("runstream.client.reading._wait", lambda *_: False)  # so says the service in the end
        with pytest.raises(ServiceException, match="not stored yet"):
            experiment.start_logging(fork_from=(parent, 2))
    fork = experiment.start_logging(fork_from=(parent, 2))
    assert fork.get_metrics() == {"loss": [0, 1, 2]}
    for run in (parent, fork):
        run.complete()
