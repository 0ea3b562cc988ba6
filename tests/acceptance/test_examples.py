"""The examples run as they are given, and what they are about is in the store afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runstream.core import Experiment, Run, Workspace
from tests.producers.conftest import environment

EXAMPLES = Path(__file__).parents[2] / "examples"
COVERED = {
    "interactive_ridge.py", "log_everything.py", "manage_runs.py", "submitted_ridge/submit.py", "torch_like_loop.py",
    # Run by submit.py.
    "submitted_ridge/train.py", "submitted_ridge/alphas.py",
}  # fmt: skip


@pytest.fixture
def example(served_home: Path, workspace: Workspace, tmp_path: Path) -> Callable[..., str]:
    """Runs an example in an empty directory; what it printed."""

    def run(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment(served_home, RUNSTREAM_WORKSPACE=workspace.name),
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def only(workspace: Workspace, experiment: str) -> Run:
    (run,) = Experiment(workspace, experiment).get_runs()
    assert run.get_status() == "Completed"
    return run


def test_interactive_ridge(example: Callable[..., str], workspace: Workspace) -> None:
    said = example("interactive_ridge.py")
    run = only(workspace, "interactive-ridge")
    metrics = run.get_metrics()
    assert len(metrics["alpha"]) == len(metrics["mse"]) == len(metrics["mse by alpha"]["mse"]) == 20
    best = min(metrics["mse"])
    assert 3200 < best < 3500
    assert f"mean squared error {best:.1f}" in said
    assert run.get_file_names() == ["outputs/best_ridge.pkl"]
    assert run.get_tags()["dataset"] == "diabetes"


def test_submitted_ridge(example: Callable[..., str], workspace: Workspace) -> None:
    said = example("submitted_ridge/submit.py")
    run = only(workspace, "submitted-ridge")
    assert run.type == "azureml.scriptrun"
    assert "alpha 0.00: mean squared error" in said
    assert len(run.get_metrics()["mse"]) == 20
    files = run.get_file_names()
    assert sum(name.startswith("outputs/ridge_") for name in files) == 20
    assert "azureml-logs/70_driver_log.txt" in files


def test_manage_runs(example: Callable[..., str], workspace: Workspace) -> None:
    example("manage_runs.py")
    runs = list(Experiment(workspace, "manage-runs").get_runs())
    by_name = {run.display_name: run for run in runs}
    assert {name: by_name[name].status for name in ("good", "also good", "bad", "given up", "parent")} == {
        "good": "Completed",
        "also good": "Completed",
        "bad": "Failed",
        "given up": "Canceled",
        "parent": "Completed",
    }
    assert by_name["bad"].get_details()["error"]["error"]["code"] == "NoData"
    children = list(by_name["parent"].get_children())
    assert sorted(child.get_metrics()["loss"] for child in children) == pytest.approx([0.1, 1 / 3, 0.5, 1.0])
    marked = list(Experiment(workspace, "manage-runs").get_runs(tags="worth another look"))
    assert [run.get_properties()["author"] for run in marked] == ["runstream-user"]


def test_log_everything(example: Callable[..., str], workspace: Workspace) -> None:
    example("log_everything.py")
    run = only(workspace, "log-everything")
    metrics = run.get_metrics()
    assert (metrics["answer"], metrics["optimizer"], metrics["converged"]) == (42, "adam", True)
    assert metrics["not a number"] != metrics["not a number"]
    assert metrics["loss"][0] == 1.0
    assert len(metrics["loss"]) == len(metrics["train/accuracy"]) == 10
    assert metrics["fibonacci"] == [1, 1, 2, 3, 5, 8]
    assert len(metrics["sine"]) == 1000
    assert metrics["squares"] == {"x": [1, 2, 3], "x squared": [1, 4, 9]}
    assert metrics["cosine"]["angle"] == list(range(0, 360, 45))
    for name in ("bell", "confusion", "residuals", "predictions", "accuracy"):
        assert metrics[name].startswith(f"aml://artifactId/ExperimentRun/dcid.{run.id}/"), name
    assert run.get_tags() == {"stage": "done", "worth another look": None}
    assert run.description == "One run with *everything*."
    assert {"confusion", "notes/hello.txt", "outputs/model.txt"} <= set(run.get_file_names())


@pytest.mark.parametrize("way", [(), ("--submit",)], ids=["interactive", "submitted"])
def test_torch_like_loop(example: Callable[..., str], workspace: Workspace, way: tuple[str, ...]) -> None:
    said = example("torch_like_loop.py", "--epochs", "3", *way)
    run = only(workspace, "torch-like")
    metrics = run.get_metrics()
    assert len(metrics["train/loss"]) == 3 * 50
    assert len(metrics["validation/loss"]) == 3
    assert metrics["validation/loss"][-1] < metrics["validation/loss"][0]
    assert metrics["best validation loss"] == min(metrics["validation/loss"])
    assert "outputs/best.npz" in run.get_file_names()
    assert f"150 batches, best validation loss {run.get_tags()['best']}" in said


def test_every_example_is_run() -> None:
    scripts = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
    sweeps = {name for name in scripts if "sweep" in name}  # tests/producers/sweep/test_sweep.py
    assert scripts - sweeps == COVERED
