"""JSON from elsewhere, read strictly: what is given back can be stored, sent on and compared, and means one thing only."""

from __future__ import annotations

import json
import math
from typing import Any

from .limits import INT_MAX, INT_MIN


def loads(data: bytes | bytearray) -> Any:
    """The value in `data`.

    Raises:
        ValueError: no JSON in UTF-8, nested too deeply, or with NaN, infinities, numbers beyond float64 or int64, a key
            twice in an object, or half a surrogate pair.
    """
    try:
        text = bytes(data).decode("utf-8-sig")
        value = DECODER.decode(text)
        if "\\u" in text:  # what is UTF-8 holds half a pair only by an escape
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("a text in it holds half a surrogate pair") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 ({error.reason} at byte {error.start})") from None


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isfinite(value):
        return value
    raise ValueError(f"the number {text:.40} is beyond the range of float64")


def _int64(text: str) -> int:
    if len(text) <= 20 and INT_MIN <= (value := int(text)) <= INT_MAX:
        return value
    raise ValueError(f"the integer {text:.40} does not fit in 64 bits")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return made


DECODER = json.JSONDecoder(
    parse_constant=_no_constant, parse_float=_finite, parse_int=_int64, object_pairs_hook=_once
)
"""Reads as `loads` does, from text, and lets halves of surrogate pairs pass."""
