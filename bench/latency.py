"""From `log()` to readable through the query layer at 100,000 points/s, and what that costs in CPU and memory."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import numpy as np

from .cluster import cluster, finish, go, start_writers
from .result import Result

RATE = 100_000


def run(quick: bool) -> list[Result]:
    """A probe logs a value now and then beside the load, and looks until the query layer returns it."""
    seconds = 10 if quick else 30
    with cluster() as made:
        made.up()
        writers = start_writers(
            made, 1, "--runs", "64", "--steps", str(RATE * (seconds + 4) // 640), "--rate", str(RATE)
        )
        go(writers)
        time.sleep(2)
        before, _ = made.cpu_and_memory()
        start = time.perf_counter()
        delays = asyncio.run(probe(made.dsn(), made.environment, seconds))
        after, memory = made.cpu_and_memory()
        taken = time.perf_counter() - start
        logged = finish(writers)
        made.wait_stored(logged)
        writer_cpu = 0.0
        made.down()
    print(f"  {len(delays)} probes", file=sys.stderr)
    return [
        Result(
            "log() to readable at 100,000 points/s: p50", [float(np.percentile(delays, 50))], "s", 0.12, 0.065
        ),
        Result(
            "log() to readable at 100,000 points/s: p99", [float(np.percentile(delays, 99))], "s", 0.3, 0.1
        ),
        Result(
            "CPU of all our processes meanwhile",
            [100 * (after - before - writer_cpu) / taken],
            "% of a core",
            60,
            35,
        ),
        Result("memory of all our processes", [memory / 1e6], "MB", 400),
    ]


async def probe(dsn: str, environment: dict[str, str], seconds: float) -> list[float]:
    """Seconds from `log()` until the value is there."""
    import os

    os.environ.update({key: value for key, value in environment.items() if key.startswith("RUNSTREAM_")})
    import asyncpg

    from runstream.spool.writing import writer as spool
    from runstream_schemas.settings import Settings

    connection = await asyncpg.connect(dsn)
    writer = spool.RunWriter(Settings.load(), "probe")
    stored: asyncio.Queue[None] = asyncio.Queue()
    await connection.add_listener("runstream", lambda *_: stored.put_nowait(None))
    query: Any = await connection.prepare(
        "select s.last from summaries s join runs r on r.key = s.run_key join series n on n.id = s.series_id "
        "where r.run_id = 'probe' and n.name = 'x'"
    )
    delays = []
    deadline = time.perf_counter() + seconds
    value = 0.0
    while time.perf_counter() < deadline:
        value += 1
        start = time.perf_counter()
        writer.log("x", value)
        while await query.fetchval() != value:
            try:
                await asyncio.wait_for(stored.get(), 0.5)
            except TimeoutError:
                pass
        delays.append(time.perf_counter() - start)
        await asyncio.sleep(0.013 + 0.05 * np.random.default_rng(int(value)).random())
    await connection.close()
    return delays
