"""The quick way for scalars, which most records of an event file are.

All records of one tag are alike but for time, step and number. So the first one is read field by field, and what is around
its number is remembered as a *shape*: a later record with the same bytes there needs no reading of its fields.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import wire
from .events import SCALARS, Event, Value, decode_event
from .wire import WireError

_MOST_SHAPES = 65536
_MIN_HEAD = 12  # a time, a step, and what holds a summary
_PROBES = {4: struct.pack("<f", 0.3), 8: struct.pack("<d", 0.3)}


@dataclass(slots=True)
class Column:
    """Scalars of one tag, in the order of the file.

    Attributes:
        steps: the step of each.
        times: seconds since the epoch, as doubles in little-endian bytes.
        values: doubles, or floats where `width` is 4, in little-endian bytes.
        width: bytes a value.
    """

    width: int
    steps: array[int] = field(default_factory=lambda: array("q"))
    times: bytearray = field(default_factory=bytearray)
    values: bytearray = field(default_factory=bytearray)

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Steps, times and values."""
        return (
            np.frombuffer(self.steps, dtype=np.int64),
            np.frombuffer(self.times, dtype="<f8").astype(np.float64),
            np.frombuffer(self.values, dtype=f"<f{self.width}").astype(np.float64),
        )


@dataclass(slots=True)
class ScalarReader:
    """Reads records: scalars into columns, everything else into events.

    Attributes:
        plugins: which plugin shows a tag, as its first summary said: later ones need not.
    """

    plugins: dict[str, str] = field(default_factory=dict)
    _shapes: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    _places: dict[int, tuple[int, int]] = field(default_factory=dict)

    def read(self, records: list[bytes]) -> tuple[dict[tuple[str, int], Column], list[Event], int]:
        """What the records hold.

        Returns:
            Columns by tag and width of a value; the events that hold something else; how many records are no events.
        """
        columns: dict[tuple[str, int], Column] = {}
        appenders: dict[bytes, tuple[Column, int, int]] = {}
        others: list[Event] = []
        bad = 0
        places, shapes = self._places, self._shapes
        for record in records:
            # 0x09: field 1, the time; 0x10: field 2, the step, which is left out when it is 0.
            if len(record) >= _MIN_HEAD and record[0] == 0x09:
                at, step = 9, 0
                if record[9] == 0x10:
                    step = record[10]
                    at = 11
                    if step >= 0x80:
                        try:
                            step, at = wire.varint(record, 10)
                        except WireError:
                            bad += 1
                            continue
                        step = wire.as_int(step)
                rest = record[at:]
                place = places.get(len(rest))
                if place is not None:
                    first, behind = place
                    shape = rest[:first] + rest[behind:]
                    ready = appenders.get(shape)
                    if ready is None:
                        known = shapes.get(shape)
                        if known is not None and known[1] == behind - first:
                            ready = appenders[shape] = (
                                columns.setdefault(known, Column(known[1])),
                                first,
                                behind,
                            )
                    if ready is not None:
                        column = ready[0]
                        column.steps.append(step)
                        column.times += record[1:9]
                        column.values += rest[first:behind]
                        continue
            try:
                event = decode_event(record)
            except WireError:
                bad += 1
                continue
            if not self._take(event, record, columns):
                others.append(event)
        return columns, others, bad

    def _take(self, event: Event, record: bytes, columns: dict[tuple[str, int], Column]) -> bool:
        """Add an event that is one scalar to its column, and learn its shape."""
        for value in event.values:
            if value.plugin:
                self.plugins.setdefault(value.tag, value.plugin)
        if len(event.values) != 1 or event.damage or event.restart or event.graph or event.file_version:
            return False
        number = scalar_of(event.values[0], self.plugins)
        if number is None:
            return False
        tag, narrow = event.values[0].tag, _is_narrow(event.values[0])
        column = columns.setdefault((tag, 4 if narrow else 8), Column(4 if narrow else 8))
        column.steps.append(event.step)
        column.times += struct.pack("<d", event.wall_time)
        column.values += struct.pack("<f" if narrow else "<d", number)
        self._learn(event, record, tag, 4 if narrow else 8, number)
        return True

    def _learn(self, event: Event, record: bytes, tag: str, width: int, number: float) -> None:
        """Remember what is around the number, if exchanging its bytes exchanges the number and nothing else."""
        if len(self._shapes) >= _MOST_SHAPES or record[:1] != b"\x09":
            return
        at = 9
        if record[9:10] == b"\x10":
            _, at = wire.varint(record, 10)
        rest = record[at:]
        stored = struct.pack("<f" if width == 4 else "<d", number)
        first = rest.rfind(stored)
        probe = _PROBES[width]
        if first < 0:
            return
        try:
            tried = decode_event(record[:at] + rest[:first] + probe + rest[first + width :])
        except WireError:
            return
        if (
            len(tried.values) != 1
            or tried.step != event.step
            or tried.wall_time != event.wall_time
            or tried.values[0].tag != tag
        ):
            return
        exchanged = scalar_of(tried.values[0], self.plugins)
        if exchanged is None or struct.pack("<f" if width == 4 else "<d", exchanged) != probe:
            return
        if self._places.setdefault(len(rest), (first, first + width)) == (first, first + width):
            self._shapes[rest[:first] + rest[first + width :]] = (tag, width)


def scalar_of(value: Value, plugins: dict[str, str]) -> float | None:
    """The number of a scalar; None: it is something else."""
    if value.number is not None:
        return value.number
    if value.tensor is None or value.tensor.size != 1 or value.tensor.dtype.kind not in "fiub":
        return None
    return float(value.tensor.reshape(())) if (value.plugin or plugins.get(value.tag)) == SCALARS else None


def _is_narrow(value: Value) -> bool:
    return value.tensor is None or value.tensor.dtype == np.dtype("<f4")
