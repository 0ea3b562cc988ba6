"""Many series of many runs as one chart draws them: one bucket size, any x axis, smoothed before points are chosen.

A bucket spans a power of two of x (steps, microseconds, or the unit of a metric) and is always looked at whole, so zooming,
growing runs and neighbouring charts share their buckets. Of each bucket the last point is drawn as the line and the lowest
and highest value as a band around it: no spike is lost however many points a pixel stands for.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.buckets import MAX_WIDTH, Reduced, bucket_size, bucket_starts, reduce_line
from runstream_schemas.errors import QueryError

from ..points.reader import Query
from . import metric_axis
from .coarse import CoarseSeries, CoarseSeriesCache
from .extremes import Extremes
from .held_vectors import HeldVectors, Key, Vector
from .overview import Overview, Overviews, clip
from .stored_series import stored_series

log = logging.getLogger("runstream.server")

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

AXES: Final = ("step", "time", "relative")
"""What x can be: the step, the wall time, the time since the series' first point; or `metric:NAME`."""
MAX_SERIES = 5000
"""Most series of one request."""
MOST_SMOOTHING = 0.999
_SMOOTH_SPAN = 1000.0  # the smoothing's unit of distance is this part of the whole vector's length
_LONG = 1 << 16  # points in sight from which their blocks are looked at instead


@dataclass(slots=True)
class Line:
    """A series as it is drawn; one entry a bucket that holds points.

    Attributes:
        x: x of the bucket's last point.
        last, low, high: last, lowest and highest finite value; NaN where no value is finite.
        smooth: the smoothed value at `x`; None without smoothing.
        marks: bits 1 NaN, 2 +infinity, 4 -infinity occur in the bucket.
        points: points in the range.
        total: points of the whole series.
        origin: first time of the series, microseconds since the epoch.
    """

    run_id: str
    x: I8 | F8
    last: F8
    low: F8
    high: F8
    smooth: F8 | None
    marks: NDArray[np.uint8]
    points: int
    total: int
    origin: int


@dataclass(slots=True)
class Chart:
    """One metric of several runs. `bucket`: the width of a bucket in x; `first`, `last`: the ends of all its series."""

    name: str
    x: str
    bucket: float
    first: float
    last: float
    lines: list[Line]


class Charts:
    """Reads charts; keeps whole vectors, so that a zoom step of a long run reads nothing, and a live one what is new.

    Args:
        query: reads the vectors.
    """

    def __init__(self, query: Query) -> None:
        self._pool = query.pool
        self._vectors = HeldVectors(query)
        self._overviews = Overviews(query)
        self._coarse = CoarseSeriesCache(query)
        self._expected: set[asyncio.Task[None]] = set()

    def expect(self, run_id: str, names: Sequence[str]) -> None:
        """Begin to read long metrics of a run: a page asks for its charts in a moment, when it is laid out."""
        if not names or self._expected:  # one run at a time
            return

        async def read() -> None:
            try:
                stored = await stored_series(self._pool, [run_id], names)
                await self._overviews.get(stored, self._vectors.holds)
            except Exception as error:  # whoever asks for them gets the error
                log.debug("could not read ahead of %s: %s", run_id, error)

        task = asyncio.create_task(read())
        self._expected.add(task)
        task.add_done_callback(self._expected.discard)

    async def read(
        self,
        run_ids: Sequence[str],
        names: Sequence[str],
        *,
        axis: str = "step",
        width: int = 800,
        start: float | None = None,
        stop: float | None = None,
        smoothing: float = 0.0,
    ) -> list[Chart]:
        """A chart for each of some metrics of some runs; series that do not exist are absent.

        Args:
            axis: one of `AXES`, or `metric:NAME`: each point lies where that metric of its run was by its step
                (`metric_axis.values_by_step`).
            width: most buckets, e.g. pixels of the chart.
            start, stop: range of x wanted; None: all there is.
            smoothing: 0 (none) to `MOST_SMOOTHING`; an exponential mean weighted by distance in x, over the whole vector.

        Raises:
            QueryError: an argument that makes no sense.
            StoreError: a Parquet file is missing or damaged.
        """
        other = axis.removeprefix(metric_axis.PREFIX) if axis.startswith(metric_axis.PREFIX) else ""
        if axis not in AXES and not other:
            raise QueryError(f"x={axis!r:.80}: expected one of {', '.join(AXES)}, or metric:NAME")
        if not 1 <= width <= MAX_WIDTH:
            raise QueryError(f"width={width}: expected 1 to {MAX_WIDTH}")
        if not 0 <= smoothing <= MOST_SMOOTHING:
            raise QueryError(f"smooth={smoothing}: expected 0 to {MOST_SMOOTHING}")
        if len(run_ids) * len(names) > MAX_SERIES:
            raise QueryError(
                f"{len(run_ids)} runs times {len(names)} metrics are more than {MAX_SERIES} series"
                "; ask for fewer runs or metrics"
            )
        if start is not None and stop is not None and start > stop:
            raise QueryError(f"from={start} lies after to={stop}; swap the two")
        needed = [*names, *([other] if other and other not in names else [])]
        plain = axis == "step" and not smoothing
        stored = await stored_series(self._pool, run_ids, names) if plain else {}
        overviews = await self._overviews.get(stored, self._vectors.holds)
        whole = plain and start is None and stop is None
        coarse = await self._coarse.get(stored, names, overviews, width) if whole else {}
        made: dict[Key, Overview | CoarseSeries] = {**overviews, **coarse}
        vectors = await self._read_vectors(run_ids, needed, made)

        def source(run_id: str, name: str) -> _Points | Overview | CoarseSeries | None:
            known, vector = made.get((run_id, name)), vectors.get((run_id, name))
            if known is not None or vector is None:
                return known
            if not other:
                return _Points(vector, axis, *vector.along(axis), smoothing)
            if (x := vectors.get((run_id, other))) is None:
                return None
            along = metric_axis.along(vector.steps, vector.values, x.steps, x.values)
            return _Points(vector, axis, *along, smoothing)

        def draw() -> list[Chart]:
            charts = []
            for name in names:
                sources_of_runs = {run_id: source(run_id, name) for run_id in run_ids}
                sources = {run_id: held for run_id, held in sources_of_runs.items() if held is not None}
                charts.append(_draw(name, axis, sources, width, start, stop))
            return charts

        return await asyncio.to_thread(draw)

    async def _read_vectors(
        self, run_ids: Sequence[str], names: Sequence[str], known: Collection[Key]
    ) -> dict[Key, Vector]:
        """The vectors of all that is not `known`."""
        by_runs: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            missing = tuple(run_id for run_id in run_ids if (run_id, name) not in known)
            by_runs.setdefault(missing, []).append(name)
        vectors: dict[Key, Vector] = {}
        for missing, missing_names in by_runs.items():
            if missing:
                vectors |= await self._vectors.get(missing, missing_names)
        return vectors


@dataclass(slots=True)
class _Points:
    """A vector in order of x, to be reduced."""

    vector: Vector
    axis: str
    x: I8 | F8
    values: F8
    smoothing: float

    @property
    def first(self) -> float:
        return float(self.x[0].item()) if self.x.dtype != np.int64 else self.x[0].item()

    @property
    def last(self) -> float:
        return float(self.x[-1].item()) if self.x.dtype != np.int64 else self.x[-1].item()

    @property
    def total(self) -> int:
        return len(self.x)

    @property
    def origin(self) -> int:
        return self.vector.origin

    def reduce(self, begin: float, end: float, size: float) -> tuple[Reduced, int]:
        """The buckets in sight, one more on each side, and how many points lie in the range."""
        x, values = self.x, self.values
        whole = not self.axis.startswith(metric_axis.PREFIX)
        edge = clip if whole else float
        smooth = smoothed(x, values, self.smoothing) if self.smoothing else None
        low = int(np.searchsorted(x, edge((begin // size - 1) * size)))
        high = int(np.searchsorted(x, edge((end // size + 2) * size)))
        part = slice(low, high)
        if whole and high - low >= _LONG:
            chosen = _reduce_long(x, values, smooth, int(size), part, self.vector.extremes(self.axis))
        else:
            chosen = reduce_line(x[part], values[part], None if smooth is None else smooth[part], size)
        inside = int(np.searchsorted(x, edge(end), "right")) - int(np.searchsorted(x, edge(begin)))
        return chosen, inside


def _draw(
    name: str,
    axis: str,
    sources: Mapping[str, _Points | Overview | CoarseSeries],
    width: int,
    start: float | None,
    stop: float | None,
) -> Chart:
    sources = {run_id: source for run_id, source in sources.items() if source.total}
    if not sources:
        return Chart(name, axis, 1, 0, 0, [])
    first = min(source.first for source in sources.values())
    last = max(source.last for source in sources.values())
    begin, end = first if start is None else start, last if stop is None else stop
    whole = not axis.startswith(metric_axis.PREFIX)
    size: float = 1
    if end >= begin:
        size = (
            bucket_size(int(begin), int(end), width) if whole else metric_axis.bucket_width(begin, end, width)
        )
    lines = []
    for run_id, source in sources.items():
        chosen, inside = source.reduce(begin, end, size)
        lines.append(Line(run_id, *chosen, inside, source.total, source.origin))
    return Chart(name, axis, size, first, last, lines)


def _reduce_long(
    x: I8 | F8, values: F8, smooth: F8 | None, size: int, part: slice, extremes: Extremes
) -> Reduced:
    """As `reduce_line` of a part of a vector; only the ends of the buckets are read."""
    starts = part.start + bucket_starts(x[part], size)
    ends = np.append(starts[1:], part.stop)
    last, low, high, marks = extremes.over(values, starts, ends)
    return x[ends - 1], last, low, high, None if smooth is None else smooth[ends - 1], marks


def smoothed(x: I8 | F8, values: F8, smoothing: float) -> F8:
    """The exponential mean, weighted by distance in x and unbiased at the start; a constant stays constant.

    A value weighs `smoothing` less for every thousandth of the vector's length (or mean distance of points, if that is more)
    that it lies back; so the result depends neither on how often was logged nor on what is shown. NaN and infinities count
    as missing.
    """
    n = len(x)
    if n == 0:
        return values
    span = float(x[-1]) - float(x[0])
    unit = max(span / _SMOOTH_SPAN, span / max(n - 1, 1)) or 1.0
    # Points at the same x still count one after the other.
    distance = np.maximum(np.diff(x).astype(np.float64) / unit, 1e-3)
    decay = np.concatenate(([0.0], np.cumsum(distance))) * np.log(smoothing)
    finite = np.isfinite(values)
    clean = np.where(finite, values, 0.0)
    shift = float(clean[finite][0]) if bool(finite.any()) else 0.0  # sums near zero lose no digits
    clean = np.where(finite, clean - shift, 0.0)
    result = np.empty(n)
    total = weight = 0.0
    start = 0
    while start < n:
        # exp() of a block stays far from overflow.
        stop = max(int(np.searchsorted(-decay, -decay[start] + 300.0)), start + 1)
        back = np.exp(decay[start:stop] - decay[start])
        if start:
            carried = float(np.exp(decay[start] - decay[start - 1]))
            total, weight = total * carried, weight * carried
        totals = (np.cumsum(clean[start:stop] / back) + total) * back
        weights = (np.cumsum(finite[start:stop] / back) + weight) * back
        with np.errstate(invalid="ignore", divide="ignore"):
            result[start:stop] = totals / weights + shift
        total, weight = float(totals[-1]), float(weights[-1])
        start = stop
    return result


def pack_charts(charts: Sequence[Chart]) -> bytes:
    """Charts as bytes a browser reads without a loop.

    Four bytes little-endian length of a JSON header, the header (padded with spaces, so that what follows is aligned to 8),
    then for each line of each of `charts` its columns one after the other, each `n` float64 (marks: n bytes, padded to 8).
    `columns` of a line names those that are there: `low` and `high` only where they differ from `last`, `marks` where there
    are any.
    """
    body: list[bytes] = []
    document = {
        "charts": [
            {
                "name": chart.name,
                "x": chart.x,
                "bucket": chart.bucket,
                "first": chart.first,
                "last": chart.last,
                "lines": [_pack_line(line, body) for line in chart.lines],
            }
            for chart in charts
        ]
    }
    header = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-(len(header) + 4) % 8)
    return b"".join([len(header).to_bytes(4, "little"), header, *body])


def _pack_line(line: Line, body: list[bytes]) -> dict[str, Any]:
    columns: list[tuple[str, NDArray[Any]]] = [("x", line.x.astype("<f8")), ("last", line.last)]
    if not (_same(line.low, line.last) and _same(line.high, line.last)):
        columns += [("low", line.low), ("high", line.high)]
    if line.smooth is not None:
        columns.append(("smooth", line.smooth))
    if bool(line.marks.any()):
        columns.append(("marks", line.marks))
    for _, data in columns:
        raw = np.ascontiguousarray(data, "<f8" if data.dtype != np.uint8 else np.uint8).tobytes()
        body.append(raw + bytes(-len(raw) % 8))
    return {
        "run_id": line.run_id,
        "n": len(line.x),
        "points": line.points,
        "total": line.total,
        "origin": line.origin,
        "columns": [name for name, _ in columns],
    }


def _same(a: F8, b: F8) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))
