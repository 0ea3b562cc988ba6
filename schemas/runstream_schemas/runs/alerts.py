"""Alerts: what the step `alert` of a run's life holds, bounded for whoever shows or sends it, and the kinds of rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

AlertLevel: TypeAlias = Literal["INFO", "WARN", "ERROR"]
"""How much an alert matters; least first."""

ALERT_LEVELS: Final[tuple[AlertLevel, ...]] = get_args(AlertLevel)
RuleKind: TypeAlias = Literal["metric", "nan", "silent", "failed", "ended", "alert"]
"""What a rule of the server tells of."""

RULE_KINDS: Final[tuple[RuleKind, ...]] = get_args(RuleKind)
ALERT_STEP: Final = "alert"
"""Kind of the step, whose data are `title`, `text` and `level`."""
MAX_TITLE, MAX_TEXT = 250, 5000
"""Most characters of a title and of a text; longer ones are cut, and say so."""

UNTITLED: Final = "(no title)"

_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNPAIRED = re.compile(r"[\ud800-\udfff]")


class Alert(NamedTuple):
    """What an alert says."""

    title: str
    text: str
    level: AlertLevel


def title_of(text: str) -> str:
    """A title: one line of valid unicode, without control characters, of at most `MAX_TITLE` characters."""
    return _cut(_UNPAIRED.sub("\ufffd", _BREAKS.sub(" ", text[: 4 * MAX_TITLE]).strip()), MAX_TITLE)


def text_of(text: str) -> str:
    """A text: valid unicode without control characters but tabs and line ends, of at most `MAX_TEXT` characters."""
    cut = _cut(text.replace("\r\n", "\n"), MAX_TEXT)
    return _UNPAIRED.sub("\ufffd", _CONTROLS.sub("\ufffd", cut))


def read_alert(data: Mapping[str, Any]) -> Alert:
    """The alert of a step's data, whoever wrote them. A level nobody knows is INFO."""
    title, text, level = data.get("title"), data.get("text"), data.get("level")
    return Alert(
        (title_of(title) if isinstance(title, str) else "") or UNTITLED,
        text_of(text) if isinstance(text, str) else "",
        next((known for known in ALERT_LEVELS if known == level), "INFO"),
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
