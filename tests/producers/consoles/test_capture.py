"""The console of interactive runs, in real processes: whose text is whose, stand-ins of streams, threads, forks, kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runstream.client.http import client_for
from runstream.consoles.capture import FOLDER
from runstream.consoles.sending import Sender
from runstream.core import Experiment, Run, Workspace
from runstream_schemas.settings import Settings

from ..conftest import environment

LOG = "user_logs/std_log.txt"
HEAD = """
import os, sys, threading, time
from runstream.core import Experiment, Workspace
experiment = Experiment(Workspace(workspace_name="consoles"), "consoles")
def start(name, **kwargs):
    return experiment.start_logging(run_id=sys.argv[1] + name, snapshot_directory=None, outputs=False, **kwargs)
"""

Printed = Callable[..., Callable[[str], str]]


@pytest.fixture
def printed(served_home: Path, tmp_path: Path) -> Printed:
    """Run a script; what it returns gives what a run of it has as its console."""

    def run(script: str, *, status: int = 0, **variables: str) -> Callable[[str], str]:
        prefix = f"c{time.time_ns()}-"
        done = subprocess.run(
            [sys.executable, "-c", HEAD + script, prefix],
            env=environment(served_home, **variables),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            # CPython before 3.12.4 may print what lay in memory when threads share a stream (python/cpython#119506).
            errors="replace",
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return lambda name: console(served_home, prefix + name)

    return run


def console(home: Path, run_id: str, name: str = LOG) -> str:
    """What the service has when it has all of it."""
    client = client_for(Settings.load(home=str(home)))
    deadline = time.monotonic() + 30
    while any(run_id in path.read_text() for path in (home / FOLDER).glob("*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    files = {file["path"] for file in client.get_json(f"/api/v1/runs/{run_id}/files")["files"]}
    if name not in files:
        return ""
    return client.request("GET", f"/api/v1/runs/{run_id}/files/{name}").body.decode()


def test_what_is_printed_between_start_and_end_is_the_runs(printed: Printed) -> None:
    of = printed("""
print("before")
run = start("a")
print("to stdout", 1, 2)
print("to stderr", file=sys.stderr)
sys.stdout.write("\\x1b[31mred\\x1b[0m\\n")
sys.stderr.writelines(["one\\n", "two\\n"])
run.complete()
print("behind")
""")
    assert of("a") == "to stdout 1 2\nto stderr\n\x1b[31mred\x1b[0m\none\ntwo\n"


def test_a_traceback_that_ends_the_process_is_in_it(printed: Printed) -> None:
    of = printed('run = start("a")\nraise ValueError("no " + "such thing")', status=1)
    assert of("a").startswith("Traceback (most recent call last)")
    assert of("a").endswith("ValueError: no such thing\n")


def test_a_logger_that_was_there_before_the_run_writes_to_it(printed: Printed) -> None:
    of = printed("""
import logging
logging.basicConfig(format="%(message)s", level="INFO")
run = start("a")
logging.info("logged")
run.complete()
""")
    assert of("a") == "logged\n"


def test_children_have_their_own_and_their_parents_have_it_too(printed: Printed) -> None:
    of = printed("""
run = start("a")
print("parent")
child = run.child_run("child", run_id=sys.argv[1] + "b")
print("child")
child.complete()
print("parent again")
run.complete()
""")
    assert of("a") == "parent\nchild\nparent again\n"
    assert of("b") == "child\n"


def test_runs_of_threads_have_what_their_threads_print(printed: Printed) -> None:
    of = printed("""
def work(name):
    run = start(name)
    for number in range(100):
        print(name, number)
    run.complete()
threads = [threading.Thread(target=work, args=[name]) for name in ("a", "b", "c")]
for thread in threads: thread.start()
for thread in threads: thread.join()
""")
    for name in ("a", "b", "c"):
        lines = of(name).splitlines()
        assert lines == [f"{name} {number}" for number in range(100)]


def test_threads_that_start_no_run_print_to_the_process_s(printed: Printed) -> None:
    of = printed("""
run = start("a")
threads = [threading.Thread(target=lambda n=n: [print(f"{n} {i}\\n", end="") for i in range(500)]) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
run.complete()
""")
    assert sorted(of("a").splitlines()) == sorted(f"{n} {i}" for n in range(8) for i in range(500))


def test_a_forked_child_goes_on_in_the_same_console(printed: Printed) -> None:
    of = printed("""
run = start("a")
print("parent")
sys.stdout.write("no end, ")
pid = os.fork()
if not pid:
    print("child")
    sys.stdout.flush()
    os._exit(0)
os.waitpid(pid, 0)
print("parent again")
run.complete()
""")
    assert of("a").splitlines() == ["parent", "child", "no end, parent again"]


def test_what_was_printed_before_a_kill_is_there(served_home: Path, tmp_path: Path) -> None:
    run_id = f"c{time.time_ns()}-"
    script = (
        HEAD
        + """
run = start("a")
print("last words", flush=True)
print("begun", flush=True)
time.sleep(60)
"""
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, run_id],
        env=environment(served_home),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "begun\n":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert console(served_home, run_id + "a") == "last words\nbegun\n"


def test_it_can_be_seen_while_the_run_is_live_and_its_process_waits(
    served_home: Path, tmp_path: Path
) -> None:
    run_id = f"c{time.time_ns()}-"
    script = HEAD + 'run = start("a")\nprint("live", flush=True)\nsys.stdin.readline()\nrun.complete()'
    with subprocess.Popen(
        [sys.executable, "-c", script, run_id],
        env=environment(served_home),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
    ) as process:
        client = client_for(Settings.load(home=str(served_home)))
        deadline = time.monotonic() + 30
        while True:
            files = client.get_json(f"/api/v1/runs/{run_id}a/files")["files"]
            if [file["path"] for file in files] == [LOG]:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.request("GET", f"/api/v1/runs/{run_id}a/files/{LOG}").body == b"live\n"
        process.communicate(b"\n", timeout=30)


def test_a_block_s_text_is_in_its_own_log_and_what_is_around_it_here(
    printed: Printed, served_home: Path
) -> None:
    of = printed("""
run = start("a")
print("around")
with run:
    print("inside")
""")
    assert of("a") == "around\n"


def test_a_run_that_is_started_again_gets_another_file(printed: Printed, served_home: Path) -> None:
    name = f"again{time.time_ns()}"
    script = f"""
run = experiment.start_logging(run_id="{name}", snapshot_directory=None, outputs=False)
print("time", os.environ["TIME"])
run.complete()
"""
    printed(script, TIME="1")
    assert console(served_home, name) == "time 1\n"
    printed(script, TIME="2")
    assert console(served_home, name) == "time 1\n"
    assert console(served_home, name, "user_logs/std_log_2.txt") == "time 2\n"


def test_it_can_be_switched_off(printed: Printed) -> None:
    of = printed('run = start("a")\nprint("x")\nrun.complete()', RUNSTREAM_CONSOLE="0")
    assert of("a") == ""


def test_it_is_bounded_and_says_so(printed: Printed) -> None:
    of = printed(
        'run = start("a")\nfor n in range(1000): print(n)\nrun.complete()', RUNSTREAM_CONSOLE_LIMIT="100"
    )
    text = of("a")
    assert text.startswith("0\n1\n2\n")
    assert "[runstream: 100 bytes of the console are kept, what follows is not" in text
    assert len(text) < 300


def test_progress_bars_of_tqdm_and_rich_are_folded(printed: Printed) -> None:
    of = printed("""
from rich.progress import track
from tqdm import tqdm
run = start("a")
for outer in tqdm(range(4), desc="outer", mininterval=0):
    for inner in tqdm(range(500), desc="inner", mininterval=0, leave=False, position=1): pass
for n in track(range(50), "working", disable=False): pass
run.complete()
""")
    text = of("a")
    assert len(text) < 8000, "of 2,000 states a few"
    assert "outer: 100%" in text
    assert "4/4" in text


def test_streams_stay_what_they_are() -> None:
    from runstream.consoles import capture

    class Slots:
        __slots__ = ("text",)

        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> int:
            self.text += text
            return len(text)

        def flush(self) -> None:
            pass

    out, err = sys.stdout, sys.stderr
    before = out.write
    settings = Settings(home="/nowhere", console=True)
    slots: Any = Slots()
    try:
        sys.stderr = slots
        capture.start(settings, "streams")
        assert sys.stdout is out
        assert sys.stderr is slots
        print("not kept, and not lost", file=sys.stderr)
        assert slots.text == "not kept, and not lost\n"
    finally:
        capture.stop("streams")
        sys.stderr = err
    assert out.write == before
    assert "write" not in vars(out)


def test_somebody_who_wraps_the_stream_meanwhile_keeps_his_wrapper(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from runstream.consoles import capture

    settings = Settings(home="/nowhere", console=True)
    capture.start(settings, "wrapped")
    ours = sys.stdout.write
    seen: list[str] = []

    def theirs(text: str) -> int:
        seen.append(text)
        return ours(text)

    sys.stdout.write = theirs  # type: ignore[method-assign]
    try:
        capture.stop("wrapped")
        print("goes on")
    finally:
        del sys.stdout.write  # type: ignore[method-assign]
    assert "".join(seen) == "goes on\n"
    assert capsys.readouterr().out == "goes on\n"


def test_a_signal_handler_that_prints_in_the_midst_of_a_print_hangs_nothing(printed: Printed) -> None:
    of = printed("""
import signal
run = start("a")
def handler(*_): print("!", end="\\n")
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
end = time.monotonic() + 1.0
lines = 0
with open(os.devnull, "w") as quiet:
    while time.monotonic() < end:
        try:
            sys.stdout.write("x\\n")
        except RuntimeError:  # the interpreter's own stream refuses a reentrant call
            pass
signal.setitimer(signal.ITIMER_REAL, 0)
run.complete()
""")
    assert set(of("a").splitlines()) <= {"x", "!", "x!", "!x", ""}


def test_a_home_on_a_full_disk_costs_the_console_alone(printed: Printed, served_home: Path) -> None:
    of = printed("""
from runstream.consoles import capture
def full(*_): raise OSError(28, "No space left on device")
run = start("a")
capture.os.write, write = full, capture.os.write
print("printed")
capture.os.write = write
print("printed too")
run.complete()
""")
    assert of("a") == ""


def test_a_run_that_was_deleted_meanwhile_takes_its_console_along(
    workspace: Workspace, served_home: Path
) -> None:
    run = Experiment(workspace, "e").start_logging(snapshot_directory=None, outputs=False)
    run.complete()
    run.flush()
    run._client.request("DELETE", f"/api/v1/runs/{run.id}")
    folder = served_home / FOLDER / "own"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(f'{{"run": "{run.id}"}}')
    (folder / "1.log").write_text("late\n")
    Sender(run._settings, folder).look()
    assert list(folder.iterdir()) == []


def test_what_nobody_can_read_is_put_away(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "x.json").write_text("{")
    (tmp_path / "x.log").write_text("?")
    Sender(workspace._settings, tmp_path).look()
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_the_sdk_has_it_among_its_logs(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Run = experiment.start_logging(snapshot_directory=None, outputs=False)
    print("of this process")
    run.complete()
    deadline = time.monotonic() + 30
    while LOG not in run.get_file_names():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run.get_details_with_logs()["logFiles"][LOG] == "of this process\n"
    assert capsys.readouterr().out == "of this process\n"
    assert os.getpid()
