"""The service of the SDK's tests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.producers.conftest import experiment, served_home, workspace

from runstream.core import Experiment, Run, Workspace
from runstream_service.cli.main import main

__all__ = ["experiment", "served_home", "workspace"]


TEXT_KEYS = ("created_utc", "run_id", "name", "display_name", "start_time_utc", "status", "root_run_id")


class Cli:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str, exit_code: int = 0) -> str:
        self._capsys.readouterr()
        code = main(words)
        said = self._capsys.readouterr()
        self.stderr = said.err
        assert code == exit_code, f"{words}: {said.err}"
        return said.out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words))


@pytest.fixture
def cli(workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Commands of `workspace`, from its empty directory."""
    monkeypatch.setenv("RUNSTREAM_WORKSPACE", workspace.name)
    return Cli(capsys)


@pytest.fixture
def runs(experiment: Experiment) -> list[Run]:
    """Three ended runs, the last with a child, oldest first."""
    made = []
    for number in range(3):
        run = experiment.start_logging(
            outputs=False, snapshot_directory=None, display_name=f"number {number}"
        )
        run.log("loss", 1.0 / (number + 1), "of *one* epoch")
        run.log("loss", 1.0 / (number + 1), "another text")
        run.tag("number", str(number))
        run.tag("kind", "a b")
        run.add_properties({"author": "azureml-user" if number else "somebody"})
        made.append(run)
    made[1].tag("worth another look")
    made[2].tag("quality", "fantastic run")
    child = made[2].child_run("inner")
    child.complete()
    made[0].fail("bad data", "NoData")
    made[1].cancel()
    made[2].complete()
    for run in (*made, child):
        run.flush()
    return [*made, child]
