"""Whose files and directories are used, and directories for their owner only."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def make_private(path: str | os.PathLike[str]) -> None:
    """Make a directory, and what is missing above it, for its owner only; one that is there stays as it is.

    Raises:
        OSError: it cannot be made, or is no directory.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    except FileNotFoundError:
        parent = os.path.dirname(os.path.abspath(path))
        if parent == os.path.abspath(path):
            raise
        make_private(parent)
        make_private(path)


def is_ours(path: Path, safe_directory: str = "") -> bool:
    """Whether a file or directory may say what this user's programs do, as with git's safe.directory.

    It is theirs or root's, was theirs before sudo, or lies in a folder they named.

    Args:
        path: it is there.
        safe_directory: folders with a colon between them; `*` is all of them.
    """
    if sys.platform == "win32":
        return True
    owner = path.stat().st_uid
    if owner in (os.geteuid(), 0) or (os.geteuid() == 0 and str(owner) == os.environ.get("SUDO_UID")):
        return True
    safe = safe_directory.split(os.pathsep)
    return "*" in safe or any(
        folder and path.resolve().is_relative_to(Path(folder).resolve()) for folder in safe
    )
