"""Writes of the server that are acknowledged when they are stored: what is written, and the port through which it is.

A training process writes into its spool. A client that asks a server to write has no spool: what it was told is stored has
to be stored, and the next reader has to see it. So the server stores it itself, in one transaction of Postgres, by the same
functions as the consumer does (`runstream_consumers.storing.direct`): one order and one set of rows, whoever wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import asyncpg


@dataclass(frozen=True, slots=True)
class NewPoints:
    """Points of float series of one run, in order of logging.

    Attributes:
        names: names of the series.
        which: the series of each point, by its place in `names`.
        steps: step of each point.
        times: microseconds since the epoch.
        values: the values.
    """

    names: Sequence[str]
    which: NDArray[np.int64]
    steps: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next point of the server's source of a run goes; held until the end of the transaction.

    Attributes:
        source_key, ordinal: key and ordinal of the source.
        next: its next slot. It moves with every write, so it tells whether there was one.
    """

    source_key: int
    ordinal: int
    next: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to create. Times in microseconds since the epoch.

    Attributes:
        tags: tags it has from the beginning.
    """

    run_id: str
    workspace: str
    experiment: str
    name: str
    parent_run_id: str | None
    description: str | None
    started_us: int
    tags: Mapping[str, str]


class Recorder(Protocol):
    """Stores what clients ask for, within the transaction of the caller."""

    async def create_run(self, connection: asyncpg.Connection[Any], run: NewRun) -> int:
        """Create a run, which then runs; returns its key."""

    async def series_ids(self, names: Sequence[str]) -> dict[str, int]:
        """Ids of metrics, which get one if need be. Outside of a transaction: others do not wait to use a name."""

    async def hold_place(self, connection: asyncpg.Connection[Any], run_id: str) -> Place | None:
        """Keep other servers from writing points of a run; None: there is no such run. Before any other lock of it."""

    async def add_points(
        self,
        connection: asyncpg.Connection[Any],
        run_key: int,
        run_id: str,
        place: Place,
        points: NewPoints,
        series_ids: Mapping[str, int],
        packed: bool,
    ) -> None:
        """Add points of a run whose place is held, and that is locked.

        Args:
            packed: whether its summaries are packed.
        """

    async def add_params(
        self, connection: asyncpg.Connection[Any], run_key: int, params: Mapping[str, str]
    ) -> None:
        """Log parameters, by the JSON texts of their values, under the lock of their run."""

    async def settle(self, run_keys: Sequence[int]) -> None:
        """Runs have ended: mark those of which everything is stored. After the transaction."""
