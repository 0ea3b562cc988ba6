"""The same points in runstream's Parquet files, plain Parquet, DuckDB's and ClickHouse's own formats: size and reading.

All four hold the rows sorted by run, series and step, which is kinder to the others than the order of logging would be.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compaction import SERIES, fill, make_chunks
from .peers.environments import NoEnvironmentError, environment
from .result import Measured, Result

POINTS = 2_000
"""Of each series."""

RUNSTREAM, PARQUET, DUCKDB, CLICKHOUSE = "runstream", "Parquet by pyarrow", "DuckDB", "ClickHouse"
READS = ("one series", "all series of one run", "one metric over all runs")
CLICKHOUSE_SECONDS = 120.0


def run(quick: bool) -> Measured:
    """Bytes a point, and milliseconds to read into numpy or Arrow arrays; medians over different runs."""
    from runstream_service.servers.postgres import PostgresServer

    runs, rounds = (20, 3) if quick else (200, 15)
    with tempfile.TemporaryDirectory(prefix="rsb", ignore_cleanup_errors=True) as place:
        server = PostgresServer(Path(place) / "pg")
        server.start()
        try:
            results, versions = asyncio.run(_measure(Path(place), server.dsn, runs, rounds))
        finally:
            server.stop()
    total = runs * SERIES * POINTS
    note = (
        f"{total:,} points: {runs} runs of {SERIES} series of {POINTS:,}; half of them noisy float64, three were "
        "float32 once, one smooth, one of small integers. runstream's bytes hold the order of logging too. Reading is in "
        f"process, warm, {rounds} runs in turn. Versions: {versions}."
    )
    return Measured(results, [note])


class Mixed:
    """Values of one series after the other, as `bench.writers` mixes them."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """The values of the next series."""
        kind = self.made % SERIES
        self.made += 1
        if kind < 5:
            return rng.normal(size=n)
        if kind < 8:
            return rng.normal(size=n).astype(np.float32).astype(np.float64)
        return np.sin(np.arange(n) / 500) if kind == 8 else rng.integers(0, 100, n).astype(np.float64)


async def _measure(place: Path, dsn: str, runs: int, rounds: int) -> tuple[list[Result], str]:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    from runstream_consumers.compaction.role import compact_once
    from runstream_query.points.reader import Query
    from runstream_schemas.database import create_pool, migrate
    from runstream_schemas.settings import Settings
    from runstream_schemas.store import open_store

    settings = Settings(database=dsn, store=str(place / "store"), home=str(place))
    pool = await create_pool(settings)
    async with pool.acquire() as connection:
        await migrate(connection)
    rng, mixed = np.random.default_rng(0), Mixed()
    data = [make_chunks(rng, mixed, 1, SERIES * POINTS) for _ in range(runs)]
    await fill(pool, data)
    while (await compact_once(pool, open_store(settings), settings, now=True)).points:
        pass
    ids = [row["run_id"] for row in await pool.fetch("select run_id from runs order by key")]
    total = runs * SERIES * POINTS
    step = max(1, runs // rounds)
    chosen = ids[::step][:rounds]

    table = rows_of(ids, data)
    plain = place / "plain.parquet"
    pq.write_table(table, plain)
    sizes = {RUNSTREAM: _size(place / "store"), PARQUET: _size(plain)}
    results: list[Result] = []

    query = Query(pool, open_store(settings), settings)
    own: dict[str, Callable[[str], Awaitable[Any]]] = {
        READS[0]: lambda run_id: query.vectors([run_id], names=("series_3",)),
        READS[1]: lambda run_id: query.vectors([run_id]),
        READS[2]: lambda run_id: query.vectors(ids, names=("series_3",)),
    }
    for name, ask in own.items():
        times = []
        for run_id in [chosen[0], *chosen]:
            start = time.perf_counter()
            points = sum(len(series.to_numpy()) for series in await ask(run_id))
            times.append((time.perf_counter() - start) * 1e3)
            _check(name, points, runs)
        results.append(Result(name, times[1:], "ms", of=RUNSTREAM))
    await pool.close()

    def of_parquet(filters: list[tuple[str, str, str]]) -> int:
        return len(pq.read_table(plain, columns=["step", "value"], filters=filters))

    parquet = {
        READS[0]: lambda run_id: of_parquet([("run_id", "=", run_id), ("name", "=", "series_3")]),
        READS[1]: lambda run_id: of_parquet([("run_id", "=", run_id)]),
        READS[2]: lambda run_id: of_parquet([("name", "=", "series_3")]),
    }
    results += _timed(PARQUET, parquet, chosen, runs)

    database = duckdb.connect(str(place / "points.duckdb"))
    database.register("given", table)
    database.execute("create table points as select * from given")
    database.execute("checkpoint")
    sizes[DUCKDB] = _size(place / "points.duckdb")

    def of_duckdb(where: str, *values: str) -> int:
        answer = database.execute(f"select step, value from points where {where}", list(values))
        return len(answer.fetchnumpy()["value"])

    own_format = {
        READS[0]: lambda run_id: of_duckdb("run_id = ? and name = ?", run_id, "series_3"),
        READS[1]: lambda run_id: of_duckdb("run_id = ?", run_id),
        READS[2]: lambda run_id: of_duckdb("name = ?", "series_3"),
    }
    results += _timed(DUCKDB, own_format, chosen, runs)
    database.close()

    versions = f"pyarrow {pa.__version__}, duckdb {duckdb.__version__}"
    try:
        answer = clickhouse(plain, place / "clickhouse", chosen, runs)
    except NoEnvironmentError as error:
        for name in ("on disk", *READS):
            unit = "B/point" if name == "on disk" else "ms"
            results.append(Result(name, [], unit, of=CLICKHOUSE, note=str(error)))
    else:
        sizes[CLICKHOUSE] = answer["bytes"]
        versions += f", chdb {answer['version']}"
        results += [Result(name, answer["times"][name], "ms", of=CLICKHOUSE) for name in READS]
    disk = [Result("on disk", [size / total], "B/point", of=name) for name, size in sizes.items()]
    return disk + results, versions


def clickhouse(plain: Path, place: Path, chosen: list[str], runs: int) -> dict[str, Any]:
    """What `storage_clickhouse.py` measures, in an environment of its own.

    Raises:
        NoEnvironmentError: it cannot be installed, or it failed or took too long.
    """
    work = {"parquet": str(plain), "place": str(place), "runs": chosen, "expected": expected(runs)}
    try:
        done = subprocess.run(
            [
                str(environment("chdb")),
                str(Path(__file__).with_name("storage_clickhouse.py")),
                json.dumps(work),
            ],
            capture_output=True,
            text=True,
            timeout=CLICKHOUSE_SECONDS,
            check=True,
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        raise NoEnvironmentError(f"took more than {CLICKHOUSE_SECONDS:g} s") from None
    except (subprocess.CalledProcessError, ValueError, IndexError) as error:
        print(getattr(error, "stderr", error), file=sys.stderr)
        raise NoEnvironmentError("chdb failed") from None


def rows_of(ids: list[str], data: list[list[tuple[int, int, bytes]]]) -> Any:
    """The chunks' points as a table: run_id, name, step, time, value."""
    import pyarrow as pa

    from runstream_schemas.wire.payload_reading import decode_points

    parts = [decode_points(payload) for ((_, _, payload),) in data]
    names = pa.array([key.name for key, _ in parts[0].series])
    per_run = SERIES * POINTS
    name = np.tile(np.repeat(np.arange(SERIES, dtype=np.int32), POINTS), len(ids))
    return pa.table(
        {
            "run_id": pa.DictionaryArray.from_arrays(
                np.repeat(np.arange(len(ids), dtype=np.int32), per_run), pa.array(ids)
            ).cast(pa.string()),
            "name": pa.DictionaryArray.from_arrays(name, names).cast(pa.string()),
            "step": np.concatenate([part.steps for part in parts]),
            "time": pa.array(np.concatenate([part.times for part in parts])).cast(
                pa.timestamp("us", tz="UTC")
            ),
            "value": np.concatenate([part.values for part in parts]).view(np.float64),
        }
    )


def expected(runs: int) -> dict[str, int]:
    """Points that each kind of reading gives."""
    return {READS[0]: POINTS, READS[1]: SERIES * POINTS, READS[2]: runs * POINTS}


def _timed(of: str, reads: dict[str, Callable[[str], int]], chosen: list[str], runs: int) -> list[Result]:
    results = []
    for name, read in reads.items():
        times = []
        for run_id in [chosen[0], *chosen]:
            start = time.perf_counter()
            points = read(run_id)
            times.append((time.perf_counter() - start) * 1e3)
            _check(name, points, runs)
        results.append(Result(name, times[1:], "ms", of=of))
    return results


def _check(name: str, points: int, runs: int) -> None:
    if points != expected(runs)[name]:
        raise AssertionError(f"{name}: {points} points instead of {expected(runs)[name]}")


def _size(place: Path) -> int:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)
