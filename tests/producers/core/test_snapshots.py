"""Snapshots of source folders: what is in them, what is sent, what git says, and that no run waits or fails for one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from tests.producers.conftest import environment

from runstream.client import code_snapshots as snapshots
from runstream.client.git_facts import git_properties
from runstream.core import Experiment, Run, ScriptRunConfig, Workspace
from runstream.core._run.snapshot_taking import SNAPSHOT_ID
from runstream.exceptions import SnapshotException, UserErrorException
from runstream_schemas.settings import Settings


def names(archive: str) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        return sorted(opened.namelist())


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "lib").mkdir(parents=True)
    (folder / "train.py").write_text("print('train')\n")
    (folder / "train.py").chmod(0o755)
    (folder / "lib" / "with ü and 'quotes'.py").write_text("x = 1\n")
    return folder


def test_a_run_that_starts_has_a_snapshot_and_what_git_says(experiment: Experiment, project: Path) -> None:
    git(project, "init", "-q", "-b", "main")
    git(project, "remote", "add", "origin", "https://user:secret@example.org/r.git")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    (project / "new.py").write_text("")
    run = experiment.start_logging(snapshot_directory=str(project), outputs=False)
    details = run.get_details()
    run.complete()
    got = details["properties"]
    assert got[SNAPSHOT_ID] == run.get_snapshot_id() == Run(experiment, run.id).get_snapshot_id()
    assert {key: value for key, value in got.items() if "git" in key} == {
        "azureml.git.repository_uri": "https://example.org/r.git",
        "azureml.git.branch": "main",
        "azureml.git.commit": git(project, "rev-parse", "HEAD"),
        "azureml.git.dirty": "True",
        "mlflow.source.git.repoURL": "https://example.org/r.git",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.commit": git(project, "rev-parse", "HEAD"),
    }
    restored = run.restore_snapshot(path=project.parent / "out")
    assert Path(restored) == project.parent / "out" / f"{got[SNAPSHOT_ID]}.zip"
    assert names(restored) == ["lib/with ü and 'quotes'.py", "new.py", "train.py"]
    with zipfile.ZipFile(restored) as archive:
        assert archive.read("train.py") == b"print('train')\n"
        assert archive.getinfo("train.py").external_attr >> 16 == 0o100755


SECRETS = (
    ".env", ".env.local", ".netrc", ".npmrc", ".pypirc", ".git-credentials", "id_rsa", "lib/id_ed25519", "lib/server.pem",
    ".ssh/config", ".aws/credentials", "service.key", "secrets.toml", "kaggle.json",
)  # fmt: skip


@pytest.mark.attack
def test_files_of_passwords_and_keys_are_left_out_and_named(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harmless = (".env.example", "environment.py", "keys.py", "id_rsa.pub", "my.envelope")
    for name in (*SECRETS, *harmless):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(name)
    settings = Settings.load({}, home=str(project.parent / "home"))
    before = {"train.py", "lib/with ü and 'quotes'.py"}
    assert {file.path for file in snapshots.take(project, settings).files} == {*before, *harmless}
    [said] = [record.getMessage() for record in caplog.records]
    assert "leave out .aws/, .env, .env.local, .git-credentials, .netrc and 9 more" in said
    assert "a line !.aws/ in .amlignore takes it in" in said
    snapshots.take(project, settings)
    assert len(caplog.records) == 1  # once a folder
    (project / ".amlignore").write_text("!.env\n!.aws/\n*.pub\n")
    paths = {file.path for file in snapshots.take(project, settings).files}
    assert paths == {*before, *harmless, ".amlignore", ".env", ".aws/credentials"} - {"id_rsa.pub"}


@pytest.mark.attack
@pytest.mark.parametrize(
    "address",
    [
        "https://user:pw@example.org/r.git",
        "https://example.org/r.git?private_token=s3cret",
        "https://example.org/r.git#access_token=s3cret",
        "https://oauth2:s3cret@example.org/r.git?a=b#c",
    ],
)
def test_no_token_of_a_remote_is_kept(project: Path, address: str) -> None:
    git(project, "init", "-q")
    git(project, "remote", "add", "origin", address)
    assert git_properties(project)["azureml.git.repository_uri"] == "https://example.org/r.git"


def test_variables_win_over_git(
    experiment: Experiment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_GIT_BRANCH", "built")
    monkeypatch.setenv("AZUREML_GIT_BUILD_ID", "7")
    run = experiment.start_logging(snapshot_directory=str(project), outputs=False)
    properties = run.get_properties()
    run.complete()
    assert properties.pop(SNAPSHOT_ID)
    assert properties == {
        "azureml.git.branch": "built",
        "azureml.git.build_id": "7",
        "mlflow.source.git.branch": "built",
    }


def test_unchanged_content_is_the_same_snapshot_and_results_are_no_source(
    experiment: Experiment, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    ids = []
    for number in range(3):
        with experiment.start_logging() as run:
            Path("outputs/result").write_text(str(number))
        ids.append(run.get_snapshot_id())
        if number == 1:
            (project / "train.py").write_text("changed\n")
    assert ids[0] == ids[1] != ids[2]
    assert names(run.restore_snapshot(path=tmp_path)) == ["lib/with ü and 'quotes'.py", "train.py"]


def test_a_file_that_grows_is_kept_as_far_as_it_goes(
    experiment: Experiment, tmp_path: Path, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    def grow() -> None:
        with (project / "printed.txt").open("a", encoding="utf-8") as stream:
            while not over.is_set():
                stream.write("a line\n" * 50)
                stream.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        run = experiment.start_logging(snapshot_directory=str(project), outputs=False)
        # Notebooks ask for it once more.
        assert run.take_snapshot(project) == run.get_snapshot_id() is not None
    finally:
        over.set()
        writer.join()
    run.complete()
    assert "has no snapshot" not in caplog.text
    with zipfile.ZipFile(run.restore_snapshot(path=tmp_path)) as archive:
        assert all(b"a line".startswith(line) for line in archive.read("printed.txt").split(b"\n"))
        assert archive.read("train.py") == b"print('train')\n"


@pytest.mark.parametrize(
    ("aml", "git_", "expected"),
    [
        ("data/\n*.tmp\n", "train.py\n", {".amlignore", ".gitignore", "train.py", "outputs/o"}),
        (None, "*.tmp\ndata\noutputs/\n", {".gitignore", "train.py"}),
        (None, None, {"train.py", "a.tmp", "data/d", "outputs/o"}),
    ],
)
def test_which_files_belong_to_it(
    tmp_path: Path, aml: str | None, git_: str | None, expected: set[str]
) -> None:
    source, home = tmp_path / "s", tmp_path / "s" / "home"
    for name in ("train.py", "a.tmp", "data/d", "outputs/o", ".git/HEAD", "home/spool/x"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    for name, rules in ((".amlignore", aml), (".gitignore", git_)):
        if rules is not None:
            (source / name).write_text(rules)
    (tmp_path / "secret").write_text("outside")
    (source / "link").symlink_to(tmp_path / "secret")
    (source / "folder").symlink_to(tmp_path)
    os.mkfifo(source / "pipe")
    taken = snapshots.take(source, Settings(home=str(home)))
    assert {file.path for file in taken.files} == expected


def test_names_the_service_cannot_hold_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "good").write_text("")
    for name in ("line\nbreak", "back\\slash", "x" * 250):
        (tmp_path / name).write_text("")
    (tmp_path / os.fsdecode(b"bytes\xff")).write_text("")
    taken = snapshots.take(tmp_path, Settings(home=str(tmp_path / "h")))
    assert [file.path for file in taken.files] == ["good"]
    assert "4 files are left out" in caplog.text


def test_limits(
    experiment: Experiment, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=str(tmp_path / "h"))
    with (project / "large").open("wb") as large:
        large.truncate((300 << 20) + 1)  # sparse
    with pytest.raises(SnapshotException, match=r"Your total snapshot size exceeds the limit of 300.0 MB"):
        snapshots.take(project, settings)
    # A run that starts only warns; a submission is refused before there is a run.
    run = experiment.start_logging(snapshot_directory=str(project), outputs=False)
    assert run.get_snapshot_id() is None
    assert run.get_status() == "Running"
    run.complete()
    assert "exceeds the limit of 300.0 MB" in json.dumps(run.get_details()["warnings"])
    with pytest.raises(SnapshotException, match=r"exceeds the limit of 300.0 MB"):
        experiment.submit(ScriptRunConfig(str(project), "train.py"))
    assert [listed.id for listed in experiment.get_runs()] == [run.id]
    with pytest.raises(SnapshotException, match="exceeds the limit"):
        experiment.start_logging(snapshot_directory=None, outputs=False).take_snapshot(project)
    (project / "large").unlink()
    for number in range(2001):
        (project / f"{number}").touch()
    with pytest.raises(SnapshotException, match=r"Your project exceeds the file limit of 2000\."):
        snapshots.take(project, settings)
    monkeypatch.setenv("AML_SNAPSHOT_NO_FILE_LIMIT", "1")
    assert len(snapshots.take(project, settings).files) == 2003


def test_by_hand_and_only_once(experiment: Experiment, tmp_path: Path, project: Path) -> None:
    run = experiment.start_logging(snapshot_directory=None, outputs=False)
    assert run.get_snapshot_id() is None
    with pytest.raises(SnapshotException, match="has no snapshot"):
        run.restore_snapshot()
    with pytest.raises(SnapshotException, match="neither a directory nor a file"):
        run.take_snapshot(tmp_path / "missing")
    taken = run.take_snapshot(project / "train.py")
    assert run.get_snapshot_id() == taken
    with pytest.raises(SnapshotException, match="has a snapshot already"):
        run.take_snapshot(project)
    run.complete()
    fetched = Run(experiment, run.id)
    assert fetched.properties[SNAPSHOT_ID] == taken
    with pytest.raises(SnapshotException, match="has a snapshot already"):
        fetched.take_snapshot(project)
    assert names(fetched.restore_snapshot(path=tmp_path)) == ["train.py"]
    for wrong in ("0" * 64, "none"):
        with pytest.raises(UserErrorException, match="there is no snapshot"):
            run.restore_snapshot(wrong)
    for wrong in ("../up", "a/b"):
        with pytest.raises(UserErrorException, match="cannot be written"):
            run.restore_snapshot(wrong, tmp_path)
    with pytest.raises(UserErrorException, match="cannot be written"):
        run.restore_snapshot(taken, project / "train.py")
    assert not list(tmp_path.glob(".*"))


def test_a_script_that_ends_at_once(experiment: Experiment, served_home: Path, project: Path) -> None:
    """Nobody waits for its snapshot but the end of its process, when no more threads are made."""
    for number in range(30):
        (project / f"{number}.py").write_text(f"{project} {number}")
    code = (
        "from runstream.core import Experiment, Workspace\n"
        f"e = Experiment(Workspace(workspace_name={experiment.workspace.name!r}), {experiment.name!r})\n"
        "e.start_logging(run_id='brief-' + e.workspace.name, outputs=False)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=project,
        env=environment(served_home),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    run = Run(experiment, f"brief-{experiment.workspace.name}")
    assert run.wait_for_completion()["status"] == "Completed"
    assert len(names(run.restore_snapshot(path=project.parent / "out"))) == 32


def test_a_submitted_run_has_one(workspace: Workspace, experiment: Experiment, project: Path) -> None:
    (project / "train.py").write_text(
        "from runstream.core import Run\nprint(Run.get_context().get_snapshot_id())\n"
    )
    run = experiment.submit(ScriptRunConfig(str(project), "train.py"))
    run.wait_for_completion()
    interactive = experiment.start_logging(snapshot_directory=str(project), outputs=False)
    assert run.get_snapshot_id() == interactive.get_snapshot_id()
    interactive.complete()
    assert run.get_snapshot_id() in run.get_details_with_logs()["logFiles"]["azureml-logs/70_driver_log.txt"]
    assert any(path.endswith("code/train.py") for path in run.clean())
    assert run.clean() == interactive.clean() == []
    assert "azureml-logs/70_driver_log.txt" in run.get_file_names()


@pytest.mark.attack
def test_the_home_is_no_source(
    experiment: Experiment,
    served_home: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A snapshot of it would read this process's own segments, and so lose their locks."""
    monkeypatch.chdir(served_home)
    run = experiment.start_logging(outputs=False)
    run.log("a", 1)
    assert run.get_snapshot_id() is None
    assert "runstream's own directory" in caplog.text
    run.complete()
    assert run.get_metrics() == {"a": 1}
    assert run.get_status() == "Completed"
