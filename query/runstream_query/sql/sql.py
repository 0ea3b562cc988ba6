"""SQL over everything: DuckDB in memory, over the manifest's live files and the hot tier, in one snapshot.

The caller's statement sees four views and nothing else: no file but those the views are made of, no network, no settings, no
extension, no second statement. It is carried out in a process of its own, bounded in memory and in time.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow as pa
import pyarrow.parquet as pq

from runstream_schemas.errors import StoreError
from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store

from .. import queries
from ..points.hot import Chunk, fetch_chunks
from ..points.vectors import Series, Vectors
from ..runs.runs import Connection, from_json
from .sql_processes import ANSWER, FileGone, SqlProcess, borrowed

_TRIES = 3
_HOT_BATCH = 64 << 20  # payload bytes decoded at a time

_METRICS = pa.schema(
    [
        ("experiment", pa.string()),
        ("run_id", pa.string()),
        ("name", pa.string()),
        ("step", pa.int64()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("value", pa.float64()),
        ("int_value", pa.int64()),
        ("text", pa.string()),
    ]
)
_ROWS = pa.schema([*list(_METRICS)[:3], ("row", pa.int64()), ("column", pa.string()), *list(_METRICS)[4:]])


@dataclass(slots=True)
class _Sources:
    """What the views `names` are made of: files (path, experiment) by kind, hot rows spilled to files, and tables; and
    deleted runs that the files still hold."""

    names: set[str]
    metrics: list[tuple[str, str | None]]
    rows: list[tuple[str, str | None]]
    hot_metrics: Path | None
    hot_rows: Path | None
    tables: dict[str, pa.Table]
    deleted: list[str]


async def run_sql(
    pool: asyncpg.Pool[Any],
    store: Store,
    settings: Settings,
    statement: str,
    *,
    workspace: str | None = None,
) -> pa.Table:
    """Answer one SELECT over the views `metrics`, `rows`, `runs` and `summaries`.

    Args:
        workspace: the only one whose runs are there at all: neither a view nor a file it may open holds another's. Runs
            whose creation has not arrived, so that their workspace is unknown, are left out.

    Raises:
        QueryError: not a single reading statement, wrong SQL, or beyond `sql_memory` or `query_timeout`.
        TimeoutError: finding and reading the hot tier took longer than `query_timeout`.
        StoreError: a file of the store is missing or damaged.
    """
    async with borrowed(settings, remote=not store.local) as process:
        names = set(await process.ask("check", settings, statement=statement))
        for attempt in range(_TRIES):
            with tempfile.TemporaryDirectory(prefix="runstream-sql-") as folder:
                async with asyncio.timeout(settings.query_timeout):
                    sources = await _collect(pool, names, Path(folder), workspace)
                try:
                    return await _execute(process, sources, store, settings, statement, Path(folder))
                except FileGone as error:
                    # A file was replaced between our look and DuckDB's opening it: look again.
                    if attempt + 1 == _TRIES:
                        raise StoreError(
                            f"{error}; a file the manifest names cannot be read: restore it from a backup"
                        ) from None
    raise AssertionError("unreachable")


async def _collect(pool: asyncpg.Pool[Any], names: set[str], folder: Path, workspace: str | None) -> _Sources:
    """Read the snapshot. Hot points go to temporary files batch by batch: the hot tier may be larger than memory."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        files: dict[str, list[tuple[str, str | None]]] = {"metrics": [], "tables": []}
        kinds = [kind for kind, view in (("metrics", "metrics"), ("tables", "rows")) if view in names]
        for row in await connection.fetch(queries.ALL_LIVE_FILES, kinds, workspace):
            files[row["kind"]].append((row["path"], row["experiment"]))
        deleted = []
        if kinds:
            deleted = [row["run_id"] for row in await connection.fetch(queries.DELETED_IN_FILES, workspace)]
        spilled: tuple[Path | None, Path | None] = (None, None)
        if kinds:
            spilled = await _spill(connection, folder, kinds, workspace)
        tables = {}
        if "runs" in names:
            tables["runs"] = _runs_table(await connection.fetch(queries.SQL_RUNS, workspace))
        if "summaries" in names:
            tables["summaries"] = _summaries_table(await connection.fetch(queries.SQL_SUMMARIES, workspace))
    return _Sources(names, files["metrics"], files["tables"], *spilled, tables, deleted)


async def _spill(
    connection: Connection, folder: Path, kinds: Sequence[str], workspace: str | None
) -> tuple[Path | None, Path | None]:
    runs = await connection.fetch(queries.HOT_RUNS, workspace)
    if not runs:
        return None, None
    writers: dict[str, pq.ParquetWriter] = {}
    try:
        batch: list[Any] = []
        for row in [*runs, None]:
            if batch and (row is None or sum(r["bytes"] for r in batch) + row["bytes"] > _HOT_BATCH):
                chunks = [
                    chunk
                    async for some in fetch_chunks(connection, [r["run_key"] for r in batch])
                    for chunk in some
                ]
                known = {r["run_key"]: (r["run_id"], r["experiment"]) for r in batch}
                await asyncio.to_thread(_write_hot, chunks, known, folder, kinds, writers)
                batch = []
            if row is not None:
                batch.append(row)
    finally:
        for writer in writers.values():
            writer.close()
    paths = {kind: folder / f"hot-{kind}.parquet" for kind in writers}
    return paths.get("metrics"), paths.get("tables")


def _write_hot(
    chunks: Iterable[Chunk],
    known: dict[int, tuple[str, str | None]],
    folder: Path,
    kinds: Sequence[str],
    writers: dict[str, pq.ParquetWriter],
) -> None:
    for chunk in chunks:
        run_id, experiment = known[chunk.run_key]
        found = [Series(run_id, key, segment) for key, segment in chunk.decode().items()]
        for kind, schema in (("metrics", _METRICS), ("tables", _ROWS)):
            part = [series for series in found if (series.key.cls == SeriesClass.TABLE) == (kind == "tables")]
            if kind not in kinds or not part:
                continue
            table = Vectors(part).to_arrow()
            table = table.append_column("experiment", pa.array([experiment] * len(table), pa.string()))
            table = table.rename_columns(
                ["row" if name == "step" and kind == "tables" else name for name in table.column_names]
            )
            if kind not in writers:
                writers[kind] = pq.ParquetWriter(folder / f"hot-{kind}.parquet", schema, compression="lz4")
            writers[kind].write_table(table.select(schema.names).cast(schema))


def _runs_table(rows: Sequence[Any]) -> pa.Table:
    strings = pa.map_(pa.string(), pa.string())
    time = pa.timestamp("us", tz="UTC")
    schema = pa.schema(
        [
            *(
                (name, pa.string())
                for name in ("experiment", "workspace", "run_id", "parent_run_id", "root_run_id")
            ),
            ("number", pa.int64()),
            *(
                (name, pa.string())
                for name in ("name", "display_name", "description", "type", "target", "status")
            ),
            *((name, time) for name in ("created_time", "start_time", "end_time")),
            ("settled", pa.bool_()),
            ("dropped", pa.int64()),
            ("tags", strings),
            ("properties", strings),
        ]
    )
    columns = {}
    for item in schema:
        values = [row[item.name] for row in rows]
        if item.type == strings:
            values = [list((from_json(value) or {}).items()) for value in values]
        columns[item.name] = pa.array(values, item.type)
    return pa.table(columns, schema=schema)


def _summaries_table(rows: Sequence[Any]) -> pa.Table:
    def floats(name: str) -> pa.Array:
        return pa.array([row[name] for row in rows], pa.float64())

    return pa.table(
        {
            "run_id": pa.array([row["run_id"] for row in rows], pa.string()),
            "name": pa.array([row["name"] for row in rows], pa.string()),
            "count": pa.array([row["count"] for row in rows], pa.int64()),
            **{name: floats(name) for name in ("first", "last", "min", "max", "mean")},
            "last_step": pa.array([row["last_step"] for row in rows], pa.int64()),
            "last_text": pa.array([row["last_text"] for row in rows], pa.string()),
        }
    )


# --- carrying it out -------------------------------------------------------------------------------------------------


async def _execute(
    process: SqlProcess, sources: _Sources, store: Store, settings: Settings, statement: str, folder: Path
) -> pa.Table:
    request = await asyncio.to_thread(_request, sources, store, settings, folder)
    await process.ask("run", settings, statement=statement, folder=str(folder), **request)
    return await asyncio.to_thread(_read_answer, folder)


def _request(sources: _Sources, store: Store, settings: Settings, folder: Path) -> dict[str, Any]:
    """What the process needs to make the views, as JSON; tables go by files of the folder."""
    views = {}
    tables = dict(sources.tables)
    for view, layout, files, hot, schema in (
        ("metrics", "step", sources.metrics, sources.hot_metrics, _METRICS),
        ("rows", 'row, "column"', sources.rows, sources.hot_rows, _ROWS),
    ):
        if view not in sources.names:
            continue  # not made, rather than empty: a reference that was overlooked is an error, not a wrong answer
        views[view] = {
            "layout": layout,
            "files": [(store.locate(path), experiment) for path, experiment in files],
            "hot": None if hot is None else str(hot),
        }
        if not files and hot is None:
            tables[f"no_{view}"] = schema.empty_table()
    paths = {}
    for name, table in tables.items():
        paths[name] = str(folder / f"{name}.arrow")
        with pa.OSFile(paths[name], "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    remote = ("store", "store_endpoint", "store_key", "store_secret")
    return {
        "views": views,
        "tables": paths,
        "deleted": sources.deleted,
        "store": None if store.local else {name: getattr(settings, name) for name in remote},
    }


def _read_answer(folder: Path) -> pa.Table:
    with pa.OSFile(str(folder / ANSWER)) as source:
        return pa.ipc.open_stream(source).read_all()
