"""What a client sent, field by field: of the type the interface says, or refused in its words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runstream_schemas.limits import INT_MAX, INT_MIN

from .errors import MlflowError, invalid

_HINT: Final = " See the API docs for more information about request parameters."
_NAMED: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True)
class Sent:
    """The fields of a request, or of an object within one.

    Attributes:
        values: the fields, by name.
        path: where in the request they stand, e.g. `metrics[0]`.
        listed: fields that came in the query and may be repeated.
    """

    values: Mapping[str, Any]
    path: str = ""
    listed: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a field was sent and is not null."""
        return self.values.get(name) is not None

    def text(self, name: str, *, needed: bool = False, default: str = "") -> str:
        """A text; where it was not sent, the default.

        Raises:
            MlflowError: it is no text, or needed and not there.
        """
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, value)
        if needed and not value:
            raise self.absent(name)
        return default if value is None else value

    def optional(self, name: str) -> str | None:
        """A text, or None where it was not sent."""
        return self.text(name) if self.has(name) else None

    def run_id(self) -> str:
        """The run a request names; clients of old call the field `run_uuid`."""
        return self.text("run_uuid") or self.text("run_id", needed=True)

    def integer(self, name: str, *, needed: bool = False, default: int = 0) -> int:
        """A whole number of 64 bits, which may be sent as a text.

        Raises:
            MlflowError: it is none, or needed and not there.
        """
        value = self.values.get(name)
        if value is None or value == "":
            if needed:
                raise self.absent(name)
            return default
        try:
            number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
            if isinstance(value, float) and value.is_integer():
                number = int(value)
        except ValueError:
            number = None
        if number is None or not INT_MIN <= number <= INT_MAX:
            raise self.wrong(name, value)
        return number

    def number(self, name: str) -> float:
        """A number, which may be sent as a text; `NaN`, `Infinity` and `-Infinity` are some.

        Raises:
            MlflowError: it is none, or not there.
        """
        value = self.values.get(name)
        if value is None or value == "":
            raise self.absent(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        try:
            if isinstance(value, str):
                return _NAMED[value] if value in _NAMED else float(value)
        except ValueError:
            pass
        raise self.wrong(name, value)

    def truth(self, name: str) -> bool:
        """A truth value; false where it was not sent."""
        value = self.values.get(name)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, value)
        return bool(value)

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty where it was not sent."""
        if name in self.listed:
            return list(self.listed[name])
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, value)
        return value

    def items(self, name: str) -> list[Sent]:
        """A list of objects; empty where it was not sent."""
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(name, value)
        return [Sent(item, f"{self._named(name)}[{place}]") for place, item in enumerate(value)]

    def inner(self, name: str) -> Sent:
        """An object.

        Raises:
            MlflowError: it is none, or not there.
        """
        value = self.values.get(name)
        if value is None:
            raise self.absent(name)
        if not isinstance(value, dict):
            raise self.wrong(name, value)
        return Sent(value, self._named(name))

    def pairs(self, name: str) -> dict[str, str]:
        """A list of objects with `key` and `value`, as a dictionary: the last value of a key holds."""
        return {item.text("key", needed=True): item.text("value") for item in self.items(name)}

    def most(self, name: str, *, default: int, most: int) -> int:
        """How many results are asked for.

        Raises:
            MlflowError: fewer than one, or too many.
        """
        number = self.integer(name, default=default)
        if number > most:
            raise self.wrong(name, self.values[name])
        if number < 1:
            raise invalid(
                f"Invalid value {number} for parameter '{self._named(name)}' supplied. It must be at least 1, "
                f"and at most {most}."
            )
        return number

    def wrong(self, name: str, value: Any) -> MlflowError:
        """A field is of another type than it has to be."""
        shown = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return invalid(
            f"Invalid value {shown} for parameter '{self._named(name)}' supplied:  Hint: Value was of type "
            f"'{type(value).__name__}'.{_HINT}"
        )

    def absent(self, name: str) -> MlflowError:
        """A field is not there."""
        return invalid(f"Missing value for required parameter '{self._named(name)}'.{_HINT}")

    def _named(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name
