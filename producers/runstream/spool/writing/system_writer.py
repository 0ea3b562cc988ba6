"""System metrics of one run from its node: points as any, under a source of their own that owns nothing."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgpack

from runstream_schemas.limits import check_name
from runstream_schemas.series import Kind, SeriesClass
from runstream_schemas.settings import Settings

from .. import segment as seg
from .source_writer import SourceWriter

_POINT = struct.Struct("<qddQ")


class SystemWriter(SourceWriter):
    """Writes what a machine was doing for a run. It neither starts nor ends the run: its death says nothing of it.

    Args:
        node: name of the machine.
    """

    def __init__(self, settings: Settings, run_id: str, node: str) -> None:
        self._node = check_name("name of the machine", node)
        self._numbers: dict[str, int] = {}
        self._step = 0
        super().__init__(settings, run_id, owner=False)

    def _set_current(self, take: Callable[[], int], mapped: Any) -> None:
        """There is no hot path here."""

    def _forget_source(self) -> None:
        super()._forget_source()
        self._numbers.clear()

    def sample(self, values: Mapping[str, float], when: float | None = None, step: int | None = None) -> None:
        """Write one value of each of several metrics, all at one step and time.

        Args:
            values: by name.
            when: seconds since the epoch; default: now.
            step: default: one more than the last.
        """
        self._in_turn(partial(self._points, dict(values), time.time() if when is None else when, step))

    def _points(self, values: Mapping[str, float], when: float, step: int | None) -> None:
        if step is not None:
            self._step = step
        for name, value in values.items():
            number = self._number(name)
            at = None if number is None else self._take(1)
            if number is None or at is None:
                self._count_drop(1)
                continue
            word = number << 32 | seg.KIND_BASE + Kind.FLOAT
            _POINT.pack_into(self._mapping(), at, self._step, when, float(value), word)
        self._step += 1

    def _number(self, name: str) -> int | None:
        number = self._numbers.get(name)
        if number is None:
            if self._map is None and not self._roll(0):
                return None
            number = len(self._numbers)
            body = [number, int(SeriesClass.SYSTEM), check_name("metric name", name), self._node]
            if not self._frame(seg.SERIES, msgpack.packb(body)):
                return None
            self._numbers[name] = number
        return number
