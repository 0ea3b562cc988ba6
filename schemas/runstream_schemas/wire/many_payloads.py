"""Reads many small payloads at once: a sweep of short runs has a hundred thousand of them, of some thirty points each.

`payload_reading.decode_points` takes a tenth of a millisecond for whatever is in a payload. Here a payload costs the reading
of its header, most of which is like that of the one before, and its decompression; the columns of all are then widened in
one go. What is rare in small payloads (texts, tables, a series with values of two kinds, damage) is left to the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptEvent
from ..limits import TIME_MAX_US, TIME_MIN_US
from ..series import APART, Kind, SeriesKey
from .alike_payloads import Alike, Sections, Shape, find_alike, inflate, stretches
from .payload import FLAG_ZSTD, PREFIX, VERSION, WIDTHS
from .payload_index import read_index
from .points import I8, U8

SMALL_POINTS = 64 << 10
"""Payloads of more points are read one by one: a few bytes may claim to hold a million."""

_FEWEST_OF_A_SIZE = 8  # blocks of as many points each, for which it is worth taking them together
_KNOWN = 256  # beginnings of headers that are remembered


@dataclass(slots=True)
class Pieces:
    """Points of many payloads. A piece is one series of one payload; pieces lie in order of payload, then of place in it.

    Attributes:
        payload: number of each piece's payload.
        key: which of `keys` it belongs to.
        kind: `Kind` of its values.
        counts: its points.
        keys: the series that occur.
        steps, times, values: columns of all points, as in `points.Points`; those that were not asked for are empty.
        others: numbers of the payloads that have to be read one by one.
    """

    payload: I8
    key: I8
    kind: NDArray[np.uint8]
    counts: I8
    keys: list[SeriesKey]
    steps: I8
    times: I8
    values: U8
    others: list[int]


@dataclass(slots=True)
class _Shapes:
    """Shapes by the bytes their headers begin with."""

    apart: Collection[int] = APART
    keys: dict[SeriesKey, int] = field(default_factory=dict)
    known: dict[bytes, Shape] = field(default_factory=dict)
    lengths: dict[int, None] = field(default_factory=dict)

    def of(self, payload: bytes, end: int) -> tuple[Shape, int]:
        """The shape of a payload's header, and where the rest of that begins.

        Raises:
            CorruptEvent: the header is damaged.
        """
        for length in self.lengths:
            shape = self.known.get(payload[PREFIX.size : length])
            if shape is not None:
                return shape, length
        index = read_index(payload)
        unpacker: Any = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(payload[PREFIX.size : end])
        unpacker.read_array_header()
        unpacker.skip()
        unpacker.skip()
        length = PREFIX.size + unpacker.tell()
        blocks = []
        for first, n, _, _ in index.blocks:
            blocks.append((n, int(index.counts[first : first + n].sum()), index.kinds[first]))
        kinds, named = set(index.kinds), set(index.keys)
        fit = (
            Kind.TEXT not in kinds
            and len(named) == len(index.counts)
            and all(key.cls not in self.apart for key in named)
            and int(index.counts.sum()) <= SMALL_POINTS
        )
        shape = Shape(
            fit,
            np.array([self.keys.setdefault(key, len(self.keys)) for key in index.keys], dtype=np.int64),
            np.frombuffer(index.kinds, dtype=np.uint8),
            index.counts,
            np.array(blocks, dtype=np.int64).reshape(-1, 3),
        )
        if len(self.known) >= _KNOWN:
            self.known.clear()
            self.lengths.clear()
        self.known[payload[PREFIX.size : length]] = shape
        self.lengths[length] = None
        return shape, length


_COLUMNS = frozenset(("step", "time", "value"))


def decode_many(
    payloads: Sequence[bytes], columns: Collection[str] = _COLUMNS, apart: Collection[int] = APART
) -> Pieces:
    """Unpack payloads.

    Args:
        payloads: what `encode_points` returned, of any runs.
        columns: which of step, time and value are wanted.
        apart: classes of series whose payloads are not unpacked here.
    """
    shapes, sections = _Shapes(apart), Sections(payloads)
    groups, left, others = find_alike(sections, shapes.of)
    for number in left:
        try:
            groups.append(_open(shapes, sections, number))
        except Exception:  # whatever is wrong with it: `payload_reading` says what
            others.append(number)
    payload, of_pieces, table = _in_order(groups)
    counts, key, kind = of_pieces
    widening = _Widening(sections.raw(), table[:, 9], table[:, 0], table[:, 1], counts)
    wide: dict[str, I8] = {}
    with np.errstate(over="ignore"):
        for at, name in enumerate(("step", "time", "int")):
            held, keep = np.ones(len(table), dtype=bool), name in columns
            if name == "int":
                held, keep = np.isin(table[:, 2], (Kind.INT, Kind.BOOL)), "value" in columns
            widths, lows = table[:, 3 + 2 * at], table[:, 4 + 2 * at]
            wide[name] = widening.column(widths, lows, held, keep=keep)
    times = wide["time"]
    if len(times) and not TIME_MIN_US <= int(times.min()) <= int(times.max()) <= TIME_MAX_US:
        wide["time"] = np.clip(times, TIME_MIN_US, TIME_MAX_US)
    values = np.zeros(0, dtype=np.uint64)
    if "value" in columns:
        is_float = table[:, 2] == Kind.FLOAT
        values = np.where(
            np.repeat(is_float, table[:, 1]), widening.floats(is_float), wide["int"].view(np.uint64)
        )
        if (
            is_null := table[:, 2] == Kind.NULL
        ).any():  # they hold no value, and what stands there is what was widened last
            values[np.repeat(is_null, table[:, 1])] = 0
    return Pieces(
        payload,
        key,
        kind.astype(np.uint8),
        counts,
        list(shapes.keys),
        wide["step"],
        wide["time"],
        values,
        sorted(others),
    )


def _in_order(groups: Sequence[Alike]) -> tuple[I8, I8, I8]:
    """Of each piece its payload; counts, keys and kinds of the pieces; of each block its series, points, kind, column heads
    and place. Pieces and blocks in the order of their payloads."""
    pieces = [np.zeros((4, 0), dtype=np.int64)]
    blocks = [np.zeros((0, 11), dtype=np.int64)]
    for group in groups:
        shape, n = group.shape, len(group.payloads)
        of_shape = np.stack((shape.counts, shape.keys, shape.kinds.astype(np.int64)))
        numbers = np.repeat(group.payloads, len(shape.counts))
        pieces.append(np.concatenate((numbers[None], np.tile(of_shape, n))))
        each = len(shape.blocks)
        heads = np.repeat(group.heads, each, axis=0)
        columns = (np.tile(shape.blocks, (n, 1)), heads, group.at.reshape(-1, 1))
        blocks.append(np.concatenate((*columns, np.repeat(group.payloads, each)[:, None]), axis=1))
    of_pieces, of_blocks = np.concatenate(pieces, axis=1), np.concatenate(blocks)
    if len(groups) > 1:
        of_pieces = of_pieces[:, np.argsort(of_pieces[0], kind="stable")]
        of_blocks = of_blocks[np.argsort(of_blocks[:, 10], kind="stable")]
    return of_pieces[0], of_pieces[1:], of_blocks


def _open(shapes: _Shapes, sections: Sections, number: int) -> Alike:
    """A payload by itself."""
    payload = sections.payloads[number]
    magic, version, flags, header = PREFIX.unpack_from(payload)
    end = PREFIX.size + header
    if magic != b"RP" or version != VERSION or flags not in (0, FLAG_ZSTD) or end > len(payload):
        raise CorruptEvent("not a payload")
    shape, rest = shapes.of(payload, end)
    if not shape.fit:
        raise CorruptEvent("of another kind")
    raw_blocks, (order_size, _), heads = msgpack.unpackb(b"\x93" + payload[rest:end], strict_map_key=False)
    (step, step_low), (time, time_low), (integer, integer_low), _ = heads
    if len(raw_blocks) != len(shape.blocks) or not {step, time, integer} <= _WIDTHS:
        raise CorruptEvent("damaged")
    if not all(-(1 << 63) <= low < 1 << 63 for low in (step_low, time_low, integer_low)):
        raise CorruptEvent("damaged")
    begins: list[int] = []
    inflated: list[bytes] = []
    at = end
    for (n, size), (series, total, kind) in zip(raw_blocks, shape.blocks.tolist(), strict=True):
        expected = 16 * series + total * (step + time)
        if kind == Kind.FLOAT:
            expected += 8 * total
        elif kind != Kind.NULL:
            expected += 8 * series + total * integer
        if flags:
            inflated.append(inflate(payload[at : at + size], expected))
        if n != series or size < 0 or not (flags or size == expected):
            raise CorruptEvent("damaged")
        begins.append(int(sections.starts[number]) + at)
        at += size
    if at + order_size != len(payload):
        raise CorruptEvent("damaged")
    if flags:
        begins = [sections.add(section) for section in inflated]
    return Alike(
        shape,
        np.array([number], dtype=np.int64),
        np.array([[step, step_low, time, time_low, integer, integer_low]], dtype=np.int64),
        np.array([begins], dtype=np.int64),
    )


_WIDTHS = frozenset((0, *WIDTHS))


class _Widening:
    """Takes the columns of many blocks out of their bytes, one after the other."""

    def __init__(self, raw: NDArray[np.uint8], at: I8, series: I8, totals: I8, counts: I8) -> None:
        self._raw, self._at = raw, at.copy()
        self._series, self._totals, self._counts = series, totals, counts
        self._starts = np.cumsum(counts) - counts  # of each piece
        self._begin = np.cumsum(totals) - totals  # of each block

    def column(self, widths: I8, lows: I8, held: NDArray[np.bool_], *, keep: bool) -> I8:
        """The next column: firsts of each series and differences, of the blocks that have one."""
        n = int(self._totals.sum())
        at = self._at.copy()
        self._at += np.where(held, 8 * self._series + widths * self._totals, 0)
        if not keep:
            return np.zeros(0, dtype=np.int64)
        if not held.any():
            return np.zeros(n, dtype=np.int64)
        column = np.repeat(lows, self._totals)
        for width in np.unique(widths[held]).tolist():
            if width:
                chosen = np.flatnonzero(held & (widths == width))
                place, bytes_ = self._planes(chosen, at[chosen] + 8 * self._series[chosen], width)
                column[place] += _integers(bytes_, width)
        firsts = self._firsts(held, at)
        np.cumsum(column, out=column)
        full = np.flatnonzero(self._counts)
        column += np.repeat(firsts[full] - column[self._starts[full]], self._counts[full])
        return column

    def floats(self, held: NDArray[np.bool_]) -> U8:
        """The values of blocks of floats, as bits; they come last."""
        values = np.zeros(int(self._totals.sum()), dtype=np.uint64)
        chosen = np.flatnonzero(held)
        if len(chosen):
            place, bytes_ = self._planes(chosen, self._at[chosen], 8)
            values[place] = bytes_.view(np.uint64).reshape(-1)
        return values

    def _planes(self, chosen: I8, at: I8, width: int) -> tuple[I8, NDArray[np.uint8]]:
        """Places and bytes (points, width) of what lies byte plane by byte plane in the chosen blocks."""
        totals = self._totals[chosen]
        sizes = np.unique(totals).tolist()
        if len(sizes) * _FEWEST_OF_A_SIZE > len(chosen):
            return self._planes_one_by_one(chosen, at, width)
        places, pieces = [], []
        for size in sizes:
            alike = np.flatnonzero(totals == size)
            planes = stretches(self._raw, at[alike], size * width).reshape(-1, width, size)
            pieces.append(planes.transpose(0, 2, 1).reshape(-1, width))
            places.append((self._begin[chosen[alike]][:, None] + np.arange(size)).reshape(-1))
        return np.concatenate(places), np.concatenate(pieces)

    def _planes_one_by_one(self, chosen: I8, at: I8, width: int) -> tuple[I8, NDArray[np.uint8]]:
        """The same whatever their sizes."""
        totals = self._totals[chosen]
        within = np.arange(int(totals.sum())) - np.repeat(np.cumsum(totals) - totals, totals)
        source = np.repeat(at, totals) + within
        stride = np.repeat(totals, totals)
        bytes_ = np.empty((len(source), width), dtype=np.uint8)
        for plane in range(width):
            bytes_[:, plane] = self._raw[source + plane * stride]
        return np.repeat(self._begin[chosen], totals) + within, bytes_

    def _firsts(self, held: NDArray[np.bool_], at: I8) -> I8:
        """The first value of each piece; 0 where its block has no such column."""
        first_piece = np.cumsum(self._series) - self._series
        within = np.arange(int(self._series.sum())) - np.repeat(first_piece, self._series)
        source = np.repeat(at, self._series) + 8 * within
        firsts = np.zeros(len(source), dtype=np.int64)
        chosen = np.flatnonzero(np.repeat(held, self._series))
        firsts[chosen] = stretches(self._raw, source[chosen], 8).view(np.int64).reshape(-1)
        return firsts


def _integers(bytes_: NDArray[np.uint8], width: int) -> I8:
    narrow = bytes_.view(WIDTHS[width]).reshape(-1)
    return narrow.astype(np.int64) if width < 8 else narrow.view(np.int64)
