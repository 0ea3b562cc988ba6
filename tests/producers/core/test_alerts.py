"""Alerts that a run gives: kept as steps of its life, in order, once, bounded, and through a kill."""

from __future__ import annotations

import enum
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

from runstream.core import Experiment, Run
from runstream.exceptions import UserErrorException
from runstream.spool.writing import control_writer


def alerts_of(run: Run) -> list[tuple[str, str, str]]:
    """Title, text and level of the alerts of a run, oldest first."""
    run.flush()
    answer = run._client.get_json(f"/api/v1/runs/{run.id}/alerts")
    return [(alert["title"], alert["text"], alert["level"]) for alert in reversed(answer["alerts"])]


class AlertLevel(enum.Enum):
    """As W&B has it."""

    ERROR = "ERROR"


def test_they_are_shown_in_their_order_with_their_level(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    run.alert("plain")
    run.alert("more", "two\nlines", "warn")
    run.alert("grave", level=AlertLevel.ERROR)
    run.alert("plain")
    run.complete()
    run.alert("after the end")
    assert alerts_of(run) == [
        ("plain", "", "INFO"), ("more", "two\nlines", "WARN"), ("grave", "", "ERROR"), ("plain", "", "INFO"),
        ("after the end", "", "INFO"),
    ]  # fmt: skip
    assert run.get_status() == "Completed"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((7,), "alert: title is 7, a int; give a string"),
        (("t", ["x"]), r"alert: text is \['x'\], a list"),
        (("",), "alert: the title is empty"),
        ((" \x00\n",), "alert: the title is empty"),
        (("t", "x", "FATAL"), "alert: level 'FATAL' is none; use INFO, WARN, ERROR"),
        (("t", "x", 40), "alert: level 40 is none"),
    ],
)
def test_what_is_none_is_refused_and_not_kept(
    experiment: Experiment, arguments: tuple[Any, ...], says: str
) -> None:
    run = experiment.start_logging(outputs=False)
    with pytest.raises(UserErrorException, match=says):
        run.alert(*arguments)
    run.complete()
    assert alerts_of(run) == []


def test_long_and_hostile_ones_are_cut_and_their_number_is_bounded(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(control_writer, "_MOST_ALERTS", 3)
    run = experiment.start_logging(outputs=False)
    run.alert("x" * (1 << 20), "y" * (1 << 20))
    run.alert("<b>\r\nBcc: eve@example.com", "\x1b[31m\0red\ud800")
    for _ in range(5):
        run.alert("again")
    run.complete()
    (title, text, _), (hostile, shown, _), last = alerts_of(run)
    assert (len(title), len(text), title[-1], text[-1]) == (250, 5000, "…", "…")
    assert (hostile, shown) == ("<b> Bcc: eve@example.com", "\ufffd[31m\ufffdred\ufffd")
    assert last == ("again", "", "INFO")
    assert len([r for r in caplog.records if "alerts of this process are kept" in r.getMessage()]) == 1


KILLED = """
import os, signal
from runstream.core import Experiment, Workspace
run = Experiment(Workspace(workspace_name={workspace!r}), "test").start_logging(run_id={run_id!r}, outputs=False)
for number in range(50):
    run.alert(f"number {{number}}")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_none_of_them(experiment: Experiment, served_home: Path) -> None:
    run_id = f"{experiment.workspace.name}-killed"
    code = KILLED.format(workspace=experiment.workspace.name, run_id=run_id)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(served_home), timeout=SCRIPT_TIMEOUT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    run = Run(experiment, run_id)
    assert [title for title, _, _ in alerts_of(run)] == [f"number {number}" for number in range(50)]


def test_outside_of_a_run_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "AZUREML_RUN_TOKEN" not in os.environ
    run = Run.get_context()
    run.alert("title", "text", "warn")
    assert capsys.readouterr().out == "Attempted to give an alert of level WARN: title\ntext\n"
    with pytest.raises(UserErrorException, match="level"):
        run.alert("title", "text", "loud")
