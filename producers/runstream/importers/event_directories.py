"""Finds the directories below a log directory that hold event files, and what identifies one."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ..home.filesystems import is_network
from ..tensorboard.records import RecordFile

_EMPTY_PROFILE = ".profile-empty"


@dataclass(frozen=True, slots=True)
class EventDirectory:
    """A directory with event files: one run.

    Attributes:
        path: absolute, without links.
        name: its path below the log directory; the log directory's own name for itself.
    """

    path: Path
    name: str


def find(logdir: Path) -> list[EventDirectory]:
    """Directories with event files, of any depth, in order of their paths. Links to directories are followed, in no loop.

    Raises:
        OSError: the log directory itself cannot be listed.
    """
    root = logdir.resolve()
    directories: dict[Path, EventDirectory] = {}
    os.scandir(root).close()
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        if any(is_event_file(name) for name in files):
            path = Path(folder)
            below = path.relative_to(root).as_posix()
            directories[path] = EventDirectory(path.resolve(), root.name if below == "." else below)
    return list(directories.values())


def is_event_file(name: str) -> bool:
    """Whether TensorBoard would take a file of this name for an event file."""
    return "tfevents" in name and not name.endswith(_EMPTY_PROFILE)


def event_files(directory: Path) -> list[str]:
    """Names of its event files in the order TensorBoard reads them, which is that of their times.

    Raises:
        OSError: it cannot be listed.
    """
    return sorted(name for name in os.listdir(directory) if is_event_file(name))


def size_of(path: Path, network: bool) -> int:
    """Bytes in a file now; 0 when it is gone. On a network filesystem a file has to be opened to be seen as it is now."""
    try:
        if not network:
            return os.stat(path).st_size
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except OSError:
        return 0


def on_network(directory: Path) -> bool:
    """Whether a directory is on a network filesystem."""
    return is_network(directory)


def identity(directory: Path) -> str | None:
    """What tells this directory's files from others', wherever they lie: name and first record of the first file that has
    one. None: there is no whole record yet."""
    for name in event_files(directory):
        records = RecordFile(directory / name).read()
        if records:
            digest = hashlib.sha256(name.encode("utf-8", "surrogateescape"))
            digest.update(records[0])
            return digest.hexdigest()
    return None
