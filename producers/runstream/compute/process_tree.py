"""Ending a process and all it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

GRACE_SECONDS = 5.0
"""Time processes have to end by themselves after SIGTERM."""


def descendants(root: int) -> list[int]:
    """Ids of the processes below one, its children first."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = children.get(root, [])
    while waiting:
        pid = waiting.pop(0)
        found.append(pid)
        waiting = waiting + children.get(pid, [])
    return found


def end_tree(process: subprocess.Popen[bytes], grace: float = GRACE_SECONDS) -> None:
    """End a process that leads its own session, with everything below it: SIGTERM, and after `grace` seconds SIGKILL."""
    below = descendants(process.pid)
    _send(process.pid, below, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and (process.poll() is None or any(map(_alive, below))):
        time.sleep(0.05)
    below = list(dict.fromkeys([*below, *descendants(process.pid)]))
    _send(process.pid, [pid for pid in below if _alive(pid)], signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace)


def _send(leader: int, below: Iterable[int], sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, sign)
    for pid in below:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, sign)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    except OSError:
        return False
    else:
        return state not in ("Z", "X")
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        return True
    return False


def _parents() -> Iterable[tuple[int, int]]:
    if Path("/proc/self").exists():
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    text = Path("/proc", entry, "stat").read_text()
                    yield int(entry), int(text.rpartition(")")[2].split()[1])
        return
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        pid, parent = line.split()
        yield int(pid), int(parent)
