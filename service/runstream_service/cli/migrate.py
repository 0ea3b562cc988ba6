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
    from ..migrate.files import Migration

_COLOURS = {"+": "32", "-": "31", "@": "36"}


def add_migrate(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream migrate` takes."""
    performs(
        parser, migrate,
        "Prints a diff and what is not supported, with its place and what to do instead; writes nothing without --write.",
    )  # fmt: skip
    parser.add_argument("place", metavar="SCRIPT_OR_FOLDER", help="a .py or .ipynb file, or a folder of them")
    parser.add_argument("--write", action="store_true", help="change the files")
    add_output(parser)


def migrate(options: argparse.Namespace) -> int:
    """`runstream migrate PLACE [--write]`."""
    from ..migrate import files

    place = Path(options.place)
    try:
        found = list(files.migrate(place))
    except FileNotFoundError:
        raise UserErrorException(f"{place}: no such file or folder") from None
    changed = [one for one in found if one.before != one.after]
    if options.write:
        for one in changed:
            one.write()
    if options.output == "json" or options.query:
        emit(_document(found, options.write), options.output, options.query)
    else:
        _print(found, changed, options.write)
    return 1 if any(one.problem for one in found) else 0


def _print(found: list[Migration], changed: list[Migration], written: bool) -> None:
    if not written:
        for one in changed:
            sys.stdout.write(_coloured(diff(one)) if _colours() else diff(one))
    problems = [one for one in found if one.problem]
    findings = [finding for one in found for finding in one.findings]
    if changed and not written:
        print()
    if findings:
        print(f"not supported, or to be changed by hand ({len(findings)}):")
        for finding in findings:
            print(f"  {finding.place}: {finding.name}: {finding.instead}")
        print()
    for one in problems:
        print(f"{one.path}: {one.problem}", file=sys.stderr)
    if not found:
        print("nothing here uses the original SDK")
    elif written:
        print(f"{_files(len(changed))} changed")
    elif changed:
        print(f"{_files(len(changed))} to be changed; nothing was written, `--write` does")
    else:
        print("no import to be changed")


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _document(found: list[Migration], written: bool) -> dict[str, object]:
    return {
        "written": written,
        "changed": [str(one.path) for one in found if one.before != one.after],
        "unsupported": [
            {
                "file": str(finding.path),
                **({"cell": finding.cell} if finding.cell is not None else {}),
                "lines": list(finding.lines),
                "name": finding.name,
                "instead": finding.instead,
            }
            for one in found
            for finding in one.findings
        ],
        "problems": [{"file": str(one.path), "problem": one.problem} for one in found if one.problem],
    }


def diff(one: Migration) -> str:
    """A unified diff, as `patch -p1` and `git apply` take it."""
    name = one.path.as_posix()
    lines = difflib.unified_diff(
        one.before.splitlines(keepends=True), one.after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
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
