"""The one order of the points of a run: by source, as the database first saw them, and within a source by slot.

No clock has a say: clocks are set back, differ between machines, and give a thousand points the same microsecond. Ordinal
and slot are given once and never change, whatever batches, resends, compactions and merges make of the points. So "first"
and "last" mean the same in summaries, hot chunks, Parquet files, lists and charts.

A *position* is both in one number. Points are stored in batches whose slots do not overlap, and lie within a batch as they
were logged; so the position of a batch's first slot is enough to put whole batches in order, and all code does it by
comparing these numbers. Files keep, for each of their runs, which positions they hold (`Place`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgpack
import zstandard

from .errors import CorruptEvent, lacks_memory
from .series import SeriesKey

SLOT_BITS: Final = 40
"""Slots of one source that are told apart: 2**40, of 32 bytes each."""
BEFORE_ALL: Final = -1
"""Position of what was stored before positions were kept."""
_MOST_SLOT = (1 << SLOT_BITS) - 1
_MOST_ORDINAL = (1 << (62 - SLOT_BITS)) - 1
_MOST_BYTES = 1 << 30  # of the pieces of a run, unpacked


def position(ordinal: int, slot: int) -> int:
    """Where a slot lies in its run.

    Args:
        ordinal: number of its source within the run, from 0.
        slot: its number within the source.
    """
    return (min(ordinal, _MOST_ORDINAL) << SLOT_BITS) + min(slot, _MOST_SLOT)


class Piece(NamedTuple):
    """Points of a series that follow one another: `rows` of them, in positions from `start` to before `end`.

    The slots between are stored, all of them: nothing that comes later belongs in the middle.
    """

    start: int
    end: int
    rows: int


@dataclass(frozen=True, slots=True)
class Place:
    """Which positions of a run a file holds.

    Attributes:
        start, end: the range from the first to before the end of the last.
        pieces: the pieces of each series; None: each is one piece from `start` to `end`.
    """

    start: int
    end: int
    pieces: dict[SeriesKey, list[Piece]] | None = None

    def of(self, key: SeriesKey, rows: int) -> list[Piece]:
        """The pieces of a series that has so many rows in the file.

        Raises:
            CorruptEvent: they contradict the file.
        """
        if self.pieces is None:
            return [Piece(self.start, self.end, rows)]
        pieces = self.pieces.get(key, [])
        if sum(piece.rows for piece in pieces) != rows:
            raise CorruptEvent(
                f"the manifest knows {sum(piece.rows for piece in pieces)} points of {key.name!r}, the file has {rows}"
            )
        return pieces

    def pack(self) -> bytes | None:
        """The pieces as the manifest keeps them; None: there is but one of each series."""
        if self.pieces is None:
            return None
        content = [
            [key.cls, key.name, key.column, [number for piece in pieces for number in piece]]
            for key, pieces in self.pieces.items()
        ]
        return zstandard.ZstdCompressor(level=3).compress(msgpack.packb(content))


UNKNOWN_PLACE: Final = Place(BEFORE_ALL, 0)
"""Of files written before places were kept: in order of their making, and before all others."""


def unpack_place(start: int | None, end: int | None, pieces: bytes | None) -> Place:
    """A place as the manifest keeps it.

    Raises:
        CorruptEvent: `pieces` is none.
    """
    if start is None or end is None:
        return UNKNOWN_PLACE
    if pieces is None:
        return Place(start, end)
    try:
        content = msgpack.unpackb(
            zstandard.ZstdDecompressor().decompress(pieces, max_output_size=_MOST_BYTES),
            max_array_len=_MOST_BYTES,
        )
        placed = {
            SeriesKey(cls, name, column): [Piece(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)]
            for cls, name, column, numbers in content
        }
    except Exception as error:
        if lacks_memory(error):
            raise
        raise CorruptEvent(f"the manifest's places of a run are damaged: {error}") from None
    return Place(start, end, placed)


def overlap(spans: Iterable[tuple[int, int]]) -> bool:
    """Whether some of several (start, end) lie within others, so that putting them in order of their starts is not enough.

    Args:
        spans: those of unknown places in order of their making.
    """
    reached = 0
    for start, end in sorted(spans, key=lambda span: span[0]):
        if start < reached and reached > 0:
            return True
        reached = max(reached, end)
    return False


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces in order, those that continue one another as one."""
    result: list[Piece] = []
    for piece in pieces:
        last = result[-1] if result else None
        if last is not None and (
            last.end == piece.start or (last.start, last.end) == (piece.start, piece.end)
        ):
            result[-1] = Piece(last.start, piece.end, last.rows + piece.rows)
        else:
            result.append(piece)
    return result


def place_of(stretches: Sequence[tuple[int, int]], pieces: dict[SeriesKey, list[Piece]]) -> Place:
    """The place of a run's rows in a file.

    Args:
        stretches: (start, end) of what the file holds of the run, without gaps in them.
        pieces: the pieces of each series; left out where all stretches continue one another.
    """
    whole = joined(Piece(start, end, 0) for start, end in sorted(stretches))
    start, end = min(s for s, _ in stretches), max(e for _, e in stretches)
    return Place(start, end, None if len(whole) == 1 else pieces)


def merged_place(places: Sequence[Place], pieces: dict[SeriesKey, list[Piece]]) -> Place:
    """The place of a run's rows in a file made of several.

    Args:
        places: where in those files.
        pieces: the pieces of each series.
    """
    spans = [(place.start, place.end) for place in places]
    if all(place.pieces is None for place in places):
        return place_of(spans, pieces)
    return Place(min(start for start, _ in spans), max(end for _, end in spans), pieces)
