"""A run of a machine without a service, delivered later: everything of it, at the times it happened."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from tests.producers.conftest import environment

from runstream import query
from runstream.client import outbox
from runstream.core import Experiment, Workspace

TRAINING = """
import time
from runstream.core import Experiment, Workspace
from runstream.media import File, Text
run = Experiment(Workspace.from_config(), "offline").start_logging(run_id="RUN", snapshot_directory=None, outputs=False)
for step in range(50):
    run.log("loss", 1 / (step + 1), step=10 * step)
run.tag("where", "a train")
for number in range(3):
    run.log_media("seen", Text(f"tree {number}"))
run.log_media("seen", File(bytes(2 << 20)))
with run.child_run() as child:
    child.log("x", 1)
run.fail("the battery is empty", "NoPower")
"""


def test_a_run_is_delivered_with_its_times(served_home: Path, workspace: Workspace, tmp_path: Path) -> None:
    run_id = f"offline-{time.time_ns()}"
    laptop = environment(tmp_path / "laptop", RUNSTREAM_WORKSPACE=workspace.name)
    began = datetime.now(UTC)
    done = subprocess.run(
        [sys.executable, "-c", TRAINING.replace("RUN", run_id)],
        env=laptop,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    ended = datetime.now(UTC)
    assert done.returncode == 0, done.stderr
    delivered = datetime.now(UTC)
    said = subprocess.run(
        [sys.executable, "-m", "runstream", "sync", str(tmp_path / "laptop")],
        env=environment(served_home),
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    ).stdout
    assert "55 points stored; nothing is left" in said
    assert "outbox: 4 files stored" in said
    run = Experiment(workspace, "offline").workspace.get_run(run_id)
    details = run.get_details()
    start, end = (datetime.fromisoformat(details[key]) for key in ("startTimeUtc", "endTimeUtc"))
    assert began <= start <= end <= ended < delivered
    assert details["error"]["error"] == {"code": "NoPower", "message": "the battery is empty"}
    assert run.get_tags() == {"where": "a train"}
    (child,) = run.get_children()
    assert (child.status, child.get_metrics()["x"]) == ("Completed", 1)
    assert [medium.size for medium in run.get_media("seen")] == [6, 6, 6, 2 << 20]
    assert [medium.read() for medium in run.get_media("seen")[:3]] == [b"tree 0", b"tree 1", b"tree 2"]
    points = query.metrics(run, "loss").to_pylist()
    assert [point["step"] for point in points] == list(range(0, 500, 10))
    assert all(start <= point["time"] <= end for point in points)


def test_a_file_kept_while_the_service_started_is_read_by_who_recorded_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    run = Experiment(workspace, "cold").start_logging(snapshot_directory=None, outputs=False)
    run.complete()
    run.flush()
    for name in ("a.txt", "b/c.txt"):
        outbox.put_file(workspace._settings, run.id, name, BytesIO(name.encode()), captured=False)
    assert run.get_file_names() == ["a.txt", "b/c.txt"]
    outbox.put_file(workspace._settings, run.id, "late.txt", BytesIO(b"late"), captured=False)
    run.download_file("late.txt")
    assert (tmp_path / "late.txt").read_bytes() == b"late"
