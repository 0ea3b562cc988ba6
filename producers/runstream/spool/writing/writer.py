"""What a run's points mean: series, texts, rows and arrays, in slots and frames.

`hot_path` has the numbers of `log()`, `control_writer` tags and statuses, `source_writer` the slots and segments of it all.
"""

from __future__ import annotations

import logging
import struct
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import msgpack

from runstream_schemas.errors import brief
from runstream_schemas.limits import MAX_EVENT_BYTES, MAX_RECORD_BYTES
from runstream_schemas.series import Kind, SeriesClass
from runstream_schemas.settings import Settings

from .. import segment as seg
from ..fitting import MOST_NAMES, check_row, may_be_too_large, names_bytes
from ..values import (
    check_name,
    check_text,
    convert,
    convert_array,
    convert_row,
    convert_step,
    convert_table,
    is_name,
)
from .hot_path import INTEGER, Log, LogAt, LogMetrics, Words, make_log
from .rewinding_writer import RewindingWriter

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

logger = logging.getLogger("runstream")

ARRAY_POINTS = 16384
"""Points in one frame of `log_array`: a few frames fill a segment, and a batch."""

_DEFINED_AT_ONCE = 64
"""Series defined by one record: they lie in one segment."""


class RunWriter(RewindingWriter):
    """Writes one run's records from one process. All methods may be called from any thread, and after a fork.

    No file is made in the spool before the first record.

    Args:
        owner: this process started the run: if it dies without ending it, the run is marked Failed.

    Attributes:
        log: `log(name, value, description='', step=None)`: the hot path, a closure. Without a step, the values of a
            series are numbered 0, 1, ... in this process.
        log_metrics: `log_metrics(values, step=None)`: one value of each of several series, at one time. A name or value
            that cannot be logged raises `UserErrorException`; the ones before it are logged.
        log_at: `log_at(name, value, step, when)`: one float with a time of its own, in seconds since the epoch.
        dropped: points this process could not keep.
        began: called when a source has begun; in the midst of a record, so it must not record.
    """

    began: Callable[[], None] | None = None
    log: Log
    log_metrics: LogMetrics
    log_at: LogAt

    def __init__(self, settings: Settings, run_id: str, *, owner: bool = False) -> None:
        self._series: dict[str, Words] = {}
        self._steps: dict[
            tuple[int, str], Callable[[], int]
        ] = {}  # of artifacts, whose series are not in `_series`
        self._ids: dict[tuple[int, str], int] = {}
        self._last_steps: dict[tuple[int, str], int] = {}  # of typed values
        self._rows: dict[str, int] = {}
        self.log, self.log_metrics, self.log_at, self._set_current = make_log(self, self._series)
        super().__init__(settings, run_id, owner=owner)

    def _forget_source(self) -> None:
        super()._forget_source()
        self._series.clear()
        self._steps.clear()
        self._ids.clear()

    def _next_segment(self, needed: int) -> None:
        super()._next_segment(needed)
        if self._index == 0 and self.began is not None:
            self.began()

    # --- metrics ---

    def log_list(self, name: str, values: Iterable[Any]) -> None:
        """Extend a series by several values; integers among floats become floats. No values: nothing happens.

        Raises:
            AzureMLException: an element that is no scalar. Nothing is logged then.
        """
        if not hasattr(values, "__iter__") or getattr(values, "shape", None) == ():
            raise TypeError(
                f"log_list({brief(name)}): {type(values).__name__} is not iterable; log() takes a single value"
            )
        converted = [convert(f"log_list({brief(name)})", value, fallback=False) for value in values]
        kinds = {kind for kind, _ in converted}
        if kinds == {Kind.INT, Kind.FLOAT} or kinds == {Kind.FLOAT}:
            self._array(
                name, Kind.FLOAT, array("d", [value for _, value in converted]).tobytes(), len(converted)
            )
        elif kinds == {Kind.INT}:
            self._array(
                name, Kind.INT, array("q", [value for _, value in converted]).tobytes(), len(converted)
            )
        else:
            for _, value in converted:
                self.log(name, value)

    def log_array(
        self, name: str, values: ArrayLike, steps: ArrayLike | None = None, times: ArrayLike | None = None
    ) -> None:
        """Extend a series by a numpy array, without a Python step a point.

        Args:
            values: shape (n,), of any boolean, integer or float type; wider than 64 bits is refused.
            steps: shape (n,), integers; default: numbered on.
            times: shape (n,), seconds since the epoch; default: now. Those outside the years 1 to 9999 become the nearest
                that is not.

        Raises:
            UserErrorException: shapes that differ, or a type that is not a number. Nothing is logged then.
        """
        kind, data, given_steps, given_times = convert_array(name, values, steps, times)
        self._array(
            name,
            kind,
            data.data,
            len(data),
            None if given_steps is None else given_steps.data,
            None if given_times is None else given_times.data,
        )

    def _array(
        self, name: str, kind: Kind, values: Any, n: int, steps: Any | None = None, times: Any | None = None
    ) -> None:
        if not n:
            return
        values, steps, times = (
            None if column is None else memoryview(column).cast("B") for column in (values, steps, times)
        )
        assert values is not None
        now = time.time()
        for first in range(0, n, ARRAY_POINTS):
            m = min(ARRAY_POINTS, n - first)
            cut = slice(8 * first, 8 * (first + m))
            given = b"".join(column[cut] for column in (values, steps, times) if column is not None)
            how = (seg.AFFINE if steps is None else seg.GIVEN, seg.AFFINE if times is None else seg.GIVEN)
            self._in_turn(partial(self._array_frame, name, kind, m, how, now, given))

    def _array_frame(
        self, name: str, kind: Kind, n: int, how: tuple[int, int], now: float, columns: bytes
    ) -> None:
        words = self._define(name)
        if words is not None:
            start = 0
            if how[0] == seg.AFFINE:
                start = words[2]()
                deque(islice(words[2].__self__, n - 1), maxlen=0)  # type: ignore[attr-defined]
            head = seg.ARRAY_HEAD.pack(words[0] >> 32, n, kind, *how, start, 1, now, 0.0)
            if self._frame(seg.ARRAY, head + columns):
                return
        self._count_drop(n)

    def text(
        self,
        name: str,
        value: str,
        step: int | None = None,
        cls: int = SeriesClass.METRIC,
        when: float | None = None,
    ) -> None:
        """Log one text value.

        Args:
            when: seconds since the epoch; default: now.
        """
        check_text(f"log({name!r})", value)
        self._in_turn(partial(self._text_frame, name, value.encode(), step, cls, when))

    def _text_frame(self, name: str, value: bytes, step: int | None, cls: int, when: float | None) -> None:
        words = self._define(name, cls)
        if words is not None:
            head = _TEXT_HEAD.pack(words[0] >> 32, words[2]() if step is None else step)
            if self._frame(seg.TEXT, head + value, when):
                return
        self._count_drop(1)

    def artifact(
        self, cls: SeriesClass, name: str, uri: str, step: int | None = None, when: float | None = None
    ) -> None:
        """Log that an artifact (an image, a confusion matrix ...) belongs to the run under `name`; as `text`."""
        self.text(check_name("artifact name", name), uri, step, cls, when)

    def typed(
        self,
        cls: SeriesClass,
        name: str,
        values: Sequence[str],
        step: int | None = None,
        when: float | None = None,
    ) -> None:
        """Log values of a series that is no plain metric, all at one step; default: one more than the last.

        Args:
            values: texts that the class says how to read.
            when: seconds since the epoch; default: now.
        """
        check_name(f"{cls.name.lower()} name", name)
        encoded = [check_text(f"{cls.name.lower()} {brief(name)}", value).encode() for value in values]
        self._in_turn(partial(self._typed_frames, cls, name, encoded, step, when))

    def _typed_frames(
        self, cls: SeriesClass, name: str, values: Sequence[bytes], step: int | None, when: float | None
    ) -> None:
        if step is None:
            step = self._last_steps.get((cls, name), -1) + 1
        self._last_steps[cls, name] = step
        for value in values:
            self._text_frame(name, value, step, cls, when)

    def count_dropped(self, points: int) -> None:
        """Note that so many points could not be kept before they came here."""
        self._in_turn(partial(self._count_drop, points))

    def log_row(self, name: str, columns: Mapping[str, Any]) -> None:
        """Append one row to the table `name`.

        Raises:
            AzureMLException: a value that is no scalar.
            UserErrorException: more than a row can hold (`limits.MAX_RECORD_BYTES`). Nothing is logged then.
        """
        self._table(name, {column: [value] for column, value in convert_row(name, columns).items()}, 1)

    def log_table(self, name: str, columns: Mapping[str, Any], when: float | None = None) -> None:
        """Append rows to the table `name`: column name to list of values; a bare scalar is a column of one.

        Args:
            when: seconds since the epoch; default: now.

        Raises:
            AzureMLException: what is no table; see `convert_table`. Nothing is logged then.
            UserErrorException: a row that holds more than one can; as `log_row`.
        """
        table = convert_table(name, columns)
        n = len(next(iter(table.values())))
        if n > 1 and may_be_too_large(table, n):
            for row in range(n):
                check_row(name, {column: [values[row]] for column, values in table.items()})
        per_frame = max(1, 65536 // max(1, len(table)) // 8)
        for first in range(0, n, per_frame):
            part = {column: values[first : first + per_frame] for column, values in table.items()}
            self._table(name, part, min(per_frame, n - first), when)

    def _table(self, name: str, columns: dict[str, list[Any]], n: int, when: float | None = None) -> None:
        check_name("table name", name)
        self._in_turn(partial(self._table_frame, name, columns, n, when))

    def _table_frame(self, name: str, columns: dict[str, list[Any]], n: int, when: float | None) -> None:
        first = self._rows.get(name, 0)
        body = msgpack.packb([name, first, columns], default=str)
        size = len(body)
        if size + MOST_NAMES * len(columns) > MAX_RECORD_BYTES:
            size += names_bytes(name, columns)
            if n == 1:
                check_row(name, columns)
        if (size > MAX_RECORD_BYTES or len(body) > MAX_EVENT_BYTES // 4) and n > 1:
            half = n // 2
            self._table_frame(name, {column: values[:half] for column, values in columns.items()}, half, when)
            self._table_frame(
                name, {column: values[half:] for column, values in columns.items()}, n - half, when
            )
            return
        if self._frame(seg.ROWS, body, when):
            self._rows[name] = first + n
        else:
            self._count_drop(n * len(columns))

    # --- series ---

    def _define(self, name: str, cls: int = SeriesClass.METRIC) -> Words | None:
        """The publishing words (float, int) and the step counter of a series; None when nothing can be written."""
        check_name("metric name", name)
        known = self._series.get(name) if cls == SeriesClass.METRIC else None
        if known is not None:
            return known
        if self._map is None and not self._roll(0):
            return None
        number = self._ids.get((cls, name))
        if number is None:
            number = len(self._ids)
            if not self._frame(seg.SERIES, _definition(number, cls, name)):
                return None
            self._ids[cls, name] = number
        return self._know(name, cls, number)

    def _know(self, name: str, cls: int, number: int) -> Words:
        base = number << 32
        # Of metrics `_series` has it; here lies what a series is numbered on from that had no room yet.
        kept = self._steps.pop if cls == SeriesClass.METRIC else self._steps.setdefault
        next_step = kept((cls, name), count().__next__)
        words = (base | seg.KIND_BASE + Kind.FLOAT, base | seg.KIND_BASE + Kind.INT, next_step)
        if cls == SeriesClass.METRIC:
            self._series[name] = words
        return words

    def _define_all(self, values: Mapping[str, Any]) -> None:
        """Define what `log_metrics` is about to log for the first time, in one record for all of it. What this leaves out,
        `log` defines, or refuses."""
        names = [name for name, value in values.items() if type(value) in (float, int) and type(name) is str]
        for first in range(0, len(names), _DEFINED_AT_ONCE):
            self._in_turn(partial(self._define_some, names[first : first + _DEFINED_AT_ONCE]), _nothing)

    def _define_some(self, names: Sequence[str]) -> None:
        new = [name for name in names if name not in self._series and is_name(name)]
        if len(new) < 2 or (self._map is None and not self._roll(0)):
            return
        metric = int(SeriesClass.METRIC)
        new = [name for name in new if (metric, name) not in self._ids]
        numbered = list(enumerate(new, len(self._ids)))
        if new and self._series_frames([_definition(number, metric, name) for number, name in numbered]):
            for number, name in numbered:
                self._ids[metric, name] = number
                self._know(name, metric, number)

    def _scalar(self, name: str, value: Any, step: Any) -> None:
        """`log` for everything but a float or int under a known name with an int step."""
        if step is not None:
            step = convert_step(name, step)
        kind, value = convert(f"log({brief(name)})", value, fallback=True)
        if kind == Kind.TEXT:
            self.text(name, value, step)
            return
        if kind in (Kind.FLOAT, Kind.INT):
            check_name("metric name", name)
            self.log(name, value, "", step)
        else:
            self._in_turn(partial(self._truth_slot, name, kind, int(value or 0), step))

    def none_at(self, name: str, step: int, when: float) -> None:
        """Log None with a time of its own, in seconds since the epoch."""
        self._in_turn(partial(self._truth_slot, name, Kind.NULL, 0, step, when))

    def _truth_slot(
        self, name: str, kind: Kind, value: int, step: int | None, when: float | None = None
    ) -> None:
        words = self._define(name)
        at = self._take(1) if words is not None else None
        if words is None or at is None:
            self._count_drop(1)
            return
        word = (words[1] & ~0xFF) | seg.KIND_BASE + kind
        number = words[2]() if step is None else step
        INTEGER.pack_into(self._mapping(), at, number, when or time.time(), value, word)

    def _make_room(self, again: Callable[[], None], name: str | None = None) -> bool:
        """Begin what `log` lacks, the series `name` or else a segment, so that it can be called again.

        Args:
            again: that call; done later when this is the call of a signal handler in the midst of another record.

        Returns:
            Whether to call it now. Not if nothing can be written, which is counted.
        """
        ready = False

        def begin() -> None:
            nonlocal ready
            ready = self._roll(1) if name is None else self._define(name) is not None
            if not ready:
                self._count_drop(1)

        self._in_turn(begin, again)
        return ready


_TEXT_HEAD = struct.Struct("<Iq")


@lru_cache(1024)
def _definition(number: int, cls: int, name: str) -> bytes:
    """Body of the frame that defines a series; runs of a sweep have the same ones."""
    return bytes(msgpack.packb([number, int(cls), name, ""]))


def _nothing() -> None:
    """What a signal handler's call defines, it defines one by one."""
