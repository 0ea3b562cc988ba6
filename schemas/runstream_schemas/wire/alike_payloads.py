"""Headers of many payloads read at once, where they differ in numbers only: those of a sweep's runs do.

A header is msgpack, whose layout is told by its type bytes. Payloads whose headers have the same type bytes in the same
places, and the same series and counts, hold the same numbers in the same places; numpy then reads a number of all of them
in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from ..errors import CorruptEvent
from ..series import Kind
from .payload import FLAG_ZSTD, PREFIX, VERSION, WIDTHS
from .payload_index import decompressor
from .points import I8

_FEWEST = 8  # payloads for which it is worth looking for a common layout
_MOST_LAYOUTS = 64  # looked for in one call: each is compared with all payloads left
_WIDTHS = (0, *WIDTHS)


@dataclass(slots=True)
class Shape:
    """What headers that begin alike have in common.

    Attributes:
        fit: whether their payloads hold only what is read together.
        keys: numbers of the series.
        kinds: `Kind` of each.
        counts: points of each.
        blocks: (series, points, kind) of each block.
    """

    fit: bool
    keys: I8
    kinds: NDArray[np.uint8]
    counts: I8
    blocks: I8


@dataclass(slots=True)
class Alike:
    """Payloads of one shape.

    Attributes:
        payloads: their numbers, rising.
        heads: (payloads, 6): bytes a value and minimum of steps, times and integers.
        at: (payloads, blocks): where each section begins, inflated, in the bytes of all.
    """

    shape: Shape
    payloads: I8
    heads: I8
    at: I8


class Sections:
    """The bytes in which sections lie: payloads one after the other, then what was inflated."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.payloads = payloads
        self._sizes = np.array([len(payload) for payload in payloads], dtype=np.int64)
        self.starts = np.cumsum(self._sizes) - self._sizes
        self.joined = np.frombuffer(b"".join(payloads), dtype=np.uint8)
        self._inflated: list[bytes] = []
        self._end = len(self.joined)

    @property
    def sizes(self) -> I8:
        """Bytes of each payload."""
        return self._sizes

    def add(self, section: bytes) -> int:
        """Where an inflated one is put."""
        self._inflated.append(section)
        self._end += len(section)
        return self._end - len(section)

    def raw(self) -> NDArray[np.uint8]:
        """All of it."""
        if not self._inflated:
            return self.joined
        return np.concatenate([self.joined, np.frombuffer(b"".join(self._inflated), dtype=np.uint8)])


def stretches(raw: NDArray[np.uint8], at: I8, size: int) -> NDArray[np.uint8]:
    """(len(at), size): so many bytes from each place on."""
    if not size or not len(at):
        return np.zeros((len(at), size), dtype=np.uint8)
    return np.lib.stride_tricks.sliding_window_view(raw, size)[at]


def find_alike(
    sections: Sections, shape_of: Callable[[bytes, int], tuple[Shape, int]]
) -> tuple[list[Alike], list[int], list[int]]:
    """Group payloads by what their headers look like.

    Args:
        shape_of: given a payload and where its header ends: its shape, and where what is not part of the shape begins.

    Returns:
        Groups; numbers of the payloads that were not grouped and of those that do not fit.
    """
    groups: list[Alike] = []
    left: list[I8] = []
    unfit: list[I8] = []
    tried = 0
    for numbers, end, zstd in _by_size(sections, left):
        headers = stretches(sections.joined, sections.starts[numbers], end)
        while len(numbers) >= _FEWEST and tried < _MOST_LAYOUTS:
            tried += 1
            first = sections.payloads[int(numbers[0])]
            try:
                shape, begin = shape_of(first, end)
                alike = (headers[:, PREFIX.size : begin] == headers[0, PREFIX.size : begin]).all(axis=1)
                if not shape.fit:
                    unfit.append(numbers[alike])
                    numbers, headers = numbers[~alike], headers[~alike]
                    continue
                layout = _Layout(first[begin:end], begin)
            except Exception:  # damaged: whoever reads it by itself says what is wrong with it
                left.append(numbers[:1])
                numbers, headers = numbers[1:], headers[1:]
                continue
            alike &= layout.matches(headers)
            group, refused = _read(sections, shape, numbers[alike], layout, headers[alike], zstd=zstd)
            groups.append(group)
            left.append(refused)
            numbers, headers = numbers[~alike], headers[~alike]
        left.append(numbers)
    return groups, _sorted(left), _sorted(unfit)


def _sorted(parts: Sequence[I8]) -> list[int]:
    return sorted(np.concatenate([*parts, np.zeros(0, dtype=np.int64)]).astype(np.int64).tolist())


def _by_size(sections: Sections, left: list[I8]) -> list[tuple[I8, int, bool]]:
    """Numbers of payloads whose headers end at the same place, that place, and whether their sections are compressed."""
    long = sections.sizes >= PREFIX.size
    left.append(np.flatnonzero(~long))
    numbers = np.flatnonzero(long)
    prefixes = stretches(sections.joined, sections.starts[numbers], PREFIX.size)
    fields = np.ascontiguousarray(prefixes).view("<u4").reshape(-1, 2).astype(np.int64)
    ends = PREFIX.size + fields[:, 1]
    known = [int.from_bytes(PREFIX.pack(b"RP", VERSION, flags, 0)[:4], "little") for flags in (0, FLAG_ZSTD)]
    sound = np.isin(fields[:, 0], known) & (ends <= sections.sizes[numbers])
    left.append(numbers[~sound])
    numbers, ends, zstd = numbers[sound], ends[sound], fields[sound, 0] == known[1]
    kinds, kind_of = np.unique(2 * ends + zstd, return_inverse=True)
    return [(numbers[kind_of == i], kind // 2, bool(kind % 2)) for i, kind in enumerate(kinds.tolist())]


@dataclass(frozen=True, slots=True)
class _Number:
    at: int
    size: int  # bytes after the type; 0: the type is the number
    signed: bool


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(item, _Number) for item in value)


class _Layout:
    """Where the numbers of a header's rest lie: its blocks, its order section, its column heads.

    Raises:
        CorruptEvent: it holds something else.
    """

    def __init__(self, rest: bytes, begin: int) -> None:
        self._rest, self._begin, self._at = rest, begin, 0
        self._short: list[int] = []  # places of numbers that are their own type
        self._same: list[int] = []  # places of bytes that say what comes
        self._blocks, self._order, self._heads = (self._next() for _ in range(3))
        pairs = [self._order, *self._listed(self._blocks), *self._listed(self._heads)]
        if self._at != len(rest) or len(self._heads) != 4 or not all(map(_is_pair, pairs)):
            raise CorruptEvent("damaged")

    @staticmethod
    def _listed(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [None]

    def _next(self) -> Any:
        at = self._at
        kind = self._rest[at]
        self._at += 1
        if kind < 0x80 or kind >= 0xE0:
            self._short.append(self._begin + at)
            return _Number(self._begin + at, 0, True)
        self._same.append(self._begin + at)
        if 0xCC <= kind <= 0xD3:
            size = 1 << (kind - 0xCC) % 4
            self._at += size
            return _Number(self._begin + at + 1, size, kind >= 0xD0)
        if not 0x90 <= kind < 0xA0:
            raise CorruptEvent("damaged")
        return [self._next() for _ in range(kind - 0x90)]

    def matches(self, headers: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which headers have the layout of the first."""
        short = headers[:, self._short]
        same = headers[:, self._same]
        return (same == same[0]).all(axis=1) & ((short < 0x80) | (short >= 0xE0)).all(axis=1)  # type: ignore[no-any-return]

    def read(self, headers: NDArray[np.uint8]) -> tuple[I8, I8, I8, NDArray[np.bool_]]:
        """Blocks (payloads, blocks, 2), bytes of the order section, heads (payloads, 6), and whose numbers fit 64 bits."""
        fits = np.ones(len(headers), dtype=bool)

        def number(said: _Number) -> I8:
            size = max(said.size, 1)
            taken = np.ascontiguousarray(headers[:, said.at : said.at + size])
            values = taken.view(f">{'i' if said.signed else 'u'}{size}").reshape(-1).astype(np.int64)
            if said.size == 8 and not said.signed:
                np.logical_and(fits, values >= 0, out=fits)
            return values

        (order, _), heads = self._order, self._heads[:3]
        flat = [number(said) for block in self._blocks for said in block]
        blocks = np.stack(flat, axis=1).reshape(len(headers), -1, 2) if flat else _none(len(headers), 0, 2)
        return blocks, number(order), np.stack([number(s) for head in heads for s in head], axis=1), fits


def _none(*size: int) -> I8:
    return np.zeros(size, dtype=np.int64)


def _read(
    sections: Sections,
    shape: Shape,
    numbers: I8,
    layout: _Layout,
    headers: NDArray[np.uint8],
    *,
    zstd: bool,
) -> tuple[Alike, I8]:
    """The payloads of one layout, and the numbers of those that contradict themselves."""
    blocks, order, heads, sound = layout.read(headers)
    if blocks.shape[1] != len(shape.blocks):
        return Alike(shape, _none(0), _none(0, 6), _none(0, len(shape.blocks))), numbers
    sound &= np.isin(heads[:, ::2], _WIDTHS).all(axis=1)
    sizes = blocks[:, :, 1]
    end = headers.shape[1]
    sound &= (blocks[:, :, 0] == shape.blocks[:, 0]).all(axis=1) & (order >= 0) & (sizes >= 0).all(axis=1)
    # Sizes may be as large as integers get: each is looked at before they are added.
    sound &= (sizes <= sections.sizes[numbers][:, None]).all(axis=1) & (order <= sections.sizes[numbers])
    sound &= end + sizes.sum(axis=1) + order == sections.sizes[numbers]
    n, points, kind = shape.blocks.T
    integers = (kind != Kind.FLOAT) & (kind != Kind.NULL)
    expected = (
        16 * n + points * (heads[:, 0] + heads[:, 2])[:, None] + np.where(kind == Kind.FLOAT, 8 * points, 0)
    )
    expected += np.where(integers, 8 * n + points * heads[:, 4][:, None], 0)
    at = sections.starts[numbers][:, None] + end + np.cumsum(sizes, axis=1) - sizes
    if zstd:
        for i in np.flatnonzero(sound).tolist():
            begins = (at[i] - sections.starts[numbers[i]]).tolist()
            payload = sections.payloads[int(numbers[i])]
            try:
                for j, (begin, size, inflated) in enumerate(
                    zip(begins, sizes[i].tolist(), expected[i].tolist(), strict=True)
                ):
                    at[i, j] = sections.add(inflate(payload[begin : begin + size], inflated))
            except (CorruptEvent, zstandard.ZstdError):
                sound[i] = False
    else:
        sound &= (sizes == expected).all(axis=1)
    return Alike(shape, numbers[sound], heads[sound], at[sound]), numbers[~sound]


def inflate(frame: bytes, expected: int) -> bytes:
    """A section of so many bytes.

    Raises:
        CorruptEvent: it says that it has another size, or has: what it says is allocated.
        zstandard.ZstdError: it is damaged.
    """
    if zstandard.frame_content_size(frame) != expected:
        raise CorruptEvent("damaged")
    section = decompressor().decompress(frame)
    if len(section) != expected:
        raise CorruptEvent("damaged")
    return section
