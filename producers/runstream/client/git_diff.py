"""What a source folder has that its commit has not: the diff git gives, bounded, without what no snapshot has either."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

from .git_facts import SECONDS, environment, git_of
from .source_folder import IgnoreRules, belongs

DIFF_FILE = "git.diff"
"""Name of the file the diff is kept as."""

MAX_BYTES = 1 << 20
"""Most bytes kept of a diff."""

_MAX_FILES = 2000
_MAX_NAMES = 4 << 20  # bytes of the list of files
_PLAIN = ("--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")


def git_diff(folder: Path, commit: str, leave_out: Iterable[Path] = ()) -> bytes:
    """The diff of a directory against a commit; empty: there is none to be had.

    Files that git does not know are not in it: a snapshot has them whole. Nor is what a snapshot leaves out: what an ignore
    file names, and files that hold passwords or keys by their name, even where they are in the commit.

    Args:
        folder: a directory in a repository.
        commit: in hexadecimal digits.
        leave_out: directories in it that do not belong to it.
    """
    git = git_of(folder)
    if git is None or not folder.is_dir() or not re.fullmatch("[0-9a-f]{7,64}", commit):
        return b""
    names = _output(folder, git, "diff", "--name-only", "--no-renames", "-z", "--relative", commit, "--", ".")
    rules = IgnoreRules.read(folder)
    own = [path for path in leave_out if path != folder]
    files = [
        name
        for name in names[0].decode(errors="surrogateescape").split("\0")
        if name and belongs(name, rules) and not any((folder / name).is_relative_to(path) for path in own)
    ]
    if not files:
        return b""
    words = ("-c", "core.quotepath=off", "--literal-pathspecs", "diff", *_PLAIN, "--relative", commit, "--")
    text, whole = _output(folder, git, *words, *files[:_MAX_FILES], most=MAX_BYTES)
    if whole and len(files) <= _MAX_FILES:
        return text
    kept = text[: text.rfind(b"\n") + 1]
    return kept + b"# runstream: the diff continues; its first %d files and %d bytes are kept\n" % (
        _MAX_FILES,
        MAX_BYTES,
    )


def _output(folder: Path, git: str, *words: str, most: int = _MAX_NAMES) -> tuple[bytes, bool]:
    """The first bytes git prints, and whether that is all; nothing when it refuses or takes too long."""
    with subprocess.Popen(
        [git, *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as process:
        timer = threading.Timer(SECONDS, process.kill)  # a git that was killed has a returncode
        timer.daemon = True
        timer.start()
        try:
            assert process.stdout is not None
            text = process.stdout.read(most + 1)
            if len(text) > most:
                process.kill()
                return text[:most], False
            process.wait()
        finally:
            timer.cancel()
        return (b"", True) if process.returncode else (text, True)
