"""What commands print: one value, picked by a JMESPath expression, as table, JSON, TSV or YAML."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from runstream.printable import printable, printable_json, shown_json
from runstream_schemas.errors import QueryError

if TYPE_CHECKING:
    import argparse

FORMATS = ("table", "json", "tsv", "tsv-raw", "yaml")
WIDEST_CELL = 60
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def emit(value: Any, form: str, query: str | None = None, stream: TextIO | None = None) -> None:
    """Print a value.

    Args:
        value: what JSON can hold: usually a list of records.
        form: one of FORMATS.
        query: JMESPath expression applied first.
        stream: instead of stdout.

    Raises:
        QueryError: the expression is wrong, or the library for it is missing.
    """
    stream = stream or sys.stdout
    if query:
        value = select(value, query)
    if form == "tsv-raw":
        text = as_tsv(value, raw=True)
    else:
        text = {"json": as_json, "tsv": as_tsv, "yaml": as_yaml, "table": as_table}[form](value)
    if form in ("json", "yaml"):
        text = shown_json(text, getattr(stream, "encoding", None))
    if text:
        stream.write(text + "\n")


def show(options: argparse.Namespace, value: Any, as_text: Callable[[], str] | None = None) -> None:
    """Print a command's result as its options say, and write it to the file they name.

    Args:
        options: `output` (None: a table on a terminal, JSON elsewhere), `query`, `output_metadata_file`.
        value: the result.
        as_text: makes the table; default: `as_table` of the value.

    Raises:
        QueryError: as `emit`.
    """
    form = options.output or ("table" if sys.stdout.isatty() else "json")
    if form == "table" and not options.query and as_text is not None:
        print(as_text())
    else:
        emit(value, form, options.query)
    if options.output_metadata_file:
        # `x`: nothing that came to lie there meanwhile is written over.
        with open(options.output_metadata_file, "x", encoding="utf-8") as file:
            file.write(as_json(value) + "\n")


def select(value: Any, expression: str) -> Any:
    """The part of a value a JMESPath expression names.

    Raises:
        QueryError: the expression is wrong, or jmespath is not installed.
    """
    try:
        import jmespath
        from jmespath.exceptions import JMESPathError
    except ImportError:
        raise QueryError("--query needs jmespath: pip install jmespath") from None
    try:
        return jmespath.search(expression, value)
    except JMESPathError as error:
        raise QueryError(
            f"--query {expression!r}: {' '.join(str(error).split())}; mend the expression"
        ) from None


def as_json(value: Any) -> str:
    """Indented JSON."""
    return printable_json(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def as_yaml(value: Any) -> str:
    """YAML in block style; strings are quoted as JSON does where they need to be."""
    return "\n".join(_yaml_lines(value, 0))


def _yaml_lines(value: Any, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            nested = isinstance(item, dict | list) and item
            head = f"{pad}{_yaml_scalar(str(key))}:"
            lines += [head, *_yaml_lines(item, depth + 1)] if nested else [f"{head} {_yaml_scalar(item)}"]
        return lines
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            inner = _yaml_lines(item, depth + 1)
            inner[0] = f"{pad}- {inner[0].lstrip()}"
            lines += inner
        return lines
    return [pad + _yaml_scalar(value)]


def _yaml_scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = (
            value
            and all(c.isalnum() or c in "_-./ " for c in value)
            and value.strip() == value
            and value[0].isalpha()
        )
        reserved = value.lower() in (
            "true",
            "false",
            "null",
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "nan",
            "inf",
        )
        if plain and not reserved and value.isascii():
            return value
        return printable_json(json.dumps(value, ensure_ascii=False))
    return json.dumps(value, ensure_ascii=False, default=str)


def as_tsv(value: Any, *, raw: bool = False) -> str:
    """Tab-separated values without a heading, for `cut` and `while read`; tabs and line ends inside are escaped.

    Texts a spreadsheet would take for a formula get a `'` in front, as in the server's CSV, unless they are to be `raw`.
    """
    rows = value if isinstance(value, list) else [value]
    lines = []
    for row in rows:
        cells = list(row.values()) if isinstance(row, dict) else row if isinstance(row, list) else [row]
        texts = (_plain(cell) if raw else _no_formula(cell) for cell in cells)
        lines.append("\t".join(printable(text.translate(_ESCAPES)) for text in texts))
    return "\n".join(lines)


def _no_formula(cell: Any) -> str:
    text = _plain(cell)
    # A tab or line end in front, which some spreadsheets pass over, is escaped anyway.
    risky = isinstance(cell, str) and text.startswith(("=", "+", "-", "@")) and not _is_number(text)
    return f"'{text}" if risky else text


def as_table(value: Any) -> str:
    """Columns under headings; a single record stands upright."""
    if isinstance(value, dict):
        return _columns([[_cell(str(key)), _cell(item)] for key, item in value.items()], None)
    if not isinstance(value, list):
        return _cell(value)
    if value and all(isinstance(row, dict) for row in value):
        heads = list(dict.fromkeys(key for row in value for key in row))
        return _columns([[_cell(row.get(key)) for key in heads] for row in value], heads)
    if value and all(isinstance(row, list) for row in value):
        return _columns([[_cell(item) for item in row] for row in value], None)
    return "\n".join(_cell(item) for item in value)


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns under headings, from rows."""
    return _columns([[_cell(item) for item in row] for row in rows], list(heads))


def _columns(rows: list[list[str]], heads: list[str] | None) -> str:
    heads = None if heads is None else [printable(head) for head in heads]
    if sys.stdout.isatty() and (drawn := _drawn(rows, heads)) is not None:
        return drawn
    rows = [[_cut(cell) for cell in row] for row in rows]
    every = [heads, *rows] if heads else rows
    if not every:
        return ""
    widths = [max(len(row[i]) for row in every if i < len(row)) for i in range(max(map(len, every)))]
    if heads:
        every = [heads, ["-" * width for width in widths], *rows]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in every)
    return "\n".join(line.rstrip() for line in lines)


_STYLES = {
    "Completed": "green", "ok": "green", "up": "green", "Failed": "red", "BAD": "red", "Canceled": "yellow",
    "CancelRequested": "yellow", "NotResponding": "yellow", "Running": "cyan", "note": "yellow",
}  # fmt: skip


_NARROWEST = 12  # of a column of text that has to make room


def _drawn(rows: list[list[str]], heads: list[str] | None) -> str | None:
    """The table for a terminal, as wide as that; None without rich, which comes with the extra `server`."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return None
    console = Console(force_terminal=True)
    drawn = Table(
        box=box.SIMPLE_HEAD if heads else None, show_header=bool(heads), show_edge=False, pad_edge=False
    )
    columns = [
        [row[place] for row in rows if place < len(row)] for place in range(max(map(len, rows), default=0))
    ]
    fitting = columns
    if heads is None:
        for place in range(len(columns)):
            drawn.add_column(no_wrap=not place, overflow="fold")
    else:
        columns = columns or [[] for _ in heads]
        widths = _fit(heads, columns, console.width)
        fitting = columns[: len(widths)]
        for name, cells, width in zip(heads, fitting, widths, strict=False):
            number = bool(cells) and all(_is_number(cell) for cell in cells if cell)
            drawn.add_column(
                name, justify="right" if number else "left", width=width, no_wrap=True, overflow="ellipsis"
            )
    for row in rows:
        drawn.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row[: len(fitting)]))
    with console.capture() as capture:
        console.print(drawn)
    text = "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())
    if heads and len(fitting) < len(columns):
        left = ", ".join(heads[len(fitting) :])
        text += f"\n(no room for {left}: a wider terminal shows more, -o json everything)"
    return text


def _fit(heads: Sequence[str], columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """Widths of as many columns as there is room for; long ones that are neither ids nor numbers are cut."""
    widths = [max(map(len, [head, *cells])) for head, cells in zip(heads, columns, strict=False)]
    while widths:
        soft = [
            place
            for place, (head, cells) in enumerate(zip(heads, columns, strict=False))
            if place < len(widths)
            and widths[place] > _NARROWEST
            and not head.endswith("id")
            and not all(_is_number(cell) for cell in cells)
        ]
        excess = sum(widths) + 3 * (len(widths) - 1) - width
        if excess <= 0:
            break
        if soft:
            widest = max(soft, key=lambda place: widths[place])
            widths[widest] = max(widths[widest] - excess, _NARROWEST)
        else:
            widths.pop()
    return widths


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _cut(cell: str) -> str:
    cell = cell.replace("\n", " ").replace("\t", " ")
    return cell if len(cell) <= WIDEST_CELL else cell[: WIDEST_CELL - 1] + "…"


def _cell(value: Any) -> str:
    return printable(_plain(value))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str) if value else ""
    return str(value)
