"""Which runs have hot points that should move to a file, and which of them share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from runstream_schemas.runs.status import TERMINAL
from runstream_schemas.settings import Settings

FILE_POINTS = 4 << 20
"""Points a compaction puts into one file at most; a longer run gets several."""

FILE_BYTES = 64 << 20
"""Bytes of chunks in one file at most: texts make few points large."""

CLAIM_RUNS = 2000
"""Runs of one file at most: of a sweep of a hundred thousand, the first are in a file after a second."""

RUN_CHUNKS = 8192
"""Chunks of a running run from which it is compacted: readers would have to open them one by one."""

ENDED_GRACE, IDLE_GRACE, ORPHAN_GRACE = 600.0, 3600.0, 86400.0
"""Seconds without a new point until a run is compacted that: ended but never settled; never ended; has no experiment."""


def is_due(run: Mapping[str, Any], settings: Settings, *, now: bool = False) -> bool:
    """Whether the hot points of a run should move to a file.

    Args:
        run: a row of `manifest.HOT_RUNS`.
        now: do not wait for runs that ended.
    """
    quiet, after = run["newest_ago"], settings.compact_after
    if run["experiment_id"] is None:  # the run's creation may still be on its way
        return bool(quiet > ORPHAN_GRACE)
    if run["bytes"] > settings.compact_bytes or run["chunks"] > RUN_CHUNKS:
        return True
    if run["settled_at"] is not None:
        # Late points wait for more of their kind, but not for ever.
        return bool(now or (run["settled_ago"] > after and (quiet > after or run["oldest_ago"] > 10 * after)))
    if run["status"] in TERMINAL:
        return bool(now or quiet > max(ENDED_GRACE, after))
    return bool(quiet > max(IDLE_GRACE, after))


def one_file_each(due: Sequence[asyncpg.Record]) -> list[list[asyncpg.Record]]:
    """Runs to put into one file each: of one experiment, and no more than one can hold."""
    claims: list[list[asyncpg.Record]] = []
    points = size = 0
    for row in due:
        if (
            not claims
            or row["experiment_id"] != claims[-1][0]["experiment_id"]
            or len(claims[-1]) >= CLAIM_RUNS
            or points + row["points"] > FILE_POINTS
            or size + row["bytes"] > FILE_BYTES
        ):
            claims.append([])
            points = size = 0
        claims[-1].append(row)
        points, size = points + row["points"], size + row["bytes"]
    return claims
