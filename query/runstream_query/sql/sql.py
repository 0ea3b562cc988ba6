"""SQL over everything: DuckDB in memory, over the manifest's live files and the hot tier, in one snapshot.

The caller's statement sees its views and nothing else: no file but those the views are made of, no network, no settings, no
extension, no second statement. It runs in a process of its own, bounded in memory and in time.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow as pa

from runstream_schemas.errors import QueryError, StoreError
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store

from ..points.point_views import KINDS, POINT_VIEWS
from . import queries
from .sql_hot import HotRows
from .sql_needs import Needs
from .sql_processes import ANSWER, FileGone, SqlProcess, borrowed
from .sql_tables import write_params, write_runs, write_summaries

_TRIES = 3


@dataclass(slots=True)
class _Sources:
    """What the views `names` are made of: files (path, experiment, whether it holds a deleted run) by view; hot rows and
    tables, spilled to files; and the deleted runs that files still hold."""

    names: set[str]
    files: dict[str, list[tuple[str, str | None, bool]]] = field(default_factory=dict)
    hot: dict[str, Path] = field(default_factory=dict)
    tables: dict[str, Path] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)


async def run_sql(
    pool: asyncpg.Pool[Any],
    store: Store,
    settings: Settings,
    statement: str,
    *,
    workspace: str | None = None,
) -> pa.Table:
    """Answer one SELECT over the views `metrics`, `rows`, `histograms`, `media`, `system_metrics`,
    `former_metrics`, `runs`, `params` and `summaries`.

    Args:
        workspace: the only one whose runs are there at all: neither a view nor a file it may open holds another's. Runs
            whose creation has not arrived, so that their workspace is unknown, are left out.

    Raises:
        QueryError: not a single reading statement, wrong SQL, or beyond `sql_memory` or `query_timeout`.
        TimeoutError: as many statements as may be were under way all that time.
        StoreError: a file of the store is missing or damaged.
    """
    async with borrowed(settings, remote=not store.local) as process:
        checked = await process.ask("check", settings, statement=statement)
        needs = {view: Needs(**needed) for view, needed in checked.items()}
        for attempt in range(_TRIES):
            with tempfile.TemporaryDirectory(prefix="runstream-sql-") as folder:
                hot = HotRows(Path(folder), {view: needs[view] for view in POINT_VIEWS if view in needs})
                try:
                    async with asyncio.timeout(settings.query_timeout):
                        sources = await _collect(pool, needs, hot, workspace)
                except TimeoutError:
                    raise QueryError(
                        f"reading what is not in files yet took longer than {settings.query_timeout:g} s "
                        f"({hot.chunks:,} batches with {hot.points:,} points were read): name runs or metrics "
                        "(WHERE run_id = '...', WHERE name = '...'), or raise RUNSTREAM_QUERY_TIMEOUT"
                    ) from None
                try:
                    return await _execute(process, sources, store, settings, statement, Path(folder))
                except FileGone as error:
                    # A file was replaced between our look and DuckDB's opening it: look again.
                    if attempt + 1 == _TRIES:
                        raise StoreError(
                            f"{error}; a file the manifest names cannot be read: restore it from a backup"
                        ) from None
    raise AssertionError("unreachable")


async def _collect(
    pool: asyncpg.Pool[Any], needs: dict[str, Needs], hot: HotRows, workspace: str | None
) -> _Sources:
    """Read the snapshot. What is not in the store's files goes to temporary ones bit by bit: there may be much."""
    sources = _Sources(set(needs))
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        views = {kind: view for view, kind in KINDS.items() if view in needs}
        if views:
            deleted = await connection.fetch(queries.DELETED_IN_FILES, workspace)
            sources.deleted = [row["run_id"] for row in deleted]
            holding = {file for row in deleted for file in row["files"]}
            for row in await connection.fetch(queries.ALL_LIVE_FILES, list(views), workspace):
                into = sources.files.setdefault(views[row["kind"]], [])
                into.append((row["path"], row["experiment"], row["id"] in holding))
            sources.hot = await hot.spill(connection, workspace)
        for view, write in (("runs", write_runs), ("params", write_params), ("summaries", write_summaries)):
            if view in needs:
                sources.tables[view] = hot.folder / f"{view}.arrow"
                await write(connection, sources.tables[view], needs[view], workspace)
    return sources


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
    tables = {name: str(path) for name, path in sources.tables.items()}
    for view, schema in POINT_VIEWS.items():
        if view not in sources.names:
            continue  # not made, rather than empty: a reference that was overlooked is an error, not a wrong answer
        hot, files = sources.hot.get(view), sources.files.get(view, [])
        views[view] = {
            "columns": ", ".join(f'"{name}"' for name in schema.names[1:]),
            "files": [(store.locate(path), experiment, holds) for path, experiment, holds in files],
            "hot": None if hot is None else str(hot),
        }
        if not files and hot is None:
            tables[f"no_{view}"] = str(folder / f"no_{view}.arrow")
            with pa.OSFile(tables[f"no_{view}"], "wb") as sink, pa.ipc.new_stream(sink, schema):
                pass
    remote = ("store", "store_endpoint", "store_key", "store_secret")
    return {
        "views": views,
        "tables": tables,
        "deleted": sources.deleted,
        "store": None if store.local else {name: getattr(settings, name) for name in remote},
    }


def _read_answer(folder: Path) -> pa.Table:
    with pa.OSFile(str(folder / ANSWER)) as source:
        return pa.ipc.open_stream(source).read_all()
