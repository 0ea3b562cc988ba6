"""Several frames in a row, written as one: a reader sees all of them, or none."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

from .. import segment as seg

_FRAME = struct.Struct("<IIdQQ")
_TIME_KIND = struct.Struct("<dQ")


def slots_of(body: bytes) -> int:
    """How many slots a frame takes."""
    return 1 - (-len(body) // seg.SLOT)


def write_frames(mapped: Any, at: int, kind: int, bodies: Sequence[bytes], when: float) -> None:
    """Write frames into slots that were taken for them: all lie behind the first one's word until that is written.

    Args:
        mapped: the mapping.
        at: offset of the first slot.
        kind: which kind of frame all of them are.
        when: seconds since the epoch.
    """
    before = zlib.crc32(_TIME_KIND.pack(when, kind))
    parts: list[bytes] = []
    total = 0
    for body in bodies:
        n = slots_of(body)
        total += n
        parts.append(_FRAME.pack(len(body), zlib.crc32(body, before), when, kind, seg.FRAME | n << 32))
        parts.append(body.ljust((n - 1) * seg.SLOT, b"\0"))
    seg.WORD.pack_into(mapped, at + 24, seg.OPEN | total << 32)
    try:
        data = b"".join(parts)
        memoryview(mapped).cast("B")[at + seg.SLOT : at + len(data)] = data[seg.SLOT :]
        _FRAME.pack_into(mapped, at, *_FRAME.unpack_from(data))
    except BaseException:
        seg.WORD.pack_into(mapped, at + 24, seg.PAD | total << 32)
        raise
