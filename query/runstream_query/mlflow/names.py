"""What names, tags and values may be, and what is said of those that may not."""

from __future__ import annotations

import json
import posixpath
import re
from typing import Any, Final

from .errors import invalid

MOST_KEY: Final = 250
"""Characters of a key of a metric, parameter or tag."""
MOST_PARAM: Final = 6000
MOST_TAG: Final = 8000
"""Characters of a value; longer ones of clients are cut."""
MOST_NAME: Final = 500
_KEY: Final = re.compile(r"[/\w.\- :]*")


def is_number(experiment_id: str) -> bool:
    """Whether it may be the id of an experiment; a negative one is the id of none."""
    digits = experiment_id.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19


def wrong_value(path: str, value: Any, why: str = "") -> str:
    """What is said of a value that cannot be taken."""
    shown = json.dumps(value, sort_keys=True, separators=(",", ":"))
    said = f"Invalid value {shown} for parameter '{path}' supplied"
    return f"{said}: {why}" if why else f"{said}."


def check_key(key: str, path: str = "key") -> None:
    """Refuse what cannot name a metric, parameter or tag.

    Raises:
        MlflowError: other characters than it may have, or one that would be another name as a path of a file.
    """
    if not _KEY.fullmatch(key):
        raise invalid(
            wrong_value(
                path,
                key,
                "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) "
                "and slashes (/).",
            )
        )
    check_as_path(key, path)


def check_as_path(name: str, path: str) -> None:
    """Refuse a name that would be another one as a path of a file.

    Raises:
        MlflowError: it is one.
    """
    as_path = posixpath.normpath(name)
    if as_path != name or as_path == "." or as_path.startswith(("..", "/")):
        raise invalid(
            wrong_value(
                path,
                name,
                "Names may be treated as files in certain cases, and must not resolve to other names when treated as "
                f"such. This name would resolve to {as_path!r}",
            )
        )


def check_length(what: str, text: str, most: int) -> None:
    """Refuse a text that is too long.

    Raises:
        MlflowError: it is.
    """
    if len(text) > most:
        raise invalid(f"'{what}' exceeds the maximum length of {most} characters")


def inside(path: str, name: str) -> str:
    """Where a field of an object in a request stands."""
    return f"{path}.{name}" if path else name
