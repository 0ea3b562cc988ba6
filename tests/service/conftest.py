"""The command `runstream` as a process, in a home of its own that is ended with the test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.processes import end_processes_of

from runstream.home.layout import Home, lock_held, lock_owner, running_service

REPOSITORY = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join(
    str(REPOSITORY / part) for part in ("schemas", "producers", "consumers", "query", "service")
)


def wait_until(true: Callable[[], Any], seconds: float = 30.0, what: str = "it") -> Any:
    """Wait for a true answer, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return answer


def lives(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Shell:
    """Runs commands against one home.

    Attributes:
        root: the home.
        variables: environment of every command, beside the home and PYTHONPATH.
    """

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    wait_until = staticmethod(wait_until)
    lives = staticmethod(lives)

    @property
    def home(self) -> Home:
        return Home(self.root, self.root / "spool", self.root / "postgres")

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RUNSTREAM_")}
        return {
            **clean,
            "PYTHONPATH": PYTHONPATH,
            "RUNSTREAM_HOME": str(self.root),
            **self.variables,
            **(extra or {}),
        }

    def run(self, *words: str, check: bool = True, timeout: float = 90.0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "runstream", *words],
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"runstream {' '.join(words)}: {done.stderr}\n{self.log()}"
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "-o", "json").stdout)

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        process = subprocess.Popen(
            [sys.executable, "-m", "runstream", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(variables),
        )
        self.started.append(process)
        return process

    def start_python(self, code: str) -> subprocess.Popen[str]:
        """Start code as a training script, with pipes, and leave it running."""
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )
        self.started.append(process)
        return process

    def python(self, code: str, timeout: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run code as a training script."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\n{self.log()}"
        return done

    def train(self, points: int, then: str = "run.complete()") -> str:
        """Log to a new run, as a script; its id."""
        code = (
            "from runstream import Experiment, Workspace\n"
            "ws = Workspace.from_config()\n"
            "run = Experiment(ws, 'embedded').start_logging(outputs=False, snapshot_directory=None)\n"
            f"for step in range({points}): run.log('loss', float(step))\n"
            "print(run.id, flush=True)\n"
        )
        return self.python(code + then).stdout.split()[0]

    def points(self, run_id: str) -> int:
        """How many points of a run a reader finds."""
        statement = f"select count(*) as n from metrics where run_id = '{run_id}'"
        return int(self.json("sql", statement)[0]["n"])

    def log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.root / "log" / "service.log").read_text()[-4000:]
        return ""

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=30)
                continue
            process.kill()
            process.communicate()
        if self.root.exists() and lock_held(self.home) and (pid := lock_owner(self.home)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not lock_held(self.home), 40, "the service to end")
        end_processes_of(self.root)  # an agent that a run has started waits for a broker, or for more runs

    def up(self) -> None:
        wait_until(lambda: running_service(self.home), 60, "the service to be up")


@pytest.fixture(scope="session")
def shell_of() -> Callable[[Path], Shell]:
    """Makes one for a home; whoever does has to close it."""
    return Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path / "home")
    yield shell
    shell.close()


@pytest.fixture
def shells(tmp_path: Path) -> Iterator[Callable[[str], Shell]]:
    made: list[Shell] = []

    def make(name: str) -> Shell:
        made.append(Shell(tmp_path / name))
        return made[-1]

    yield make
    for shell in made:
        shell.close()
