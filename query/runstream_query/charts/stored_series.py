"""How much is stored of the series a chart is of: what decides from what it is drawn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import asyncpg

from . import queries

Key = tuple[str, str]
"""Run id and name of a metric."""


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """Points of a metric; `settled`: nothing more will come of its run; `rewinds`: how often this was rewound, which takes
    points away."""

    count: int
    settled: bool
    rewinds: int = 0


async def stored_series(
    pool: asyncpg.Pool[Any], run_ids: Collection[str], names: Collection[str]
) -> dict[Key, StoredSeries]:
    """Of those metrics of runs that exist."""
    rows = await pool.fetch(queries.SERIES_COUNTS, list(run_ids), list(names))
    return {
        (row["run_id"], row["name"]): StoredSeries(row["count"], row["settled"], row["rewinds"])
        for row in rows
    }
