"""The process that delivers alerts: reads messages, one JSON object a line, and answers each when its receiver did.

Each message has a thread of its own, so that none waits for another; whoever holds the pipes looks at the time. An
empty line says that it is ready. It ends when its pipe is closed, whatever hangs.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from typing import Any

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

_TYPES = {"INFO": NotifyType.INFO, "WARN": NotifyType.WARNING, "ERROR": NotifyType.FAILURE}
_TELLING = ("WARNING", "ERROR", "CRITICAL")
_PART = re.compile(r"[^/@:?&=]{4,}")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_MOST = 500  # characters of an error

_answering = threading.Lock()


def main() -> None:
    """Deliver messages until the pipe is closed."""
    Apprise().add("json://localhost")  # loads all kinds of receivers
    _answer_line("")
    for line in sys.stdin:
        threading.Thread(target=_answer, args=(json.loads(line),), daemon=True).start()
    os._exit(0)  # nobody listens: threads that hang are not waited for


def _answer(message: dict[str, Any]) -> None:
    try:
        error = _deliver(message)
    except Exception as failure:  # of a plug-in: one message of many
        error = _without_secrets(f"{type(failure).__name__}: {failure}", message["address"])
    _answer_line(json.dumps({"number": message["number"], "error": error}))


def _answer_line(line: str) -> None:
    with _answering:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _deliver(message: dict[str, Any]) -> str | None:
    apprise = Apprise(asset=AppriseAsset(secure_logging=True, app_id="runstream"))
    if not apprise.add(message["address"]):
        return "its address is none that apprise knows; see RUNSTREAM_ALERT_RECEIVERS"
    # As plain text: where the receiver shows HTML, apprise escapes it.
    result = apprise.notify(
        title=message["title"],
        body=message["text"],
        notify_type=_TYPES[message["level"]],
        body_format=NotifyFormat.TEXT,
    )
    if result:
        return None
    said = " ".join(entry.message for entry in result.logs() if entry.level in _TELLING)
    return _without_secrets(said, message["address"]) or "it was not taken"


def _without_secrets(text: str, address: str) -> str:
    """What is said of a failure, without any part of the receiver's address but its scheme."""
    rest = address.partition("://")[2]
    for part in sorted(
        {*_PART.findall(rest), *_PART.findall(_ESCAPED.sub("/", rest))}, key=len, reverse=True
    ):
        text = text.replace(part, "***")
    return text[:_MOST]


if __name__ == "__main__":
    main()
