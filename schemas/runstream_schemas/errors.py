"""Every error runstream raises by itself, outside the reproduced Azure ML API.

RunstreamError
├── LimitExceeded        a name, value or event is larger than the format holds (also a ValueError)
├── EventError
│   ├── CorruptEvent     bytes that are not an event: truncated, flipped, or not ours
│   │   └── RefusedEvent     an event of ours that holds something that cannot be: it tells which slots it covers
│   └── UnsupportedVersion   an event of a newer major version
├── SpoolError           a spool directory or segment cannot be used
├── SettingsError        a setting has a value it cannot have
├── StoreError           a file of the Parquet store is missing or damaged
│   └── StoreFull        there is no room left for a file
├── DatabaseError        the database has the wrong version or is not one of ours
├── BackupError          a backup cannot be made, is damaged, or cannot be restored where it should be
├── QueryError           a query that cannot be answered as asked
└── ServiceError         a service cannot start, or is away
"""

from __future__ import annotations

import errno


class RunstreamError(Exception):
    """Base of runstream's own errors. Messages name the thing, the place and the remedy."""


class LimitExceeded(RunstreamError, ValueError):
    """A name, value or event is larger than the format holds."""


class EventError(RunstreamError):
    """An event cannot be used."""


class CorruptEvent(EventError):
    """Bytes that are not an event: truncated, flipped, or not ours."""


class RefusedEvent(CorruptEvent):
    """An event that tells which slots of which run it covers, and holds something that cannot be.

    Attributes:
        topic: metrics, tags or status.
        span: run id, source (16 bytes), first slot and number of slots.
    """

    def __init__(self, message: str, topic: str, span: tuple[str, bytes, int, int]) -> None:
        super().__init__(message)
        self.topic = topic
        self.span = span


class UnsupportedVersion(EventError):
    """An event written by a newer major version of runstream."""


class SpoolError(RunstreamError):
    """A spool directory or segment cannot be used."""


class SettingsError(RunstreamError, ValueError):
    """A setting has a value it cannot have."""


class StoreError(RunstreamError):
    """A file of the Parquet store is missing or damaged."""


class StoreFull(StoreError):
    """There is no room left for a file."""


class DatabaseError(RunstreamError):
    """The database has the wrong version or is not one of ours."""


class BackupError(RunstreamError):
    """A backup cannot be made, is damaged, or cannot be restored where it should be."""


class QueryError(RunstreamError, ValueError):
    """A query that cannot be answered as asked."""


class ServiceError(RunstreamError):
    """A service cannot start, or is away."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that this process has no memory left: itself, or what it was made of by a library.

    That is the fault of nothing that was being read or stored: the next attempt may find it well.
    """
    told: BaseException | None = error
    while told is not None:
        if isinstance(told, MemoryError) or (isinstance(told, OSError) and told.errno == errno.ENOMEM):
            return True
        # A thread's stack is what is wanted first, mostly; zstandard has one error for everything.
        text = str(told)
        if isinstance(told, RuntimeError) and "can't start new thread" in text:
            return True
        if type(told).__name__ == "ZstdError" and "memory" in text.lower():
            return True
        told = told.__cause__
    return False


def brief(value: object, most: int = 60) -> str:
    """The beginning of an object's `repr`, for messages; of one that cannot be shown its class."""
    try:
        return repr(value)[:most]
    except Exception:  # whatever a class of somebody else's does, and lists nested too deep
        return f"<{type(value).__name__}>"
