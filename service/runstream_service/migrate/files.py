"""Scripts and notebooks of the original SDK, one file or a folder: what has to change, and what does not carry over."""

from __future__ import annotations

import io
import os
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .imports import Finding, migrate_source
from .notebooks import migrate_notebook
from .shell import REQUIREMENTS, of_text
from .unsupported import ROOT

__all__ = ["Finding", "Migration", "migrate", "migrate_source"]

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})
_SUFFIXES = (".py", ".ipynb", ".sh")


@dataclass(slots=True)
class Migration:
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


def migrate(place: Path) -> Iterator[Migration]:
    """Every file of a folder (or the one file) that names the original SDK.

    Raises:
        FileNotFoundError: there is no such place.
    """
    if not place.exists():
        raise FileNotFoundError(place)
    for path in sorted(_files(place)) if place.is_dir() else [place]:
        found = _migrate_file(path)
        if found.problem or found.findings or found.before != found.after:
            yield found


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


def _migrate_file(path: Path) -> Migration:
    found = Migration(path)
    try:
        content = path.read_bytes()
        if path.suffix == ".py":
            found.encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        # Shell scripts and the like are only looked through, never written.
        strict = "strict" if path.suffix in (".py", ".ipynb") else "replace"
        found.before = found.after = content.decode(found.encoding, strict)
    except (OSError, SyntaxError, UnicodeDecodeError, LookupError) as error:
        found.problem = f"cannot be read: {error}"
        return found
    if ROOT not in found.before and "az ml" not in found.before:
        return found
    try:
        if path.suffix == ".ipynb":
            found.after, found.findings = migrate_notebook(found.before, path)
        elif path.suffix == ".py":
            found.after, found.findings = migrate_source(found.before, path)
        else:
            found.findings = list(of_text(path, found.before))
    except (SyntaxError, RecursionError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        found.problem = f"left as it is, not Python 3: {line}{getattr(error, 'msg', None) or error}"
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        found.problem = f"left as it is, not a notebook: {error}"
    return found
