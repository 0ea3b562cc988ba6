"""Text from elsewhere on a terminal: what would steer it, or turn the order of letters around, is shown as an escape.

Names, tags and errors are whatever a run was given; printed as they are, they could clear the screen, set the title of the
window, write over lines above, or make one name look like another.
"""

from __future__ import annotations

import json
import sys
from typing import Any

_KEPT = "\n\t"
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_ORDER = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # of letters
_LINE_ENDS = [0x2028, 0x2029]

_SHOWN = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*_CONTROLS, *_ORDER, *_LINE_ENDS)
    if chr(code) not in _KEPT
}
_IN_JSON = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *_ORDER, *_LINE_ENDS)}


def printable(text: str) -> str:
    """The text with controls as escapes; line ends and tabs stay."""
    return text if text.isascii() and text.isprintable() else text.translate(_SHOWN)


def printable_json(text: str) -> str:
    """The same document: JSON has escapes of its own, of which encoders use those below U+0020 only."""
    return text if text.isascii() and "\x7f" not in text else text.translate(_IN_JSON)


def say(text: str = "", *, end: str = "\n", error: bool = False) -> None:
    """Print a line for people. A stream that is closed or missing, or has no such letters, is no reason to raise.

    Args:
        text: the line.
        end: what follows it.
        error: on stderr.
    """
    stream = sys.stderr if error else sys.stdout
    if stream is None:
        return
    try:
        stream.write(text + end)
        stream.flush()
    except UnicodeEncodeError:
        stream.write(shown(text + end, getattr(stream, "encoding", None)))
        stream.flush()
    except ValueError:  # it is closed
        pass


def shown(text: str, encoding: str | None) -> str:
    """The text with question marks for what an encoding has no letters for."""
    known = encoding or "ascii"
    return text.encode(known, "replace").decode(known)


def shown_json(text: str, encoding: str | None) -> str:
    """The same JSON document (or quoted text of YAML) in letters an encoding has."""
    try:
        text.encode(encoding or "ascii")
        return text
    except UnicodeEncodeError:
        return "".join(letter if letter.isascii() else json.dumps(letter)[1:-1] for letter in text)


def text_table(names: list[str], rows: list[tuple[Any, ...]], more: int = 0) -> str:
    """Rows as aligned plain text.

    Args:
        names: the names of the columns.
        rows: values; floats are shown with six significant digits.
        more: how many rows follow that are not shown.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[place]) for row in cells)]) for place, name in enumerate(names)]
    lines = ["  ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)).rstrip()]
    lines.append("  ".join("-" * width for width in widths))
    for row, values in zip(cells, rows, strict=True):
        parts = [
            cell.rjust(width) if isinstance(value, (int, float)) else cell.ljust(width)
            for cell, value, width in zip(row, values, widths, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    if more:
        lines.append(f"... {more} more rows")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
