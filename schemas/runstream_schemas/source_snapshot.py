"""Snapshots of a project's directory: what names them, and what a file in one may be called.

A snapshot's id is the SHA-256 of its list of files, so that the same content has the same id on every machine, and
whoever receives one can check it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_PATH_BYTES = 1024
"""Longest path of a file, in bytes of UTF-8."""
MAX_PART_BYTES = 240
"""Longest name between two slashes; file systems allow 255, and the store adds to names while it writes."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a snapshot.

    Attributes:
        path: relative, with `/`.
        size: bytes.
        sha256: of its content, 64 hexadecimal digits.
        executable: whether its owner may execute it.
    """

    path: str
    size: int
    sha256: str
    executable: bool = False


def snapshot_id(files: Iterable[SourceFile]) -> str:
    """The id of a snapshot of these files, in whatever order: 64 hexadecimal digits."""
    digest = hashlib.sha256(b"runstream snapshot 1\n")
    for file in sorted(files, key=lambda file: file.path):
        # No path holds a newline (see `path_problem`), so no two lists read the same.
        line = f"{'x' if file.executable else '-'} {file.sha256} {file.size} {file.path}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def is_digest(text: str) -> bool:
    """Whether `text` is a SHA-256 as it is written here."""
    return _DIGEST.fullmatch(text) is not None


def path_problem(path: str) -> str | None:
    """Why a file of a run or a snapshot cannot have this path; None when it can.

    A path is relative, has `/` between its parts, and leads nowhere but below the directory it is put into, on any system.
    """
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        return "it is empty, absolute, or leads out of its folder"
    if "\\" in path or re.search(r"[\0-\x1f\x7f]", path) or re.match(r".:", path):
        return "it has a backslash, a drive letter or control characters"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "it is not valid unicode"
    if size > MAX_PATH_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        return f"it is too long: at most {MAX_PATH_BYTES} bytes of UTF-8, {MAX_PART_BYTES} a part"
    return None
