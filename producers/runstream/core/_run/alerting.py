"""What a run may give as an alert."""

from __future__ import annotations

from typing import Any

from runstream_schemas.errors import brief
from runstream_schemas.runs.alerts import ALERT_LEVELS, Alert, title_of

from ...exceptions import UserErrorException


def checked_alert(title: Any, text: Any, level: Any) -> Alert:
    """An alert of what a caller gave.

    Args:
        level: one of `ALERT_LEVELS` in any case, or an enumeration's member that has one as its value.

    Raises:
        UserErrorException: it is none.
    """
    for name, value in (("title", title), ("text", text)):
        if not isinstance(value, str):
            raise UserErrorException(
                f"alert: {name} is {brief(value)}, a {type(value).__name__}; give a string"
            )
    if not title_of(title):
        raise UserErrorException("alert: the title is empty; say in a few words what happened")
    word = getattr(level, "value", level)
    for known in ALERT_LEVELS:
        if isinstance(word, str) and word.upper() == known:
            return Alert(title, text, known)
    raise UserErrorException(f"alert: level {brief(level)} is none; use {', '.join(ALERT_LEVELS)}")
