"""HyperDrive: configurations submitted to a real service, their trials, policies, cancels, and what they are asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.producers.compute.test_queue import until

from runstream.compute.job import STARTED, run_directory
from runstream.core import Experiment, Run
from runstream.exceptions import UserErrorException
from runstream.train.hyperdrive import (
    BanditPolicy,
    BayesianParameterSampling,
    GridParameterSampling,
    HyperDriveConfig,
    HyperDriveRun,
    NoTerminationPolicy,
    PrimaryMetricGoal,
    RandomParameterSampling,
    choice,
    quniform,
)
from runstream.train.hyperdrive.exceptions import (
    HyperDriveConfigException,
    HyperDriveNotImplementedException,
    HyperDriveRehydrateException,
)


def test_a_grid(experiment: Experiment, configured: Callable[..., HyperDriveConfig]) -> None:
    sampling = GridParameterSampling({"--x": choice(1, 2), "kind": choice("a", "b")})
    lines = (
        "for step in (1, 0.5): run.log('accuracy', options.x * step + (options.kind == 'b') / 4)\n"
        "run.log('seen', options.kind)"
    )
    run = experiment.submit(configured(lines, sampling, 10), tags={"team": "t"})
    assert isinstance(run, HyperDriveRun)
    details = run.wait_for_completion(show_output=True)
    assert (details["status"], run.type, run.get_tags()["team"]) == ("Completed", "hyperdrive", "t")
    children = {child.id: child for child in run.get_children()}
    assert sorted(children) == [f"{run.id}_{number}" for number in range(4)]
    assert {child.get_status() for child in children.values()} == {"Completed"}
    parameters = {name: json.loads(text) for name, text in run.get_hyperparameters().items()}
    assert parameters[f"{run.id}_1"] == {"--x": 1, "kind": "b"}
    ordered = run.get_children_sorted_by_primary_metric()
    assert [child["best_primary_metric"] for child in ordered] == [2.25, 2.0, 1.25, 1.0]
    assert ordered[0] == {
        "run_id": f"{run.id}_3",
        "hyperparameters": '{"--x": 2, "kind": "b"}',
        "best_primary_metric": 2.25,
        "status": "Completed",
    }
    assert [child["run_id"] for child in run.get_children_sorted_by_primary_metric(2, reverse=True)] == [
        f"{run.id}_0",
        f"{run.id}_1",
    ]
    best = run.get_best_run_by_primary_metric()
    assert best is not None
    assert best.id == f"{run.id}_3"
    assert run.get_metrics()[best.id] == {"accuracy": [2.25, 1.25], "seen": "b"}
    assert set(run.get_metrics()) == set(children)
    again = Run.get(experiment.workspace, run.id)
    assert isinstance(again, HyperDriveRun)
    assert again.hyperdrive_config._sampling == sampling
    assert (again.hyperdrive_config._policy, again.hyperdrive_config._max_total_runs) == (
        NoTerminationPolicy(),
        10,
    )
    with pytest.raises(HyperDriveConfigException, match="names no script; make one"):
        experiment.submit(again.hyperdrive_config)
    assert run.cancel() is False
    assert run.get_status() == "Completed"


def _running(experiment: Experiment, configured: Callable[..., HyperDriveConfig]) -> HyperDriveRun:
    run: HyperDriveRun = experiment.submit(
        configured("time.sleep(90)", GridParameterSampling({"x": choice(1, 2)}), 2, max_concurrent_runs=1)
    )
    until(lambda: [child.status for child in run.get_children()] == ["Running"])
    return run


def test_a_cancel_ends_the_trials(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig]
) -> None:
    run = _running(experiment, configured)
    with pytest.raises(UserErrorException, match="is Running; wait for its end, or choose another run id"):
        experiment.submit(run.hyperdrive_config, run_id=run.id)
    assert run.cancel() is True
    assert run.wait_for_completion()["status"] == "Canceled"
    assert run.cancel() is True
    until(lambda: [child.status for child in run.get_children()] == ["Canceled"])
    assert run.get_best_run_by_primary_metric() is None
    assert run.get_children_sorted_by_primary_metric(discard_no_metric=True) == []
    assert [child["best_primary_metric"] for child in run.get_children_sorted_by_primary_metric()] == [None]


def test_random_values_two_at_a_time(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig], tmp_path: Path
) -> None:
    lines = (
        f"mine = {str(tmp_path / 'at-')!r} + run.id\nopen(mine, 'w').close()\n"
        f"import glob\ntime.sleep(0.5)\nrun.log('at_once', len(glob.glob({str(tmp_path / 'at-*')!r})))\n"
        "os.unlink(mine)\nrun.log('accuracy', options.x)"
    )
    config = configured(
        lines,
        RandomParameterSampling({"x": quniform(0, 100, 5), "kind": "fixed"}),
        6,
        max_concurrent_runs=2,
        primary_metric_goal=PrimaryMetricGoal.MINIMIZE,
    )
    run = experiment.submit(config)
    run.wait_for_completion()
    ordered = run.get_children_sorted_by_primary_metric()
    values = [child["best_primary_metric"] for child in ordered]
    assert len(values) == 6
    assert values == sorted(values)
    assert all(value % 5 == 0 for value in values)
    assert {json.loads(child["hyperparameters"])["kind"] for child in ordered} == {"fixed"}
    assert max(metrics["at_once"] for metrics in run.get_metrics().values()) <= 2


def test_a_bandit_ends_a_bad_trial(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig]
) -> None:
    lines = (
        "for step in range(4): run.log('accuracy', options.x)\n"
        "while options.x < 0.5: time.sleep(0.1)"  # it never ends by itself
    )
    config = configured(
        lines,
        GridParameterSampling({"x": choice(0.8, 0.7, 0.1)}),
        3,
        max_concurrent_runs=1,
        policy=BanditPolicy(slack_factor=0.2, evaluation_interval=2, delay_evaluation=3),
    )
    run = experiment.submit(config)
    assert run.wait_for_completion()["status"] == "Completed"
    children = run.get_children_sorted_by_primary_metric()
    assert [(child["best_primary_metric"], child["status"]) for child in children] == [
        (0.8, "Completed"),
        (0.7, "Completed"),
        (0.1, "Canceled"),
    ]
    stopped = Run.get(experiment.workspace, children[2]["run_id"])
    assert stopped.tags["stopped"] == (
        "after 4 values its best, 0.1, is worse than the best, 0.8, by more than 0.2 of it"
    )


def test_a_study(experiment: Experiment, configured: Callable[..., HyperDriveConfig]) -> None:
    sampling = BayesianParameterSampling({"x": quniform(0, 10, 2), "kind": choice("a", "b")})
    lines = "run.log('accuracy', -(options.x - 4) ** 2 - (options.kind == 'a'))"
    with pytest.warns(UserWarning, match="max_total_runs 4: Bayesian sampling learns best from 40 or more"):
        config = configured(lines, sampling, 4, max_concurrent_runs=2)
    run = experiment.submit(config)
    run.wait_for_completion()
    drawn = [json.loads(text) for text in run.get_hyperparameters().values()]
    assert len(drawn) == 4
    assert {(item["x"] % 2, item["kind"] in "ab") for item in drawn} == {(0, True)}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
@pytest.mark.parametrize("killed", [True, False])
def test_a_wrapper_that_dies_thread_by_thread_has_not_asked_to_cancel(tmp_path: Path, killed: bool) -> None:
    """Told by the end of the thread that started it, the driver still has its parent for a moment."""
    driver = f"""
import os, time
from pathlib import Path
from runstream.train.hyperdrive._driver import end_when_asked
end_when_asked(os.getppid(), Path({str(tmp_path / "cancel")!r}))
Path({str(tmp_path / "ready")!r}).touch()
try:
    time.sleep(30)
except KeyboardInterrupt:
    Path({str(tmp_path / "canceled")!r}).touch()
"""
    wrapper = f"""
import ctypes, os, signal, subprocess, sys, threading, time
def start():
    global driver
    told = lambda: ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    driver = subprocess.Popen([sys.executable, "-c", {driver!r}], preexec_fn=told)
    while not os.path.exists({str(tmp_path / "ready")!r}):
        time.sleep(0.01)
    print(driver.pid, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(0.1)
if {killed}:
    os.kill(os.getpid(), signal.SIGKILL)
driver.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", wrapper], capture_output=True, text=True, timeout=60, check=False
    )
    driver_pid = int(done.stdout)
    until(lambda: not psutil.pid_exists(driver_pid))
    assert (tmp_path / "canceled").exists() is not killed


def test_a_killed_run_resumes(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig], tmp_path: Path
) -> None:
    lines = (
        f"open({str(tmp_path / 'begun')!r}, 'a').write(str(int(options.x)) + ' ')\n"
        f"while options.x > 1 and not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)\n"
        "run.log('accuracy', options.x)"
    )
    name = f"hd-{experiment.workspace.name}"
    sampling = GridParameterSampling({"x": choice(1, 2, 3)})
    config = configured(lines, sampling, 3, max_concurrent_runs=2, custom_run_id=name)
    run = experiment.submit(config)
    begun = tmp_path / "begun"
    until(lambda: begun.exists() and sorted(begun.read_text().split()) == ["1", "2", "3"])
    directory = run_directory(experiment.workspace._settings, name)
    os.kill(json.loads((directory / STARTED).read_text())["pid"], signal.SIGKILL)
    until(lambda: run.get_status() == "Failed")
    assert {child.get_status() for child in run.get_children()} <= {"Completed", "Running"}
    (tmp_path / "go").touch()
    until(lambda: all(child.get_status() == "Completed" for child in run.get_children()))
    again = experiment.submit(config)
    assert again.wait_for_completion()["status"] == "Completed"
    assert [child["best_primary_metric"] for child in again.get_children_sorted_by_primary_metric()] == [
        3,
        2,
        1,
    ]
    assert sorted(begun.read_text().split()) == ["1", "2", "3"]  # none was submitted again
    longer = configured(lines, GridParameterSampling({"x": choice(1, 2, 3)}), 2, custom_run_id=name)
    assert experiment.submit(longer).wait_for_completion()["status"] == "Completed"
    other = configured(lines, GridParameterSampling({"x": choice(1, 9)}), 2, custom_run_id=name)
    failed = experiment.submit(other)
    assert failed.wait_for_completion(raise_on_error=False)["status"] == "Failed"
    assert (
        "is a sweep with space"
        in failed.get_details_with_logs()["logFiles"]["azureml-logs/70_driver_log.txt"]
    )


def test_its_time_limit_and_failing_trials(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig]
) -> None:
    slow = configured("time.sleep(90)", GridParameterSampling({"x": choice(1)}), 1, max_duration_minutes=0.1)
    run = experiment.submit(slow)
    failing = experiment.submit(
        configured("raise ValueError('no')", GridParameterSampling({"x": choice(1)}), 1)
    )
    assert failing.wait_for_completion(raise_on_error=False)["status"] == "Failed"
    assert "all 1 trials failed; the last one: " in failing.get_details()["error"]["error"]["message"]
    assert failing.get_best_run_by_primary_metric() is None
    assert run.wait_for_completion()["status"] == "Canceled"
    until(lambda: all(child.get_status() == "Canceled" for child in run.get_children()))


def test_a_child_of_a_run(experiment: Experiment, configured: Callable[..., HyperDriveConfig]) -> None:
    with experiment.start_logging(outputs=False, snapshot_directory=None) as parent:
        run = parent.submit_child(
            configured("run.log('accuracy', options.x)", GridParameterSampling({"x": choice(5)}), 1)
        )
        assert isinstance(run, HyperDriveRun)
        run.wait_for_completion()
        assert [child.id for child in parent.get_children()] == [run.id]
        best = run.get_best_run_by_primary_metric()
        assert best is not None
        assert best.get_metrics() == {"accuracy": 5.0}


def test_what_runs_of_hyperdrive_do_not_do(experiment: Experiment) -> None:
    from runstream import sweep

    made = sweep.run(experiment, lambda run, x: x, {"x": [1, 2]}, metric="y", method="grid").run
    run = HyperDriveRun(experiment, made.id)
    assert (
        run.get_children_sorted_by_primary_metric(1)[0]["best_primary_metric"] == 1.0
    )  # of a sweep of runstream
    with pytest.raises(HyperDriveRehydrateException, match=r"runstream\.sweep\.load\(\) reads"):
        _ = run.hyperdrive_config
    with pytest.raises(HyperDriveNotImplementedException, match=r"use cancel\(\)"):
        run.fail()
    with pytest.raises(HyperDriveNotImplementedException, match=r"use get_all_logs\(\)"):
        run.get_diagnostics()
    with pytest.raises(HyperDriveConfigException, match="top -1: expected a whole number"):
        run.get_children_sorted_by_primary_metric(-1)
    with pytest.raises(HyperDriveConfigException, match="run_id: expected a text, got int"):
        HyperDriveRun(experiment, 7)  # type: ignore[arg-type]
    plain = experiment.start_logging(outputs=False, snapshot_directory=None)
    plain.complete()
    with pytest.raises(HyperDriveRehydrateException, match="names no primary metric"):
        HyperDriveRun(experiment, plain.id).get_hyperparameters()
