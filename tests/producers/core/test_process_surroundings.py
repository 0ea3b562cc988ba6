"""Where a process is and how it goes: forks inside a run's block, directories that change, runs that cannot be ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

import runstream
from runstream.core import Experiment, Workspace
from runstream_schemas.errors import SettingsError
from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import PATHS, Settings

from .test_hostile_texts import arrived, ended

START = """
import os, sys
from runstream.core import Experiment, Workspace
experiment = Experiment(Workspace(workspace_name="surroundings"), "e")
"""


def script(home: Path | str, cwd: Path, code: str, start: str = START) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        env=environment(Path(home)),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT,
    )
    assert "Traceback" not in done.stderr or "expected" in done.stderr, done.stderr
    return done


@pytest.fixture
def surroundings(served_home: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("RUNSTREAM_HOME", str(served_home))
    return Workspace(workspace_name="surroundings")


@pytest.mark.parametrize(
    ("child", "code"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('expected')", 1),
        ("os._exit(4)", 4),
        ("'falls out'", 0),
    ],
)
def test_a_fork_inside_the_block_does_not_end_the_run(
    surroundings: Workspace, served_home: Path, tmp_path: Path, child: str, code: int
) -> None:
    done = script(
        served_home,
        tmp_path,
        f"""
with experiment.start_logging(outputs=False, snapshot_directory=None) as run:
    print(run.id, flush=True)
    run.log("parent", 1)
    if not os.fork():
        run.log("child", 2)
        {child}
    else:
        print("child ended with", os.waitstatus_to_exitcode(os.wait()[1]))
        import time; time.sleep(0.3)
        print("status", run.get_status())
        run.log("parent", 3)
if {child!r} == "'falls out'" and run.status == "Running":
    sys.exit(0)
print("after the block", run.status)
""",
    )
    run_id = done.stdout.split()[0]
    assert f"child ended with {code}" in done.stdout
    assert "status Running" in done.stdout
    assert done.stdout.count("after the block") == 1
    run = arrived(surroundings, run_id)
    assert run.wait_for_completion()["status"] == "Completed"
    assert run.get_metrics()["parent"] == [1, 3]


def test_a_run_that_cannot_be_ended_leaves_the_others_none_the_worse(
    surroundings: Workspace, served_home: Path, tmp_path: Path
) -> None:
    done = script(
        served_home,
        tmp_path,
        """
runs = [experiment.start_logging(outputs=False, snapshot_directory=None) for _ in range(3)]
print(*(run.id for run in runs))
def broken(kind, data=None): raise RuntimeError("expected")
runs[1]._live_run.writer.status = broken
""",
    )
    assert "RuntimeError: expected" in done.stderr
    statuses = [
        arrived(surroundings, run_id).wait_for_completion(raise_on_error=False)["status"]
        for run_id in done.stdout.split()
    ]
    assert statuses == ["Completed", "Failed", "Completed"]


# --- directories -----------------------------------------------------------------------------------------------------


def test_a_relative_home_is_one_home_for_a_program_that_changes_its_directory_and_for_its_children(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    done = script(
        "rs",
        tmp_path,
        """
os.chdir("elsewhere")
import subprocess
from runstream_schemas.settings import Settings
print(Settings.load().home, os.environ["RUNSTREAM_HOME"])
print(Settings.load().spool_path)
subprocess.run([sys.executable, "-c", "from runstream_schemas.settings import Settings; print(Settings.load().home)"])
""",
        "import os, sys, runstream\n",
    )
    home = str(tmp_path / "rs")
    assert sorted(done.stdout.split()) == sorted([home, home, f"{home}/spool", home])


def test_every_setting_that_is_a_path_is_made_absolute_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in PATHS:
        (tmp_path / name).write_text("0123456789abcdef")  # those with a secret are read
        monkeypatch.setenv(f"RUNSTREAM_{name.upper()}", f"./{name}")
    settings = Settings.load()
    for name in PATHS:
        assert getattr(settings, name) == os.environ[f"RUNSTREAM_{name.upper()}"] == str(tmp_path / name)
    monkeypatch.chdir("/")
    assert Settings.load() == settings
    assert Settings(store="s3://bucket/a").store_url == "s3://bucket/a"
    assert {item for item in Settings.__dataclass_fields__ if item.endswith("_file")} <= set(PATHS)


def test_a_working_directory_that_was_deleted(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with experiment.start_logging() as run:
        run.log("a", 1)
    assert ended(run)["status"] == "Completed"
    with pytest.raises(SettingsError, match="working directory was deleted"):
        Settings(home="rs")
    assert Workspace.from_config().name == "default"


def test_output_folders_that_cannot_be_made_cost_a_warning(
    experiment: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outputs").write_text("a file")
    with experiment.start_logging(snapshot_directory=None) as run:
        pass
    assert ended(run)["status"] == "Completed"
    assert "cannot be made" in caplog.text


def test_config_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    named: dict[str, Any] = {"subscription_id": "s", "resource_group": "r", "workspace_name": "named"}
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(named).encode())
    assert Workspace.from_config(file).name == "named"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps({"workspace": "other"}).encode())
    assert Workspace.from_config(tmp_path).name == "other"


# --- small -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2.5, float("nan"), float("inf"), "x", [1]])
def test_a_step_that_is_no_integer_is_refused(experiment: Experiment, step: Any) -> None:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    for log in (run.log, lambda name, value, step: run.log_metrics({name: value}, step)):
        with pytest.raises(runstream.exceptions.UserErrorException, match="no integer"):
            log("a", 1.0, step=step)
        log("a", 1.0, step=3.0)
    run.complete()
    assert run.get_metrics() == {"a": [1.0, 1.0]}


def test_images_logged_one_after_another_have_steps_that_count_on(experiment: Experiment) -> None:
    import numpy as np

    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    for shade in range(4):
        run.log_image("picture", plot=np.full((2, 2), shade / 4))
        run.log_confusion_matrix(f"m{shade}", {"schema_type": "confusion_matrix"})
    run.complete()
    run.flush()
    client = experiment.workspace._client
    params = [("name", "picture"), ("cls", str(int(SeriesClass.IMAGE)))]
    points = client.get_json(f"/api/v1/runs/{run.id}/values", params)["points"]
    assert [point["step"] for point in points] == [0, 1, 2, 3]


def test_workspaces_have_their_names_on_the_class() -> None:
    for name in ("name", "location", "resource_group", "subscription_id"):
        assert isinstance(getattr(Workspace, name), property)
