"""Ending what a test has started, however it was started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil


def processes_of(home: Path) -> list[psutil.Process]:
    """Whoever has a home in its environment: its service, its agent, what these have started."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("RUNSTREAM_HOME") == str(home):
                processes.append(process)
    return processes


def end_processes_of(home: Path) -> None:
    """End them: asked first, killed if that does not help."""
    left = processes_of(home)
    for number, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        deadline = time.monotonic() + patience
        while (left := [process for process in left if _lives(process)]) and time.monotonic() < deadline:
            time.sleep(0.01)
        if not left:
            return


def _lives(process: psutil.Process) -> bool:
    """Whether it has not ended: a zombie has, though the system's first process may take a second to notice."""
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
