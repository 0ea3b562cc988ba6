"""SQL over everything: DuckDB in memory, over the manifest's live files and the hot tier, in one snapshot.

The caller's statement sees four views and nothing else: no file but those the views are made of, no network, no settings, no
extension, no second statement. It is bounded in memory and in time.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from runstream_schemas.errors import QueryError, StoreError
from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store

from . import queries
from .hot import Chunk, fetch_chunks
from .runs import Connection, from_json
from .vectors import Series, Vectors

VIEWS = ("metrics", "rows", "runs", "summaries")
"""What a statement can read."""

_READS = re.compile(
    r"^(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(select|with|from|values|describe|summarize|explain|pivot|unpivot)\b",
    re.I | re.S,
)
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
    check_statement(statement)
    names = (
        set(VIEWS)
        if _mentions_unknown(statement)
        else {v for v in VIEWS if re.search(rf"\b{v}\b", statement, re.I)}
    )
    for attempt in range(_TRIES):
        with tempfile.TemporaryDirectory(prefix="runstream-sql-") as folder:
            async with asyncio.timeout(settings.query_timeout):
                sources = await _collect(pool, names, Path(folder), workspace)
            try:
                return await _execute(sources, store, settings, statement, Path(folder))
            except (duckdb.IOException, OSError) as error:
                # A file was replaced between our look and DuckDB's opening it: look again.
                if attempt + 1 == _TRIES:
                    raise StoreError(
                        f"{error}; a file the manifest names cannot be read: restore it from a backup"
                    ) from None
    raise AssertionError("unreachable")


def check_statement(statement: str) -> None:
    """Refuse anything but one statement that reads.

    Raises:
        QueryError: it is something else.
    """
    try:
        parsed = duckdb.extract_statements(statement)
    except duckdb.Error as error:
        raise QueryError(_message(error)) from None
    if len(parsed) != 1:
        raise QueryError(f"{len(parsed)} statements; send one SELECT at a time")
    if parsed[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN) or not _READS.match(
        statement
    ):
        kind = str(parsed[0].type).rpartition(".")[2]
        raise QueryError(
            f"{kind} is not allowed: only SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE or EXPLAIN over {', '.join(VIEWS)}"
        )


def _mentions_unknown(statement: str) -> bool:
    """Whether names of views may be hidden from a plain look: quoted identifiers with escapes, or `query()` functions."""
    return '""' in statement or "query" in statement.lower()


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
        found = [Series(run_id, key, segment) for key, segment in chunk.decode(None).items()]
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


# --- DuckDB ----------------------------------------------------------------------------------------------------------


async def _execute(
    sources: _Sources, store: Store, settings: Settings, statement: str, folder: Path
) -> pa.Table:
    connection = await asyncio.to_thread(_open, sources, store, settings, folder)
    timed_out = threading.Event()

    def interrupt() -> None:
        timed_out.set()
        connection.interrupt()

    timer = threading.Timer(settings.query_timeout, interrupt)
    timer.start()
    try:
        return await asyncio.to_thread(_fetch, connection, statement, _bytes(settings.sql_memory))
    except duckdb.InterruptException:
        raise QueryError(
            f"the query took longer than {settings.query_timeout:g} s; narrow it, or raise RUNSTREAM_QUERY_TIMEOUT"
        ) from None
    except duckdb.OutOfMemoryException:
        raise QueryError(
            f"the query needs more than {settings.sql_memory} of memory; narrow it, or raise RUNSTREAM_SQL_MEMORY"
        ) from None
    except duckdb.IOException:
        raise
    except duckdb.Error as error:
        raise QueryError(_message(error)) from None
    except asyncio.CancelledError:
        connection.interrupt()  # the client went away
        raise
    finally:
        timer.cancel()
        timer.join(0)
        await asyncio.shield(asyncio.to_thread(connection.close))


def _fetch(connection: duckdb.DuckDBPyConnection, statement: str, most: int) -> pa.Table:
    reader: Any = connection.sql(statement).to_arrow_reader(100_000)
    batches, size = [], 0
    for batch in reader:
        batches.append(batch)
        size += batch.nbytes
        if size > most:
            raise QueryError(
                f"the answer is larger than {most} bytes; add a LIMIT or aggregate, or raise RUNSTREAM_SQL_MEMORY"
            )
    return pa.Table.from_batches(batches, reader.schema)


def _open(sources: _Sources, store: Store, settings: Settings, folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": settings.sql_memory,
            "temp_directory": str(folder / "duckdb"),
            "max_temp_directory_size": settings.sql_memory,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "preserve_insertion_order": "false",
        },
    )
    try:
        connection.execute("set TimeZone = 'UTC'")
        allowed: list[str] = []
        for name, table in sources.tables.items():
            connection.register(name, table)
        for view, layout, files, hot, schema in (
            ("metrics", "step", sources.metrics, sources.hot_metrics, _METRICS),
            ("rows", 'row, "column"', sources.rows, sources.hot_rows, _ROWS),
        ):
            if view not in sources.names:
                continue  # not made, rather than empty: a reference that was overlooked is an error, not a wrong answer
            parts = []
            columns = f"run_id, name, {layout}, time, value, int_value, text"
            if files and store.local:
                located = [(store.locate(path), experiment) for path, experiment in files]
                allowed += [path for path, _ in located]
                parts += _local_parts(located, columns)
            elif files:
                parts += _remote_parts(connection, view, store, files, columns)
            if sources.deleted:
                out = ", ".join(map(_quote, sources.deleted))
                parts = [f"{part} where run_id not in ({out})" for part in parts]
            if hot is not None:
                allowed.append(str(hot))
                parts.append(f"select experiment, {columns} from read_parquet({_quote(str(hot))})")
            if not parts:
                connection.register(f"no_{view}", schema.empty_table())
                parts.append(f"select * from no_{view}")
            connection.execute(f"create view {view} as {' union all '.join(parts)}")
        connection.execute(f"set allowed_paths = [{', '.join(map(_quote, allowed))}]")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def _local_parts(located: list[tuple[str, str | None]], columns: str) -> list[str]:
    by_experiment: dict[str | None, list[str]] = {}
    for path, experiment in located:
        by_experiment.setdefault(experiment, []).append(path)
    return [
        f"select {'null::varchar' if experiment is None else _quote(experiment)} as experiment, {columns} "
        f"from read_parquet([{', '.join(map(_quote, paths))}], hive_partitioning = false)"
        for experiment, paths in by_experiment.items()
    ]


def _remote_parts(
    connection: duckdb.DuckDBPyConnection,
    view: str,
    store: Store,
    files: list[tuple[str, str | None]],
    columns: str,
) -> list[str]:
    """Files of an object store, as Arrow datasets: DuckDB itself then needs no way out."""
    import pyarrow.dataset as ds

    by_experiment: dict[str | None, list[str]] = {}
    for path, experiment in files:
        by_experiment.setdefault(experiment, []).append(store.locate(path))
    parts = []
    for number, (experiment, keys) in enumerate(by_experiment.items()):
        name = f"{view}_files_{number}"
        connection.register(name, ds.dataset(keys, filesystem=store.filesystem, format="parquet"))  # type: ignore[attr-defined]
        parts.append(
            f"select {'null::varchar' if experiment is None else _quote(experiment)} as experiment, {columns} from {name}"
        )
    return parts


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _bytes(size: str) -> int:
    match = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?)(i?)b?\s*", size, re.I)
    if not match:
        raise QueryError(f"RUNSTREAM_SQL_MEMORY={size!r}: expected a size such as 2GB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2].lower() or " "))


def _message(error: duckdb.Error) -> str:
    return re.sub(r"\n\n+", "\n", str(error)).strip()
