"""What a killed service left of its Postgres: waited for, or ended, before another server takes the directory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from runstream_schemas.errors import DatabaseError
from runstream_schemas.locks import try_lock

from .postgres_directory import SOCKET_PORT, PostgresDirectory


def wait_for_orphans(directory: PostgresDirectory, patience: float = 30.0) -> int:
    """Wait for the server of a killed service to finish its shutdown, or make it; then clear what it left.

    A server whose service died has been told so by the kernel and is at its last checkpoint. Starting beside it
    fails, removing its lock file would let two servers write the same files.

    Returns:
        A descriptor that holds the lock; for the server's processes to keep.

    Raises:
        DatabaseError: processes of it do not end.
    """
    lock = os.open(directory.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    used = users(directory, lock)
    for signal_number, seconds in ((0, patience), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        for pid in used or ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)
        while used is not None and time.monotonic() < deadline:
            time.sleep(0.02)
            used = users(directory, lock)
        if used is None:
            break
    if used is not None:
        os.close(lock)
        raise DatabaseError(
            f"processes {sorted(used) or ''} of an earlier Postgres still use {directory.data} and do not end; "
            "end them and start again"
        )
    # Nobody lives there. Postgres would clear the file itself, unless its pid meanwhile belongs to another program.
    (directory.data / "postmaster.pid").unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (directory.path / f".s.PGSQL.{SOCKET_PORT}.lock").unlink()
    return lock


def users(directory: PostgresDirectory, lock: int) -> set[int] | None:
    """Processes of an earlier server here, as far as can be told; None when there are none, and the lock is ours."""
    try:
        held = not try_lock(lock)
    except OSError:  # no locks on this filesystem
        held = False
    # Also without a lock: it may be of a version that took none.
    return _orphans(directory, held) or (set() if held else None)


def _orphans(directory: PostgresDirectory, held: bool) -> set[int]:
    recorded = directory.recorded_pid()
    if sys.platform != "linux":
        return {recorded} if recorded and _serves(recorded, directory) else set()
    data = os.path.realpath(directory.data)  # every one of them has it as its working directory
    orphans = set()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            try:
                ours = os.readlink(f"/proc/{pid}/cwd") == data
            except PermissionError:  # another user's, and this root may not look: one of them holds the lock
                ours = held and pid == recorded
            if ours and _is_postgres(pid):
                orphans.add(pid)
    return orphans


def _is_postgres(pid: int) -> bool:
    with open(f"/proc/{pid}/comm") as name, open(f"/proc/{pid}/stat") as stat:
        return name.read().startswith("postgres") and stat.read().rpartition(")")[2].split()[0] != "Z"


def _serves(pid: int, directory: PostgresDirectory) -> bool:
    try:
        command = subprocess.run(
            ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True
        ).stdout
    except OSError:
        return False
    return "postgres" in command and str(directory.data) in command
