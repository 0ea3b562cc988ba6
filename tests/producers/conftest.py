"""One real embedded service for the tests of the SDK, in a home of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runstream.core import Experiment, Workspace
from runstream.home.layout import open_home, running_service
from runstream_schemas.settings import Settings

SCRIPT_TIMEOUT = 60


@pytest.fixture(scope="session")
def served_home() -> Iterator[Path]:
    """A home served by `runstream up`."""
    # Not pytest's own directory: its path may be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="rs-sdk-", ignore_cleanup_errors=True) as directory:
        with serve(Path(directory)):
            yield Path(directory)


@contextlib.contextmanager
def serve(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`runstream up` in `home`, ready, until the end of the block."""
    with (home / "service.out").open("ab") as log:
        service = subprocess.Popen(
            [sys.executable, "-P", "-m", "runstream", "up", "--foreground"],
            env=environment(home, RUNSTREAM_COMPACT_AFTER="1", RUNSTREAM_COMPACT_INTERVAL="1"),
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 60
        while running_service(open_home(Settings.load(home=str(home)))) is None:
            assert service.poll() is None, (home / "service.out").read_text()
            assert time.monotonic() < deadline, (home / "service.out").read_text()
            time.sleep(0.05)
        yield service
    finally:
        service.terminate()
        try:
            service.wait(30)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


@pytest.fixture
def workspace(served_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace of the served home that no other test uses; the working directory is empty."""
    monkeypatch.setenv("RUNSTREAM_HOME", str(served_home))
    monkeypatch.chdir(tmp_path)
    return Workspace(workspace_name=f"w-{tmp_path.name}-{time.time_ns()}")


@pytest.fixture
def experiment(workspace: Workspace) -> Experiment:
    """An experiment of `workspace`."""
    return Experiment(workspace, "test")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Environment of a process that uses `home` and this very code."""
    path = os.pathsep.join(part for part in sys.path if part)
    return {
        **os.environ,
        "RUNSTREAM_HOME": str(home),
        "RUNSTREAM_AUTOSTART": "0",
        "PYTHONPATH": path,
        "PYTHONWARNINGS": "error",
        **more,
    }
