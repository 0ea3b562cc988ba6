"""The diff of a source folder against its commit: what is in it, what is not, and its bounds."""

from __future__ import annotations

import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from runstream.client import git_diff as diffs
from runstream.client.git_diff import git_diff
from runstream.core import Experiment, ScriptRunConfig
from runstream.core._run.snapshot_taking import DIFF_ID, SNAPSHOT_ID, source_properties


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder within a repository, with a commit and no changes."""
    folder = tmp_path / "repository" / "project"
    (folder / "lib").mkdir(parents=True)
    for name in (
        "train.py",
        "lib/ü with space.py",
        "gone.py",
        ".env",
        "notes.txt",
        "../beside.py",
        "outputs.py",
    ):
        (folder / name).write_text("old\n")
    git(folder.parent, "init", "-q", "-b", "main")
    git(folder.parent, "add", "-f", ".")
    git(folder.parent, "commit", "-q", "-m", "first")
    return folder


def head(project: Path) -> str:
    return git(project, "rev-parse", "HEAD")


def test_what_changed_below_the_folder_and_nothing_else(project: Path) -> None:
    assert git_diff(project, head(project)) == b""
    (project / "train.py").write_text("new\n")
    (project / "lib" / "ü with space.py").write_text("new\n")
    (project / "gone.py").unlink()
    (project / "unknown.py").write_text("new\n")
    (project.parent / "beside.py").write_text("new\n")
    git(project, "config", "diff.noprefix", "true")
    git(project, "config", "color.ui", "always")
    text = git_diff(project, head(project)).decode()
    assert [line for line in text.splitlines() if line.startswith("diff")] == [
        "diff --git a/gone.py b/gone.py",
        "diff --git a/lib/ü with space.py b/lib/ü with space.py",
        "diff --git a/train.py b/train.py",
    ]
    assert text.endswith("@@ -1 +1 @@\n-old\n+new\n")


@pytest.mark.attack
def test_secrets_and_what_is_ignored_are_not_in_it(project: Path) -> None:
    (project / ".amlignore").write_text("notes.txt\n")
    (project / "outputs").mkdir()
    (project / "outputs" / "result").write_text("")
    git(project, "add", "-f", "outputs")
    git(project, "mv", ".env", "settings.py")  # what it was is no part of the source either
    for name in ("notes.txt", "outputs/result", "settings.py"):
        (project / name).write_text("password\n")
    text = git_diff(project, head(project), (project / "outputs",)).decode()
    assert [line for line in text.splitlines() if line.startswith("diff")] == [
        "diff --git a/settings.py b/settings.py"
    ]
    assert "-old" not in text


@pytest.mark.attack
def test_no_program_of_the_repository_runs(project: Path, tmp_path: Path) -> None:
    for key in ("diff.external", "diff.own.textconv", "diff.own.command"):
        git(project, "config", key, f"touch {tmp_path / 'ran'} #")
    (project / ".gitattributes").write_text("*.py diff=own\n")
    (project / "train.py").write_text("new\n")
    assert b"+new" in git_diff(project, head(project))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("commit", ["", "--output=written", "main", "0" * 40])
def test_without_such_a_commit_there_is_none(project: Path, commit: str) -> None:
    (project / "train.py").write_text("new\n")
    assert git_diff(project, commit) == b""
    assert not (project / "written").exists()


def test_a_long_one_is_cut_at_a_line_and_says_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "train.py").write_text("a line of some length\n" * 100_000)
    text = git_diff(project, head(project))
    assert len(text) <= diffs.MAX_BYTES + 100
    *lines, last = text.decode().splitlines()
    assert lines[-1] == "+a line of some length"
    assert last.startswith("# runstream: the diff continues")
    monkeypatch.setattr(diffs, "SECONDS", 0.0)
    assert git_diff(project, head(project)) == b""


def test_a_run_has_it_beside_its_snapshot(
    experiment: Experiment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diff_of(properties: dict[str, str]) -> str:
        with zipfile.ZipFile(run.restore_snapshot(properties[DIFF_ID], project.parent / "out")) as archive:
            assert archive.namelist() == ["git.diff"]
            return archive.read("git.diff").decode()

    run = experiment.start_logging(snapshot_directory=str(project), outputs=False)
    run.get_snapshot_id()
    assert DIFF_ID not in run.get_properties()
    run.complete()
    (project / "train.py").write_text("print('new')\n")
    run = experiment.start_logging(snapshot_directory=str(project), outputs=False)
    assert run.get_snapshot_id()
    assert "+print('new')" in diff_of(run.get_properties())
    run.complete()
    submitted = experiment.submit(ScriptRunConfig(str(project), "train.py"))
    submitted.wait_for_completion()
    assert submitted.get_properties()[DIFF_ID] == run.get_properties()[DIFF_ID]
    monkeypatch.setattr("runstream.client.git_diff.git_diff", lambda *_: 1 / 0)
    run = experiment.start_logging(snapshot_directory=str(project), outputs=False)
    assert run.get_snapshot_id() == submitted.get_properties()[SNAPSHOT_ID]
    assert DIFF_ID not in run.get_properties()
    run.complete()
    monkeypatch.undo()


def test_a_setting_switches_it_off(
    experiment: Experiment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "train.py").write_text("new\n")
    client = experiment.workspace._client
    assert DIFF_ID in source_properties(client, project)
    monkeypatch.setattr(client, "settings", replace(client.settings, git_diff=False))
    assert DIFF_ID not in source_properties(client, project)
