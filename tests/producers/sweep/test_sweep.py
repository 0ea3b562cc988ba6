"""Sweeps: grids, random samples and studies over processes and submitted scripts; stopped early, killed and gone on with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.producers.compute.test_queue import until
from tests.producers.conftest import environment

from runstream import sweep
from runstream.core import Experiment, Run, ScriptRunConfig, Workspace
from runstream.exceptions import UserErrorException
from runstream.sweep.search import GridSearch, RandomSearch
from runstream.sweep.space import space_of


def test_a_grid_in_processes(experiment: Experiment) -> None:
    pids_of_the_test = os.getpid()

    def objective(run: Run, x: int, kind: str) -> float:
        assert os.getpid() != pids_of_the_test
        if x == 3:
            raise ValueError("three")
        run.log("kind", kind)
        return float(x * x + (kind == "b"))

    swept = sweep.run(
        experiment,
        objective,
        {"x": [3, -1, 2], "kind": ["a", "b"]},
        metric="loss",
        method="grid",
        concurrency=2,
    )
    assert [trial.parameters for trial in swept.trials] == [
        {"x": x, "kind": kind} for x in (3, -1, 2) for kind in ("a", "b")
    ]
    assert [trial.status for trial in swept.trials] == ["Failed"] * 2 + ["Completed"] * 4
    assert [trial.value for trial in swept.trials] == [None, None, 1.0, 2.0, 4.0, 5.0]
    assert swept.best is not None
    assert swept.best.parameters == {"x": -1, "kind": "a"}
    parent = swept.run
    assert (parent.get_status(), parent._refresh().type) == ("Completed", "hyperdrive")
    assert parent.tags == {"best_run_id": swept.best.run_id, "best_value": "1.0"}
    assert json.loads(parent.properties["primary_metric_config"] or "") == {
        "name": "loss",
        "goal": "minimize",
    }
    best = swept.best_run
    assert best is not None
    assert best.parent is not None
    assert (best.parent.id, best.id) == (parent.id, f"{parent.id}_2")
    assert best.get_tags() == {"x": "-1", "kind": "a"}
    assert best.get_metrics() == {"kind": "a", "loss": 1.0}
    until(lambda: sweep.load(parent) == swept)  # all of it is in the stored runs
    failed = Run.get(experiment.workspace, swept.trials[0].run_id)
    assert failed.get_details()["error"]["error"]["message"] == "User program failed with ValueError: three"


def test_so_many_trials_run_at_once_and_no_more(experiment: Experiment, tmp_path: Path) -> None:
    def objective(run: Run, x: int) -> float:
        mine = tmp_path / f"running-{x}"
        mine.touch()
        others = 0
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            others = max(others, len(list(tmp_path.glob("running-*"))))
            if (
                others >= 2 and time.monotonic() > deadline - 19.7
            ):  # a third one would have had the time to begin
                break
            time.sleep(0.01)
        mine.unlink()
        return float(others)

    swept = sweep.run(
        experiment, objective, {"x": [1, 2, 3, 4]}, metric="at_once", method="grid", concurrency=2
    )
    assert max(trial.value or 0.0 for trial in swept.trials) == 2.0


def test_a_trial_is_stopped_by_the_median(experiment: Experiment) -> None:
    def objective(run: Run, level: float) -> None:
        for step in range(20):
            run.log("accuracy", level + step / 100)

    swept = sweep.run(
        experiment,
        objective,
        {"level": [0.5, 0.6, 0.7, 0.1, 0.8]},
        metric="accuracy",
        goal="maximize",
        method="grid",
        concurrency=1,
        stop=sweep.Median(warmup=5, trials=3),
    )
    assert [trial.status for trial in swept.trials] == ["Completed"] * 3 + ["Canceled", "Completed"]
    assert swept.trials[3].stopped == "at step 5 its best, 0.15, is worse than the median of 3 others, 0.65"
    stopped = Run.get(experiment.workspace, swept.trials[3].run_id)
    assert len(stopped.get_metrics()["accuracy"]) == 6  # not one more
    assert stopped.get_tags()["stopped"] == swept.trials[3].stopped
    assert swept.best is not None
    assert swept.best.number == 4


@pytest.mark.parametrize(
    ("curve", "others", "stopped"),
    [
        ([(1, 5.0)], [[(1, 1.0)], [(1, 2.0)]], True),
        ([(1, 1.5)], [[(1, 1.0)], [(1, 2.0)]], True),  # one of three continues
        ([(1, 0.5)], [[(1, 1.0)], [(1, 2.0)]], False),
        ([(1, 5.0)], [[(1, 1.0)]], False),  # too few to tell
        ([(1, 5.0), (2, 5.0)], [[(2, 1.0)], [(2, 2.0)]], False),  # judged at 1, next at 3
        ([(2, 5.0), (3, 5.0)], [[(3, 1.0)], [(3, 2.0)]], True),
        ([(0, float("nan"))], [[(1, 1.0)]], False),
    ],
)
def test_halving(
    curve: list[tuple[int, float]], others: list[list[tuple[int, float]]], stopped: bool
) -> None:
    assert bool(sweep.Halving(first=1, factor=3).stops(curve, others, minimize=True)) is stopped
    mirrored = [[(step, -value) for step, value in other] for other in others]
    assert bool(sweep.Halving().stops([(s, -v) for s, v in curve], mirrored, minimize=False)) is stopped


def test_a_study_learns_prunes_and_comes_back_from_its_runs(experiment: Experiment) -> None:
    import optuna

    def objective(run: Run, x: float, kind: Any) -> None:
        for step in range(4):
            run.log("loss", (x - 2) ** 2 + (5 if kind == [1] else 0) + 1 / (step + 1))

    space = {"x": sweep.Uniform(-5, 5), "kind": [None, [1]]}
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    options: dict[str, Any] = {
        "metric": "loss",
        "method": "optuna",
        "seed": 7,
        "stop": pruner,
        "concurrency": 1,
    }
    first = sweep.run(experiment, objective, space, trials=15, **options)
    assert {trial.status for trial in first.trials} == {"Completed", "Canceled"}
    again = sweep.run(experiment, objective, space, trials=25, run_id=first.run.id, **options)
    assert [trial.parameters for trial in again.trials[:15]] == [trial.parameters for trial in first.trials]
    assert len(again.trials) == 25
    assert len(list(again.run.get_children())) == 25  # none was run again
    assert again.best is not None
    assert again.best.value is not None
    assert again.best.value < 3
    with pytest.raises(UserErrorException, match=r"is a sweep with space .* resume with the same"):
        sweep.run(experiment, objective, {"x": [1]}, trials=3, run_id=first.run.id, **options)
    assert first.run.get_status() == "Completed"  # as it was


DRIVER = """
import sys, time
from runstream import sweep
from runstream.core import Experiment, Workspace
def objective(run, x):
    with open(sys.argv[3], "a") as stream:
        stream.write(f"{x}\\n")
    if x == 3 and not sys.argv[4:]:
        time.sleep(90)
    return x
found = sweep.run(
    Experiment(Workspace(workspace_name=sys.argv[1]), "e"), objective, {"x": [0, 1, 2, 3, 4]}, metric="y", method="grid",
    concurrency=1, run_id=sys.argv[2],
)
print([(trial.value, trial.status) for trial in found.trials])
"""


def test_a_killed_driver_goes_on(served_home: Path, workspace: Workspace, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "driver.py").write_text(DRIVER)  # its objective is of the main module, with no guard
    command = [sys.executable, "driver.py", workspace.name, f"s-{workspace.name}", str(begun)]
    with subprocess.Popen(command, env=environment(served_home), cwd=tmp_path) as driver:
        until(lambda: begun.exists() and "3\n" in begun.read_text())
        driver.send_signal(signal.SIGKILL)
    done = subprocess.run(
        [*command, "again"],
        env=environment(served_home),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.stdout == f"{[(float(x), 'Completed') for x in range(5)]}\n", done.stderr
    assert "3 of its trials are finished" in done.stderr
    assert begun.read_text().split() == ["0", "1", "2", "3", "3", "4"]
    until(lambda: workspace.get_run(f"s-{workspace.name}").status == "Completed")  # another process wrote it
    parent = workspace.get_run(f"s-{workspace.name}")
    assert [trial.run_id for trial in sweep.load(parent).trials][3:] == [
        f"{parent.id}_3_1",
        f"{parent.id}_4_1",
    ]
    killed = workspace.get_run(f"{parent.id}_3")
    assert killed.get_details()["error"]["error"]["code"] == "ProcessDied"


def test_trials_that_were_killed_as_they_began_are_not_forgotten(experiment: Experiment) -> None:
    def again(**more: Any) -> sweep.Sweep:
        return sweep.run(
            experiment,
            lambda run, x: x,
            {"x": [5, 6, 7, 8]},
            metric="y",
            method="grid",
            concurrency=1,
            **more,
        )

    begun = again(trials=1).run
    child = begun.child_run(run_id=f"{begun.id}_2")  # number 1 has written nothing, number 2 no parameters
    child.fail("its process is gone", "ProcessDied")
    swept = again(run_id=begun.id)
    assert [(trial.parameters["x"], trial.value, trial.status) for trial in swept.trials] == [
        (x, x, "Completed") for x in (5, 6, 7, 8)
    ]
    assert [trial.run_id.removeprefix(begun.id) for trial in swept.trials] == ["_0", "_1_1", "_2_1", "_3_1"]


SCRIPTS = """
import sys
from runstream import ScriptRunConfig, sweep
from runstream.core import Experiment, Workspace
found = sweep.run(
    Experiment(Workspace(workspace_name=sys.argv[1]), "e"), ScriptRunConfig(sys.argv[2], "train.py"), {"x": [0, 1, 2]},
    metric="y", method="grid", concurrency=2, run_id=sys.argv[3],
)
print([(trial.value, trial.status) for trial in found.trials])
"""


def test_scripts_outlive_a_killed_driver(served_home: Path, workspace: Workspace, tmp_path: Path) -> None:
    project, begun = tmp_path / "project", tmp_path / "begun"
    project.mkdir()
    (project / "train.py").write_text(
        "import os, sys, time\nfrom runstream.core import Run\nrun = Run.get_context()\nx = int(sys.argv[2])\n"
        f"open({str(begun)!r}, 'a').write(f'{{x}}\\n')\n"
        f"while x < 2 and not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)\nrun.log('y', x)\n"
    )
    (tmp_path / "driver.py").write_text(SCRIPTS)
    command = [sys.executable, "driver.py", workspace.name, str(project), f"s-{workspace.name}"]
    with subprocess.Popen(command, env=environment(served_home), cwd=tmp_path) as driver:
        until(lambda: begun.exists() and len(begun.read_text()) == 4)
        driver.send_signal(signal.SIGKILL)
    (tmp_path / "go").touch()
    done = subprocess.run(
        command, env=environment(served_home), cwd=tmp_path, capture_output=True, text=True, timeout=90
    )
    assert done.stdout == f"{[(float(x), 'Completed') for x in range(3)]}\n", done.stderr
    assert sorted(begun.read_text().split()) == ["0", "1", "2"]  # none was submitted again
    assert workspace.get_run(f"s-{workspace.name}").status == "Completed"


def test_a_script_that_never_got_into_the_queue_is_submitted_again(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text(
        "import sys\nfrom runstream.core import Run\nRun.get_context().log('y', int(sys.argv[2]))\n"
    )
    config, name = ScriptRunConfig(str(tmp_path / "project"), "train.py"), f"s-{experiment.workspace.name}"
    options: dict[str, Any] = {"metric": "y", "method": "grid", "concurrency": 1, "run_id": name}
    with monkeypatch.context() as patch:
        patch.setattr(
            "runstream.core._submission.submit.enqueue", lambda *_: signal.raise_signal(signal.SIGINT)
        )
        with pytest.raises(KeyboardInterrupt):
            sweep.run(experiment, config, {"x": [3]}, **options)
    swept = sweep.run(experiment, config, {"x": [3]}, **options)
    assert [(trial.run_id, trial.value, trial.status) for trial in swept.trials] == [
        (f"{name}_0_1", 3, "Completed")
    ]
    assert experiment.workspace.get_run(f"{name}_0").get_status() == "Canceled"


def test_a_killed_worker_costs_its_trial_one_more_attempt(experiment: Experiment, tmp_path: Path) -> None:
    once = tmp_path / "once"

    def objective(run: Run, x: int) -> int:
        if x == 1 and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    swept = sweep.run(experiment, objective, {"x": [0, 1, 2]}, metric="y", method="grid", concurrency=2)
    assert [(trial.status, trial.value) for trial in swept.trials] == [
        ("Completed", 0),
        ("Completed", 1),
        ("Completed", 2),
    ]
    assert swept.trials[1].run_id.endswith("_1_1")


def test_scripts_are_stopped_by_the_median(experiment: Experiment, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(
        "import sys, time\nfrom runstream.core import Run\nrun = Run.get_context()\n"
        "assert sys.argv[1:4] == ['--fixed', 'f', '--x'], sys.argv\n"
        "x = int(sys.argv[4])\n"
        "for step in range(3): run.log('loss', x)\n"
        "while x == 9: time.sleep(0.1)\n"
    )
    config = ScriptRunConfig(str(project), "train.py", ["--fixed", "f"])
    swept = sweep.run(
        experiment,
        config,
        {"x": [1, 2, 9]},
        metric="loss",
        method="grid",
        concurrency=2,
        stop=sweep.Median(warmup=1, trials=2),
    )
    assert [(trial.status, trial.value) for trial in swept.trials] == [
        ("Completed", 1),
        ("Completed", 2),
        ("Canceled", 9),
    ]
    assert "worse than the median of 2 others" in swept.trials[2].stopped
    assert [child.type for child in swept.run.get_children()] == ["azureml.scriptrun"] * 3
    assert swept.best is not None
    assert swept.best.parameters == {"x": 1}


def test_a_sweep_canceled_from_the_page(experiment: Experiment, workspace: Workspace, tmp_path: Path) -> None:
    import threading

    def objective(run: Run, x: int) -> None:
        (tmp_path / f"at-{x}").touch()
        time.sleep(90)

    options: dict[str, Any] = {"metric": "y", "method": "grid", "concurrency": 1, "run_id": "to-cancel"}
    refused: list[str] = []

    def cancel() -> None:
        until((tmp_path / "at-1").exists)
        try:
            sweep.run(experiment, objective, {"x": [1, 2]}, **options)  # a second driver
        except UserErrorException as error:
            refused.append(error.message)
        until(lambda: workspace.get_run("to-cancel").status == "Running")
        workspace._client.request("POST", "/api/v1/runs/to-cancel/cancel")
        workspace._client.close()  # this thread's connection

    canceler = threading.Thread(target=cancel)
    canceler.start()
    swept = sweep.run(experiment, objective, {"x": [1, 2]}, **options)
    canceler.join()
    assert f"is at work in process {os.getpid()};" in refused[0]
    assert (swept.trials, swept.run.get_status()) == ([], "Canceled")
    until(lambda: workspace.get_run("to-cancel_0").status == "Canceled")
    assert not (tmp_path / "at-2").exists()


def test_all_trials_failed(experiment: Experiment) -> None:
    def objective(run: Run, x: int) -> None:
        raise ValueError("no")

    swept = sweep.run(experiment, objective, {"x": [1, 2]}, metric="y", method="grid", concurrency=1)
    assert swept.best is None
    assert swept.run.get_details()["error"]["error"]["message"].startswith(
        "all 2 trials failed; the last one: "
    )


def test_spaces() -> None:
    space = space_of({"a": sweep.Uniform(0, 1, 0.25), "b": sweep.Integer(1, 5, 2), "c": "fixed"})
    grid = GridSearch(space)
    assert grid.size == 15
    assert grid.ask(14) == {"a": 1.0, "b": 5, "c": "fixed"}
    assert grid.ask(1) == {"a": 0.0, "b": 3, "c": "fixed"}
    assert grid.ask(15) is None
    wide = space_of(
        {"lr": sweep.LogUniform(1e-4, 1e-1), "n": sweep.Integer(1, 100, log=True), "u": sweep.Uniform(2, 3)}
    )
    samples = [RandomSearch(wide, 3).ask(number) or {} for number in range(400)]
    assert samples == [RandomSearch(wide, 3).ask(number) for number in range(400)]
    assert all(
        1e-4 <= sample["lr"] <= 1e-1 and 1 <= sample["n"] <= 100 and 2 <= sample["u"] <= 3
        for sample in samples
    )
    assert (
        0.2 < sum(sample["lr"] < 1e-3 for sample in samples) / 400 < 0.5
    )  # a third of the orders of magnitude


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({}, {}, "needs a parameter to vary"),
        ({"x": []}, {}, "'x': there are no values"),
        ({"x": [object()]}, {}, "cannot be written as JSON"),
        ({"x": sweep.Uniform(2, 1)}, {}, "goes from 2 to 1"),
        ({"x": sweep.LogUniform(0, 1)}, {}, "bounds above 0"),
        ({"x": sweep.Uniform(0, 1)}, {"method": "grid"}, "a grid needs a list of values"),
        ({"x": [1]}, {"method": "best", "trials": 1}, "method 'best': expected 'grid'"),
        ({"x": [1]}, {"method": "random"}, "trials: say how many"),
        ({"x": [1]}, {"goal": "min"}, "goal 'min': expected 'minimize'"),
        ({"x": [1]}, {"concurrency": 0}, "have to be 1 or more"),
        ({"x": [1]}, {"stop": "early"}, "expected Median, Halving"),
        (
            {"x": [1]},
            {"compute_target": "dask"},
            "compute_target 'dask': a function is executed by processes",
        ),
        ({"x": [1]}, {"objective": "train.py"}, "expected a function or a ScriptRunConfig, got str"),
    ],
)
def test_what_is_refused(space: dict[str, Any], options: dict[str, Any], message: str) -> None:
    experiment = Experiment(Workspace(workspace_name="refused"), "refused")
    options = {"objective": print, "metric": "y", "method": "grid", **options}
    with pytest.raises(UserErrorException, match=message):
        sweep.run(experiment, options.pop("objective"), space, **options)


@pytest.mark.parametrize(
    ("example", "trials", "best"),
    [
        ("sweep_processes.py", 20, r"best of 20: \{'lr': [\d.e-]+, 'momentum': [\d.]+\}, mse [01]\.\d"),
        ("sweep_dask.py", 4, r"best of 4: \{'alpha': 10\.0\}, mse"),
    ],
)
def test_examples(
    workspace: Workspace, served_home: Path, tmp_path: Path, example: str, trials: int, best: str
) -> None:
    workspace.write_config(tmp_path)
    path = Path(__file__).parents[3] / "examples" / example
    variables = environment(served_home, DASK_TEMPORARY_DIRECTORY=str(tmp_path))
    del variables["PYTHONWARNINGS"]
    done = subprocess.run(
        [sys.executable, str(path)], env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert re.search(best, done.stdout), done.stdout
    assert len(re.findall(r"^trial \d+ (?:Completed|Canceled): mse", done.stdout, re.MULTILINE)) == trials
