"""`runstream exec`: one run around a command, which notices nothing of it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runstream.compute.job import DRIVER_LOG
from runstream.core import Experiment, Run, Workspace
from runstream.execution import next_signal
from tests.producers.conftest import environment

EXEC = (sys.executable, "-P", "-m", "runstream", "exec", "-e", "test")


def command(workspace: Workspace, *words: str) -> list[str]:
    return [*EXEC, "-w", workspace.name, "--", *words]


@pytest.fixture
def variables(served_home: Path) -> dict[str, str]:
    return environment(served_home)


@pytest.fixture
def carry_out(
    workspace: Workspace, variables: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs a command as a run of the experiment `test`, to its end."""

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command(workspace, *words), env=variables, capture_output=True, timeout=90, check=False
        )

    return run


Carry = Callable[..., subprocess.CompletedProcess[bytes]]


def only_run(experiment: Experiment) -> Run:
    (run,) = experiment.get_runs()
    return run


def ended(experiment: Experiment, status: str) -> Run:
    deadline = time.monotonic() + 60
    while not (runs := list(experiment.get_runs())) or runs[0].get_status() != status:
        assert time.monotonic() < deadline, [run.get_status() for run in runs]
        time.sleep(0.1)
    return runs[0]


def test_a_script_as_it_is(
    carry_out: Carry, variables: dict[str, str], experiment: Experiment, tmp_path: Path
) -> None:
    variables.update(OMP_NUM_THREADS="2", HF_TOKEN="hush")
    (tmp_path / "train.py").write_text(
        """
import os, sys
from azureml.core import Run
run = Run.get_context()
run.log("loss", 0.5)
os.write(1, b"\\x1b[31mred\\xff\\r\\n")
os.write(2, b"bar\\r")
os.write(1, sys.stdin.buffer.read(1))
os.makedirs("outputs", exist_ok=True)
with open("outputs/model", "w") as model:
    model.write("ridge")
run.complete()
print(os.getcwd(), sys.argv[1:])
"""
    )
    done = carry_out(sys.executable, "train.py", "--alpha", "0.5", "-e", "--", "x")
    printed = f"{tmp_path} ['--alpha', '0.5', '-e', '--', 'x']\n".encode()
    assert done.stdout == b"\x1b[31mred\xff\r\n" + printed, done.stderr
    assert (done.returncode, done.stderr) == (0, b"bar\r")
    run = only_run(experiment)
    details = run.wait_for_completion()
    assert (details["status"], run.type, run.get_metrics()) == (
        "Completed",
        "azureml.scriptrun",
        {"loss": 0.5},
    )
    assert details["runDefinition"]["arguments"] == ["train.py", "--alpha", "0.5", "-e", "--", "x"]
    recorded = details["runDefinition"]["environmentVariables"]
    assert (recorded["OMP_NUM_THREADS"], recorded["HF_TOKEN"], "PATH" in recorded) == ("2", "***", False)
    assert run.get_snapshot_id()
    run.download_file(DRIVER_LOG, tmp_path / "log")
    log = (tmp_path / "log").read_bytes()  # as a terminal shows it: what came behind "bar" overwrites it
    assert b"\x1b[31mred\xff" in log
    assert log.endswith(printed)
    run.download_file("outputs/model", tmp_path / "model")
    assert (tmp_path / "model").read_text() == "ridge"


@pytest.mark.parametrize(
    ("line", "code", "status", "message"),
    [
        ("exit 7", 7, "Failed", "User program failed with SystemExit: 7"),
        ("kill -9 $$", 137, "Failed", "User program was killed by SIGKILL (9)"),
        ("kill -15 $$", 143, "Failed", "User program was killed by SIGTERM (15)"),
        ("true", 0, "Completed", ""),
    ],
)
def test_the_exit_status_is_the_commands(
    carry_out: Carry, experiment: Experiment, line: str, code: int, status: str, message: str
) -> None:
    assert carry_out("sh", "-c", line).returncode == code
    details = only_run(experiment).wait_for_completion(raise_on_error=False)
    assert details["status"] == status
    assert not message or details["error"]["error"]["message"] == message


def test_what_cannot_be_started(carry_out: Carry, experiment: Experiment, tmp_path: Path) -> None:
    done = carry_out("no-such-program")
    assert (done.returncode, done.stderr[:30]) == (127, b"error: no-such-program: cannot")
    assert only_run(experiment).get_status() == "Failed"
    (tmp_path / "text").write_text("text")
    assert carry_out("./text").returncode == 126
    assert carry_out().returncode == 1


SLOW = """
import signal, sys, time
def handler(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number != signal.SIGUSR1:
        sys.exit({code})
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, handler)
print(sys.stdout.isatty(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("code", "status"), [(3, "Canceled"), (0, "Completed")])
def test_signals_reach_the_command(
    workspace: Workspace, experiment: Experiment, variables: dict[str, str], code: int, status: str
) -> None:
    words = command(workspace, sys.executable, "-c", SLOW.format(code=code))
    with subprocess.Popen(words, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"False\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == b"SIGUSR1\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"SIGTERM\n"
        assert process.wait(60) == code
    assert only_run(experiment).get_status() == status


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_signals_are_told_apart_on_each_platform(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGUSR2))
    try:
        assert next_signal() is None
        signal.pthread_kill(
            threading.get_ident(), signal.SIGUSR1
        )  # other threads of a test runner have it not blocked
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        assert {next_signal(), next_signal()} == {(signal.SIGUSR1, False), (signal.SIGUSR2, False)}
        assert next_signal() is None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_terminal_and_its_ctrl_c(
    workspace: Workspace, experiment: Experiment, variables: dict[str, str]
) -> None:
    words = command(workspace, sys.executable, "-c", SLOW.format(code=5))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(words[0], words, variables)
    printed = b""

    def read_until(text: bytes) -> None:
        nonlocal printed
        deadline = time.monotonic() + 60
        while text not in printed:
            assert time.monotonic() < deadline, printed
            if select.select([terminal], [], [], 1)[0]:
                printed += os.read(terminal, 1000)

    read_until(b"True\r\n")
    os.write(terminal, b"\x03")
    read_until(b"SIGINT\r\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    os.close(terminal)
    assert printed.count(b"SIGINT") == 1
    assert only_run(experiment).get_status() == "Canceled"


def test_killed_itself_it_leaves_a_failed_run_and_no_command(
    workspace: Workspace, experiment: Experiment, variables: dict[str, str], tmp_path: Path
) -> None:
    words = command(workspace, "sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with subprocess.Popen(words, env=variables) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    ended(experiment, "Failed")
    stat = Path("/proc") / (tmp_path / "pid").read_text().strip() / "stat"
    assert not stat.exists() or ") Z " in stat.read_text()  # nobody may be there who waits for it


def test_canceled_from_elsewhere(
    workspace: Workspace, experiment: Experiment, variables: dict[str, str]
) -> None:
    words = command(workspace, "sh", "-c", "sleep 60 & echo begun; wait")
    with subprocess.Popen(words, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        ended(experiment, "Running").cancel()
        assert process.wait(60) == 143
    ended(experiment, "Canceled")


def test_runs_the_script_starts_are_its_own(carry_out: Carry, workspace: Workspace) -> None:
    code = f"""
from runstream import Experiment, Run, Workspace
own = Experiment(Workspace(workspace_name={workspace.name!r}), "own").start_logging(snapshot_directory=None)
own.log("x", 1)
own.complete()
Run.get_context().child_run("part").complete()
"""
    done = carry_out(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    own = only_run(Experiment(workspace, "own"))
    assert (own.parent, own.get_metrics()) == (None, {"x": 1})
    around = only_run(Experiment(workspace, "test"))
    assert [child.name for child in around.get_children()] == [f"{around.name}>part"]


def test_what_the_command_leaves_running_is_not_waited_for(carry_out: Carry) -> None:
    started = time.monotonic()
    assert carry_out("sh", "-c", "sleep 50 & echo $!").stdout.strip().isdigit()
    assert time.monotonic() - started < 40


def test_a_reader_that_has_enough(workspace: Workspace, variables: dict[str, str]) -> None:
    with subprocess.Popen(
        command(workspace, "sh", "-c", "yes"), env=variables, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(60) in (1, 141)  # SIGPIPE of `yes`
