"""Which processes still live, told by a lock of each: a file of `procs`, which the system frees when the process ends."""

from __future__ import annotations

import os
import struct
import sys
import threading
from pathlib import Path

from runstream_schemas.ownership import make_private


def process_token(spool: Path | str) -> str:
    """Make and lock this process's file in `procs`; the system frees the lock when the process ends, however it ends.

    The file gets its name once it is locked: one that nobody holds belongs to a process that is gone. A POSIX lock, because
    it is not inherited by a forked child: a lock the child holds too would outlive its parent.
    """
    import fcntl

    directory = os.path.join(spool, "procs")
    make_private(directory)
    while True:
        token = f"{os.getpid()}-{os.urandom(6).hex()}"
        unlocked = os.path.join(directory, token + _UNLOCKED)
        descriptor = _own_tokens[token] = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        try:
            os.rename(unlocked, os.path.join(directory, token))
            return token
        except FileNotFoundError:  # it was taken for what a dead process left
            os.close(_own_tokens.pop(token))


_UNLOCKED = ".new"
_own_tokens: dict[str, int] = {}  # with the descriptor of the locked file
_tokens: dict[str, str] = {}  # by spool
_token_lock = threading.RLock()


def own_token(spool: str) -> str:
    """This process's lock file in `spool`, made on first use, and again if it was removed."""
    with _token_lock:
        token = _tokens.get(spool)
        if token is None or not os.path.exists(os.path.join(spool, "procs", token)):
            make_private(spool)
            token = _tokens[spool] = process_token(spool)
        return token


def forget_tokens() -> None:
    """In a forked child: the parent's locks are not ours."""
    global _token_lock
    _token_lock = threading.RLock()
    _tokens.clear()
    for descriptor in _own_tokens.values():
        os.close(descriptor)
    _own_tokens.clear()


def process_tokens(spool: Path | str) -> list[str]:
    """All tokens in a spool, those of processes that are gone among them."""
    try:
        return os.listdir(os.path.join(spool, "procs"))
    except FileNotFoundError:
        return []


def process_alive(spool: Path | str, token: str) -> bool:
    """Whether the process that made `token` still runs (on this machine, in whatever container)."""
    import fcntl

    if token.removesuffix(_UNLOCKED) in _own_tokens:
        return True
    try:
        descriptor = os.open(os.path.join(spool, "procs", token), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(spool: Path | str, token: str) -> int | None:
    """The process that made `token`, as it is numbered here.

    Returns:
        None: it is gone; 0: it lives in a container whose processes cannot be seen from here.
    """
    import fcntl

    if token.removesuffix(_UNLOCKED) in _own_tokens:  # to close the file once more would free its lock
        return os.getpid()
    try:
        descriptor = os.open(os.path.join(spool, "procs", token), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        asked = _LOCK.pack(*_places(fcntl.F_WRLCK, 0))
        answer = _LOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    kind, pid = (answer[3], answer[2]) if _DARWIN else (answer[0], answer[4])
    return None if kind == fcntl.F_UNLCK else max(int(pid), 0)


_DARWIN = sys.platform == "darwin"
_LOCK = struct.Struct("qqihh" if _DARWIN else "hhqqi4x")  # struct flock


def _places(kind: int, pid: int) -> tuple[int, ...]:
    """Type, whence, start, length and process in the order the system has them: of the whole file."""
    return (0, 0, pid, kind, os.SEEK_SET) if _DARWIN else (kind, os.SEEK_SET, 0, 0, pid)
