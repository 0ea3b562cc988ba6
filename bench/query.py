"""Vectors of a million points: from Parquet, from the hot tier, and downsampled to a screen's width."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from .result import Result, repeat

SERIES = 10
EVENT_POINTS = 65_536


def run(quick: bool) -> list[Result]:
    """Read one series of 1 M points (of 10 such in the run) in process, to numpy; a Postgres and a store of its own."""
    from runstream_service.servers.postgres import PostgresServer

    points = 200_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="rsb", ignore_cleanup_errors=True) as place:
        server = PostgresServer(Path(place) / "pg")
        server.start()
        try:
            return asyncio.run(_measure(server.dsn, Path(place), points, 5 if quick else 15))
        finally:
            server.stop()


async def _measure(dsn: str, place: Path, points: int, rounds: int) -> list[Result]:
    from runstream_consumers.compaction.role import compact_once
    from runstream_query.points.reader import Query
    from runstream_schemas.buckets import downsample
    from runstream_schemas.database import create_pool, migrate
    from runstream_schemas.settings import Settings
    from runstream_schemas.store import open_store

    settings = Settings(database=dsn, store=str(place / "store"), home=str(place))
    pool = await create_pool(settings)
    async with pool.acquire() as connection:
        await migrate(connection)
    await _fill(pool, points)
    query = Query(pool, open_store(settings), settings)
    label = f"{points:,} points".replace(",", " ")

    async def one_series() -> Any:
        series = await query.series("r", "m3")
        assert series is not None
        return series.to_numpy()

    results = [
        Result(
            f"one series of {label}, hot tier, to numpy",
            await _time(one_series, points, rounds),
            "ms",
            80,
            45,
        )
    ]
    await compact_once(pool, query.store, settings, now=True)
    results.append(
        Result(
            f"one series of {label}, Parquet, to numpy", await _time(one_series, points, rounds), "ms", 20, 9
        )
    )
    await pool.close()
    steps, values = np.arange(10 * points), np.random.default_rng(1).normal(size=10 * points)

    def to_screen() -> float:
        start = time.perf_counter()
        downsample(steps, values, 2000, ordered=True)
        return (time.perf_counter() - start) * 1e3

    ten = f"{10 * points:,}".replace(",", " ")
    results.append(Result(f"{ten} points to 2 000 buckets (M4)", repeat(to_screen, 7), "ms", None, 6))
    return results


async def _time(read: Callable[[], Awaitable[Any]], points: int, rounds: int) -> list[float]:
    times = []
    for number in range(rounds + 2):
        start = time.perf_counter()
        assert len(await read()) == points
        if number >= 2:  # the first ones warm the caches
            times.append((time.perf_counter() - start) * 1e3)
    return times


async def _fill(pool: Any, points: int) -> None:
    """Ten noisy series interleaved, in events as the agent sends them."""
    from runstream_schemas.series import Kind, SeriesKey
    from runstream_schemas.wire.payload import encode_points
    from runstream_schemas.wire.points import Points

    rng = np.random.default_rng(0)
    run = await pool.fetchval("insert into runs (run_id, status) values ('r', 'Completed') returning key")
    experiment = await pool.fetchval("insert into experiments (name) values ('e') returning id")
    await pool.execute("update runs set experiment_id = $1, settled_at = now()", experiment)
    source = await pool.fetchval(
        "insert into sources (source, topic, run_key, ordinal) values ($1, 'metrics', $2, 0) returning key",
        uuid.uuid4(),
        run,
    )
    series = [(SeriesKey(0, f"m{i}"), Kind.FLOAT) for i in range(SERIES)]
    each = EVENT_POINTS // SERIES
    for first in range(0, points, each):
        n = min(each, points - first)
        steps = np.tile(np.arange(first, first + n), SERIES)
        values = rng.normal(size=n * SERIES)
        payload = encode_points(
            Points(
                series,
                np.tile(np.arange(SERIES, dtype=np.uint8), n),
                np.arange(first * SERIES, (first + n) * SERIES),
                steps,
                1_700_000_000_000_000 + steps * 1000 + rng.integers(0, 50, n * SERIES),
                values.view(np.uint64),
                [],
                np.full(SERIES, n, dtype=np.int64),
            )
        )
        await pool.execute(
            "insert into chunks (run_key, source_key, first, count, points, payload) values ($1, $2, $3, $4, $5, $6)",
            run,
            source,
            first * SERIES,
            n * SERIES,
            n * SERIES,
            payload,
        )
