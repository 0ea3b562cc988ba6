"""Events of short sources that are alike: runs of one sweep log the same series in the same order. What follows from that
order alone is worked out once, and the values of all of them go through numpy together. What comes out is what
`short_events.short_event` makes of each, to the byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from ..limits import TIME_MAX_US, TIME_MIN_US
from ..series import Kind, SeriesKey
from .events import MetricsEvent, Summaries
from .payload import FLAG_ZSTD, MIN_COMPRESSED, PREFIX, VERSION, WIDTHS, compressor

FEWEST = 4
"""Sources that are alike: of fewer, each by itself is quicker."""
MOST_POINTS = 256
"""Of one source."""
_MOST_OF_SERIES = 7
"""Points of one series: from eight on, numpy sums in another order."""
_FAR = float(1 << 61)
"""Differences from which they might wrap."""

I8 = NDArray[np.int64]
F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]


@dataclass(slots=True)
class ShortPoints:
    """Points of one source that become an event, which covers the slots [first, first + count).

    Attributes:
        rows: shape (n, 4): step, time in seconds (as 64 bits), value (64 bits), and a word with the number of the series in
            its upper half.
        seqs: slot of each.
        names: series by number.
        kind: FLOAT or INT, of all of them.
    """

    run_id: str
    source: bytes
    first: int
    count: int
    rows: I8
    seqs: I8
    names: Mapping[int, SeriesKey]
    kind: Kind
    dropped: int

    @property
    def layout(self) -> tuple[bytes, bytes]:
        """Which series its points are of, and where they lie among its slots."""
        return self.rows[:, 3].tobytes(), (self.seqs - self.seqs[0]).tobytes()


@dataclass(slots=True)
class _Layout:
    """What sources have in common.

    Attributes:
        grouped: its points in the order of their series, by their places.
        starts: where the points of each series begin in that order.
    """

    series: list[tuple[SeriesKey, Kind]]
    grouped: NDArray[np.intp]
    starts: NDArray[np.intp]
    lengths: I8
    inside: NDArray[np.bool_]  # of two points behind one another: whether they are of one series
    order: bytes
    header: bytes  # its beginning
    seq_head: tuple[int, int]

    @classmethod
    def of(cls, example: ShortPoints) -> _Layout | None:
        """None: there is more to it than `alike_events` does."""
        numbers, which, lengths = np.unique(example.rows[:, 3] >> 32, return_inverse=True, return_counts=True)
        names = numbers.tolist()
        if (
            len(example.rows) > MOST_POINTS
            or int(lengths.max()) > _MOST_OF_SERIES
            or not all(number in example.names for number in names)
        ):
            return None
        series = [(example.names[number], example.kind) for number in names]
        ends = np.cumsum(lengths)
        inside = np.ones(len(which), dtype=bool)
        inside[ends[:-1]] = False
        order = which.astype(np.uint8).tobytes() if len(series) > 1 else b""
        (width, low), planes = _narrow_seqs(example.seqs)
        header = b"".join(
            (
                b"\x95",  # a list of five
                msgpack.packb([[key.cls, key.name, key.column, int(kind)] for key, kind in series]),
                msgpack.packb(lengths.tolist()),
            )
        )
        return cls(
            series,
            np.argsort(which, kind="stable"),
            ends - lengths,
            lengths.astype(np.int64),
            inside[1:],
            order + planes,
            header,
            (width, low),
        )


def alike_events(sources: Sequence[ShortPoints]) -> list[MetricsEvent | None]:
    """The events of those that are like others; None of each that is not, or has something odd about it."""
    events: list[MetricsEvent | None] = [None] * len(sources)
    families: dict[tuple[bytes, bytes], list[int]] = {}
    for place, source in enumerate(sources):
        families.setdefault(source.layout, []).append(place)
    for family in families.values():
        for alike in _with_same_names(sources, family):
            if len(alike) >= FEWEST and (layout := _Layout.of(sources[alike[0]])) is not None:
                chosen = [sources[place] for place in alike]
                for place, event in zip(alike, _events(chosen, layout), strict=True):
                    events[place] = event
    return events


def _with_same_names(sources: Sequence[ShortPoints], family: list[int]) -> Iterator[list[int]]:
    while family:
        names, kind = sources[family[0]].names, sources[family[0]].kind
        same = [place for place in family if sources[place].names == names and sources[place].kind == kind]
        yield same
        if len(same) == len(family):
            return
        others = set(same)
        family = [place for place in family if place not in others]


def _events(sources: Sequence[ShortPoints], layout: _Layout) -> Iterator[MetricsEvent | None]:
    rows = np.stack([source.rows for source in sources])[:, layout.grouped]
    n, kind = rows.shape[1], sources[0].kind
    steps, bits = np.ascontiguousarray(rows[:, :, 0]), np.ascontiguousarray(rows[:, :, 2])
    with np.errstate(over="ignore", invalid="ignore"):
        micros = np.ascontiguousarray(rows[:, :, 1]).view(np.float64) * 1e6
        fine: NDArray[np.bool_] = np.all((micros >= TIME_MIN_US) & (micros <= TIME_MAX_US), axis=1)
        times = np.where(fine[:, np.newaxis], micros + np.copysign(0.5, micros), 0.0).astype(np.int64)
        values: F8 = bits.view(np.float64) if kind == Kind.FLOAT else bits.astype(np.float64)
        low, high, sums = _folded(values, layout)
        fine &= np.all(np.isfinite(values), axis=1) & np.all(np.isfinite(sums), axis=1)
        columns = [_Column.of(column, layout) for column in (steps, times, bits)]
    if kind == Kind.FLOAT:
        columns[2] = _Column.none(len(sources))
    for column in columns:
        fine &= column.fine
    starts, ends = layout.starts, layout.starts + layout.lengths - 1
    count = np.tile(layout.lengths, (len(sources), 2, 1))
    floats = np.stack((values[:, starts], values[:, ends], low, high, sums), axis=1)
    integers = np.stack((times[:, starts], steps[:, ends], times[:, ends]), axis=1)
    heads = [column.heads() for column in columns]
    sections = _sections(steps, times, bits, columns, layout, kind)
    for at, (source, section) in enumerate(zip(sources, sections, strict=True)):
        if not fine[at]:
            yield None
            continue
        flags, order = 0, layout.order
        if len(section) + len(order) >= MIN_COMPRESSED:
            flags, compress = FLAG_ZSTD, compressor().compress
            section, order = compress(section), compress(order)
        rest = msgpack.packb(
            [
                [[len(layout.series), len(section)]],
                [len(order), int(source.seqs[0])],
                [heads[0][at], heads[1][at], heads[2][at], layout.seq_head],
            ]
        )
        header = layout.header + rest[1:]  # without its own head, of a list of three
        payload = b"".join((PREFIX.pack(b"RP", VERSION, flags, len(header)), header, section, order))
        first, last, lowest, highest, total = floats[at]
        first_time, last_step, last_time = integers[at]
        counts, finite = count[at]
        summary = Summaries(
            counts, finite, first, last, lowest, highest, total, first_time, last_step, last_time, {}
        )
        yield MetricsEvent(
            source.run_id,
            source.source,
            source.first,
            source.count,
            n,
            list(layout.series),
            summary,
            payload,
            source.dropped,
        )


def _folded(values: F8, layout: _Layout) -> tuple[F8, F8, F8]:
    """Least, greatest and sum of each series; a sum as `short_events` adds up: to the first what the others make, one after
    the other. Of two zeros the first holds, as with Python's own `min`."""
    firsts = values[:, layout.starts]
    low, high, rest = firsts.copy(), firsts.copy(), np.zeros(firsts.shape)
    for place in range(1, int(layout.lengths.max())):
        longer = np.flatnonzero(layout.lengths > place)
        following = values[:, layout.starts[longer] + place]
        rest[:, longer] += following
        low[:, longer] = np.where(following < low[:, longer], following, low[:, longer])
        high[:, longer] = np.where(following > high[:, longer], following, high[:, longer])
    return low, high, firsts + rest


@dataclass(slots=True)
class _Column:
    """Differences to the point before, of many sources.

    Attributes:
        widths: bytes each takes, by source; 0: all are alike.
        low: the least.
        less: each less the least.
        fine: whether none wraps.
    """

    widths: I8
    low: I8
    less: I8
    fine: NDArray[np.bool_]

    @classmethod
    def none(cls, n: int) -> _Column:
        zeros = np.zeros(n, np.int64)
        return cls(zeros, zeros, np.zeros((n, 0), np.int64), np.ones(n, np.bool_))

    @classmethod
    def of(cls, column: I8, layout: _Layout) -> _Column:
        differences = np.diff(column, axis=1)[:, layout.inside]
        if not differences.shape[1]:
            return cls.none(len(column))
        far = np.abs(np.diff(column.astype(np.float64), axis=1)[:, layout.inside])
        fine = np.all(far < _FAR, axis=1)
        low, high = differences.min(axis=1), differences.max(axis=1)
        spread = np.where(fine, high - low, 0)
        widths = (
            (spread > 0) * np.int64(1)
            + (spread >= 1 << 8)
            + 2 * (spread >= 1 << 16)
            + 4 * (spread >= 1 << 32)
        )
        less = np.empty_like(column)
        less[:] = (differences[:, 0] - low)[:, np.newaxis]  # a border between series means nothing
        less[:, 1:][:, layout.inside] = differences - low[:, np.newaxis]
        return cls(widths, low, less, fine)

    def heads(self) -> list[tuple[int, int]]:
        return list(zip(self.widths.tolist(), self.low.tolist(), strict=True))

    def planes(self, chosen: NDArray[np.intp], width: int) -> U1:
        if not width:
            return np.zeros((len(chosen), 0), np.uint8)
        return _planes(self.less[chosen].astype(WIDTHS[width]), width)


def _sections(
    steps: I8, times: I8, bits: I8, columns: Sequence[_Column], layout: _Layout, kind: Kind
) -> list[bytes]:
    """Steps, times and values, packed, of each source."""
    sections = [b""] * len(steps)
    widths = columns[0].widths | columns[1].widths << 4 | columns[2].widths << 8
    for width in np.unique(widths).tolist():
        chosen = np.flatnonzero(widths == width)
        parts: list[Any] = []
        for column, held, shift in zip((steps, times), columns, (0, 4), strict=False):
            parts += [_bytes(column[chosen][:, layout.starts]), held.planes(chosen, width >> shift & 15)]
        if kind == Kind.FLOAT:
            parts.append(_planes(bits[chosen], 8))
        else:
            parts += [_bytes(bits[chosen][:, layout.starts]), columns[2].planes(chosen, width >> 8)]
        packed = np.concatenate(parts, axis=1)
        size, data = packed.shape[1], packed.tobytes()
        for i, place in enumerate(chosen.tolist()):
            sections[place] = data[i * size : (i + 1) * size]
    return sections


def _bytes(column: NDArray[Any]) -> U1:
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), -1)


def _planes(column: NDArray[Any], width: int) -> U1:
    return _bytes(column).reshape(len(column), -1, width).transpose(0, 2, 1).reshape(len(column), -1)


def _narrow_seqs(seqs: I8) -> tuple[tuple[int, int], bytes]:
    differences = np.diff(seqs)
    if not len(differences):
        return (0, 0), b""
    low, spread = int(differences.min()), int(np.ptp(differences))
    if not spread:
        return (0, low), b""
    width = 1 if spread < 1 << 8 else 2
    less = np.concatenate((differences[:1], differences)) - low
    return (width, low), _planes(less[np.newaxis].astype(WIDTHS[width]), width).tobytes()
