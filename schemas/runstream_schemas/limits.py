"""The limits of the format, in one place. Every refusal names the limit, the thing and what to do instead."""

from __future__ import annotations

from .errors import LimitExceeded, brief

MAX_NAME_BYTES = 1024
"""Longest name of a series, column, tag or property, in bytes of UTF-8."""

MAX_RUN_ID_BYTES = 256
"""Longest run id, in bytes of UTF-8."""

MAX_TEXT_BYTES = 1 << 20
"""Longest text value (a metric, a tag, an error message), in bytes of UTF-8."""

MAX_PARAM_BYTES = 64 << 10
"""Longest value of a parameter, in bytes of UTF-8 of its JSON text."""

MAX_PARAMS = 10_000
"""Most parameters of one run."""

MAX_EVENT_BYTES = 6 << 20
"""Largest event; the topics' `max.message.bytes` leaves room above it."""

MAX_RECORD_BYTES = 5 << 20
"""Largest single record (a row of a table with its names, a step of a run's life): an event of it alone is no larger than
`MAX_EVENT_BYTES`."""

MAX_EVENT_POINTS = 1 << 20
"""Most points in one event; also what a decoder agrees to allocate."""

MAX_EVENT_OBJECTS = 1 << 20
"""Most objects an event may decode to, in units of about 64 bytes: what msgpack packs into one byte may take 64."""

TIME_MIN_US, TIME_MAX_US = -62_135_596_800_000_000, 253_402_300_799_000_000
"""Earliest and latest time in an event, in microseconds since the epoch: the years 1 to 9999, UTC. No other can be shown
as a date by Python, Postgres and browsers alike. Both are exact as floats."""

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
"""Range of integer values and steps."""


def check_name(what: str, name: object) -> str:
    """Return `name` if it can name a series, tag, property or column.

    Args:
        what: how to call it in the error, e.g. `metric name`.
        name: any object.

    Raises:
        LimitExceeded: not a string, empty, not encodable as UTF-8, or longer than `MAX_NAME_BYTES`.
    """
    if not isinstance(name, str):
        raise LimitExceeded(
            f"{what}: expected a string, got {type(name).__name__} {brief(name)}; pass str(...)"
        )
    if not name:
        raise LimitExceeded(f"{what} is empty; give it at least one character")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise LimitExceeded(
            f"{what} {name[:40]!r} is not valid unicode ({error.reason}); remove lone surrogates"
        ) from None
    if size > MAX_NAME_BYTES:
        raise LimitExceeded(
            f"{what} {name[:40]!r}... has {size} bytes of UTF-8, the most is {MAX_NAME_BYTES}; shorten it"
        )
    return name


def check_int(what: str, value: int) -> int:
    """Return `value` if it fits in 64 bits, signed.

    Raises:
        LimitExceeded: it does not.
    """
    if INT_MIN <= value <= INT_MAX:
        return value
    raise LimitExceeded(
        f"{what}: integer of {value.bit_length()} bits does not fit in 64; log float(value) or str(value) instead"
    )


def check_text(what: str, value: str) -> str:
    """Return `value` if it can be stored as a text value.

    Raises:
        LimitExceeded: longer than `MAX_TEXT_BYTES`, or not encodable as UTF-8.
    """
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise LimitExceeded(
            f"{what}: text is not valid unicode ({error.reason}); remove lone surrogates"
        ) from None
    if size > MAX_TEXT_BYTES:
        raise LimitExceeded(
            f"{what}: text of {size} bytes, the most is {MAX_TEXT_BYTES}; upload it as a file with upload_file()"
        )
    return value
