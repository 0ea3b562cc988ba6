"""A real Postgres and a real store, filled as the writer fills them; and the points as each tier shows them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import pytest

from runstream_consumers.compaction.hot_to_parquet import Report
from runstream_consumers.compaction.role import compact_once
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store, open_store
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import build_points

START = 1_790_000_000_000_000

Row = tuple[SeriesKey, Kind, int, int, int, Any]
"""A point as logged: key, kind, slot, step, time, value."""

Cell = tuple[str, str, str, int, int, Any]
"""A point as stored: run id, name, column, step or row, time, value (text: the text; NULL: None; bool: 'true', 'false')."""


@dataclass(slots=True)
class Pipeline:
    """A database and a store.

    Attributes:
        logged: every point that was put in, by `Cell`.
    """

    pool: Any
    store: Store
    settings: Settings
    logged: Counter[Cell] = field(default_factory=Counter)
    run_keys: dict[str, int] = field(default_factory=dict)
    sources: dict[tuple[str, int], int] = field(default_factory=dict)

    async def others(self) -> int:
        """Connections of runstream's own processes to the database (the tests call themselves `test`)."""
        return int(
            await self.pool.fetchval(
                """select count(*) from pg_stat_activity
                where datname = current_database() and application_name = 'runstream'"""
            )
        )

    async def add_run(self, run_id: str, experiment: str | None = "exp", *, status: str = "Completed") -> int:
        """A run that ended and settled a minute ago (`Running`: that has not)."""
        experiment_id = None
        if experiment is not None:
            experiment_id = await self.pool.fetchval(
                """insert into experiments (name) values ($1) on conflict (workspace, name) do update set name = $1
                returning id""",
                experiment,
            )
        settled = "now() - interval '1 minute'" if status != "Running" else "null"
        key = await self.pool.fetchval(
            f"""insert into runs (run_id, experiment_id, status, start_time, settled_at)
            values ($1, $2, $3, now() - interval '1 hour', {settled}) returning key""",
            run_id,
            experiment_id,
            status,
        )
        self.run_keys[run_id] = key
        return int(key)

    async def add_chunk(
        self, run_id: str, rows: Sequence[Row], *, source: int = 0, age: float = 60.0
    ) -> None:
        """A hot chunk.

        Args:
            source: ordinal of the source.
            age: seconds since it was stored.
        """
        run_key = self.run_keys[run_id]
        if (run_id, source) not in self.sources:
            self.sources[run_id, source] = await self.pool.fetchval(
                "insert into sources (source, topic, run_key, ordinal) values ($1, 'metrics', $2, $3) returning key",
                uuid.uuid4(),
                run_key,
                source,
            )
        first = rows[0][2]
        await self.pool.execute(
            """insert into chunks (run_key, source_key, first, count, points, payload, created_at)
            values ($1, $2, $3, $4, $5, $6, clock_timestamp() - make_interval(secs => $7))""",
            run_key,
            self.sources[run_id, source],
            first,
            rows[-1][2] - first + 1,
            len(rows),
            encode_points(build_points(rows)),
            age,
        )
        self.logged.update(stored(run_id, rows, source))

    async def compact(self, **options: Any) -> Report:
        """Compact what is due."""
        return await compact_once(self.pool, self.store, self.settings, **options)

    async def hot(self) -> Counter[Cell]:
        """Points of the hot tier."""
        cells: Counter[Cell] = Counter()
        rows = await self.pool.fetch(
            """select run_id, ordinal, payload from chunks c join runs r on r.key = c.run_key
            join sources s on s.key = c.source_key"""
        )
        for row in rows:
            points = decode_points(row["payload"])
            for i, (key, kind) in enumerate(points.series):
                start = int(points.starts[i])
                for j, value in enumerate(points.python_values(i)):
                    step, time = int(points.steps[start + j]), int(points.times[start + j])
                    cells.update(stored(row["run_id"], [(key, kind, 0, step, time, value)], row["ordinal"]))
        return cells

    async def cold(self) -> Counter[Cell]:
        """Points of the files the manifest shows."""
        cells: Counter[Cell] = Counter()
        for kind in ("metrics", "tables"):
            rows = await self.pool.fetch("select path from files where state = 'live' and kind = $1", kind)
            cells.update(read_files(kind, [self.store.locate(row["path"]) for row in rows]))
        return cells

    async def both_tiers(self) -> Counter[Cell]:
        """Points as a reader of the manifest sees them; what is in both tiers counts twice."""
        return await self.hot() + await self.cold()

    def globbed(self) -> Counter[Cell]:
        """Points as somebody sees them who knows nothing but the folders."""
        cells: Counter[Cell] = Counter()
        for kind in ("metrics", "tables"):
            paths = [str(path) for path in Path(self.store.root).glob(f"{kind}/**/*.parquet")]
            cells.update(read_files(kind, paths))
        return cells

    async def files(self, state: str = "live") -> list[str]:
        """Paths of the files in a state."""
        rows = await self.pool.fetch("select path from files where state = $1 order by created_at, id", state)
        return [row["path"] for row in rows]


def stored(run_id: str, rows: Iterable[Row], source: int = 0) -> list[Cell]:
    """What rows look like in a store; NaN as a text, so that it equals itself."""
    cells: list[Cell] = []
    for key, kind, _, step, time, value in rows:
        if kind == Kind.BOOL:
            value = "true" if value else "false"
        elif value is not None and kind == Kind.FLOAT:
            value = repr(float(value))
        place = (source << 40) + step if key.cls == SeriesClass.TABLE else step
        cells.append((run_id, key.name, key.column, place, time, value))
    return cells


def read_files(kind: str, paths: Sequence[str]) -> Counter[Cell]:
    """Points in files, read by DuckDB."""
    if not paths:
        return Counter()
    column, place = ("''", "step") if kind == "metrics" else ('"column"', '"row"')
    rows = (
        duckdb.connect()
        .execute(
            f"""select run_id, name, {column}, {place}, epoch_us(time), value, int_value, text
        from read_parquet({[str(path) for path in paths]!r})"""
        )
        .fetchall()
    )
    return Counter(
        (
            run_id,
            name,
            column,
            place,
            time,
            text if text is not None else integer if integer is not None else number,
        )
        for run_id, name, column, place, time, value, integer, text in rows
        for number in [None if value is None else repr(value)]
    )


def floats(
    name: str, values: Iterable[float], *, slot: int = 0, step: int = 0, time: int = START
) -> list[Row]:
    """Points of one series, a millisecond apart."""
    key = SeriesKey(SeriesClass.METRIC, name)
    return [
        (key, Kind.FLOAT, slot + i, step + i, time + 1000 * i, float(value)) for i, value in enumerate(values)
    ]


def rounds(names: Sequence[str], n: int, *, slot: int = 0) -> list[Row]:
    """n rounds of a training loop that logs every series once."""
    rows: list[Row] = []
    for _ in range(n):
        for name in names:
            at = slot + len(rows)
            rows.append(
                (
                    SeriesKey(SeriesClass.METRIC, name),
                    Kind.FLOAT,
                    at,
                    at // len(names),
                    START + 100 * at,
                    at / 7,
                )
            )
    return rows


@pytest.fixture
async def pipeline(postgres: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """An empty database and an empty local store."""
    settings = Settings(database=postgres, store=str(tmp_path / "store"))
    pool = await asyncpg.create_pool(
        postgres, min_size=1, max_size=6, server_settings={"application_name": "test"}
    )
    yield Pipeline(pool, open_store(settings), settings)
    await pool.close()
