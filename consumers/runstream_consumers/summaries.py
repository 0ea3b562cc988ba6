"""Merging the summaries of many batches into one row a run and series, before they meet the stored ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.events import MetricsEvent
from runstream_schemas.series import Kind

I8 = NDArray[np.int64]
_COLUMNS = ("count", "finite", "first", "last", "min", "max", "sum", "first_time", "last_step", "last_time")


@dataclass(slots=True)
class Batch:
    """A metrics event with the keys its run and series have in the database (`series_ids`: one per entry of its series)."""

    event: MetricsEvent
    run_key: int
    series_ids: Sequence[int]


Columns = tuple[
    list[int], list[int], list[int], list[int], list[int], list[float | None], list[float | None],
    list[float], list[float], list[float], list[int], list[int], list[int], list[str | None],
]  # fmt: skip
"""run_key, series_id, kind, count, finite, first, last, min, max, sum, first_time, last_step, last_time, last_text;
one row a (run, series), sorted by both, so that writers lock rows in one order."""


def merge(batches: Sequence[Batch]) -> Columns | None:
    """One row for each run and series of `batches`; None when they hold no points.

    The first value is the one with the lowest time, the last the one with the highest; equal times are told apart by slot.
    """
    lengths = [len(batch.series_ids) for batch in batches]
    if not sum(lengths):
        return None
    run = np.repeat(np.array([batch.run_key for batch in batches], dtype=np.int64), lengths)
    slot = np.repeat(np.array([batch.event.first for batch in batches], dtype=np.int64), lengths)
    series = np.array([i for batch in batches for i in batch.series_ids], dtype=np.int64)
    kind = np.array([k for batch in batches for _, k in batch.event.series], dtype=np.int64)
    held: dict[str, NDArray[Any]] = {
        name: np.concatenate([getattr(batch.event.summary, name) for batch in batches]) for name in _COLUMNS
    }
    texts: dict[int, str] = {}
    at = 0
    for batch, length in zip(batches, lengths, strict=True):
        for i, text in batch.event.summary.texts.items():
            texts[at + i] = text
        at += length

    by_first = np.lexsort((slot, held["first_time"], series, run))
    some = held["count"][by_first] > 0
    if not some.all():
        by_first = by_first[some]
        if not len(by_first):
            return None
    run_, series_ = run[by_first], series[by_first]
    starts = np.flatnonzero(np.concatenate(([True], (np.diff(run_) != 0) | (np.diff(series_) != 0))))
    firsts = by_first[starts]
    if len(starts) == len(by_first):  # no run and series twice
        lasts = firsts
        sums = {name: held[name][firsts] for name in ("count", "finite", "sum", "min", "max")}
    else:
        by_last = np.lexsort((slot, held["last_time"], series, run))
        by_last = by_last[held["count"][by_last] > 0]
        lasts = by_last[np.append(starts[1:], len(by_last)) - 1]
        with np.errstate(over="ignore", invalid="ignore"):
            sums = {name: np.add.reduceat(held[name][by_first], starts) for name in ("count", "finite", "sum")}
        sums["min"] = np.fmin.reduceat(held["min"][by_first], starts)
        sums["max"] = np.fmax.reduceat(held["max"][by_first], starts)
    return (
        run[firsts].tolist(),
        series[firsts].tolist(),
        kind[lasts].tolist(),
        sums["count"].tolist(),
        sums["finite"].tolist(),
        _numbers(held["first"], kind, firsts),
        _numbers(held["last"], kind, lasts),
        sums["min"].tolist(),
        sums["max"].tolist(),
        sums["sum"].tolist(),
        held["first_time"][firsts].tolist(),
        held["last_step"][lasts].tolist(),
        held["last_time"][lasts].tolist(),
        [texts.get(i) for i in lasts.tolist()] if texts else [None] * len(lasts),
    )


def _numbers(values: NDArray[np.float64], kind: I8, at: I8) -> list[float | None]:
    """NaN is a value of a number series; a text has none."""
    numbers: list[float | None] = values[at].tolist()
    for i in np.flatnonzero(kind[at] >= Kind.TEXT).tolist():
        numbers[i] = None
    return numbers
