"""Rows of COPY in its binary format, read many at once: numbers, texts and arrays of numbers.

Each field says how long it is, so a row is found by going through those before it. Rows whose fields have the same sizes lie
in a stretch more often than not, and numpy takes a stretch as a matrix of bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from runstream_schemas.wire.alike_payloads import stretches

_HEAD = 19  # signature, flags, length of the extension, which there is none
_FEWEST = 16  # rows in a stretch, below which rows are gone through one by one
_ONE_BY_ONE = 1000  # of which so many are grouped by their sizes
_ARRAY_HEAD = 20  # dimensions, whether there are nulls, type, size, lowest index
_FEW_ARRAYS = 8  # with nulls, which are read one by one
_SIZE = struct.Struct(">i")

Bytes = NDArray[np.uint8]


@dataclass(slots=True)
class Rows:
    """Rows whose fields have the same sizes.

    Attributes:
        raw: (rows, bytes of a row).
        fields: place in a row, and bytes, of each field.
    """

    raw: Bytes
    fields: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.raw)

    def _field(self, number: int) -> Bytes:
        at, size = self.fields[number]
        return np.ascontiguousarray(self.raw[:, at : at + size])

    def integers(self, number: int) -> NDArray[np.int64]:
        """A field of 8 bytes that is never null."""
        return self._field(number).view(">i8").reshape(-1).astype(np.int64)

    def texts(self, number: int) -> pa.Array:
        """A field of text that is never null."""
        size = self.fields[number][1]
        offsets = np.arange(len(self) + 1, dtype=np.int32) * np.int32(size)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._field(number))]
        return pa.Array.from_buffers(pa.string(), len(self), buffers)

    def arrays(self, number: int, length: int, dtype: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Elements (rows, length) of a field that is an array of int8 or float8, and which are no nulls; None: all.

        Args:
            length: the length of the arrays; one of length 1 stands for so many elements.
            dtype: `i8` or `f8`.
        """
        field = self._field(number)
        heads = field[:, :_ARRAY_HEAD].copy().view(">i4")
        if not heads[:, 1].any():
            elements = field[:, _ARRAY_HEAD:].reshape(len(self), -1, 12)[:, :, 4:]
            values = np.ascontiguousarray(elements).view(f">{dtype}")[:, :, 0].astype(dtype)
            return np.broadcast_to(values, (len(self), length)), None
        values = np.zeros((len(self), length), dtype=dtype)
        valid = np.zeros((len(self), length), dtype=bool)
        for own in np.unique(heads[:, 3]).tolist():
            chosen = heads[:, 3] == own
            some = _with_nulls(field[chosen], own, dtype)
            values[chosen], valid[chosen] = some
        return values, valid


def _with_nulls(field: Bytes, length: int, dtype: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Arrays of one length: each element after the other, as those before it may take 4 or 12 bytes."""
    values = np.zeros((len(field), length), dtype=dtype)
    valid = np.zeros((len(field), length), dtype=bool)
    if len(field) < _FEW_ARRAYS:
        number = struct.Struct(">q" if dtype == "i8" else ">d")
        for row, data in enumerate(field):
            held, at = data.tobytes(), _ARRAY_HEAD
            for i in range(length):
                if _SIZE.unpack_from(held, at)[0] >= 0:
                    values[row, i] = number.unpack_from(held, at + 4)[0]
                    valid[row, i] = True
                    at += 8
                at += 4
        return values, valid
    flat = np.concatenate((field.reshape(-1), np.zeros(16, dtype=np.uint8)))
    at = np.arange(len(field), dtype=np.int64) * field.shape[1] + _ARRAY_HEAD
    for i in range(length):
        some = stretches(flat, at, 12)
        valid[:, i] = some[:, 0] < 0x80  # the size of a null is -1
        values[:, i] = np.where(valid[:, i], some[:, 4:].copy().view(f">{dtype}")[:, 0], 0)
        at += np.where(valid[:, i], 12, 4)
    return values, valid


class CopiedRows:
    """Takes what COPY sends, and gives the rows that are complete."""

    def __init__(self) -> None:
        self._begun = False
        self.held = bytearray()

    def add(self, data: bytes) -> None:
        """Take what has come."""
        self.held += data

    def take(self) -> Iterator[Rows]:
        """The complete rows, in groups; takes them away."""
        if not self._begun and len(self.held) < _HEAD:
            return
        start = 0 if self._begun else _HEAD
        self._begun = True
        data = bytes(self.held[start:])
        raw = np.frombuffer(data, dtype=np.uint8)
        at = 0
        while (layout := _layout(data, at)) is not None:
            fields, size = layout
            rows = raw[at : at + (len(data) - at) // size * size].reshape(-1, size)
            sizes = [place - 4 + i for place, _ in fields for i in range(4)]
            said = rows[:, [0, 1, *sizes]]
            differs = np.flatnonzero((said != said[0]).any(axis=1))
            if not len(differs) or differs[0] >= _FEWEST:
                n = int(differs[0]) if len(differs) else len(rows)
                yield Rows(rows[:n], fields)
                at += n * size
                continue
            groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
            for _ in range(_ONE_BY_ONE):
                if (layout := _layout(data, at)) is None:
                    break
                groups.setdefault(tuple(layout[0]), []).append(at)
                at += layout[1]
            for same, places in groups.items():
                end = sum(same[-1])
                yield Rows(stretches(raw, np.array(places, dtype=np.int64), end), list(same))
        self.held = bytearray(data[at:])


def _layout(data: bytes, at: int) -> tuple[list[tuple[int, int]], int] | None:
    """Place in the row and bytes of each field of the row here, and the bytes of the row; None: it is not complete, or what
    follows is the end."""
    if len(data) < at + 2 or data[at] >= 0x80:
        return None
    fields, place = [], 2
    for _ in range(data[at] << 8 | data[at + 1]):
        if len(data) < at + place + 4:
            return None
        size = max(_SIZE.unpack_from(data, at + place)[0], 0)
        fields.append((place + 4, size))
        place += 4 + size
    return None if len(data) < at + place else (fields, place)
