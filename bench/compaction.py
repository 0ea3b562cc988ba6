"""Compaction: points a second from Postgres to published Parquet, and bytes a point.

Data as a training loop logs it: series interleaved, a point every millisecond or so with jitter.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import asyncpg
import numpy as np
from numpy.typing import NDArray

from runstream_consumers.compaction.merge import merge_small_files
from runstream_consumers.compaction.role import compact_once
from runstream_consumers.compaction.row_groups import RowGroups
from runstream_consumers.compaction.sorted_points import SourcePoints, sort_points
from runstream_consumers.compaction.worker import Worker
from runstream_schemas.database import create_pool, migrate
from runstream_schemas.parquet.arrow import METRICS
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.settings import Settings
from runstream_schemas.store import open_store
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import Points
from runstream_service.servers.postgres import PostgresServer

from .result import Result, table

SERIES, CHUNKS, POINTS = 10, 5, 32_000
"""Series of a run, its chunks, points of a chunk."""

LIMITS = {"noisy float64": (9.0, 8.4), "float32-born": (5.5, 4.9)}
Values = Callable[[np.random.Generator, int], NDArray[np.float64]]
DATA: dict[str, Values] = {
    "noisy float64": lambda rng, n: rng.normal(size=n),
    "float32-born": lambda rng, n: rng.normal(size=n).astype(np.float32).astype(np.float64),
    "integer-like": lambda rng, n: np.floor(rng.random(n) * 100),
}


def make_chunks(
    rng: np.random.Generator, values: Values, chunks: int, points: int
) -> list[tuple[int, int, bytes]]:
    """Chunks of one run: (first slot, points, payload)."""
    now, made = 1_790_000_000_000_000, []
    rounds = points // SERIES
    for number in range(chunks):
        n = rounds * SERIES
        logged = now + np.cumsum(rng.integers(900, 1100, n))
        now = int(logged[-1])
        first = number * n
        made.append(
            (
                first,
                n,
                encode_points(
                    Points(
                        series=[(SeriesKey(0, f"series_{i}"), Kind.FLOAT) for i in range(SERIES)],
                        order=np.tile(np.arange(SERIES, dtype=np.uint8), rounds),
                        seqs=np.arange(first, first + n),
                        steps=np.tile(np.arange(number * rounds, (number + 1) * rounds), SERIES),
                        times=logged.reshape(rounds, SERIES).T.reshape(-1),
                        values=np.concatenate([values(rng, rounds) for _ in range(SERIES)]).view(np.uint64),
                        texts=[],
                        counts=np.full(SERIES, rounds, dtype=np.int64),
                    )
                ),
            )
        )
    return made


def encode_only(runs: list[list[tuple[int, int, bytes]]]) -> tuple[float, int]:
    """CPU seconds and bytes of decoding, sorting and encoding, without database and disk."""
    began = time.thread_time()
    sink = io.BytesIO()
    groups = RowGroups(sink, METRICS)
    for number, chunks in enumerate(runs):
        decoded = [SourcePoints(0, first, slots, decode_points(payload)) for first, slots, payload in chunks]
        metrics = sort_points(f"run_{number}", decoded)["metrics"]
        groups.add(number, metrics.metrics_table(), metrics.ends)
    groups.close()
    return time.thread_time() - began, len(sink.getvalue())


async def fill(pool: asyncpg.Pool, runs: list[list[tuple[int, int, bytes]]]) -> None:
    """The chunks as the writer stores them, of runs settled an hour ago."""
    experiment = await pool.fetchval(
        "insert into experiments (name) values ($1) returning id", f"bench_{uuid.uuid4().hex}"
    )
    for chunks in runs:
        run = await pool.fetchval(
            """insert into runs (run_id, experiment_id, status, settled_at)
            values ($1, $2, 'Completed', now() - interval '1 hour') returning key""",
            uuid.uuid4().hex,
            experiment,
        )
        source = await pool.fetchval(
            "insert into sources (source, topic, run_key, ordinal) values ($1, 'metrics', $2, 0) returning key",
            uuid.uuid4(),
            run,
        )
        await pool.copy_records_to_table(
            "chunks",
            records=[(run, source, first, points, points, payload) for first, points, payload in chunks],
            columns=["run_key", "source_key", "first", "count", "points", "payload"],
        )


async def _measure(directory: Path, dsn: str, runs: int, repeats: int) -> list[Result]:
    settings = Settings(database=dsn, store=str(directory / "store"), compact_after=0.0)
    pool = await create_pool(settings)
    async with pool.acquire() as connection:
        await migrate(connection)
    store = open_store(settings)
    rng = np.random.default_rng(1)
    results = []
    for name, values in DATA.items():
        data = [make_chunks(rng, values, CHUNKS, POINTS) for _ in range(runs)]
        total = sum(points for chunks in data for _, points, _ in chunks)
        encode_only(data)
        alone, whole, size = [], [], 0
        for _ in range(repeats):
            seconds, size = encode_only(data)
            alone.append(total / seconds / 1e6)
            await fill(pool, data)
            report = await compact_once(pool, store, settings)
            assert report.points == total
            whole.append(total / report.seconds / 1e6)
        must, aim = LIMITS.get(name, (None, None))
        results += [
            Result(f"{name}: Parquet", [size / total], "B/point", must, aim),
            Result(
                f"{name}: decode, sort, encode, CPU of a core",
                alone,
                "M points/s",
                5,
                9,
                higher_is_better=True,
            ),
            Result(f"{name}: Postgres to published file", whole, "M points/s", higher_is_better=True),
        ]
    small = [make_chunks(rng, DATA["noisy float64"], 20, 5 * SERIES) for _ in range(100)]
    speeds = []
    for _ in range(repeats):
        await fill(pool, small)
        report = await compact_once(pool, store, settings)
        speeds.append(2000 / report.seconds)
    results.append(Result("100 runs of 20 chunks of 50 points", speeds, "chunks/s", higher_is_better=True))
    known = await pool.fetchval("select max(id) from files")
    for _ in range(8):
        await fill(pool, [make_chunks(rng, DATA["noisy float64"], CHUNKS, POINTS)])
        await compact_once(pool, store, settings)
    # As if one experiment had made them.
    await pool.execute(
        "update files set experiment_id = (select min(id) from experiments) where id > $1", known
    )
    worker = Worker()
    began = time.perf_counter()
    merged = await merge_small_files(pool, store, worker)
    assert merged.files == 8
    speed = merged.rows / (time.perf_counter() - began) / 1e6
    results.append(Result("merging", [speed], "M points/s", higher_is_better=True))
    worker.close()
    await pool.close()
    return results


def run(quick: bool) -> list[Result]:
    """Speed of compaction and merging, and what a point takes."""
    with tempfile.TemporaryDirectory(prefix="rs-") as directory:
        server = PostgresServer(Path(directory, "pg"))
        server.start()
        try:
            return asyncio.run(_measure(Path(directory), server.dsn, 4 if quick else 16, 1 if quick else 3))
        finally:
            server.stop()


if __name__ == "__main__":
    print(table(run("--quick" in sys.argv)))
