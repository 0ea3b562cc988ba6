"""Slices of few numbers, as a short run writes them: what becomes of them without a numpy call a source."""

from __future__ import annotations

import numpy as np

from runstream_schemas.series import Kind
from runstream_schemas.wire.alike_events import MOST_POINTS, ShortPoints
from runstream_schemas.wire.events import MetricsEvent
from runstream_schemas.wire.short_events import short_event

from .. import segment as seg
from .positions import Positions
from .reader import SourceReader
from .slices import Slice

_FLOATS, _INTS = {seg.KIND_BASE + Kind.FLOAT}, {seg.KIND_BASE + Kind.INT}


def short_points(reader: SourceReader, part: Slice, positions: Positions) -> ShortPoints | None:
    """The points of a slice that has nothing but few numbers, tags and statuses; None: there is more to it.

    Args:
        positions: until where events of the source were made.
    """
    if (
        part.is_point is None
        or part.end - part.first > 4 * MOST_POINTS
        or not all(frame.kind in seg.CONTROL_FRAMES for frame in part.frames)
    ):
        return None
    at = np.flatnonzero(part.is_point)
    rows = part.slots[at]
    kinds = {word & 0xFF for word in rows[:, 3].tolist()}
    if kinds != _FLOATS and kinds != _INTS:
        return None
    first = part.first if part.behind_gap else positions.metrics
    return ShortPoints(
        reader.header.run_id,
        reader.header.source,
        first,
        part.end - first,
        rows,
        at + part.first,
        reader.names,
        Kind.FLOAT if kinds == _FLOATS else Kind.INT,
        reader.dropped,
    )


def event_of(points: ShortPoints) -> MetricsEvent | None:
    """The event of one slice by itself; None: something is odd about it."""
    return short_event(
        points.run_id,
        points.source,
        points.first,
        points.count,
        points.rows.tolist(),
        points.rows[:, 1].view(np.float64).tolist(),
        points.seqs.tolist(),
        points.names,
        points.kind,
        points.dropped,
    )
