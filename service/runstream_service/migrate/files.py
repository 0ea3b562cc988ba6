"""Scripts and notebooks of the original SDK, one file or a folder: what has to change, and what does not carry over."""

from __future__ import annotations

import errno
import io
import os
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runstream.stand_in.missing import ROOT

from .imports import Finding, migrate_source
from .notebooks import migrate_notebook
from .shell import REQUIREMENTS, of_text

__all__ = ["Finding", "MigratedFile", "migrate", "migrate_source"]

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})
_SUFFIXES = (".py", ".ipynb", ".sh")


@dataclass(slots=True)
class MigratedFile:
    """One file.

    Attributes:
        path: the file.
        before, after: the text before and after; equal when nothing changes.
        findings: what does not carry over.
        problem: why it could not be read; '' when it could.
        encoding: in which the file is read and written.
    """

    path: Path
    before: str = ""
    after: str = ""
    findings: list[Finding] = field(default_factory=list)
    problem: str = ""
    encoding: str = "utf-8"

    def write(self) -> None:
        """Put the new text in the file's place, whole or not at all."""
        content = self.after.encode(self.encoding)
        place = self.path.resolve()  # what a link names is changed, the link stays
        temporary = place.with_name(f".{place.name}.migrating")
        temporary.write_bytes(content)
        temporary.chmod(place.stat().st_mode & 0o7777)
        os.replace(temporary, place)


def migrate(place: Path) -> Iterator[MigratedFile]:
    """Every file of a folder (or the one file) that names the original SDK.

    Raises:
        FileNotFoundError: there is no such place.
    """
    if not place.exists():
        raise FileNotFoundError(place)
    if not place.is_dir() and not place.is_file():
        raise OSError(errno.EINVAL, "no file that can be read to an end", str(place))
    for path in sorted(_files(place)) if place.is_dir() else [place]:
        migrated = _migrate_file(path)
        if migrated.problem or migrated.findings or migrated.before != migrated.after:
            yield migrated


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED_FOLDERS
            and not Path(place, name, "pyvenv.cfg").exists()
        ]
        for name in names:
            path = Path(place, name)
            if (path.suffix in _SUFFIXES or REQUIREMENTS.match(name)) and path.is_file():
                yield path


def _migrate_file(path: Path) -> MigratedFile:
    migrated = MigratedFile(path)
    try:
        content = path.read_bytes()
        if path.suffix == ".py":
            migrated.encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        # Shell scripts and the like are only looked through, never written.
        strict = "strict" if path.suffix in (".py", ".ipynb") else "replace"
        migrated.before = migrated.after = content.decode(migrated.encoding, strict)
    except (OSError, SyntaxError, UnicodeDecodeError, LookupError) as error:
        migrated.problem = f"cannot be read: {error}"
        return migrated
    if ROOT not in migrated.before and "az ml" not in migrated.before:
        return migrated
    try:
        if path.suffix == ".ipynb":
            migrated.after, migrated.findings = migrate_notebook(migrated.before, path)
        elif path.suffix == ".py":
            migrated.after, migrated.findings = migrate_source(migrated.before, path)
        else:
            migrated.findings = list(of_text(path, migrated.before))
    except (SyntaxError, RecursionError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        migrated.problem = f"left as it is, not Python 3: {line}{getattr(error, 'msg', None) or error}"
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        migrated.problem = f"left as it is, not a notebook: {error}"
    return migrated
