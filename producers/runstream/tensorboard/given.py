"""What a call may give as a number or a parameter, as a value of Python's own."""

from __future__ import annotations

from typing import Any

from ..exceptions import UserErrorException
from .pictures import as_array


def number_of(tag: str, value: Any) -> float | int:
    """A number of Python's own: of one, of an array or tensor of one, or of a text that is one.

    Raises:
        UserErrorException: it is none.
    """
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise UserErrorException(f"{tag!r:.60}: {value!r:.60} is no number; use add_text") from None
    array = as_array(value)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise UserErrorException(
            f"{tag!r:.60}: an array of shape {array.shape} is no single number; use add_histogram or add_tensor"
        )
    number: float | int = array.reshape(-1)[0].item()
    return int(number) if isinstance(number, bool) else number


def parameter_of(value: Any) -> Any:
    """A parameter: a number, a truth value, a text or None."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "item") or hasattr(value, "detach"):
        array = as_array(value)
        if array.size == 1:
            return array.reshape(-1)[0].item()
    return str(value)
