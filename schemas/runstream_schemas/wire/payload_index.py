"""The header of a payload: which series it holds, and where. Whatever the bytes are, they are refused or make sense."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import numpy as np
import zstandard

from ..errors import CorruptEvent, lacks_memory
from ..limits import MAX_EVENT_BYTES, MAX_EVENT_POINTS
from ..series import Kind, SeriesKey
from .payload import FLAG_ZSTD, PREFIX, VERSION, WIDE_VERSION, WIDTHS
from .points import I8
from .unpacking import unpack

PREFIX_BYTES = 4096
"""How much of a payload to fetch for `read_index`: holds the header of all but very wide batches."""

_KINDS = [*Kind]
_KNOWN_KINDS = bytes(_KINDS)
_FEW = 4  # names for which the list of all is searched once each
_KEY = partial(tuple.__new__, SeriesKey)
_local = threading.local()  # zstd contexts are costly to make and not thread-safe


@dataclass(slots=True)
class Index:
    """What the header of a payload says.

    Attributes:
        kinds: `Kind` of each series.
        blocks: (first series, series, offset in the payload, bytes) of each block.
        order_at: (offset, bytes) of the order section.
    """

    kinds: bytes
    counts: I8
    blocks: list[tuple[int, int, int, int]]
    order_at: tuple[int, int]
    size: int
    first_seq: int
    heads: list[tuple[int, int]]
    is_zstd: bool
    _classes: Sequence[int]
    _names: list[str] | str
    _columns: list[str] | None
    inflated: int = 0  # bytes of the sections read so far
    _keys: list[SeriesKey] | None = None

    @property
    def names(self) -> list[str]:
        """The name of each series."""
        if isinstance(self._names, str):
            self._names = self._names.split("\0")
        return self._names

    @property
    def keys(self) -> list[SeriesKey]:
        """Each series. Made when it is first asked for: who looks for one among many does without."""
        if self._keys is None:
            columns = repeat("") if self._columns is None else self._columns
            self._keys = list(map(_KEY, zip(self._classes, self.names, columns, strict=False)))
        return self._keys

    def named(self, names: Collection[str]) -> tuple[list[int], list[SeriesKey]]:
        """Numbers of the series of these names, ascending, and the series."""
        if isinstance(self._names, list) or len(names) > _FEW:
            numbers = [i for i, name in enumerate(self.names) if name in names]
            return numbers, [self.keys[i] for i in numbers]
        joined = f"\0{self._names}\0"
        keys: dict[int, SeriesKey] = {}
        for name in names:
            at = joined.find(f"\0{name}\0") if "\0" not in name else -1
            number, counted = 0, 0
            while at >= 0:
                number += joined.count("\0", counted, at)
                counted = at
                keys[number] = SeriesKey(
                    self._classes[number], name, "" if self._columns is None else self._columns[number]
                )
                at = joined.find(f"\0{name}\0", at + 1)
        numbers = sorted(keys)
        return numbers, [keys[number] for number in numbers]

    @property
    def series(self) -> list[tuple[SeriesKey, Kind]]:
        """Each series with its kind."""
        return [(key, _KINDS[kind]) for key, kind in zip(self.keys, self.kinds, strict=True)]

    def wanted(self, only: Collection[SeriesKey]) -> list[int]:
        """Numbers of the blocks that hold points of the series `only`."""
        return [
            number
            for number, (first, n, _, _) in enumerate(self.blocks)
            if any(key in only for key in self.keys[first : first + n])
        ]


def index_size(prefix: bytes) -> int:
    """Bytes from the start of a payload that `read_index` needs, told by its first 8 bytes.

    Raises:
        CorruptEvent: not a payload.
    """
    if len(prefix) < PREFIX.size:
        raise CorruptEvent(f"payload of {len(prefix)} bytes is shorter than its prefix of {PREFIX.size}")
    magic, version, _, header = PREFIX.unpack_from(prefix)
    if magic != b"RP" or version not in (VERSION, WIDE_VERSION) or header > MAX_EVENT_BYTES:
        raise CorruptEvent(f"not a payload: starts with {prefix[:4]!r}")
    return int(PREFIX.size + header)


def read_index(prefix: bytes) -> Index:
    """Read the header of a payload from at least its first `index_size(prefix)` bytes.

    Raises:
        CorruptEvent: truncated, or the header contradicts itself.
    """
    end = index_size(prefix)
    if len(prefix) < end:
        raise CorruptEvent(f"payload header of {end} bytes is cut at {len(prefix)}")
    flags = prefix[3]
    try:
        header = unpack(prefix[PREFIX.size : end])
        names: list[str] | str
        columns: list[str] | None
        if prefix[2] == VERSION:
            raw_series, raw_counts, raw_blocks, (order_size, first_seq), heads = header
            raw_classes, names, columns, raw_kinds = (
                [list(column) for column in zip(*raw_series, strict=True)] if raw_series else [[], [], [], []]
            )
            counts = np.array(raw_counts, dtype=np.int64)
            if not set(map(type, raw_classes)) <= {int}:
                raise ValueError("classes")
        else:
            packed, raw_blocks, (order_size, first_seq), heads = header
            raw_classes, raw_kinds, raw_counts, names, columns = unpack(_inflate_names(packed))
            counts = np.frombuffer(raw_counts, dtype="<u4").astype(np.int64)
        n_series, kinds = len(counts), bytes(raw_kinds)
        for texts in (names, columns):
            if isinstance(texts, list):
                "".join(texts)  # refuses what is no text
        named = _count_joined(names) if isinstance(names, str) else len(names)
        lengths = {len(raw_classes), named, len(kinds), n_series if columns is None else len(columns)}
        if lengths != {n_series} or kinds.translate(None, _KNOWN_KINDS):
            raise ValueError("series")
        heads = [(int(width), int(low)) for width, low in heads]
        if (n_series and counts.min() < 0) or int(counts.sum()) > MAX_EVENT_POINTS:
            raise ValueError("counts")
        if len(heads) != 4 or any(width and width not in WIDTHS for width, _ in heads):
            raise ValueError("column heads")
        if not (
            -(1 << 63) <= int(first_seq) < 1 << 63 and 0 <= order_size <= MAX_EVENT_BYTES
        ) or flags not in (0, 1):
            raise ValueError("order section")
        blocks = []
        first, at = 0, end
        for n, size in raw_blocks:
            of_block = kinds[first : first + n] if n > 0 else b""
            if size < 0 or len(of_block) != n or not n or of_block != of_block[:1] * n:
                raise ValueError("blocks")
            blocks.append((first, int(n), at, int(size)))
            first, at = first + n, at + size
        if first != n_series:
            raise ValueError("blocks")
    except CorruptEvent:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        raise CorruptEvent(f"payload header is damaged ({type(error).__name__}: {error})") from None
    return Index(
        kinds,
        counts,
        blocks,
        (at, int(order_size)),
        at + int(order_size),
        int(first_seq),
        heads,
        bool(flags & FLAG_ZSTD),
        raw_classes,
        names,
        columns,
    )


def _count_joined(names: str) -> int:
    """How many names were joined; `str.count` of a single character takes four times as long."""
    return int(np.count_nonzero(np.frombuffer(names.encode(), dtype=np.uint8) == 0)) + 1


def _inflate_names(packed: bytes) -> bytes:
    size = zstandard.frame_content_size(packed)
    if not 0 <= size <= MAX_EVENT_BYTES:
        raise ValueError(f"names of {size} bytes")
    return decompressor().decompress(packed, max_output_size=max(size, 1))


def decompressor() -> zstandard.ZstdDecompressor:
    """This thread's own."""
    try:
        return _local.decompressor  # type: ignore[no-any-return]
    except AttributeError:
        _local.decompressor = zstandard.ZstdDecompressor()
        return _local.decompressor  # type: ignore[no-any-return]
