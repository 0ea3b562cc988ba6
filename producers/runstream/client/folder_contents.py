"""The files below a folder, also behind links: each is found, or said to be left out. No loops, nothing without an end."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def contents(folder: str | os.PathLike[str], left_out: list[str] | None = None) -> Iterator[tuple[str, Path]]:
    """The regular files below a folder, hidden ones too, in the order of their names: path below it (with `/`), and file.

    Links to files and folders are followed. A folder behind links is gone through once, however many lead to it, and
    never from within itself.

    Args:
        folder: where to look; nothing is found where there is no folder.
        left_out: gets a line for each file and folder that is passed over, with the reason.
    """
    told = [] if left_out is None else left_out
    root = os.fspath(folder)
    try:
        known = os.stat(root)
    except OSError:
        return
    yield from _below(root, "", {_identity(known)}, set(), told)


def kind_of(status: os.stat_result) -> str:
    """What a file is that is no regular one, for messages; empty: it is one."""
    return "" if stat.S_ISREG(status.st_mode) else _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")


def _below(
    here: str,
    prefix: str,
    above: set[tuple[int, int]],
    behind_links: set[tuple[int, int]],
    told: list[str],
) -> Iterator[tuple[str, Path]]:
    try:
        with os.scandir(here) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        told.append(f"{prefix or '.'} ({error.strerror})")
        return
    folders: list[tuple[str, str, tuple[int, int]]] = []
    for entry in entries:
        name = prefix + entry.name
        try:
            status = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():  # else it is gone since it was listed
                told.append(f"{name} (a link that leads nowhere)")
            continue
        except OSError as error:
            told.append(f"{name} ({error.strerror})")
            continue
        if stat.S_ISDIR(status.st_mode):
            identity = _identity(status)
            linked = entry.is_symlink()
            if identity in above:
                told.append(f"{name} (a link to a folder it lies in)")
            elif linked and identity in behind_links:
                told.append(f"{name} (a link to a folder that another link leads to)")
            else:
                if linked:
                    behind_links.add(identity)
                folders.append((entry.path, name + "/", identity))
        elif kind := kind_of(status):
            told.append(f"{name} ({kind})")
        else:
            yield name, Path(entry.path)
    for path, below, identity in folders:
        yield from _below(path, below, above | {identity}, behind_links, told)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
