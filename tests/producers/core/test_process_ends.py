"""How a training process may end: by itself, by an exception, forked, or killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

from runstream.core import Experiment, Run, Workspace

START = """
import os, sys
from runstream.core import Experiment, Workspace
run = Experiment(Workspace(workspace_name="ends"), "ends").start_logging(outputs=False, snapshot_directory=None)
print(run.id, flush=True)
"""


def script(home: Path, cwd: Path, code: str) -> tuple[str, int, str]:
    """Run a script that starts a run; its run's id, exit status and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", START + code],
        env=environment(home),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT,
    )
    return done.stdout.split()[0], done.returncode, done.stderr


@pytest.fixture
def ends(served_home: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("RUNSTREAM_HOME", str(served_home))
    return Workspace(workspace_name="ends")


def fetched(workspace: Workspace, run_id: str, until: str) -> Run:
    deadline = time.monotonic() + 30
    while True:
        try:
            run = workspace.get_run(run_id)
            if run.status == until or time.monotonic() > deadline:
                return run
        except Exception:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("code", "status", "exit_status"),
    [
        ("run.log('a', 1)", "Completed", 0),
        ("run.log('a', 1); sys.exit(0)", "Completed", 0),
        ("run.log('a', 1); raise ValueError('bad')", "Failed", 1),
        ("run.log('a', 1); sys.exit(3)", "Failed", 3),
        ("run.log('a', 1); sys.exit('no data')", "Failed", 1),
        ("run.log('a', 1)\ntry: sys.exit(3)\nexcept SystemExit: pass", "Completed", 0),
        (
            "run.log('a', 1); import threading; threading.Thread(target=sys.exit, args=(3,)).start()",
            "Completed",
            0,
        ),
        ("run.log('a', 1); raise KeyboardInterrupt", "Failed", -signal.SIGINT),
        (  # what a module imported at exit may do: see keep_the_signal
            "run.log('a', 1); import atexit; atexit.register(lambda: exec('pass')); raise KeyboardInterrupt",
            "Failed",
            -signal.SIGINT,
        ),
        ("run.log('a', 1); run.cancel()", "Canceled", 0),
    ],
)
def test_a_script_that_never_ends_its_run(
    ends: Workspace, served_home: Path, tmp_path: Path, code: str, status: str, exit_status: int
) -> None:
    run_id, returned, _ = script(served_home, tmp_path, code)
    assert returned == exit_status
    run = fetched(ends, run_id, status)
    assert run.status == status
    assert run.get_metrics() == {"a": 1}


def test_the_exception_is_kept_and_shown(ends: Workspace, served_home: Path, tmp_path: Path) -> None:
    run_id, _, stderr = script(served_home, tmp_path, "raise ValueError('bad')")
    assert "ValueError: bad" in stderr
    run = fetched(ends, run_id, "Failed")
    assert run.get_details()["error"] == {
        "error": {"code": "UserError", "message": "User program failed with ValueError: bad"}
    }


def test_the_exit_status_is_kept(ends: Workspace, served_home: Path, tmp_path: Path) -> None:
    code = "child = run.child_run()\nimport argparse\nargparse.ArgumentParser().parse_args(['--wrong'])"
    run_id, returned, _ = script(served_home, tmp_path, code)
    run = fetched(ends, run_id, "Failed")
    for ended in (run, *run.get_children()):
        assert ended.get_details()["error"]["error"]["message"] == "User program failed with SystemExit: 2"
    assert returned == 2


def test_open_children_are_completed_too(ends: Workspace, served_home: Path, tmp_path: Path) -> None:
    run_id, _, _ = script(served_home, tmp_path, "child = run.child_run(); child.log('a', 1)")
    run = fetched(ends, run_id, "Completed")
    assert [(child.status, child.get_metrics()) for child in run.get_children()] == [("Completed", {"a": 1})]


def test_a_forked_child_logs_to_the_run_and_does_not_end_it(
    ends: Workspace, served_home: Path, tmp_path: Path
) -> None:
    code = """
run.log("parent", 1)
if os.fork() == 0:
    for i in range(1000):
        run.log("child", i)
    sys.exit(0)
os.wait()
import time
time.sleep(0.5)
print(run.get_status())
run.log("parent", 2)
run.complete()
"""
    done = subprocess.run(
        [sys.executable, "-c", START + code],
        env=environment(served_home),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT,
    )
    run_id, status = done.stdout.split()
    assert status == "Running"
    run = fetched(ends, run_id, "Completed")
    deadline = time.monotonic() + 20
    while len(run.get_metrics().get("child", [])) < 1000 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.get_metrics() == {"parent": [1, 2], "child": list(range(1000))}


def test_killed_in_the_middle_every_point_is_there_and_the_run_failed(
    ends: Workspace, served_home: Path, tmp_path: Path
) -> None:
    code = """
child = run.child_run("inner")
print(child.id, flush=True)
i = 0
while True:
    run.log("i", i)
    child.log("half", i / 2)
    os.write(1, b"%d\\n" % i)
    i += 1
"""
    process = subprocess.Popen(
        [sys.executable, "-c", START + code],
        env=environment(served_home),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    run_id, child_id = process.stdout.readline().strip(), process.stdout.readline().strip()
    lines = [process.stdout.readline() for _ in range(3000)]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait()
    process.stdout.close()
    last = int(("".join(lines) + rest).rsplit("\n", 2)[-2])
    run = fetched(ends, run_id, "Failed")
    assert run.status == "Failed"
    error: dict[str, Any] = run.get_details()["error"]["error"]
    assert error["code"] == "ProcessDied", json.dumps(error)
    logged = run.get_metrics()["i"]
    assert logged[: last + 1] == list(range(last + 1))
    assert len(logged) - (last + 1) in (0, 1)  # killed between log() and the write that told us
    child = fetched(ends, child_id, "Failed")
    assert child.status == "Failed"
    halves = child.get_metrics()["half"]
    assert halves[: last + 1] == [i / 2 for i in range(last + 1)]


def test_a_run_goes_to_other_processes_by_pickle(
    ends: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parent = Experiment(ends, "ends").start_logging(outputs=False, snapshot_directory=None)
    run = parent.child_run("worker")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_log_there, [(run, number) for number in range(4)]))
    assert (run.get_status(), parent.get_status()) == ("Running", "Running")
    run.complete()
    parent.complete()
    for killed, name in ((run, "there"), (parent, "below")):
        deadline = time.monotonic() + 60
        while len(killed.get_metrics().get(name, [])) < 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert sorted(killed.get_metrics()[name]) == [0, 1, 2, 3]


def _log_there(task: tuple[Run, int]) -> None:
    run, number = task
    run.log("there", number)
    assert run.parent is not None
    run.parent.log("below", number)


def test_a_run_in_a_cycle_of_garbage_is_closed_not_a_crash(
    ends: Workspace, served_home: Path, tmp_path: Path
) -> None:
    code = """
import gc
for i in range(50):
    child = run.child_run()
    child.log("i", i)
    child.me = child
    child.complete()
    child.log("after", i)
    del child
gc.collect()
"""
    run_id, returned, stderr = script(served_home, tmp_path, code)
    assert returned == 0, stderr
    run = fetched(ends, run_id, "Completed")
    # Each run is delivered for itself: the parent's end may overtake its children.
    deadline = time.monotonic() + 60
    while len(children := list(run.get_children(status="Completed"))) < 50 and time.monotonic() < deadline:
        time.sleep(0.1)
    values = sorted(fetched(ends, child.id, "Completed").get_metrics()["after"] for child in children)
    assert values == list(range(50))
