"""`runstream backup` of a home under load and `runstream restore`, each killed at several steps: real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Shell

TRAINER = """
from pathlib import Path
from runstream import Experiment, Workspace
experiment = Experiment(Workspace.from_config(), "live")
file = Path("{file}")
while True:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    for step in range(400):
        run.log("loss", float(step))
    file.write_text(run.id * 100)
    run.upload_file("ids.txt", str(file))
    run.complete()
    assert len(run.get_metrics()["loss"]) == 400
    print(run.id, flush=True)
"""
# The command line, whose process kills itself when it is about to put a file of this name in its place, to remove it, or to
# copy rows into a table of this name.
DRIVER = """
import os, signal, sys
import asyncpg
from runstream_service.cli.main import main
step, word = sys.argv.pop(1).split()
def watched(owner, name, place):
    real = getattr(owner, name)
    def call(*args, **named):
        if name == step and word in str(args[place]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **named)
    setattr(owner, name, call)
watched(os, "replace", 1)
watched(os, "unlink", 0)
watched(asyncpg.Connection, "copy_to_table", 1)
sys.exit(main(sys.argv[1:]))
"""
BUSY = {
    "RUNSTREAM_COMPACT_AFTER": "0",
    "RUNSTREAM_COMPACT_INTERVAL": "0.2",
    "RUNSTREAM_TRASH_GRACE": "0",
    "RUNSTREAM_IDLE_TIMEOUT": "600",
}
POINTS = """
select run_id, count(*) as n, count(distinct value) as values, min(value) as low, max(value) as high
from metrics where name = 'loss' group by all"""
SUMMARIES = "select run_id, count as n, min as low, max as high from summaries where name = 'loss'"
READ_FILES = """
from runstream import Experiment, Workspace
for run in Experiment(Workspace.from_config(), "live").get_runs():
    for name in run.get_file_names():
        run.download_file(name, "{target}", _validate_checksum=True)
        assert name != "ids.txt" or open("{target}").read() == run.id * 100
        print(run.id)
"""


def killed(shell: Shell, step: str, *words: str) -> None:
    """Run a command that is killed at a step."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, step, *words],
        capture_output=True,
        text=True,
        env=shell.environment(),
        timeout=100,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, f"{step}: {done.stdout}{done.stderr}"


def by_run(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {record.pop("run_id"): record for record in records}


@pytest.mark.timeout(600)
def test_a_busy_home_is_backed_up_and_restored(shells: Callable[[str], Shell], tmp_path: Path) -> None:
    """Every run comes back with a beginning of its points, at least what was stored before, and all it says is true."""
    busy, back = shells("busy"), shells("back")
    busy.variables.update(BUSY)
    directory = str(tmp_path / "backup")
    busy.run("up")
    trainer = busy.start_python(TRAINER.format(file=tmp_path / "file"))
    assert trainer.stdout is not None
    for _ in range(12):  # more than a merge takes
        assert trainer.stdout.readline()
    for step in ("replace runs.copy.zst", "replace backup/files/", "replace manifest.json"):
        killed(busy, step, "backup", directory)
        refused = back.run("restore", directory, check=False)
        assert refused.returncode == 1
        assert "no complete backup" in refused.stderr
    before = by_run(busy.json("sql", POINTS))
    busy.run("backup", directory)
    assert trainer.poll() is None
    trainer.kill()
    assert "whole" in busy.run("backup", "--verify", directory).stdout
    assert "is served by process" in busy.run("restore", directory, check=False).stderr
    for step in (
        "replace restoring.json",
        "replace store/metrics/",
        "copy_to_table sources",
        "unlink restoring.json",
    ):
        killed(back, step, "restore", directory)
    back.run("restore", directory)
    back.run("up")
    points = by_run(back.json("sql", POINTS))
    assert len(before) >= 12
    for run, counted in before.items():
        assert points[run]["n"] >= counted["n"]
    for counted in points.values():
        assert counted == {"n": counted["n"], "values": counted["n"], "low": 0.0, "high": counted["n"] - 1.0}
    for run, said in by_run(back.json("sql", SUMMARIES)).items():
        assert said == {key: points[run][key] for key in said}
    read = back.python(READ_FILES.format(target=tmp_path / "read")).stdout.split()
    assert len(read) >= 12
    assert back.run("doctor").returncode == 0
