"""What a script's exit status and the end of its log say about why it failed."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

_TAIL_BYTES = 64 << 10
_MOST_MESSAGE = 3000
_RAISED = re.compile(r"([A-Za-z_][\w.]*)(?:: (.*))?")
_UNREADABLE = re.compile(r"(SyntaxError|IndentationError|TabError): (.*)")


def error_of(status: int, log: Path) -> dict[str, Any]:
    """The error body of a script that did not end with 0.

    Args:
        status: exit status; negative: the signal that ended it.
        log: its output.
    """
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = "signal"
        return _body(f"User program was killed by {name} ({-status})")
    # Python ends with 1 after an exception; with another status the script said so itself, whatever it printed before.
    if status == 1 and (raised := _last_traceback(log)):
        return _body(f"User program failed with {raised[0]}: {raised[1]}")
    return _body(f"User program failed with SystemExit: {status}")


def _body(message: str) -> dict[str, Any]:
    return {"code": "UserError", "message": message[:_MOST_MESSAGE]}


def _last_traceback(log: Path) -> tuple[str, str] | None:
    """(type, text) of the exception of the last traceback, if the log ends with one."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(stream.seek(0, 2) - _TAIL_BYTES, 0))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    heads = [
        place for place, line in enumerate(lines) if line.startswith("Traceback (most recent call last):")
    ]
    if not heads:  # of a script that cannot even be compiled there is none
        match = _UNREADABLE.fullmatch(lines[-1]) if lines else None
        return (match[1], match[2]) if match else None
    for place in range(heads[-1] + 1, len(lines)):
        line = lines[place]
        if line and not line[0].isspace():
            match = _RAISED.fullmatch(line)
            if match is None:
                return None
            text = "\n".join([match[2] or "", *lines[place + 1 :]]).strip()
            return match[1].rpartition(".")[2], text
    return None
