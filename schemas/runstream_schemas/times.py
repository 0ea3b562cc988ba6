"""Times as they are read: held to the years 1 to 9999.

Events with other times are refused where they are decoded. What an earlier version stored must not make a list, an export or
a compaction fail that shows a thousand other rows: it is shown as the nearest time there is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .limits import TIME_MAX_US, TIME_MIN_US
from .wire.points import I8

if TYPE_CHECKING:
    import asyncpg

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # Postgres'
_BEFORE_US: Final = 946_684_800_000_000  # from 1970 until then
_EARLIEST, _LATEST = TIME_MIN_US - _BEFORE_US, TIME_MAX_US - _BEFORE_US
_MICROSECOND: Final = timedelta(microseconds=1)


def shown_times(times: I8) -> I8:
    """Times in microseconds since 1970, each within what can be shown; the array itself when all are."""
    if not len(times) or (int(times.min()) >= TIME_MIN_US and int(times.max()) <= TIME_MAX_US):
        return times
    return np.clip(times, TIME_MIN_US, TIME_MAX_US)


def shown_time(time: int) -> int:
    """A time in microseconds since 1970, within what can be shown."""
    return max(TIME_MIN_US, min(time, TIME_MAX_US))


async def show_times(connection: asyncpg.Connection[Any]) -> None:
    """Let a connection read every timestamp the database can hold, infinity too."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_encode, decoder=_decode, format="tuple"
    )


def _decode(value: tuple[int]) -> datetime:
    return _EPOCH + timedelta(microseconds=max(_EARLIEST, min(value[0], _LATEST)))


def _encode(time: datetime) -> tuple[int]:
    return ((time.astimezone(UTC) - _EPOCH) // _MICROSECOND,)
