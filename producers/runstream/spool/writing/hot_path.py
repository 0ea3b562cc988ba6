"""The way of a point, step 2 of 10: `log()` packs it into a slot of a memory-mapped segment and returns.

What is in the mapping survives the death of the process. There is no thread, no socket and no lock on the way; the system is
asked only when a segment is full. Somebody else (the agent, or the embedded service) reads the segments.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain
from typing import Any, Protocol

from .. import segment as seg
from ..values import convert_step
from .source_writer import EXHAUSTED

_FLOAT = struct.Struct("<qddQ")
INTEGER = struct.Struct("<qdqQ")
"""Step, time, value and the word that publishes them."""

TICK = 1.25e-6
"""Seconds between first times. A double of our days counts in steps of 0.24 µs: adding 1 µs to it adds 0.95."""

Log = Callable[..., None]
LogMetrics = Callable[..., None]
LogAt = Callable[[str, float, int, float], None]
Words = tuple[int, int, Callable[[], int]]
"""Of a series: what publishes a float and an integer, and what numbers its next step."""


class Writer(Protocol):
    """What of a writer the hot path turns to when it is no longer hot."""

    @property
    def _lock(self) -> AbstractContextManager[Any]: ...
    def _make_room(self, again: Callable[[], None], name: str | None = None) -> bool: ...
    def _define_all(self, values: Mapping[str, Any]) -> None: ...
    def _scalar(self, name: str, value: Any, step: Any) -> None: ...
    def describe(self, name: str, text: Any) -> None: ...


def make_log(
    writer: Writer, series: Mapping[str, Words]
) -> tuple[Log, LogMetrics, LogAt, Callable[[Callable[[], int], Any], None]]:
    """`log`, `log_metrics` and `log_at` of a writer, and what tells them where slots are taken, and in which mapping.

    Closures: what a point needs are cells, not attributes. The slots and the mapping are taken in one read: a roll in
    another thread changes both at once.

    Args:
        series: by name; the writer adds to it.
    """
    current: tuple[Callable[[], int], Any] = (EXHAUSTED, None)
    pack_float, pack_int = _FLOAT.pack_into, INTEGER.pack_into
    now = time.time

    def set_current(take: Callable[[], int], mapped: Any) -> None:
        nonlocal current
        current = (take, mapped)

    def log(name: str, value: Any, description: str = "", step: int | None = None) -> None:
        at = -1
        mapped: Any = None
        try:
            as_float, as_int, next_step = series[name]
            if type(value) is float:
                take, mapped = current
                at = take()
                pack_float(mapped, at, next_step() if step is None else step, now(), value, as_float)
                return
            if type(value) is int:
                take, mapped = current
                at = take()
                pack_int(mapped, at, next_step() if step is None else step, now(), value, as_int)
                return
        except StopIteration:
            if writer._make_room(partial(log, name, value, description, step)):
                log(name, value, description, step)
            return
        except (KeyError, TypeError, struct.error):
            if at >= 0:  # the slot was taken, but step or value did not fit into it
                seg.WORD.pack_into(mapped, at + 24, seg.PAD | 1 << 32)
            elif type(value) in (float, int) and type(name) is str and name not in series:
                if writer._make_room(partial(log, name, value, "", step), name):
                    log(name, value, "", step)
                writer.describe(name, description)
                return
        except BaseException:  # Ctrl-C between taking the slot and filling it
            if at >= 0 and not seg.WORD.unpack_from(mapped, at + 24)[0]:
                seg.WORD.pack_into(mapped, at + 24, seg.PAD | 1 << 32)
            raise
        writer._scalar(name, value, step)
        if type(description) is not str or description:
            writer.describe(name, description)

    def log_metrics(values: Mapping[str, Any], step: int | None = None) -> None:
        if step is not None and type(step) is not int:
            step = convert_step("log_metrics", step)
        when = now()
        items = iter(values.items())
        for name, value in items:
            if type(value) is float:
                at = -1
                try:
                    as_float, _, next_step = series[name]
                    take, mapped = current
                    at = take()
                    pack_float(mapped, at, next_step() if step is None else step, when, value, as_float)
                    continue
                except (KeyError, StopIteration, struct.error):
                    if at >= 0:
                        seg.WORD.pack_into(mapped, at + 24, seg.PAD | 1 << 32)
            if name in series:
                log(name, value, "", step)
            else:
                writer._define_all(values)
                log_new(chain(((name, value),), items), when, step)

    def log_new(items: Iterable[tuple[str, Any]], when: float, step: int | None) -> None:
        """Where there are new series: series are listed in the order of their first times, so each has one of its own. To
        define one takes longer than the microsecond between them."""
        for name, value in items:
            at = -1
            try:
                as_float, as_int, next_step = series[name]
                pack, word = (pack_float, as_float) if type(value) is float else (pack_int, as_int)
                if type(value) in (float, int):
                    take, mapped = current
                    at = take()
                    pack(mapped, at, next_step() if step is None else step, when, value, word)
                    when += TICK
                    continue
            except (KeyError, StopIteration, struct.error):
                if at >= 0:
                    seg.WORD.pack_into(mapped, at + 24, seg.PAD | 1 << 32)
            log(name, value, "", step)
            when = now()

    def log_at(name: str, value: float, step: int, when: float) -> None:
        at = -1
        mapped: Any = None
        try:
            as_float = series[name][0]
            take, mapped = current
            at = take()
            pack_float(mapped, at, step, when, value, as_float)
        except (KeyError, StopIteration) as lacking:
            new = name if isinstance(lacking, KeyError) else None
            if writer._make_room(partial(log_at, name, value, step, when), new):
                log_at(name, value, step, when)
        except BaseException:  # it did not fit into the slot, or Ctrl-C before it was filled
            if at >= 0 and not seg.WORD.unpack_from(mapped, at + 24)[0]:
                seg.WORD.pack_into(mapped, at + 24, seg.PAD | 1 << 32)
            raise

    if _needs_lock():
        return _locked(log, writer), _locked(log_metrics, writer), _locked(log_at, writer), set_current
    return log, log_metrics, log_at, set_current


def _locked(log: Log, writer: Writer) -> Log:
    def locked(*args: Any, **kwargs: Any) -> None:
        with writer._lock:
            log(*args, **kwargs)

    return locked


def _needs_lock() -> bool:
    enabled = getattr(sys, "_is_gil_enabled", None)
    return enabled is not None and not enabled()
