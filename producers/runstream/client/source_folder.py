"""What belongs to a project's directory: not what an ignore file names nor, in a snapshot, passwords and keys."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import SnapshotException

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILES = (".amlignore", ".gitignore")
"""The first that is there counts, alone."""


_SECRETS = re.compile(
    r"\.env(?:\..+)?|\.envrc|\.?secrets?\.(?:toml|ya?ml|json|env)|[._]netrc|\.git-credentials|\.pgpass|\.pypirc|\.npmrc|\.htpasswd"
    r"|\.s3cfg|\.boto|\.databrickscfg|\.vault-token|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|.+\.(?:pem|ppk|p12|pfx|kdbx|key)"
    r"|client_secret.*\.json|credentials\.json|kaggle\.json|\.(?:ssh|aws|azure|kube|gnupg|docker)",
    re.IGNORECASE,
)
_EXAMPLES = (".example", ".sample", ".template", ".dist")  # of a .env: what to fill in, without the values


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """Patterns in gitignore's syntax; the last that matches decides."""

    patterns: GitIgnoreSpec | None

    @classmethod
    def read(cls, folder: Path) -> IgnoreRules:
        """The rules of a directory; none when it has no file of rules."""
        from pathspec import GitIgnoreSpec

        for name in IGNORE_FILES:
            if (folder / name).is_file():
                lines = (folder / name).read_text(encoding="utf-8-sig", errors="replace").splitlines()
                return cls(GitIgnoreSpec.from_lines(line for line in lines if _readable(line)))
        return cls(None)

    def said_of(self, path: str, is_folder: bool) -> bool | None:
        """True: a path, relative and with `/`, is left out; False: a line that begins with ! takes it in; None: neither."""
        return None if self.patterns is None else self.patterns.check_file(path + "/" * is_folder).include


def is_secret(name: str) -> bool:
    """Whether files and directories of this name hold passwords or keys as a rule (.env, .netrc, id_rsa, .aws)."""
    return _SECRETS.fullmatch(name) is not None and not name.lower().endswith(_EXAMPLES)


def belongs(path: str, rules: IgnoreRules) -> bool:
    """Whether a snapshot of a directory would hold a file, by its relative path with `/`: it need not be there."""
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        ignored = rules.said_of("/".join(parts[:end]), end < len(parts))
        if is_secret(parts[end - 1]) if ignored is None else ignored:
            return False
    return True


def check_no_home(folder: Path) -> None:
    """Refuse the root of the filesystem and the user's home: they hold everything a user has, and are no project.

    Raises:
        SnapshotException: it is one of them.
    """
    real = os.path.realpath(folder)
    if real in (os.path.realpath(os.path.expanduser("~")), os.path.realpath(os.sep)):
        raise SnapshotException(
            f"{folder} is a home directory or the root, no source folder: everything in it would be kept; "
            "keep the script in a directory of its own"
        )


def source_files(
    folder: Path, *leave_out: Path, secrets: list[str] | None = None
) -> Iterator[tuple[str, str]]:
    """(relative path, file) of what belongs to a directory; links that lead out of it are left out.

    Paths are plain strings: a folder of thousands of files is gone through in front of a run.

    Args:
        folder: the directory.
        leave_out: directories inside it that do not belong to it.
        secrets: a list for the paths left out because their names are those of secrets; None: they belong to it as well.
    """
    root = os.path.realpath(folder)
    foreign = {os.path.realpath(path) for path in leave_out}
    yield from _below(root, "", root, IgnoreRules.read(folder), foreign, secrets)


def _below(
    here: str, prefix: str, root: str, rules: IgnoreRules, foreign: set[str], secrets: list[str] | None
) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(here) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:  # not ours to read, or just gone
        return
    for entry in entries:
        name = prefix + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.path in foreign or not (is_folder or entry.is_file()):
            continue
        ignored = rules.said_of(name, is_folder)
        if ignored is None and secrets is not None and is_secret(entry.name):
            secrets.append(name + "/" * is_folder)
        elif ignored:
            continue
        elif is_folder:
            yield from _below(entry.path, name + "/", root, rules, foreign, secrets)
        elif not entry.is_symlink() or os.path.realpath(entry.path).startswith(os.path.join(root, "")):
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


def _readable(line: str) -> bool:
    """Git passes over a pattern it cannot read."""
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
