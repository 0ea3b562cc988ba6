"""What is recorded fits into an event: steps of a run's life are cut, rows of tables that are too large are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from runstream_schemas.limits import INT_MAX, INT_MIN, MAX_NAME_BYTES, MAX_RECORD_BYTES, MAX_TEXT_BYTES

from ..exceptions import LimitExceeded

_SMALLER = (MAX_TEXT_BYTES, 1 << 16, 1 << 12, 1 << 8)  # bytes of a text, tried one after the other
_MOST_LEVELS = 32
_MOST_ENTRIES = 1000  # of a list or map, once whole ones are too much

_CELL = 160  # bytes a cell takes in an event, besides its value and the names
MOST_NAMES = 5 * MAX_NAME_BYTES + _CELL
"""Most bytes of names and summary that a column of a table may add to an event."""


def cut(text: str, most: int = MAX_TEXT_BYTES) -> str:
    """`text` as valid unicode of at most `most` bytes of UTF-8 (at least 100); one that is cut says so at its end."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= most:
        return data.decode()
    mark = f"... (cut: {len(data):,} bytes)"
    return data[: most - len(mark)].decode(errors="ignore") + mark


def shown(value: Any) -> str:
    """`str(value)`, whatever that does."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def pack_step(kind: str, data: Mapping[str, Any]) -> bytes:
    """A step of a run's life as msgpack, with texts cut, and entries left out at last, so that it fits into a record."""
    try:
        body = msgpack.packb([kind, dict(data)], default=str)
    except Exception:  # lone surrogates, integers beyond 64 bits, things that cannot be shown
        body = None
    if body is not None and len(body) <= MAX_RECORD_BYTES and _texts_fit(data):
        return bytes(body)
    return bytes(msgpack.packb([kind, fitted(data)]))


def fitted(data: Mapping[str, Any]) -> dict[str, Any]:
    """What `pack_step` keeps of the data of a step."""
    for most in _SMALLER:
        smaller: dict[str, Any] = _fitted(data, most, _MOST_LEVELS)
        if len(msgpack.packb(smaller)) <= MAX_RECORD_BYTES // 2:
            return smaller
    flat: dict[str, Any] = _fitted(data, _SMALLER[-1], 1)
    return flat


def _texts_fit(data: Mapping[str, Any]) -> bool:
    return all(
        len(value) <= MAX_TEXT_BYTES // 4
        if isinstance(value, str)
        else not isinstance(value, Mapping) or _texts_fit(value)
        for value in data.values()
    )


def _fitted(value: Any, most: int, levels: int) -> Any:
    if isinstance(value, str):
        return cut(value, most)
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return int(value) if INT_MIN <= value <= INT_MAX else cut(hex(value), most)
    if isinstance(value, (Mapping, list, tuple)) and not levels:
        return "..."
    few = most < MAX_TEXT_BYTES
    if isinstance(value, Mapping):
        items = list(value.items())[: _MOST_ENTRIES if few else None]
        return {cut(shown(key), min(most, 1024)): _fitted(item, most, levels - 1) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [_fitted(item, most, levels - 1) for item in value[: _MOST_ENTRIES if few else None]]
    return cut(shown(value), most)


def may_be_too_large(table: Mapping[str, list[Any]], n: int) -> bool:
    """Whether a row of the table, of `n` rows, may be one that `check_row` refuses; cheap."""
    texts = sum(len(value) for values in table.values() for value in values if type(value) is str)
    return 4 * texts + (MOST_NAMES + 9) * len(table) > MAX_RECORD_BYTES


def names_bytes(name: str, columns: Mapping[str, list[Any]]) -> int:
    """What an event adds to these columns: names, twice, the summary of each, with the beginning of its last text."""
    texts = (values[-1][:256] for values in columns.values() if values and type(values[-1]) is str)
    return sum(2 * (len(name.encode()) + len(column.encode())) + _CELL for column in columns) + sum(
        len(text.encode()) for text in texts
    )


def check_row(name: str, columns: Mapping[str, list[Any]]) -> None:
    """Refuse a row that no event has room for; each cell is a series of its own there, and is named twice.

    Raises:
        LimitExceeded: it is.
    """
    size = len(msgpack.packb(columns, default=str)) + names_bytes(name, columns)
    if size > MAX_RECORD_BYTES:
        raise LimitExceeded(
            f"a row of {name!r:.60}: {len(columns):,} cells take {size:,} bytes, the most is {MAX_RECORD_BYTES:,}; "
            "upload long texts as files with upload_file(), or log fewer columns at once"
        )
