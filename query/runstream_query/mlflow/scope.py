"""What a request works with: the connections, and the one workspace of which it sees and changes anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg

from runstream_schemas.runs.recording import Recorder
from runstream_schemas.store import Store

from ..points.reader import Query

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)

Document: TypeAlias = dict[str, Any]
"""A JSON object of an answer."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request works with.

    Attributes:
        workspace: the only one of which it sees and changes anything.
        only: the workspace whoever asks is held to; None: any may be named.
        writes: whether whoever asks may write.
    """

    pool: asyncpg.Pool[Any]
    store: Store
    query: Query
    recorder: Recorder
    workspace: str
    only: str | None = None
    writes: bool = True


def millis(time: Any) -> int:
    """A time of the database in milliseconds since the epoch."""
    whole: int = (time - _EPOCH) // _MILLISECOND
    return whole


def key_values(pairs: dict[str, Any]) -> list[Document]:
    """Tags or parameters, as the interface lists them."""
    return [{"key": key, "value": value} for key, value in pairs.items()]
