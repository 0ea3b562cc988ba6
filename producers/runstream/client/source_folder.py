"""A copy of a project's directory, without what `.amlignore` or `.gitignore` names."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IGNORE_FILES = (".amlignore", ".gitignore")
"""The first that is there counts, alone."""


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """Patterns in gitignore's syntax; the last that matches decides."""

    rules: tuple[tuple[re.Pattern[str], bool, bool], ...]  # pattern, only directories, exception

    @classmethod
    def read(cls, folder: Path) -> IgnoreRules:
        """The rules of a directory; none when it has no file of rules."""
        for name in IGNORE_FILES:
            if (folder / name).is_file():
                lines = (folder / name).read_text(encoding="utf-8-sig", errors="replace").splitlines()
                return cls(tuple(rule for line in lines if (rule := _rule(line)) is not None))
        return cls(())

    def ignored(self, path: str, is_folder: bool) -> bool:
        """Whether a path, relative and with `/`, is left out."""
        result = False
        for pattern, only_folders, exception in self.rules:
            if (is_folder or not only_folders) and pattern.fullmatch(path):
                result = not exception
        return result


def source_files(folder: Path, *leave_out: Path) -> Iterator[tuple[str, str]]:
    """(relative path, file) of what belongs to a directory; links that lead out of it are left out.

    Paths are plain strings: a folder of thousands of files is gone through in front of a run.

    Args:
        folder: the directory.
        leave_out: directories inside it that do not belong to it.
    """
    root = os.path.realpath(folder)
    yield from _below(
        root, "", root, IgnoreRules.read(folder), {os.path.realpath(path) for path in leave_out}
    )


def _below(
    here: str, prefix: str, root: str, rules: IgnoreRules, foreign: set[str]
) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(here) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:  # not ours to read, or just gone
        return
    for entry in entries:
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            if entry.path not in foreign and not rules.ignored(name, True):
                yield from _below(entry.path, name + "/", root, rules, foreign)
        elif (
            entry.is_file()
            and not rules.ignored(name, False)
            and (not entry.is_symlink() or os.path.realpath(entry.path).startswith(os.path.join(root, "")))
        ):
            yield name, entry.path


def copy_source(folder: Path, target: Path, home: Path) -> int:
    """Copy a project's directory; returns how many files there were.

    Args:
        folder: the directory.
        target: a new directory.
        home: runstream's, which is not copied when it lies in `folder`.
    """
    target.mkdir(parents=True)
    count = 0
    for name, path in source_files(folder, home):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
        count += 1
    return count


def _rule(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    text = re.sub(r"(?<!\\) +$", "", line.rstrip("\r\n"))
    if not text or text.startswith("#"):
        return None
    exception = text.startswith("!")
    text = text[1:] if exception else text
    only_folders = text.endswith("/")
    text = text.rstrip("/")
    if not text:
        return None
    anchored = "/" in text
    text = text.lstrip("/")
    try:
        pattern = re.compile(("" if anchored else "(?:.*/)?") + _expression(text), re.DOTALL)
    except re.error:
        return None  # git ignores a pattern it cannot read, too
    return pattern, only_folders, exception


def _expression(text: str) -> str:
    result, place = "", 0
    while place < len(text):
        letter = text[place]
        if text.startswith("**/", place) and (place == 0 or text[place - 1] == "/"):
            result, place = result + "(?:.*/)?", place + 3
        elif text.startswith("**", place):
            result, place = result + ".*", place + 2
        elif letter == "*":
            result, place = result + "[^/]*", place + 1
        elif letter == "?":
            result, place = result + "[^/]", place + 1
        elif letter == "[" and (end := text.find("]", place + 2)) > 0:
            inner = text[place + 1 : end].replace("\\", "\\\\")
            result += f"[{'^' + inner[1:] if inner.startswith(('!', '^')) else inner}]"
            place = end + 1
        elif letter == "\\" and place + 1 < len(text):
            result, place = result + re.escape(text[place + 1]), place + 2
        else:
            result, place = result + re.escape(letter), place + 1
    return result
