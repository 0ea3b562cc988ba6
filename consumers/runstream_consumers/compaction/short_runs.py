"""Many short runs sorted together: of each, numpy would spend more on being called than on its points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from runstream_schemas.order import Place, position
from runstream_schemas.parquet.arrow import repeated
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.many_payloads import decode_many
from runstream_schemas.wire.points import I8

from .sorted_points import SortedPoints

Chunk = tuple[int, int, int, bytes]
"""Ordinal of its source, first slot, how many slots, payload."""

SHORT_BYTES = 8 << 10
"""Payload bytes of a short run, at most: a run of this size is still cheaper among others."""


@dataclass(slots=True)
class SortedRuns:
    """Points of many runs, by run, then as those of one run are sorted (`sorted_points`).

    Attributes:
        runs: keys of the runs.
        points: the points; their `series` and `counts` are those of one run after the other.
        ends: where each run ends in the columns.
        series_ends: where each run ends in `points.series`.
    """

    runs: list[int]
    points: SortedPoints
    ends: I8
    series_ends: I8

    def metrics_table(self, run_ids: Mapping[int, str]) -> pa.Table:
        """The rows of a metrics file."""
        table = self.points.metrics_table()
        names = repeated([run_ids[key] for key in self.runs], np.diff(self.ends, prepend=0))
        return table.set_column(0, table.schema.field(0), names)


def is_short(chunks: Sequence[Chunk]) -> bool:
    """Whether a run can be sorted together with others: one source, nothing missing, few bytes.

    Args:
        chunks: in the order of their slots.
    """
    return (
        sum(len(payload) for *_, payload in chunks) <= SHORT_BYTES
        and len({ordinal for ordinal, *_ in chunks}) == 1
        and all(before[1] + before[2] == after[1] for before, after in pairwise(chunks))
    )


def place(chunks: Sequence[Chunk]) -> Place:
    """The place of a short run in a file: one range."""
    (ordinal, first, *_), (_, last, slots, _) = chunks[0], chunks[-1]
    return Place(position(ordinal, first), position(ordinal, last + slots))


def sort_runs(runs: Mapping[int, Sequence[Chunk]]) -> SortedRuns:
    """Sort the points of short runs. Those that hold what is rare (texts, tables, damage) are left out.

    Args:
        runs: chunks of each run, by key, in the order of their slots.
    """
    keys = list(runs)
    chunks = [chunk for key in keys for chunk in runs[key]]
    pieces = decode_many([payload for *_, payload in chunks])
    at = np.array([position(ordinal, first) for ordinal, first, *_ in chunks], dtype=np.int64)
    run_of = np.repeat(np.arange(len(keys)), [len(runs[key]) for key in keys])
    left_out = np.zeros(len(keys), dtype=bool)
    left_out[run_of[pieces.others]] = True
    run = run_of[pieces.payload]
    chosen = np.flatnonzero(~left_out[run] & (pieces.counts > 0))
    # Series in the order in which they first occur in their run; pieces come by run and slot.
    series = run[chosen] * len(pieces.keys) + pieces.key[chosen]
    _, first, group = np.unique(series, return_index=True, return_inverse=True)
    order = np.argsort(first[group], kind="stable")
    chosen = chosen[order]
    counts = pieces.counts[chosen]
    starts = np.cumsum(pieces.counts) - pieces.counts
    take = np.repeat(starts[chosen] - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
    begins = np.flatnonzero(np.diff(series[order], prepend=-1))  # the first piece of each series
    kinds: Any = pieces.kind[chosen]
    kinds = Kind(int(kinds[0])) if len(kinds) and (kinds == kinds[0]).all() else np.repeat(kinds, counts)
    batch = at[pieces.payload[chosen]]
    run, key = run[chosen][begins], pieces.key[chosen][begins]
    of_series = np.add.reduceat(counts, begins) if len(begins) else counts
    borders = np.flatnonzero(np.diff(run, append=-1))
    named: list[SeriesKey] = [pieces.keys[number] for number in key.tolist()]
    points = SortedPoints(
        "",
        named,
        of_series,
        pieces.steps[take],
        pieces.times[take],
        pieces.values[take],
        kinds,
        [],
        batch[begins],
        batch[np.append(begins[1:], len(chosen))[: len(begins)] - 1],
    )
    return SortedRuns(
        [keys[number] for number in run[borders].tolist()], points, np.cumsum(of_series)[borders], borders + 1
    )
