"""What a rewind makes of points that were logged before it: those of a step beyond go to a former branch of their run.

A point stays where it lies in the run's order; what changes is the series it belongs to, from `(METRIC, name)` to
`(FORMER, name, number of the branch)`. So whoever reads metrics finds what is visible and nothing else, without knowing of
rewinds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..series import Kind, SeriesClass, SeriesKey
from .points import I8, Points, order_dtype


class Cut(NamedTuple):
    """A rewind of a run: what lies before `position` (`runstream_schemas.order`) and has a step beyond `step` belongs to the
    former branch `number`."""

    position: int
    step: int
    number: int


class CutsOfRun:
    """The rewinds of a run in their order.

    Attributes:
        cuts: them.
    """

    __slots__ = ("_numbers", "_positions", "_steps", "cuts")

    def __init__(self, cuts: Iterable[Cut]) -> None:
        self.cuts = sorted(cuts)
        self._positions, self._steps, self._numbers = (
            np.array([cut[at] for cut in self.cuts], dtype=np.int64) for at in range(3)
        )

    def are_behind(self, position: int) -> bool:
        """Whether one lies behind a position."""
        return bool(self.cuts) and self.cuts[-1].position > position

    def branches_of(self, steps: I8, position: int) -> I8:
        """The number of the former branch that each point belongs to, 0 for those that are visible: the first rewind behind
        it that cuts it off tells.

        Args:
            steps: steps of points that lie at `position`.
        """
        first = int(np.searchsorted(self._positions, position, side="right"))
        # Of those behind it only one that goes back further than all before it can be the first to cut a point off.
        lowest = np.minimum.accumulate(self._steps[first:])
        # ~ turns the order around, of all numbers: the first that is lower than the point's step is the first ~ above its ~.
        by_point = np.searchsorted(~lowest, ~steps, side="right")
        return np.append(self._numbers[first:], 0)[by_point]


def cut_points(points: Points, position: int, cuts: CutsOfRun) -> Points | None:
    """The points of a batch, with those that are cut off in series of former branches; None: none is.

    Args:
        position: where the batch lies in its run.
        cuts: the rewinds of the run.
    """
    is_metric = np.array([key.cls == SeriesClass.METRIC for key, _ in points.series], dtype=bool)
    branches = cuts.branches_of(points.steps, position) * np.repeat(is_metric, points.counts)
    if not branches.any():
        return None
    old = np.repeat(np.arange(len(points.series)), points.counts)
    identity = old * (int(branches.max()) + 1) + branches  # of grouped points; rises with the old series
    distinct, of_point = np.unique(identity, return_inverse=True)
    numbers, first = distinct % (int(branches.max()) + 1), distinct // (int(branches.max()) + 1)
    series = [
        (SeriesKey(SeriesClass.FORMER, key.name, str(number)) if number else key, kind)
        for (key, kind), number in (
            (points.series[at], number) for at, number in zip(first.tolist(), numbers.tolist(), strict=True)
        )
    ]
    # Series lie by kind, and within an old series its points keep their order; its parts follow one another.
    regrouped = np.argsort(of_point, kind="stable")
    order = np.empty(len(points.order), dtype=order_dtype(len(series)))
    order[points.permutation()] = of_point
    values, texts = points.values[regrouped], points.texts
    if texts:
        is_text = _kind_of_point(points)[regrouped] == Kind.TEXT
        texts = [texts[i] for i in values[is_text].tolist()]
        values[is_text] = np.arange(len(texts), dtype=np.uint64)
    return Points(
        series,
        order,
        points.seqs,
        points.steps[regrouped],
        points.times[regrouped],
        values,
        texts,
        np.bincount(of_point, minlength=len(series)).astype(np.int64),
    )


def _kind_of_point(points: Points) -> NDArray[np.int64]:
    return np.repeat(np.array([kind for _, kind in points.series], dtype=np.int64), points.counts)
