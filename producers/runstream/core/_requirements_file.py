"""Requirements files of pip, made independent of where they lie: a run's environment is built elsewhere, and later.

Source: https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..client.arguments import read_text_file
from ..exceptions import UserErrorException

_COMMENT = re.compile(r"(^|\s+)#.*$")
_FILE_OPTION = re.compile(r"(-r|--requirement|-c|--constraint|-e|--editable|-f|--find-links)(?:\s+|=)(\S.*)")
_LOCAL = re.compile(r"(?:^|@\s*|-c\s+)(?:file://)?(/[^\[;\s]+)")
_LOCAL_PACKAGE = re.compile(r"(\.{0,2}/[^\[;\s]*|[\w.-]+/[^\[;\s]*)")
_BUILT = frozenset({"build", "dist", "__pycache__", "node_modules"})
"""Directories that building a package makes, or that have nothing to do with it."""


def read_requirements(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a requirements file: without comments, continued ones joined, those of files it names in their place,
    and paths that exist made absolute.

    Raises:
        FileNotFoundError: there is no such file.
        UserErrorException: it names a file that is not there, or itself.
    """
    return list(_lines(Path(path), ()))


def absolute_requirements(lines: Iterable[str], folder: Path) -> list[str]:
    """The same of the pip section of a conda specification in `folder`.

    Raises:
        UserErrorException: a line names a file that is not there.
    """
    return [line for given in lines for line in _resolved(given, folder / "its pip section", ())]


def content_of(lines: Iterable[str]) -> str:
    """Digest of the local files and packages that requirements name: they change, and the requirements do not."""
    digest = hashlib.sha256()
    for line in lines:
        match = _LOCAL.search(line)
        if match is None or line.startswith(("-e", "--editable")):  # that one is used where it lies
            continue
        root = Path(match[1])
        for file in [root] if root.is_file() else _files(root):
            status = file.stat()
            digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _lines(path: Path, above: tuple[Path, ...]) -> Iterator[str]:
    text = read_text_file("requirements file", path)
    above = (*above, path.resolve())
    joined = re.sub(r"\\\r?\n", " ", text)
    for line in joined.splitlines():
        if line := _COMMENT.sub("", line).strip():
            yield from _resolved(line, path, above)


def _resolved(line: str, path: Path, above: tuple[Path, ...]) -> Iterator[str]:
    option = _FILE_OPTION.fullmatch(line)
    if option is None:
        match = _LOCAL_PACKAGE.match(line)
        there = _existing(match[1], path) if match else None
        yield f"{there}{line[match.end(1) :]}" if match and there else line
        return
    name, value = option[1], option[2].strip()
    if "://" in value:
        yield line
        return
    there = _existing(value, path)
    if name in ("-r", "--requirement", "-c", "--constraint") and there is None:
        raise UserErrorException(f"{path}: {line!r} names a file that is not there; mend the line")
    if name in ("-r", "--requirement") and there is not None:
        if there.resolve() in above:
            raise UserErrorException(
                f"{path}: {line!r} leads back to a file it is named in; remove one of the two lines"
            )
        yield from _lines(there, above)
        return
    short = {"--constraint": "-c", "--editable": "-e", "--find-links": "-f"}.get(name, name)
    yield f"{short} {there or value}"


def _existing(value: str, path: Path) -> Path | None:
    """What a relative path means: pip looks from the file for files, and from the working directory for packages."""
    for folder in (path.parent, Path.cwd()):
        there = Path(os.path.abspath(folder / os.path.expanduser(value)))
        if there.exists():
            return there
    return None


def _files(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(
            name
            for name in names
            if name not in _BUILT and not name.startswith(".") and not name.endswith(".egg-info")
        )
        yield from (Path(folder, name) for name in sorted(files) if not name.endswith(".pyc"))
