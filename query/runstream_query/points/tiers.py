"""The way of a point, step 9 of 10: one consistent look at both tiers finds it in exactly one of them.

The compactor moves points by one transaction that publishes a file and deletes exactly the chunks it holds. So manifest and
chunks read in one REPEATABLE READ transaction show every point once; read by two statements, or two transactions, they show
some twice or not at all. Files the snapshot names are read after it ended: a replaced file stays in the trash meanwhile.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import asyncpg

from runstream_schemas.errors import CorruptEvent, QueryError, StoreError
from runstream_schemas.order import Place, overlap, unpack_place
from runstream_schemas.series import SeriesKey

from .. import queries
from ..runs.runs import Connection
from .grouped import GroupedPoints, bring_together
from .hot import Chunk, fetch_chunks, placed
from .parquet import LAYOUTS, Layout, ParquetFiles
from .vectors import Placed, PointColumns, in_order, join

Decoded = tuple[Chunk, GroupedPoints]
DECODERS = 4
"""Threads that decode; the codecs release the GIL."""

executor = ThreadPoolExecutor(max_workers=DECODERS, thread_name_prefix="runstream-query")


@dataclass(frozen=True, slots=True)
class FilePart:
    """Row groups of a live file that hold points of a run, and which positions these have."""

    file_id: int
    path: str
    layout: Layout
    run_key: int
    first_group: int
    last_group: int
    place: Place


@dataclass(slots=True)
class TierView:
    """Where the points of some runs lie at one moment.

    Attributes:
        runs: run ids by key.
        parts: row groups, files in the order of their making.
        mixed: runs of which points of one file lie between those of others, or of hot chunks: their `parts` know where.
        hot: what the hot chunks hold, being decoded in threads.
    """

    runs: dict[int, str]
    parts: list[FilePart]
    mixed: set[int]
    hot: list[asyncio.Future[list[Decoded]]]


async def view_tiers(
    pool: asyncpg.Pool[Any],
    find_runs: Callable[[Connection], object],
    *,
    names: Collection[str] | None = None,
    layouts: Sequence[Layout] = LAYOUTS,
) -> TierView:
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
            return TierView(runs, [], set(), [])
        parts = [
            FilePart(
                row["id"],
                row["path"],
                layout,
                row["run_key"],
                row["first_row_group"],
                row["last_row_group"],
                unpack_place(row["first_position"], row["end_position"], None),
            )
            for layout in layouts
            for row in await connection.fetch(queries.LIVE_FILES, keys, layout.kind)
        ]
        hot = []
        spans: dict[tuple[int, str], list[tuple[int, int]]] = {}
        for part in parts:
            spans.setdefault((part.run_key, part.layout.kind), []).append((part.place.start, part.place.end))
        async for chunks in fetch_chunks(connection, keys, names):
            hot.append(asyncio.get_running_loop().run_in_executor(executor, _decode, chunks))
            for chunk in chunks:
                for layout in layouts:
                    if (held := spans.get((chunk.run_key, layout.kind))) is not None:
                        held.append((chunk.start, chunk.end))
        mixed = {run_key for (run_key, _), held in spans.items() if len(held) > 1 and overlap(held)}
        if mixed:
            parts = await _with_pieces(connection, parts, mixed)
        return TierView(runs, parts, mixed, hot)


async def _with_pieces(
    connection: Connection, parts: Sequence[FilePart], runs: Collection[int]
) -> list[FilePart]:
    live = [part for part in parts if part.run_key in runs]
    rows = await connection.fetch(
        queries.PIECES, [part.file_id for part in live], [part.run_key for part in live]
    )
    try:
        places = {
            (row["file_id"], row["run_key"]): unpack_place(
                row["first_position"], row["end_position"], row["pieces"]
            )
            for row in rows
        }
    except CorruptEvent as error:
        raise QueryError(f"{error}; restore the database from a backup") from None
    return [replace(part, place=places.get((part.file_id, part.run_key), part.place)) for part in parts]


async def read_points(
    view: TierView,
    files: ParquetFiles,
    *,
    names: Collection[str] | None = None,
    cls: Collection[int] | None = None,
) -> dict[str, dict[SeriesKey, list[PointColumns]]]:
    """Read what a view shows: by run id and series, pieces in the order of their points.

    Raises:
        StoreError: a file is missing or damaged.
    """
    loop = asyncio.get_running_loop()
    by_file: dict[tuple[int, str], tuple[Layout, dict[int, set[str]]]] = {}
    for part in view.parts:
        groups = by_file.setdefault((part.file_id, part.path), (part.layout, {}))[1]
        for number in range(part.first_group, part.last_group + 1):
            groups.setdefault(number, set()).add(view.runs[part.run_key])
    reads = [
        (file_id, path, layout, portion)
        for (file_id, path), (layout, groups) in by_file.items()
        for portion in _portions(groups, DECODERS // len(by_file))
    ]
    cold = [
        loop.run_in_executor(executor, files.read, path, layout, portion, names)
        for _, path, layout, portion in reads
    ]
    in_files: dict[tuple[int, str], dict[SeriesKey, list[PointColumns]]] = {}
    for (file_id, *_), series_of_runs in zip(reads, await asyncio.gather(*cold), strict=True):
        for run_id, series in series_of_runs.items():
            for key, pieces in series.items():
                if cls is None or key.cls in cls:
                    in_files.setdefault((file_id, run_id), {}).setdefault(key, []).extend(pieces)
    result: dict[str, dict[SeriesKey, list[Placed]]] = {}
    for part in view.parts:
        run_id = view.runs[part.run_key]
        for key, pieces in in_files.get((part.file_id, run_id), {}).items():
            these = (
                _cut(part, key, pieces)
                if part.run_key in view.mixed
                else [(part.place.start, piece) for piece in pieces]
            )
            result.setdefault(run_id, {}).setdefault(key, []).extend(these)
    decoded = [item for some in await asyncio.gather(*view.hot) for item in some]
    for run_key, chunks in placed(decoded).items():
        if run_key not in view.mixed:
            starts = sorted(part.place.start for part in view.parts if part.run_key == run_key)
            chunks = await loop.run_in_executor(executor, _bring_together, chunks, starts)
        of_run = result.setdefault(view.runs[run_key], {})
        for start, grouped in chunks:
            for key, columns in grouped.by_series().items():
                if cls is None or key.cls in cls:
                    of_run.setdefault(key, []).append((start, columns))
    return {
        run_id: {key: in_order(parts) for key, parts in series.items()} for run_id, series in result.items()
    }


def _bring_together(
    chunks: Sequence[tuple[int, GroupedPoints]], starts: Sequence[int]
) -> list[tuple[int, GroupedPoints]]:
    """Chunks in order, those as one between which no file of their run begins."""
    between: dict[int, list[tuple[int, GroupedPoints]]] = {}
    for start, grouped in chunks:
        between.setdefault(bisect_left(starts, start), []).append((start, grouped))
    return [(some[0][0], bring_together([grouped for _, grouped in some])) for some in between.values()]


def _cut(part: FilePart, key: SeriesKey, columns: Sequence[PointColumns]) -> list[Placed]:
    """The points of a series in a file, cut where those of other files or chunks may belong between them."""
    whole = join(columns)
    try:
        pieces = part.place.of(key, len(whole.steps))
    except CorruptEvent as error:
        raise StoreError(f"{part.path}: {error}; restore the store and the database from a backup") from None
    ends = list(accumulate(piece.rows for piece in pieces))
    return [(piece.start, whole.cut(end - piece.rows, end)) for piece, end in zip(pieces, ends, strict=True)]


def _portions(groups: dict[int, set[str]], most: int) -> list[dict[int, set[str]]]:
    """Row groups of a file, in order, in at most so many portions: one long series in one file is read by all threads."""
    items = sorted(groups.items())
    size = -(-len(items) // max(most, 1))
    return [dict(items[at : at + size]) for at in range(0, len(items), size)]


def _decode(chunks: Sequence[Chunk]) -> list[Decoded]:
    return [(chunk, chunk.decode()) for chunk in chunks]
