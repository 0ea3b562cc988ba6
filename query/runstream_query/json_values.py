"""Values of the database and of tables as JSON has them, and back."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from runstream_schemas.runs.record import Number


def utc(time: datetime) -> str:
    """ISO 8601 in UTC with `Z`, microseconds kept."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def iso(time: datetime | None) -> str | None:
    """The same, of a time that may not be known."""
    return None if time is None else utc(time)


def from_json(value: Any) -> Any:
    """A jsonb value: asyncpg gives it as text unless the connection has a codec."""
    return json.loads(value) if isinstance(value, str) else value


def json_number(value: float | None) -> Number:
    """A number as JSON has it; see `json_value`."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def json_value(value: Any) -> Any:
    """A value of a table as JSON has it; NaN and infinities are the strings NaN, Infinity and -Infinity."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        return iso(value) if value.tzinfo else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return json_value(float(value)) if value.as_tuple().exponent else int(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        # A map's entries come as pairs.
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return {str(key): json_value(item) for key, item in value}
        return [json_value(item) for item in value]
    return str(value)


def plain(value: Any) -> Any:
    """The same document with NaN and infinities as JSON can have them (in users' details)."""
    if isinstance(value, float):
        return json_value(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; None for a date or time that Python has no object for."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (OverflowError, ValueError):
        return [_python_value(value) for value in column]


def _python_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return None
