"""One consistent look at both tiers: each point is in exactly one of them.

The compactor moves points by one transaction that publishes a file and deletes exactly the chunks it holds. So manifest and
chunks read in one REPEATABLE READ transaction show every point once; read by two statements, or two transactions, they show
some twice or not at all. Files the snapshot names are read after it ended: a replaced file stays in the trash meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import asyncpg

from runstream_schemas.series import SeriesKey

from .. import queries
from ..runs.runs import Connection
from .hot import Chunk, fetch_chunks, fetch_tails, merge_sources
from .parquet import METRICS, TABLES, Layout, ParquetFiles
from .vectors import Segment

Decoded = tuple[Chunk, dict[SeriesKey, Segment]]
DECODERS = 4
"""Threads that decode; the codecs release the GIL."""

executor = ThreadPoolExecutor(max_workers=DECODERS, thread_name_prefix="runstream-query")


@dataclass(frozen=True, slots=True)
class FilePart:
    """Row groups of a live file that hold points of a run."""

    file_id: int
    path: str
    layout: Layout
    run_key: int
    first_group: int
    last_group: int


@dataclass(slots=True)
class Snapshot:
    """Where the points of some runs lie at one moment.

    Attributes:
        runs: run ids by key.
        parts: row groups, files in the order in which their points were stored.
        hot: what the hot chunks hold, being decoded in threads.
    """

    runs: dict[int, str]
    parts: list[FilePart]
    hot: list[asyncio.Future[list[Decoded]]]


async def take_snapshot(
    pool: asyncpg.Pool[Any],
    find_runs: Callable[[Connection], object],
    *,
    names: Collection[str] | None = None,
    layouts: Sequence[Layout] = (METRICS, TABLES),
) -> Snapshot:
    """Look at both tiers at once.

    Args:
        pool: connections.
        find_runs: coroutine function that gives the wanted runs, {key: run id}, on the snapshot's connection.
        names: names of the wanted series; None: all.
        layouts: kinds of file wanted.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        runs: dict[int, str] = await find_runs(connection)  # type: ignore[misc]
        keys = list(runs)
        if not keys:
            return Snapshot(runs, [], [])
        parts = [
            FilePart(
                row["id"], row["path"], layout, row["run_key"], row["first_row_group"], row["last_row_group"]
            )
            for layout in layouts
            for row in await connection.fetch(queries.LIVE_FILES, keys, layout.kind)
        ]
        hot = [
            asyncio.get_running_loop().run_in_executor(executor, _decode, chunks)
            async for chunks in fetch_chunks(connection, keys, names)
        ]
        return Snapshot(runs, parts, hot)


async def read_points(
    snapshot: Snapshot,
    files: ParquetFiles,
    *,
    names: Collection[str] | None = None,
    cls: Collection[int] | None = None,
) -> dict[str, dict[SeriesKey, list[Segment]]]:
    """Read what a snapshot shows: by run id and series, segments in order of logging (files, then hot chunks).

    Raises:
        StoreError: a file is missing or damaged.
    """
    loop = asyncio.get_running_loop()
    by_file: dict[tuple[int, str], tuple[Layout, dict[int, set[str]]]] = {}
    for part in snapshot.parts:
        groups = by_file.setdefault((part.file_id, part.path), (part.layout, {}))[1]
        for number in range(part.first_group, part.last_group + 1):
            groups.setdefault(number, set()).add(snapshot.runs[part.run_key])
    cold = [
        loop.run_in_executor(executor, files.read, path, layout, portion, names)
        for (_, path), (layout, groups) in by_file.items()
        for portion in _portions(groups, DECODERS // len(by_file))
    ]
    result: dict[str, dict[SeriesKey, list[Segment]]] = {}
    for found in await asyncio.gather(*cold):
        for run_id, series in found.items():
            for key, segments in series.items():
                if cls is None or key.cls in cls:
                    result.setdefault(run_id, {}).setdefault(key, []).extend(segments)
    decoded = [item for part in await asyncio.gather(*snapshot.hot) for item in part]
    for run_key, by_key in merge_sources(decoded).items():
        for key, segment in by_key.items():
            if cls is None or key.cls in cls:
                result.setdefault(snapshot.runs[run_key], {}).setdefault(key, []).append(segment)
    return result


def _portions(groups: dict[int, set[str]], most: int) -> list[dict[int, set[str]]]:
    """Row groups of a file, in order, in at most so many portions: one long series in one file is read by all threads."""
    items = sorted(groups.items())
    size = -(-len(items) // max(most, 1))
    return [dict(items[at : at + size]) for at in range(0, len(items), size)]


async def decoding(
    connection: Connection, since: Sequence[tuple[int, int, int]], names: Collection[str]
) -> AsyncIterator[asyncio.Future[list[Decoded]]]:
    """What the chunks of sources hold from a slot on, being decoded in threads. Call it in a snapshot."""
    async for chunks in fetch_tails(connection, since, names):
        yield asyncio.get_running_loop().run_in_executor(executor, _decode, chunks)


def _decode(chunks: Sequence[Chunk]) -> list[Decoded]:
    return [(chunk, chunk.decode()) for chunk in chunks]
