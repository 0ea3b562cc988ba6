"""What `bench dashboard` looks at: a long run, many runs to compare, a run of many metrics, a long list. Written by SQL."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from .runs_list import FILL

EVENT_POINTS = 65_536
LONG, MANY_NAMES = "long", "names"


def compared(number: int) -> str:
    """Run id of one of the runs to compare."""
    return f"compared-{number}"


async def add_run(pool: Any, run_id: str, names: list[str], points: int, seed: int = 0) -> None:
    """An ended run with `points` noisy points in each of some metrics, in the hot tier.

    Args:
        pool: connections to the database.
        points: how many each metric has.
    """
    from runstream_schemas.series import Kind, SeriesKey
    from runstream_schemas.wire.payload import encode_points
    from runstream_schemas.wire.points import Points

    rng = np.random.default_rng(seed)
    experiment = await pool.fetchval(
        "insert into experiments (name) values ('bench') on conflict do nothing returning id"
    ) or await pool.fetchval("select id from experiments where name = 'bench'")
    run = await pool.fetchval(
        "insert into runs (run_id, experiment_id, status, start_time, end_time, settled_at) "
        "values ($1, $2, 'Completed', now() - interval '1 hour', now(), now()) returning key",
        run_id,
        experiment,
    )
    source = await pool.fetchval(
        "insert into sources (source, topic, run_key, ordinal) values ($1, 'metrics', $2, 0) returning key",
        uuid.uuid4(),
        run,
    )
    await pool.execute(
        "insert into series (cls, name) select 0, unnest($1::text[]) on conflict do nothing", names
    )
    begun, slot = 1_700_000_000_000_000, 0
    per_event = max(EVENT_POINTS // points, 1)
    for at in range(0, len(names), per_event):
        part = names[at : at + per_event]
        for first in range(0, points, EVENT_POINTS):
            n = min(EVENT_POINTS, points - first)
            steps = np.tile(np.arange(first, first + n), len(part))
            values = rng.normal(size=n * len(part)) + 3 * np.exp(-steps / (points / 4))
            payload = encode_points(
                Points(
                    [(SeriesKey(0, name), Kind.FLOAT) for name in part],
                    np.repeat(np.arange(len(part), dtype=np.uint16), n),
                    np.arange(slot, slot + n * len(part)),
                    steps,
                    begun + steps * 1000,
                    values.view(np.uint64),
                    [],
                    np.full(len(part), n, dtype=np.int64),
                )
            )
            await pool.execute(
                "insert into chunks (run_key, source_key, first, count, points, payload) values ($1, $2, $3, $4, $5, $6)",
                run,
                source,
                slot,
                n * len(part),
                n * len(part),
                payload,
            )
            slot += n * len(part)
    await pool.execute(
        "insert into live_summaries "
        "(run_key, series_id, kind, count, finite, first, last, min, max, sum, last_step, last_time) "
        "select $1, id, 0, $2::int8, $2::int8, 3, 0, -4, 7, 0, $2::int8 - 1, $3 from series where name = any($4::text[])",
        run,
        points,
        begun,
        names,
    )


async def fill_list(pool: Any, runs: int) -> None:
    """So many runs of 20 metrics each, all of which have ended."""
    for statement in FILL.format(runs=runs).split(";"):
        if statement.strip() and "insert into chunks" not in statement:
            await pool.execute(statement)
    await pool.execute("update runs set status = 'Completed', settled_at = now() where settled_at is null")
    await pool.execute("vacuum analyze")
