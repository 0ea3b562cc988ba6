"""The hot tier read: chunks of points in Postgres, of which one series is fetched by substrings."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.errors import CorruptEvent
from runstream_schemas.order import position
from runstream_schemas.parquet.arrow import ROW_BITS
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.payload_index import PREFIX_BYTES, Index, index_size, read_index
from runstream_schemas.wire.payload_reading import decode_block, decode_order
from runstream_schemas.wire.points import I8, first_places

from .. import queries
from ..runs.runs import Connection
from .grouped import DIFFERENT, GroupedPoints, rows_of_pieces

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
    keys: list[SeriesKey] = field(default_factory=list)  # the wanted series
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
        if names is None:
            self.wanted, self.keys = list(range(len(index.counts))), index.keys
            self.blocks = list(range(len(index.blocks)))
        else:
            self.wanted, self.keys = index.named(names)
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
        kinds = self.index.kinds
        return len(set(kinds) if len(self.wanted) == len(kinds) else {kinds[i] for i in self.wanted}) > 1

    def _bytes(self, at: int, size: int) -> memoryview:
        for start, data in self.pieces:
            if start <= at and at + size <= start + len(data):
                return memoryview(data)[at - start : at - start + size]
        raise CorruptEvent(f"{size} bytes at {at} lie outside of its {self.size}")

    def decode(self) -> GroupedPoints:
        """The series of this chunk that were wanted when it was planned; none when it cannot be read."""
        index = self.index
        assert index is not None
        try:
            blocks = [
                (number, decode_block(index, number, self._bytes(at, size)))
                for number, (_, _, at, size) in ((number, index.blocks[number]) for number in self.blocks)
            ]
            order = decode_order(index, self._bytes(*index.order_at))[0] if self.in_pieces else None
        except CorruptEvent as error:
            self.leave_out(error)
            blocks, order, self.keys = [], None, []
        counts, kinds, steps, times, values = [], [], [], [], []
        texts: list[str] = []
        for number, block in blocks:
            first, n, _, _ = index.blocks[number]
            numbers = self.wanted[bisect_left(self.wanted, first) : bisect_left(self.wanted, first + n)]
            of_block = index.counts[first : first + n]
            rows: slice | NDArray[np.bool_] = slice(None)
            if len(numbers) < n:
                chosen = np.zeros(n, dtype=bool)
                chosen[np.array(numbers) - first] = True
                of_block, rows = of_block[chosen], np.repeat(chosen, of_block)
            kind = index.kinds[first]
            counts.append(of_block)
            kinds.append(np.full(len(numbers), int(kind), dtype=np.uint8))
            steps.append(block.steps[rows])
            times.append(block.times[rows])
            if kind == Kind.TEXT:
                places = np.arange(len(block.texts), dtype=np.uint64)[rows]
                values.append(places + np.uint64(len(texts)))
                texts += block.texts
            else:
                values.append(block.values[rows])
        grouped = GroupedPoints(
            self.keys,
            _join(counts, np.int64),
            _join(kinds, np.uint8),
            _join(steps, np.int64),
            _join(times, np.int64),
            _join(values, np.uint64),
            texts,
        )
        self._number_rows(grouped)
        return grouped if order is None else _as_logged(grouped, np.array(self.wanted), order)

    def _number_rows(self, grouped: GroupedPoints) -> None:
        """Rows of tables are numbered by writer."""
        if self.ordinal and any(key.cls == SeriesClass.TABLE for key in grouped.keys):
            first = np.where(
                [key.cls == SeriesClass.TABLE for key in grouped.keys], self.ordinal << ROW_BITS, 0
            )
            grouped.steps = grouped.steps + np.repeat(first, grouped.counts)


def _as_logged(grouped: GroupedPoints, numbers: I8, order: NDArray[Any]) -> GroupedPoints:
    """Points of several kinds, in the order in which they were logged: series as they came first, values of one series
    that are of several kinds as they followed one another.

    Args:
        grouped: points by series and kind.
        numbers: the number in the chunk of each of these.
        order: number of each point of the chunk, in order of logging.
    """
    index: dict[SeriesKey, int] = {}
    named = max(int(order.max()) if len(order) else 0, int(numbers[-1])) + 1
    at_first = first_places(order, named)[numbers]
    by_first = np.argsort(at_first, kind="stable")
    codes = np.empty(len(numbers), dtype=np.int64)
    codes[by_first] = [index.setdefault(grouped.keys[i], len(index)) for i in by_first.tolist()]
    if len(index) == len(numbers):
        rows = rows_of_pieces(np.cumsum(grouped.counts) - grouped.counts, grouped.counts, by_first)
        counts, kinds, kind_of_point = grouped.counts[by_first], grouped.kinds[by_first], None
    else:
        piece = np.full(named, -1, dtype=np.int64)
        piece[numbers] = np.arange(len(numbers))
        logged = piece[order]
        logged = logged[logged >= 0]  # piece of each point, in order of logging
        row = np.empty(len(logged), dtype=np.int64)
        row[np.argsort(logged, kind="stable")] = np.arange(len(logged))
        by_series = np.argsort(codes[logged], kind="stable")
        rows, kind_of_point = row[by_series], grouped.kinds[logged][by_series]
        counts = np.bincount(codes, weights=grouped.counts).astype(np.int64)
        kinds = np.full(len(index), DIFFERENT, dtype=np.uint8)
        alone = np.bincount(codes)[codes] == 1
        kinds[codes[alone]] = grouped.kinds[alone]
    return GroupedPoints(
        list(index),
        counts,
        kinds,
        grouped.steps[rows],
        grouped.times[rows],
        grouped.values[rows],
        grouped.texts,
        kind_of_point,
    )


def _join(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


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


def placed(decoded: Sequence[tuple[Chunk, GroupedPoints]]) -> dict[int, list[tuple[int, GroupedPoints]]]:
    """By run key what chunks hold, each with its position, in order.

    Args:
        decoded: chunks with what they hold, in any order.
    """
    result: dict[int, list[tuple[int, GroupedPoints]]] = {}
    for chunk, grouped in sorted(decoded, key=lambda item: (item[0].start, item[0].source_key)):
        result.setdefault(chunk.run_key, []).append((chunk.start, grouped))
    return result
