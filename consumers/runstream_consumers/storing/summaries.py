"""Merging the summaries of many batches into one row a run and series, before they meet the stored ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.errors import CorruptEvent
from runstream_schemas.series import Kind
from runstream_schemas.wire.events import MetricsEvent
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import first_places, last_places

from .copy_rows import copy_data, copy_rows

I8 = NDArray[np.int64]
_SUMMARY = ("count", "finite", "first", "last", "min", "max", "sum", "first_time", "last_step", "last_time")
COLUMNS = ("run_key", "series_id", "kind", *_SUMMARY, "first_position", "last_position")


@dataclass(slots=True)
class Batch:
    """A metrics event with what the database knows of it.

    Attributes:
        series_ids: id of the series of each entry.
        position: position of the first slot of the batch (`runstream_schemas.order`).
    """

    event: MetricsEvent
    run_key: int
    series_ids: Sequence[int]
    position: int

    def places(self) -> tuple[I8, I8]:
        """Where in the batch the first and the last point of each entry lie; told only of a series with values of several
        kinds, which has several entries."""
        series = self.event.series
        nowhere = np.zeros(len(series), dtype=np.int64)
        if len(set(self.series_ids)) == len(series):
            return nowhere, nowhere
        try:
            points = decode_points(self.event.payload)
        except CorruptEvent:  # compaction and readers will name it
            return nowhere, nowhere
        entry = {item: i for i, item in enumerate(points.series)}
        at = np.array([entry.get(item, -1) for item in series], dtype=np.int64)
        firsts, lasts = (np.append(f(points.order, len(entry)), 0) for f in (first_places, last_places))
        return firsts[at], lasts[at]


@dataclass(slots=True)
class Rows:
    """Rows for the table `summaries`, one a (run, series), sorted by both, so that writers lock rows in one order.

    Attributes:
        fields: arrays by column name, all of one length.
        texts: the last text by position, where the last value is a text.
        plain: which rows have numbers only; the others may have no first or last number.
    """

    fields: dict[str, NDArray[Any]]
    first_kind: I8
    texts: dict[int, str]

    def __len__(self) -> int:
        return len(self.first_kind)

    @property
    def plain(self) -> NDArray[np.bool_]:
        return (self.fields["kind"] < Kind.TEXT) & (self.first_kind < Kind.TEXT)

    def arrays(self, at: I8) -> list[list[Any]]:
        """The rows at the positions `at`, as lists in the order of `COLUMNS` and last_text."""
        columns = [self.fields[name][at].tolist() for name in COLUMNS]
        for name, kinds in (("first", self.first_kind), ("last", self.fields["kind"])):
            column = columns[COLUMNS.index(name)]
            for i in np.flatnonzero(kinds[at] >= Kind.TEXT).tolist():
                column[i] = None
        columns.append([self.texts.get(i) for i in at.tolist()])
        return columns

    def copy_data(self, at: I8) -> bytes:
        """The rows at the positions `at` (all of them `plain`) in the format of COPY BINARY."""
        fields = self.fields | {"kind": self.fields["kind"].astype(np.int16)}
        return copy_data([copy_rows(*(fields[name][at] for name in COLUMNS))])


def merge(batches: Sequence[Batch]) -> Rows | None:
    """One row for each run and series of `batches`; None when they hold no points.

    First and last are told by the batches' positions.
    """
    lengths = [len(batch.series_ids) for batch in batches]
    if not sum(lengths):
        return None
    run = np.repeat(np.array([batch.run_key for batch in batches], dtype=np.int64), lengths)
    where = np.repeat(np.array([batch.position for batch in batches], dtype=np.int64), lengths)
    first_at, last_at = (
        np.concatenate(column) for column in zip(*(b.places() for b in batches), strict=True)
    )
    series = np.array([i for batch in batches for i in batch.series_ids], dtype=np.int64)
    kind = np.array([k for batch in batches for _, k in batch.event.series], dtype=np.int64)
    held: dict[str, NDArray[Any]] = {
        name: np.concatenate([getattr(batch.event.summary, name) for batch in batches]) for name in _SUMMARY
    }
    texts: dict[int, str] = {}
    at = 0
    for batch, length in zip(batches, lengths, strict=True):
        for i, text in batch.event.summary.texts.items():
            texts[at + i] = text
        at += length

    by_first = np.lexsort((first_at, where, series, run))
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
        by_last = np.lexsort((last_at, where, series, run))
        by_last = by_last[held["count"][by_last] > 0]
        lasts = by_last[np.append(starts[1:], len(by_last)) - 1]
        with np.errstate(over="ignore", invalid="ignore"):
            sums = {
                name: np.add.reduceat(held[name][by_first], starts) for name in ("count", "finite", "sum")
            }
        sums["min"] = np.fmin.reduceat(held["min"][by_first], starts)
        sums["max"] = np.fmax.reduceat(held["max"][by_first], starts)
    fields = {"run_key": run[firsts], "series_id": series[firsts], "kind": kind[lasts], **sums}
    fields |= {name: held[name][firsts] for name in ("first", "first_time")}
    fields |= {name: held[name][lasts] for name in ("last", "last_step", "last_time")}
    fields |= {"first_position": where[firsts], "last_position": where[lasts]}
    last_texts = {n: texts[i] for n, i in enumerate(lasts.tolist()) if i in texts} if texts else {}
    return Rows(fields, kind[firsts], last_texts)
