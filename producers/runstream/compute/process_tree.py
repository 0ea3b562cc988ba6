"""Ending a process and all it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

GRACE_SECONDS = 5.0
"""Time processes have to end by themselves after SIGTERM."""


def end_tree(process: subprocess.Popen[bytes], grace: float = GRACE_SECONDS) -> None:
    """End a process that leads its own session, with everything below it: SIGTERM, and after `grace` seconds SIGKILL."""
    below = _below(process)
    _send(process, below, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and (process.poll() is None or any(map(_lives, below))):
        time.sleep(0.05)
    _send(process, {*below, *_below(process)}, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)


def signal_tree(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """Send a signal to a process, which may share its group with others, and to everything below it."""
    below = _below(process)
    process.send_signal(sign)
    _send_to(below, sign)


def _below(process: subprocess.Popen[bytes]) -> set[psutil.Process]:
    import psutil

    try:
        return set(psutil.Process(process.pid).children(recursive=True))
    except psutil.Error:
        return set()


def _send(process: subprocess.Popen[bytes], below: set[psutil.Process], sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sign)
    _send_to(below, sign)


def _send_to(below: set[psutil.Process], sign: signal.Signals) -> None:
    import psutil

    for descendant in below:
        with contextlib.suppress(
            psutil.Error
        ):  # it is gone; psutil never takes another with its number for it
            descendant.send_signal(sign)


def _lives(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
