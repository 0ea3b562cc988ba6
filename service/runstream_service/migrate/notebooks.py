"""Rewrites the code cells of a notebook in place: its form, its outputs and its text stay."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runstream.stand_in.missing import ROOT

from .imports import Finding, binds_root, lines_of, migrate_source
from .shell import PACKAGE_LINE, REQUIREMENTS, of_text

_PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun")
_SHELL_CELLS = ("%%bash", "%%sh", "%%script", "%%cmd", "%%system", "%%!")
_WRITES = re.compile(r"%%(?:write)?file\s+(?:(?:-a|--append)\s+)?[\"']?(.+?)[\"']?\s*$")


def migrate_notebook(text: str, path: Path) -> tuple[str, list[Finding]]:
    """A notebook with the import root of its cells changed, and what in them does not carry over.

    Raises:
        ValueError, TypeError, AttributeError, KeyError: not a notebook.
    """
    document = json.loads(text)
    findings: list[Finding] = []
    cells = [
        (number, cell) for number, cell in enumerate(document["cells"], 1) if cell["cell_type"] == "code"
    ]
    sources = [(number, cell, _python_of(_text(cell))) for number, cell in cells]
    bound = any(
        binds_root(tree)
        for _, cell, source in sources
        if not _written(_text(cell)) and (tree := _parsed(source)) is not None
    )
    for number, cell, source in sources:
        findings += _of_cell(path, _text(cell), number)
        if not source.strip() or (ROOT not in source and _parsed(source) is None):
            continue
        try:
            # A script that a cell writes to a file is a program of its own.
            own = None if _written(_text(cell)) else bound
            after, of_cell = migrate_source(source, path, own, number)
        except SyntaxError as error:
            why = f"not Python 3 ({error.msg}): cell left as it is"
            findings.append(Finding(path, (error.lineno or 1,), "syntax error", why, number))
            continue
        findings += of_cell
        originals = lines_of(_text(cell))
        masked, changed = lines_of(source), lines_of(after)
        lines = [
            old if before == new else new for old, before, new in zip(originals, masked, changed, strict=True)
        ]
        if lines != originals:
            cell["source"] = lines if isinstance(cell["source"], list) else "".join(lines)
    return _in_place(text, _strings(json.loads(text)), _strings(document)), findings


def _in_place(text: str, before: Iterator[str], after: Iterator[str]) -> str:
    """A JSON document with strings changed where they stand, so that all else keeps its form.

    Args:
        text: the document.
        before, after: all its strings and keys, in order.
    """

    def literal(match: re.Match[str]) -> str:
        old, new = next(before), next(after)
        return match[0] if old == new else json.dumps(new, ensure_ascii="\\u" in match[0])

    return re.sub(r'"(?:[^"\\]|\\.)*"', literal, text)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _text(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _parsed(source: str) -> ast.AST | None:
    try:
        return ast.parse(source)
    except SyntaxError:
        return None


def _python_of(source: str) -> str:
    """A cell with what only IPython understands taken out, line by line."""
    lines = lines_of(source)
    if lines and lines[0].startswith("%%"):
        if not lines[0].startswith(_PYTHON_CELLS) and not _written(source).endswith(".py"):
            return "\n" * source.count("\n")
        lines[0] = "\n"
    return "".join(_python_line(line) for line in lines)


def _written(source: str) -> str:
    """The file a cell writes with `%%writefile`; '' when it writes none."""
    match = _WRITES.match(source.partition("\n")[0])
    return match[1] if match else ""


def _python_line(line: str) -> str:
    code = line.strip()
    magic = code.startswith(("%", "!", "?")) or (code.endswith("?") and not code.startswith("#"))
    if magic or re.match(r"[\w, ]+=\s*[!%]\w", code):
        indent = line[: len(line) - len(line.lstrip())]
        return indent + "pass" + ("\n" if line.endswith("\n") else "")
    return line


def _of_cell(path: Path, source: str, cell: int) -> Iterator[Finding]:
    """The same in a notebook's cell: in what it writes or gives to a shell, elsewhere behind `!` and `%`."""
    first = source.partition("\n")[0]
    written = _written(first)
    whole = bool(REQUIREMENTS.match(written) or written.endswith(".sh") or first.startswith(_SHELL_CELLS))
    lines = [
        line if (whole and number) or line.lstrip().startswith(("!", "%")) else ""
        for number, line in enumerate(lines_of(source))
    ]
    # A line of a requirements file holds nothing else; of a command, the package may stand anywhere.
    pattern = PACKAGE_LINE if REQUIREMENTS.match(written) else re.compile(r".*\b(azureml-[\w-]+)", re.ASCII)
    yield from of_text(path, "\n".join(line.rstrip("\r\n") for line in lines), cell, pattern)
