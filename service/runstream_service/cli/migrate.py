"""The command `runstream migrate`."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runstream.exceptions import UserErrorException

from .options import add_output, performs
from .output import emit

if TYPE_CHECKING:
    from ..migrate.files import MigratedFile

_COLOURS = {"+": "32", "-": "31", "@": "36"}


def add_migrate(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream migrate` takes."""
    performs(
        parser,
        migrate,
        "Prints a diff and what is not supported, with its place and what to do instead; writes nothing without --write.",
    )
    parser.add_argument("place", metavar="SCRIPT_OR_FOLDER", help="a .py or .ipynb file, or a folder of them")
    parser.add_argument("--write", action="store_true", help="change the files")
    add_output(parser)


def migrate(options: argparse.Namespace) -> int:
    """`runstream migrate PLACE [--write]`."""
    from ..migrate import files

    place = Path(options.place)
    try:
        migrated = list(files.migrate(place))
    except FileNotFoundError:
        raise UserErrorException(f"{place}: no such file or folder; give one that is there") from None
    changed = [file for file in migrated if file.before != file.after]
    if options.write:
        for file in changed:
            file.write()
    if options.output == "json" or options.query:
        emit(_document(migrated, options.write), options.output, options.query)
    else:
        _print(migrated, changed, options.write)
    return 1 if any(file.problem for file in migrated) else 0


def _print(migrated: list[MigratedFile], changed: list[MigratedFile], written: bool) -> None:
    if not written:
        for file in changed:
            sys.stdout.write(_coloured(diff(file)) if _colours() else diff(file))
    problems = [file for file in migrated if file.problem]
    findings = [finding for file in migrated for finding in file.findings]
    if changed and not written:
        print()
    if findings:
        print(f"not supported, or to be changed by hand ({len(findings)}):")
        for finding in findings:
            print(f"  {finding.place}: {finding.name}: {finding.instead}")
        print()
    for file in problems:
        print(f"{file.path}: {file.problem}", file=sys.stderr)
    if not migrated:
        print("nothing here uses the original SDK")
    elif written:
        print(f"{_files(len(changed))} changed")
    elif changed:
        print(f"{_files(len(changed))} to be changed; nothing was written, `--write` does")
    else:
        print("no import to be changed")


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _document(migrated: list[MigratedFile], written: bool) -> dict[str, object]:
    return {
        "written": written,
        "changed": [str(file.path) for file in migrated if file.before != file.after],
        "unsupported": [
            {
                "file": str(finding.path),
                **({"cell": finding.cell} if finding.cell is not None else {}),
                "lines": list(finding.lines),
                "name": finding.name,
                "instead": finding.instead,
            }
            for file in migrated
            for finding in file.findings
        ],
        "problems": [{"file": str(file.path), "problem": file.problem} for file in migrated if file.problem],
    }


def diff(file: MigratedFile) -> str:
    """A unified diff, as `patch -p1` and `git apply` take it."""
    name = file.path.as_posix()
    lines = difflib.unified_diff(
        file.before.splitlines(keepends=True), file.after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _colours() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _coloured(text: str) -> str:
    return "".join(
        f"\x1b[{_COLOURS[line[0]]}m{line.rstrip()}\x1b[0m\n"
        if line[0] in _COLOURS and not line.startswith(("+++", "---"))
        else line
        for line in text.splitlines(keepends=True)
    )
