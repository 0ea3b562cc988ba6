"""What a command records by W&B or in event files becomes runs below its own, while it executes, and once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runstream.client.records import list_records
from runstream.core import Experiment, Run, Workspace
from runstream.importers.runs import Below
from runstream.importers.tensorboard import TensorBoardImport
from runstream.importers.tool_follower import ToolFollower
from tests.producers.conftest import environment

EVENTS = """
from tensorboardX import SummaryWriter
with SummaryWriter("runs/first") as writer:
    for step in range(20):
        writer.add_scalar("loss", 1 / (step + 1), step)
"""

WANDB = """
import sys, time, wandb
run = wandb.init(project="own", name="by wandb", config={"lr": 0.1})
for step in range(20):
    run.log({"loss": 1 / (step + 1)})
sys.stdin.read(1)
run.finish()
"""


@pytest.fixture
def variables(served_home: Path, tmp_path: Path) -> dict[str, str]:
    kept = {name: str(tmp_path / name) for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")}
    plain = {key: value for key, value in environment(served_home).items() if key != "PYTHONWARNINGS"}
    return {**plain, **kept, "WANDB_SILENT": "true"}


def start(workspace: Workspace, variables: dict[str, str], script: str) -> subprocess.Popen[str]:
    words = (
        sys.executable,
        "-P",
        "-m",
        "runstream",
        "exec",
        "-e",
        "test",
        "-w",
        workspace.name,
        "--",
        sys.executable,
        "-c",
        script,
    )
    pipe = subprocess.PIPE
    return subprocess.Popen(words, env=variables, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def children(workspace: Workspace) -> dict[str, Run]:
    """Runs below the command's, by name."""
    below = [
        record
        for record in list_records(workspace._client, [("workspace", workspace.name)])
        if record.parent_run_id
    ]
    return {str(record.display_name): Run.get(workspace, record.run_id) for record in below}


def until(check: Any) -> Any:
    deadline = time.monotonic() + 60
    while not (value := check()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return value


def test_event_files_of_a_command_are_a_run_below_its_own(
    workspace: Workspace, experiment: Experiment, variables: dict[str, str]
) -> None:
    done = start(workspace, variables, EVENTS)
    _, said = done.communicate(timeout=90)
    assert done.returncode == 0, said
    (run,) = children(workspace).values()
    (parent,) = experiment.get_runs()
    assert (run.parent.id if run.parent else None, run.experiment.name, run.get_status()) == (
        parent.id,
        "test",
        "Completed",
    )
    assert (
        run.get_metrics()["loss"] == [1 / (step + 1) for step in range(20)]
        or len(run.get_metrics()["loss"]) == 20
    )
    assert f"runs/first holds is in run {run.id}" in said


def test_wandb_is_followed_live_and_wins_over_event_files(
    workspace: Workspace, variables: dict[str, str]
) -> None:
    process = start(workspace, variables, EVENTS + WANDB)
    try:
        live = until(lambda: children(workspace).get("by wandb"))
        until(lambda: len(live.get_metrics().get("loss", [])) >= 19)
        assert live.get_status() == "Running"
        _, said = process.communicate("x", timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert list(children(workspace)) == ["by wandb"]
    assert (live.get_status(), live.get_params(), len(live.get_metrics()["loss"])) == (
        "Completed",
        {"lr": 0.1},
        20,
    )
    assert "runs/first are left out: W&B wins" in said


def test_what_is_off_is_left_alone(workspace: Workspace, variables: dict[str, str]) -> None:
    shown = "import os; print(os.environ.get('WANDB_MODE'), os.environ.get('WANDB_DIR'))"
    done = start(workspace, variables | {"RUNSTREAM_FOLLOW_TOOLS": "0"}, shown + EVENTS)
    assert done.communicate(timeout=90)[0] == "None None\n"
    assert children(workspace) == {}
    done = start(workspace, variables | {"WANDB_MODE": "disabled"}, shown)
    assert done.communicate(timeout=90)[0] == "disabled None\n"


def test_mlflow_wins_over_event_files(workspace: Workspace, variables: dict[str, str]) -> None:
    script = (
        "import mlflow\nwith mlflow.start_run(run_name='by mlflow'):\n    mlflow.log_metric('loss', 1.0)\n"
        + EVENTS
    )
    process = start(workspace, variables, script)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 0, said
    assert list(children(workspace)) == ["by mlflow"]
    assert "runs/first are left out: MLflow wins" in said


def test_nothing_in_a_tools_files_keeps_the_command_from_ending(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever reading them raises is said of the command's run, and what other tools have recorded is read."""
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"no event")
    read: list[Path] = []

    def fails(importing: Any, *_: Any, **__: Any) -> Any:
        read.append(importing)
        raise KeyError("a field that is not there")

    monkeypatch.setattr(TensorBoardImport, "once", fails)
    monkeypatch.setattr(ToolFollower, "_has_wandb", lambda self: fails(self))
    follower = ToolFollower(
        workspace, "test", Below("r", "r"), os.getpid(), tmp_path / "wandb", tmp_path, 0.0
    )
    lines = follower.rest()
    assert read
    assert lines
    assert all("is not all here: KeyError: 'a field that is not there'" in line for line in lines)
