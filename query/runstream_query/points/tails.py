"""What sources have from a slot on: of a hundred live runs, hundreds of chunks of some points, decoded together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np

from runstream_schemas.order import position
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.many_payloads import decode_many
from runstream_schemas.wire.payload_index import PREFIX_BYTES

from .. import queries
from ..runs.runs import Connection
from .grouped import GroupedPoints
from .hot import WHOLE_BYTES, Chunk, fetch_rest, placed
from .vectors import Placed, PointColumns

TOGETHER_BYTES: Final = 8 << 10
"""Chunks up to this size are decoded together, whatever is wanted of them."""

Tails = dict[int, dict[SeriesKey, list[Placed]]]
"""Points by run key and series, in order."""


async def read_tails(
    connection: Connection, since: Sequence[tuple[int, int, int]], names: Collection[str]
) -> Tails:
    """The points of series called `names` in the hot chunks of sources, from a slot on. Call it in a snapshot.

    Args:
        since: (run, source, first slot) each.
    """
    columns = [list(column) for column in zip(*since, strict=True)] or [[], [], []]
    rows = await connection.fetch(queries.HOT_TAILS, *columns, WHOLE_BYTES, PREFIX_BYTES)
    small = [row for row in rows if row["size"] <= TOGETHER_BYTES]
    tails, left = await asyncio.to_thread(_decode_together, small, frozenset(names))
    left += [row for row in rows if row["size"] > TOGETHER_BYTES]
    decoded = []
    async for chunks in fetch_rest(connection, left, names):
        decoded += await asyncio.to_thread(_decode, chunks)
    for run_key, chunks_of_run in placed(decoded).items():
        of_run = tails.setdefault(run_key, {})
        for start, grouped in chunks_of_run:
            for key, points in grouped.by_series().items():
                of_run.setdefault(key, []).append((start, points))
    if decoded:
        for series in tails.values():
            for parts in series.values():
                parts.sort(key=lambda part: part[0])
    return tails


def _decode(chunks: Sequence[Chunk]) -> list[tuple[Chunk, GroupedPoints]]:
    return [(chunk, chunk.decode()) for chunk in chunks]


def _decode_together(rows: Sequence[Any], names: Collection[str]) -> tuple[Tails, list[Any]]:
    """What chunks hold of some series, and the rows of those that have to be read one by one."""
    pieces = decode_many([row["head"] for row in rows])
    ends = np.cumsum(pieces.counts)
    chosen = np.array([key.name in names for key in pieces.keys], dtype=bool)[pieces.key]
    chosen &= pieces.counts > 0
    tails: Tails = {}
    places = np.flatnonzero(chosen)
    # Sorted: pieces of a run lie in the order of its points.
    starts = [position(row["ordinal"], row["first"]) for row in rows]
    for payload, key, kind, end, count in sorted(
        zip(
            pieces.payload[places].tolist(),
            pieces.key[places].tolist(),
            pieces.kind[places].tolist(),
            ends[places].tolist(),
            pieces.counts[places].tolist(),
            strict=True,
        ),
        key=lambda piece: starts[piece[0]],
    ):
        part = slice(end - count, end)
        columns = PointColumns(Kind(kind), pieces.steps[part], pieces.times[part], pieces.values[part])
        series = tails.setdefault(rows[payload]["run_key"], {})
        series.setdefault(pieces.keys[key], []).append((starts[payload], columns))
    return tails, [rows[number] for number in pieces.others]
