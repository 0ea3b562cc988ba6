"""What `define_metric` says of metrics: kept with the run, in order, once, bounded, through a kill and a compaction."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

from runstream.core import Experiment, Run
from runstream.exceptions import LimitExceeded, UserErrorException
from runstream.spool.writing import control_writer


def definitions_of(run: Run) -> Any:
    """As the run's record over HTTP has them, and the list of runs."""
    run.flush()
    record = run._client.get_json(f"/api/v1/runs/{run.id}")
    [listed] = run._client.get_json("/api/v1/runs", [("run", run.id)])["runs"]
    assert listed["details"] == record["details"]
    return record["details"].get("metric_definitions")


def test_they_are_kept_and_later_ones_complete_them(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    run.define_metric("epoch")
    run.define_metric("val/*", step_metric="epoch")
    run.define_metric("val/acc", summary="Best, last", goal="maximize")
    run.log("val/acc", 0.5)
    run.define_metric("val/acc", goal="minimize")
    run.define_metric("loss", "epoch", "min", "min")
    run.complete()
    run.define_metric("*", summary="none")
    assert definitions_of(run) == {
        "epoch": {},
        "val/*": {"step_metric": "epoch"},
        "val/acc": {"summary": ["best", "last"], "goal": "min"},
        "loss": {"step_metric": "epoch", "summary": ["min"], "goal": "min"},
        "*": {"summary": ["none"]},
    }
    assert run.get_status() == "Completed"
    assert run.get_metrics() == {"val/acc": 0.5}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((7,), "define_metric: name is 7, a int; give a string"),
        (("",), "define_metric: name is empty"),
        (("a*b",), r"'a\*b' has a \* that is not its end"),
        (("a", ["epoch"]), r"step_metric is \['epoch'\], a list"),
        (("a", ""), "step_metric is empty"),
        (
            ("a", None, "median"),
            "summary 'median' of 'a' is none; use min, max, mean, first, last, best, none",
        ),
        (("a", None, "min,,max"), "summary '' of 'a' is none"),
        (("a", None, None, "up"), "goal 'up' of 'a' is none; use minimize or maximize"),
    ],
)
def test_what_cannot_be_is_refused_and_not_kept(
    experiment: Experiment, arguments: tuple[Any, ...], says: str
) -> None:
    run = experiment.start_logging(outputs=False)
    with pytest.raises(UserErrorException, match=says):
        run.define_metric(*arguments)
    run.complete()
    assert definitions_of(run) is None


def test_their_number_is_bounded_and_repeating_one_costs_nothing(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_writer, "MOST_DEFINED", 2)
    run = experiment.start_logging(outputs=False)
    for _ in range(3):
        run.define_metric("a/*", goal="max")
    run.define_metric("<b>\0\u202e", goal="max")
    with pytest.raises(LimitExceeded, match="has definitions of 2 names"):
        run.define_metric("c")
    with pytest.raises(LimitExceeded, match="metric"):
        run.define_metric("x" * 2000)
    run.complete()
    assert definitions_of(run) == {"a/*": {"goal": "max"}, "<b>\u2400\u202e": {"goal": "max"}}
    steps = run._client.get_json(f"/api/v1/runs/{run.id}")
    assert steps["warnings"] == []


KILLED = """
import os, signal
from runstream.core import Experiment, Workspace
run = Experiment(Workspace(workspace_name={workspace!r}), "test").start_logging(run_id={run_id!r}, outputs=False)
for number in range(50):
    run.log("loss", number)
    run.define_metric(f"m{{number}}", goal="min")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_and_a_compaction_lose_none(experiment: Experiment, served_home: Path) -> None:
    run_id = f"{experiment.workspace.name}-killed"
    code = KILLED.format(workspace=experiment.workspace.name, run_id=run_id)
    surroundings = environment(served_home)
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, timeout=SCRIPT_TIMEOUT, check=False)
    assert done.returncode == -signal.SIGKILL
    run = Run(experiment, run_id)
    expected = {f"m{number}": {"goal": "min"} for number in range(50)}
    assert definitions_of(run) == expected
    run.wait_for_completion(raise_on_error=False)
    subprocess.run(
        [sys.executable, "-m", "runstream", "compact"], env=surroundings, timeout=SCRIPT_TIMEOUT, check=True
    )
    assert definitions_of(run) == expected
    assert run.get_metrics()["loss"][-1] == 49


def test_outside_of_a_run_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "AZUREML_RUN_TOKEN" not in os.environ
    run = Run.get_context()
    run.define_metric("val/*", "epoch", goal="maximize")
    assert capsys.readouterr().out == (
        "Attempted to define metric val/*: {'step_metric': 'epoch', 'goal': 'max'}\n"
    )
    with pytest.raises(UserErrorException, match="goal"):
        run.define_metric("a", goal="up")
