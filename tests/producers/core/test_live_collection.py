"""Outputs and logs of a run are with the service while it runs, and their last state at its end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runstream.client.addresses import quoted
from runstream.client.files import list_files
from runstream.core import Experiment, Run, ScriptRunConfig
from runstream.core._run import output_collection


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def content(run: Run, name: str) -> str:
    body = run._client.request("GET", f"/api/v1/runs/{run.id}/files/{quoted(name)}").body
    return body.decode()


def rested(path: Path, text: str, seconds: float = 60) -> None:
    """A file that was written a while ago; fewer than 0 seconds: the clock was set back since."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_a_with_block(experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_collection, "LOOK_SECONDS", 0.0)
    with experiment.start_logging(snapshot_directory=None) as run:
        print("first line")
        rested(tmp_path / "outputs" / "model", "half", -3600)
        rested(tmp_path / "logs" / "own" / "x.log", "one\n")
        rested(tmp_path / "logs" / ".hidden", "no")
        (tmp_path / "outputs" / "being written").write_text("not yet")
        until(lambda: len(run.get_file_names()) == 3)
        assert sorted(run.get_file_names()) == ["logs/own/x.log", "logs/user_log.txt", "outputs/model"]
        assert "first line" in content(run, "logs/user_log.txt")
        assert content(run, "outputs/model") == "half"
        with (tmp_path / "logs" / "own" / "x.log").open("a") as log:
            log.write("two\n")
        rested(tmp_path / "outputs" / "model", "whole")
        until(lambda: content(run, "outputs/model") == "whole")
        rested(tmp_path / "outputs" / "model", "mine")
        run.upload_file("outputs/model", tmp_path / "outputs" / "model")
        rested(tmp_path / "outputs" / "model", "after the upload")
        print("last line")
    assert content(run, "outputs/model") == "mine"
    assert content(run, "outputs/being written") == "not yet"
    assert content(run, "logs/own/x.log") == "one\ntwo\n"
    assert "last line" in content(run, "logs/user_log.txt")
    assert run.get_status() == "Completed"
    assert not run.get_details().get("warnings")


def test_a_run_has_what_was_printed_during_it(experiment: Experiment, tmp_path: Path) -> None:
    with experiment.start_logging(snapshot_directory=None, outputs=False):
        print("of another run")
    with experiment.start_logging(snapshot_directory=None, outputs=False) as run:
        print("before")
        with run.child_run() as child:
            print("during")
        print("after")
    assert content(run, "logs/user_log.txt") == "before\nduring\nafter\n"
    assert content(child, "logs/user_log.txt") == "during\n"
    assert (tmp_path / "logs/user_log.txt").read_text() == "of another run\nbefore\nduring\nafter\n"


def test_the_last_state_of_a_submitted_script_that_fails(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text(
        "import os, time\n"
        "open('outputs/model', 'w').write('half')\n"
        "os.utime('outputs/model', (1, 1))\n"
        "open('logs/x.log', 'w').write('live')\n"
        "while not os.path.exists('go on'):\n"
        "    time.sleep(0.02)\n"
        "open('outputs/model', 'w').write('whole')\n"
        "raise ValueError('bad')\n"
    )
    run = experiment.submit(ScriptRunConfig(str(tmp_path / "project"), "train.py"))
    until(lambda: {"outputs/model", "logs/x.log"} <= set(run.get_file_names()))
    assert content(run, "outputs/model") == "half"
    assert content(run, "logs/x.log") == "live"
    (run._settings.home_path / "runs" / run.id / "code" / "go on").touch()
    details = run.wait_for_completion(raise_on_error=False)
    assert details["status"] == "Failed"
    assert content(run, "outputs/model") == "whole"
    assert {file["path"]: file["captured"] for file in list_files(run._client, run.id)}["outputs/model"]


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (None, ["outputs/f"]),
        (False, []),
        ("results", ["results/f"]),
        (["./a/b", "c/"], ["a/b/f", "c/f"]),
        ("../beside", ["beside/f"]),
        ("{tmp}/apart", ["apart/f"]),
    ],
)
def test_folders_that_are_collected(
    experiment: Experiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outputs: str | list[str] | bool | None,
    names: list[str],
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    directory = outputs.format(tmp=tmp_path) if isinstance(outputs, str) else outputs
    run = experiment.start_logging(outputs=directory, snapshot_directory=None)
    folders = (
        ["outputs"]
        if directory is None
        else []
        if directory is False
        else [directory]
        if isinstance(directory, str)
        else directory
    )
    assert isinstance(folders, list)
    for folder in folders:
        assert Path(folder).is_dir()  # made at once
        (Path(folder) / "f").write_text(folder)
        (Path(folder) / "azureml.log").write_text("left out")
    monkeypatch.chdir(tmp_path)
    run.complete()
    assert run.get_file_names() == names
    assert run.get_status() == "Completed"
    assert not run.get_details().get("warnings")


def test_a_child_collects_only_what_it_was_given(experiment: Experiment, tmp_path: Path) -> None:
    rested(tmp_path / "outputs" / "parents", "")
    parent = experiment.start_logging(outputs=False, snapshot_directory=None)
    plain, given = parent.child_run(), parent.child_run(outputs="mine")
    (tmp_path / "mine" / "x").write_text("")
    for run in (plain, given, parent):
        run.complete()
    assert [run.get_file_names() for run in (plain, given)] == [[], ["mine/x"]]
    assert given.get_snapshot_id() is None


def test_collection_gives_up_after_its_time(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_OUTPUT_UPLOAD_TIMEOUT_SEC", "-1")
    run = experiment.start_logging(snapshot_directory=None)
    (tmp_path / "outputs" / "a").write_text("a")
    run.complete()
    assert run.get_status() == "Completed"
    assert "AZUREML_OUTPUT_UPLOAD_TIMEOUT_SEC" in str(run.get_details()["warnings"])
    monkeypatch.setenv("AZUREML_OUTPUT_UPLOAD_TIMEOUT_SEC", "no number")
    run.complete()
    assert run.get_file_names() == ["outputs/a"]


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_stored(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment.start_logging(snapshot_directory=None)
    for name in ("a", "b", "x" * 250):
        (tmp_path / "outputs" / name).write_text(name)
    (tmp_path / "outputs" / "gone").symlink_to(tmp_path / "nowhere")
    run.complete()
    assert run.get_file_names() == ["outputs/a", "outputs/b"]
    assert run.get_status() == "Completed"
    assert "too long" in str(run.get_details()["warnings"])
