"""Metric vectors: the points of series in order of logging, as numpy, Arrow, pandas or Polars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from runstream_schemas.parquet.arrow import plain, time_column, value_columns
from runstream_schemas.series import Kind, SeriesKey

if TYPE_CHECKING:
    import pandas
    import polars

I8 = NDArray[np.int64]
_LONG = 1 << 20  # points from which columns are joined in threads
Value = float | int | bool | str | None

ARROW_SCHEMA = pa.schema(
    [
        ("run_id", pa.dictionary(pa.int32(), pa.string())),
        ("cls", pa.int8()),
        ("name", pa.dictionary(pa.int32(), pa.string())),
        ("column", pa.dictionary(pa.int32(), pa.string())),
        ("step", pa.int64()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("value", pa.float64()),
        ("int_value", pa.int64()),
        ("text", pa.string()),
    ]
)
"""Columns of vectors as Arrow: `value` holds ints and bools too; `int_value` ints exactly (a bool has 0 or 1 there, and
'true' or 'false' as `text`); `text` is null for numbers; all three are null for a None that was logged."""


@dataclass(slots=True)
class PointColumns:
    """Some points of one series, consecutive in order of logging.

    Attributes:
        kind: kind of all the values, or None when they differ: then `kinds` has each point's.
        values: 64 raw bits a point; FLOAT: of a float64; INT, BOOL: of an int64; TEXT: index into `texts`; NULL: 0.
    """

    kind: Kind | None
    steps: I8
    times: I8
    values: NDArray[np.uint64]
    texts: list[str] = field(default_factory=list)
    kinds: NDArray[np.uint8] | None = None

    def kind_array(self) -> NDArray[np.uint8]:
        """The kind of each point."""
        return (
            np.full(len(self.steps), int(self.kind), dtype=np.uint8)
            if self.kind is not None
            else self._kinds()
        )

    def _kinds(self) -> NDArray[np.uint8]:
        assert self.kinds is not None
        return self.kinds

    def cut(self, start: int, end: int) -> PointColumns:
        """The points from `start` to before `end`, as views."""
        kind, kinds = self.kind, None
        if kind is None and end > start:
            kinds = self._kinds()[start:end]
            if bool((kinds == kinds[0]).all()):
                kind, kinds = Kind(int(kinds[0])), None
        place = slice(start, end)
        return PointColumns(kind, self.steps[place], self.times[place], self.values[place], self.texts, kinds)

    def take(self, order: I8) -> PointColumns:
        """The points at these places."""
        kinds = None if self.kinds is None else self.kinds[order]
        return PointColumns(
            self.kind, self.steps[order], self.times[order], self.values[order], self.texts, kinds
        )


def join(pieces: Sequence[PointColumns]) -> PointColumns:
    """The points of several pieces, one after the other."""
    if len(pieces) == 1:
        return pieces[0]
    values = [piece.values for piece in pieces]
    texts: list[str] = []
    for i, piece in enumerate(pieces):
        if piece.texts and texts:
            is_text = piece.kind_array() == Kind.TEXT
            values[i] = np.where(is_text, values[i] + np.uint64(len(texts)), values[i])
        texts += piece.texts
    kind: Kind | None = pieces[0].kind if pieces else Kind.NULL
    if any(piece.kind != kind or piece.kind is None for piece in pieces):
        kind = None
    columns: list[tuple[list[NDArray[Any]], Any]] = [
        ([piece.steps for piece in pieces], np.int64),
        ([piece.times for piece in pieces], np.int64),
        (values, np.uint64),
    ]
    if sum(len(piece.steps) for piece in pieces) < _LONG:
        joined = [_concatenate(*column) for column in columns]
    else:  # numpy copies without the GIL
        with ThreadPoolExecutor(len(columns)) as threads:
            joined = list(threads.map(lambda column: _concatenate(*column), columns))
    steps, times, raw = joined
    return PointColumns(
        kind,
        steps,
        times,
        raw,
        texts,
        None if kind is not None else np.concatenate([piece.kind_array() for piece in pieces]),
    )


def _concatenate(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


Placed = tuple[int, PointColumns]
"""Some points of a series, and where they lie in their run (`runstream_schemas.order.position`)."""


def in_order(parts: Iterable[Placed]) -> list[PointColumns]:
    """Pieces of one series in the order of their points."""
    return [piece for _, piece in sorted(parts, key=lambda part: part[0])]


@dataclass(slots=True)
class Series:
    """One series of one run: points in order of logging.

    Attributes:
        run_id: the run.
        key: class, name and column. Points of a table are its cells; their step is the row, unique within the run.
        points: the columns.
    """

    run_id: str
    key: SeriesKey
    points: PointColumns

    @property
    def name(self) -> str:
        """The user's name of the series."""
        return self.key.name

    @property
    def steps(self) -> I8:
        """Step of each point."""
        return self.points.steps

    @property
    def times(self) -> I8:
        """Time of each point, microseconds since the epoch."""
        return self.points.times

    @property
    def kind(self) -> Kind | None:
        """Kind of all the values; None when they differ."""
        return self.points.kind

    def __len__(self) -> int:
        return len(self.points.steps)

    def within(self, step: int | None, time: int | None, to_step: int | None = None) -> Series:
        """Its points from a step and a time (microseconds since the epoch) on, up to a step."""
        chosen = np.ones(len(self), dtype=bool)
        if step is not None:
            chosen &= self.steps >= step
        if time is not None:
            chosen &= self.times >= time
        if to_step is not None:
            chosen &= self.steps <= to_step
        return Series(self.run_id, self.key, self.points.take(np.flatnonzero(chosen)))

    def to_numpy(self) -> NDArray[Any]:
        """The values: float64, int64 or bool arrays; values of several numeric kinds as float64, NaN for None; with texts
        among them an object array."""
        kind = self.points.kind
        if kind == Kind.FLOAT:
            return self.points.values.view(np.float64)
        if kind == Kind.INT:
            return self.points.values.view(np.int64)
        if kind == Kind.BOOL:
            return np.not_equal(self.points.values, 0)
        if kind == Kind.TEXT or (kind is None and bool((self.points.kind_array() == Kind.TEXT).any())):
            return np.array(self.python_values(), dtype=object)
        return self.floats()

    def floats(self) -> NDArray[np.float64]:
        """The values as float64: ints and bools too, NaN for texts and None."""
        kind, raw = self.points.kind, self.points.values
        if kind == Kind.FLOAT:
            return raw.view(np.float64)
        if kind in (Kind.INT, Kind.BOOL):
            return raw.view(np.int64).astype(np.float64)
        if kind is not None:
            return np.full(len(raw), np.nan)
        kinds = self.points.kind_array()
        whole = (kinds == Kind.INT) | (kinds == Kind.BOOL)
        result = np.where(whole, raw.view(np.int64).astype(np.float64), raw.view(np.float64))
        result[(kinds == Kind.TEXT) | (kinds == Kind.NULL)] = np.nan
        return result

    def python_values(self) -> list[Value]:
        """The values as logged: float, int, bool, str or None."""
        kind, raw, texts = self.points.kind, self.points.values, self.points.texts
        if kind in (Kind.FLOAT, Kind.INT, Kind.BOOL):
            return list(self.to_numpy().tolist())
        if kind == Kind.TEXT:
            return [texts[i] for i in raw.tolist()]
        if kind == Kind.NULL:
            return [None] * len(raw)
        floats, ints = raw.view(np.float64).tolist(), raw.view(np.int64).tolist()
        values: list[Value] = []
        for i, each in enumerate(self.points.kind_array().tolist()):
            if each == Kind.FLOAT:
                values.append(floats[i])
            elif each == Kind.INT:
                values.append(ints[i])
            elif each == Kind.BOOL:
                values.append(bool(ints[i]))
            else:
                values.append(texts[ints[i]] if each == Kind.TEXT else None)
        return values


@dataclass(slots=True)
class Vectors:
    """Series of one or several runs: runs in the order asked for, series of a run in the order first logged."""

    series: list[Series]

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)

    def __len__(self) -> int:
        return len(self.series)

    def get(self, name: str, run_id: str | None = None) -> Series | None:
        """The first series of that name (and run), or None."""
        return next((s for s in self.series if s.name == name and run_id in (None, s.run_id)), None)

    def by_run(self) -> dict[str, list[Series]]:
        """The series of each run; runs without any are absent."""
        result: dict[str, list[Series]] = {}
        for series in self.series:
            result.setdefault(series.run_id, []).append(series)
        return result

    def to_arrow(self) -> pa.Table:
        """One row a point, see `ARROW_SCHEMA`."""
        columns = []
        counts = np.array([len(series) for series in self.series], dtype=np.int64)
        for values in (
            [series.run_id for series in self.series],
            [series.key.name for series in self.series],
            [series.key.column for series in self.series],
        ):
            columns.append(_repeated(values, counts))
        classes = pa.array(np.repeat(np.array([s.key.cls for s in self.series], dtype=np.int8), counts))
        points = join([series.points for series in self.series])
        kinds = points.kind_array() if points.kind is None else points.kind
        data = [
            plain(points.steps, pa.int64()),
            time_column(points.times),
            *value_columns(points.values, kinds, points.texts),
        ]
        return pa.table([columns[0], classes, columns[1], columns[2], *data], schema=ARROW_SCHEMA)

    def to_pandas(self) -> pandas.DataFrame:
        """One row a point, as pandas; needs pandas."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> polars.DataFrame:
        """One row a point, as Polars; needs polars."""
        import polars

        frame = polars.from_arrow(self.to_arrow())
        assert isinstance(frame, polars.DataFrame)
        return frame


def _repeated(values: list[str], counts: I8) -> pa.Array:
    distinct = list(dict.fromkeys(values))
    place = {value: i for i, value in enumerate(distinct)}
    codes = np.repeat(np.array([place[value] for value in values], dtype=np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(distinct, pa.string()))


def assemble(
    run_ids: Iterable[str],
    parts: dict[str, dict[SeriesKey, list[PointColumns]]],
) -> Vectors:
    """Vectors from the pieces of each run and series, given in order of logging.

    Args:
        run_ids: order of the runs.
        parts: what was found; of series that began at the same time, e.g. the columns of a row, the first comes first.
    """
    result = []
    for run_id in run_ids:
        whole = [Series(run_id, key, join(pieces)) for key, pieces in parts.get(run_id, {}).items()]
        whole = [series for series in whole if len(series)]
        whole.sort(key=lambda s: int(s.times[0]))
        result += whole
    return Vectors(result)
