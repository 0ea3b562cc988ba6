"""Every public method, every hostile value for each argument: an answer, or an error a caller expects, and then nothing of
it was recorded."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.producers.core.hostile import HOSTILE, arguments, refused
from tests.producers.reading import drain

from runstream.client.http import ServiceClient
from runstream.core import Experiment, Run, Workspace
from runstream.core._run.offline_run import _OfflineRun
from runstream.core.run import Run as RunClass
from runstream.exceptions import ServiceException
from runstream.spool.collecting.collector import Collector
from runstream_schemas.settings import Settings

GOOD: dict[str, Any] = {
    "name": "name", "value": 1.0, "key": "key", "tags": {"a": "b"}, "properties": {"a": "b"}, "values": {"a": 1.0},
    "path": "file", "path_or_stream": "file", "names": ["a"], "paths": ["file"], "model_name": "m", "count": 1,
    "file_or_folder_path": "file", "metric_name": "m", "config": None, "runtype": "t", "run_factory": int,
}  # fmt: skip
OTHERS = {
    "log_list": {"value": [1.0]}, "log_table": {"value": {"a": [1]}}, "log_array": {"values": [1.0, 2.0]},
    "log_image": {"path": "image.png"}, "log_confusion_matrix": {"value": {}}, "log_accuracy_table": {"value": {}},
    "log_residuals": {"value": {}}, "log_predictions": {"value": {}}, "upload_folder": {"path": "folder"},
}  # fmt: skip
CHANGE_THE_STATUS = {"start", "complete", "fail", "cancel"}
LEFT_OUT = {
    "plot",  # draws with matplotlib, whose errors are its own
    "clean",
    "get_secret",
    "get_secrets",
    "add_type_provider",  # changes this process
}


def methods(kind: type) -> Iterator[str]:
    for name, member in inspect.getmembers_static(kind):
        if not name.startswith("_") and inspect.isfunction(member) and name not in LEFT_OUT:
            yield name


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment whose service is away for good."""
    monkeypatch.setenv("RUNSTREAM_HOME", str(tmp_path / "home"))

    def away_at_once(client: ServiceClient, patience: float = 0.0) -> Any:
        raise ServiceException("away, found out without waiting", 503)

    monkeypatch.setattr(ServiceClient, "address", away_at_once)
    monkeypatch.setattr("runstream.client.outbox.PATIENCE", 0.0)
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    Path("image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
    Path("folder").mkdir()
    Path("folder/file").write_text("x")
    return Experiment(Workspace(workspace_name="w"), "e")


def position(run: Run) -> dict[str, int]:
    assert run._live_run is not None
    return run._live_run.writer.positions()


CALLS = [(name, argument) for name in methods(RunClass) for argument, _ in arguments(getattr(RunClass, name))]


@pytest.mark.parametrize(("name", "argument"), CALLS, ids=lambda value: value)
def test_methods_of_runs(away: Experiment, name: str, argument: str) -> None:
    run = away.start_logging(outputs=False, snapshot_directory=None)
    run.log("first", 1.0)
    function = getattr(RunClass, name)
    good = {
        parameter: OTHERS.get(name, {}).get(parameter, GOOD.get(parameter))
        for parameter, must in arguments(function)
        if must
    }
    for what, make in HOSTILE.items():
        before, status = position(run), run.status
        if refused(getattr(run, name), {**good, argument: make()}, what):
            # A step that does not fit is found with the slot in hand, which is then left empty.
            assert position(run) == before or argument == "step" or what == "wide integer", (
                f"{what}: half recorded"
            )
            assert run.status == status, what
    run.cancel()
    assert readable(run)


def readable(run: Run) -> bool:
    """Whether whoever reads the spool gets along with all that is in it."""
    settings: Settings = run._settings
    return drain(Collector(settings)) != []


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name in methods(_OfflineRun)
        for argument, _ in arguments(getattr(_OfflineRun, name))
    ],
)
def test_methods_of_runs_outside_of_any_run(away: Experiment, name: str, argument: str) -> None:
    function = getattr(_OfflineRun, name)
    good = {parameter: GOOD.get(parameter) for parameter, must in arguments(function) if must}
    for what, make in HOSTILE.items():
        refused(getattr(_OfflineRun(), name), {**good, argument: make()}, what)
