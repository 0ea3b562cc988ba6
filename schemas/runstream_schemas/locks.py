"""Locks on files, by `flock`: the system frees one when the process that holds it ends, however it ends.

In schemas, because the spool, which stands on them alone, the query layer and the services lock files too. The one lock of
another kind is `runstream.spool.process_lock.process_token`: a forked child must not inherit it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)
_LOOK_SECONDS = 0.01


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file unless another process holds it; whether it is locked now.

    Raises:
        OSError: the filesystem has no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def take(path: Path, patience: float = 0.0) -> int | None:
    """Lock a file, which is made if need be; None: another process holds it for longer than `patience` seconds.

    Who only looks (`is_held`) holds it for some microseconds.

    Returns:
        its descriptor: the lock ends when that is closed.

    Raises:
        OSError: it cannot be opened, or its filesystem has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not try_lock(descriptor):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_LOOK_SECONDS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be, or of a directory, in the block.

    Raises:
        BlockingIOError: another process holds it, and it is not waited for.
    """
    how = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, how | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file; False when there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not try_lock(descriptor, shared=True)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def write_owner(descriptor: int) -> None:
    """Write this process's id into a file it has locked, for people; not if the disk is full, as the lock holds without."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
