"""The hot tier read: chunks of points in Postgres, of which one series is fetched by substrings."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runstream_schemas.errors import CorruptEvent
from runstream_schemas.order import position
from runstream_schemas.parquet.arrow import ROW_BITS
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.payload_reading import (
    PREFIX_BYTES,
    BlockPoints,
    Index,
    decode_block,
    decode_order,
    index_size,
    read_index,
)
from runstream_schemas.wire.points import first_places

from .. import queries
from ..runs.runs import Connection
from .vectors import Placed, PointColumns, join

log = logging.getLogger(__name__)

WHOLE_BYTES = 16 << 10
"""Chunks up to this size are fetched whole: a second round trip costs more than the bytes."""

PORTION_BYTES = 1 << 20
"""Bytes fetched, and decoded, at a time."""

_told: set[tuple[int, int, int]] = set()  # chunks that cannot be read: said once each
_MOST_TOLD = 10_000

Pieces = list[tuple[int, bytes]]  # (offset, bytes), ascending


@dataclass(slots=True)
class Chunk:
    """A row of the hot tier, with the parts of its payload that were fetched."""

    run_key: int
    source_key: int
    ordinal: int
    first: int
    slots: int
    size: int
    pieces: Pieces
    index: Index | None = None
    missing: list[tuple[int, int]] = field(default_factory=list)  # (offset, bytes) still to fetch
    wanted: list[int] = field(default_factory=list)  # places of the wanted series in the index
    blocks: list[int] = field(default_factory=list)  # those that hold them
    in_pieces: bool = False  # what is wanted may lie in another order than it was logged
    unreadable: bool = False

    @property
    def row(self) -> tuple[int, int, int]:
        """Its primary key: run, source, first slot."""
        return self.run_key, self.source_key, self.first

    @property
    def start(self) -> int:
        """Position of its first slot in the run's order."""
        return position(self.ordinal, self.first)

    @property
    def end(self) -> int:
        """Position after its last slot."""
        return position(self.ordinal, self.first + self.slots)

    def plan(self, names: Collection[str] | None) -> bool:
        """Work out which bytes are still needed for the wanted series; False: first of all the rest of the header, or
        nothing, because it cannot be read."""
        head = self.pieces[0][1]
        try:
            need = index_size(head)
            if need > len(head):
                self.missing = [(len(head), need - len(head))]  # a very wide batch; plan again with those
                return False
            self.index = read_index(head)
            if self.index.size != self.size:
                raise CorruptEvent(f"it has {self.size} bytes, its header says {self.index.size}")
        except CorruptEvent as error:
            self.leave_out(error)
            return False
        self.missing = [
            (max(at, len(head)), at + size - max(at, len(head)))
            for at, size in self._wanted_parts(names)
            if at + size > len(head)
        ]
        return True

    def extend(self, at: int, data: bytes) -> None:
        """Add fetched bytes; those that continue the first piece are joined to it."""
        start, first = self.pieces[0]
        if at == start + len(first):
            self.pieces[0] = (start, first + data)
        else:
            self.pieces.append((at, data))

    def leave_out(self, error: CorruptEvent) -> None:
        """Its points are missing from what is read, and from nothing else; the compactor says so on the run."""
        self.missing, self.unreadable = [], True
        if self.row not in _told:
            if len(_told) >= _MOST_TOLD:
                _told.clear()
            _told.add(self.row)
            log.error(
                "chunk (run %d, source %d, slot %d) of the hot tier cannot be read and is left out: %s; restore the "
                "database, or delete that row of `chunks`",
                *self.row,
                error,
            )

    def _wanted_parts(self, names: Collection[str] | None) -> list[tuple[int, int]]:
        """(offset, bytes) of the sections to decode, neighbours joined; notes the series and blocks among them."""
        index = self.index
        assert index is not None
        self.wanted = [i for i, (key, _) in enumerate(index.series) if names is None or key.name in names]
        ends = [first + n for first, n, _, _ in index.blocks]
        self.blocks = sorted({bisect_right(ends, i) for i in self.wanted})
        parts = [index.blocks[number][2:] for number in self.blocks]
        self.in_pieces = self._in_pieces()
        if self.in_pieces:
            parts.append(index.order_at)
        joined: list[tuple[int, int]] = []
        for at, size in parts:
            if joined and sum(joined[-1]) == at:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((at, size))
        return joined

    def _in_pieces(self) -> bool:
        """Series lie by kind, and are those that are wanted of several?"""
        assert self.index is not None
        return len({self.index.series[i][1] for i in self.wanted}) > 1

    def _bytes(self, at: int, size: int) -> memoryview:
        for start, data in self.pieces:
            if start <= at and at + size <= start + len(data):
                return memoryview(data)[at - start : at - start + size]
        raise CorruptEvent(f"{size} bytes at {at} lie outside of its {self.size}")

    def decode(self) -> dict[SeriesKey, PointColumns]:
        """The series of this chunk that were wanted when it was planned; none when it cannot be read."""
        index = self.index
        assert index is not None
        parts_of_series: dict[SeriesKey, list[tuple[int, PointColumns]]] = {}
        try:
            for number in self.blocks:
                first, n, at, size = index.blocks[number]
                block = decode_block(index, number, self._bytes(at, size))
                ends = np.cumsum(index.counts[first : first + n]).tolist()
                for i in self.wanted[bisect_left(self.wanted, first) : bisect_left(self.wanted, first + n)]:
                    count, end = int(index.counts[i]), ends[i - first]
                    key, kind = index.series[i]
                    if count:
                        piece = self._point_columns(key, kind, block, end - count, end)
                        parts_of_series.setdefault(key, []).append((i, piece))
            if not self.in_pieces:
                return {key: parts[0][1] for key, parts in parts_of_series.items()}
            order, _ = decode_order(index, self._bytes(*index.order_at))
        except CorruptEvent as error:
            self.leave_out(error)
            return {}
        result = {}
        at_first = first_places(order, len(index.series))
        for key, parts in sorted(
            parts_of_series.items(), key=lambda item: min(at_first[i] for i, _ in item[1])
        ):
            whole = join([piece for _, piece in parts])
            if len(parts) > 1:
                places = np.concatenate([np.flatnonzero(order == i) for i, _ in parts])
                whole = whole.take(np.argsort(places, kind="stable"))
            result[key] = whole
        return result

    def _point_columns(
        self, key: SeriesKey, kind: Kind, block: BlockPoints, start: int, end: int
    ) -> PointColumns:
        steps = block.steps[start:end]
        if key.cls == SeriesClass.TABLE:
            steps = steps + (self.ordinal << ROW_BITS)
        if kind == Kind.TEXT:
            values, texts = np.arange(end - start, dtype=np.uint64), block.texts[start:end]
        else:
            values, texts = block.values[start:end], []
        return PointColumns(kind, steps, block.times[start:end], values, texts)


async def fetch_chunks(
    connection: Connection, run_keys: Sequence[int], names: Collection[str] | None = None
) -> AsyncIterator[list[Chunk]]:
    """Fetch the hot chunks of runs, as far as needed for series called `names` (None: all). Call it in a snapshot.

    They come in lists of some megabytes, so that one can be decoded while the database looks up the next; in no order. Those
    that cannot be read are left out.
    """
    whole = 1 << 30 if names is None else WHOLE_BYTES
    rows = await connection.fetch(queries.HOT_CHUNKS, list(run_keys), whole, PREFIX_BYTES)
    async for part in fetch_rest(connection, rows, names):
        yield part


async def fetch_these(
    connection: Connection, positions: Sequence[tuple[int, int, int]], names: Collection[str] | None = None
) -> AsyncIterator[list[Chunk]]:
    """The same for chunks by their keys: (run, source, first slot)."""
    if positions:
        columns = [list(column) for column in zip(*positions, strict=True)]
        rows = await connection.fetch(queries.HOT_THESE, *columns, WHOLE_BYTES, PREFIX_BYTES)
        async for part in fetch_rest(connection, rows, names):
            yield part


async def fetch_rest(
    connection: Connection, rows: Sequence[Any], names: Collection[str] | None
) -> AsyncIterator[list[Chunk]]:
    """What is wanted of chunks whose beginnings were fetched: rows as of `queries.HOT_CHUNKS`."""
    waiting: list[Chunk] = []
    complete: list[Chunk] = []
    for row in rows:
        chunk = Chunk(
            row["run_key"],
            row["source_key"],
            row["ordinal"],
            row["first"],
            row["count"],
            row["size"],
            [(0, row["head"])],
        )
        chunk.plan(names)
        if not chunk.unreadable:
            (waiting if chunk.missing else complete).append(chunk)
    for part in _portions(complete):
        yield part
    while waiting:
        unplanned: list[Chunk] = []
        for part in _portions(waiting):
            await _fetch_missing(connection, part)
            for chunk in part:
                if chunk.index is None:  # its header was longer than the first bytes; now it is whole
                    if not chunk.plan(names) and not chunk.unreadable:
                        chunk.leave_out(CorruptEvent(f"its header is longer than its {chunk.size} bytes"))
                    unplanned += [chunk] if chunk.missing else []
            if done := [chunk for chunk in part if not chunk.missing and not chunk.unreadable]:
                yield done
        waiting = unplanned


async def _fetch_missing(connection: Connection, chunks: Sequence[Chunk]) -> None:
    missing = [(chunk, at, size) for chunk in chunks for at, size in chunk.missing]
    data = await connection.fetch(
        queries.CHUNK_PARTS,
        list(range(len(missing))),
        [chunk.run_key for chunk, _, _ in missing],
        [chunk.source_key for chunk, _, _ in missing],
        [chunk.first for chunk, _, _ in missing],
        [at + 1 for _, at, _ in missing],
        [size for _, _, size in missing],
    )
    for chunk in chunks:
        chunk.missing = []
    for row in sorted(data, key=lambda row: int(row["place"])):  # ascending offsets within each chunk
        chunk, at, _ = missing[row["place"]]
        chunk.extend(at, row["data"])


def _portions(chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    """Lists of chunks that hold, or lack, about `PORTION_BYTES`."""
    portion: list[Chunk] = []
    held = 0
    for chunk in chunks:
        portion.append(chunk)
        held += sum(size for _, size in chunk.missing) if chunk.missing else chunk.size
        if held >= PORTION_BYTES:
            yield portion
            portion, held = [], 0
    if portion:
        yield portion


def placed(
    decoded: Sequence[tuple[Chunk, dict[SeriesKey, PointColumns]]],
) -> dict[int, dict[SeriesKey, list[Placed]]]:
    """Points by run key and series: each chunk's with its position, in order.

    Args:
        decoded: chunks with what they hold, in any order.
    """
    result: dict[int, dict[SeriesKey, list[Placed]]] = {}
    for chunk, pieces in sorted(decoded, key=lambda item: (item[0].start, item[0].source_key)):
        by_series = result.setdefault(chunk.run_key, {})
        for key, piece in pieces.items():
            by_series.setdefault(key, []).append((chunk.start, piece))
    return result
