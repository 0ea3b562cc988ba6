"""A real Postgres, a local store, and ways to put points and runs into them as the writer and the compactor do."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runstream_consumers.compaction.role import compact_once
from runstream_query.points.reader import Query
from runstream_schemas.database import create_pool
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.settings import Settings
from runstream_schemas.store import LocalStore
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.points import build_points

Row = tuple[SeriesKey, Kind, int, int, int, Any]  # key, kind, seq, step, time, value


@dataclass(slots=True)
class Database:
    """A migrated database and a store, and what is put into them."""

    pool: Any
    store: LocalStore
    settings: Settings
    query: Query
    sources: dict[bytes, int] = field(default_factory=dict)

    async def add_run(self, run_id: str, experiment: str = "e", **columns: Any) -> int:
        """A run; `columns` of `runs` by name."""
        experiment_id = await self.pool.fetchval(
            "insert into experiments (workspace, name) values ('default', $1) on conflict (workspace, name) "
            "do update set name = excluded.name returning id",
            experiment,
        )
        columns = {"status": "Completed", "experiment_id": experiment_id, "run_id": run_id, **columns}
        names = ", ".join(columns)
        places = ", ".join(f"${i + 1}" for i in range(len(columns)))
        key = await self.pool.fetchval(
            f"insert into runs ({names}) values ({places}) returning key", *columns.values()
        )
        return int(key)

    async def source_key(self, run_key: int, source: bytes, ordinal: int = 0, next: int = 0) -> int:
        """The row of a source, made when missing."""
        if source not in self.sources:
            self.sources[source] = await self.pool.fetchval(
                "insert into sources (source, topic, run_key, ordinal, next) "
                "values ($1, 'metrics', $2, $3, $4) returning key",
                uuid.UUID(bytes=source),
                run_key,
                ordinal,
                next,
            )
        return self.sources[source]

    async def add_chunk(self, run_key: int, source: bytes, rows: Sequence[Row], ordinal: int = 0) -> None:
        """A hot chunk of one writer's points."""
        key = await self.source_key(run_key, source, ordinal)
        payload = encode_points(build_points(rows))
        await self.pool.execute(
            "insert into chunks (run_key, source_key, first, count, points, payload) values ($1, $2, $3, $4, $5, $6)",
            run_key,
            key,
            rows[0][2],
            rows[-1][2] - rows[0][2] + 1,
            len(rows),
            payload,
        )

    async def compact(self) -> None:
        """Move the hot points of ended runs to Parquet, as the compactor does."""
        report = await compact_once(self.pool, self.store, self.settings, now=True)
        assert report.files

    async def add_summary(self, run_key: int, name: str, **columns: Any) -> None:
        """A row of `summaries`; columns by name."""
        series = await self.pool.fetchval(
            'select id from series where cls = 0 and name = $1 and "column" = $2', name, ""
        ) or await self.pool.fetchval("insert into series (cls, name) values (0, $1) returning id", name)
        columns = {
            "run_key": run_key,
            "series_id": series,
            "kind": 0,
            "count": 1,
            "finite": 1,
            "last_time": 0,
            **columns,
        }
        places = ", ".join(f"${i + 1}" for i in range(len(columns)))
        await self.pool.execute(
            f"insert into live_summaries ({', '.join(columns)}) values ({places})", *columns.values()
        )


@asynccontextmanager
async def opened(dsn: str, directory: Path) -> AsyncIterator[Database]:
    """A database with the present schema, and a store in `directory`."""
    settings = Settings(database=dsn, store=str(directory / "store"), query_timeout=20.0, home=str(directory))
    pool = await create_pool(settings)
    try:
        store = LocalStore(settings.store_url)
        yield Database(pool, store, settings, Query(pool, store, settings))
    finally:
        await pool.close()


@pytest.fixture
async def database(postgres: str, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database with the present schema, and an empty store."""
    async with opened(postgres, tmp_path) as database:
        yield database


def utc(seconds: float) -> datetime:
    """A time, by seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)
