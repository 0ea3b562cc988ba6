"""Calls of `SummaryWriter` that record how values are distributed: histograms and precision-recall curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..exceptions import UserErrorException
from . import encoding
from .destinations import FileDestination, RunDestination, step_of
from .pictures import as_array
from .statistics import PR_COLUMNS, bucketed, pr_curve

_MOST_THRESHOLDS = 127


class Distributions:
    """The calls of `SummaryWriter` for histograms and precision-recall curves."""

    _to_run: RunDestination
    _to_files: FileDestination | None

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: Any = None,
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """Record how values are distributed.

        Args:
            values: an array or tensor.
            bins: as `numpy.histogram` takes them; `tensorflow`: 64 of equal width.
            max_bins: neighbours are taken together until there are no more bins than that.
        """
        self._histogram(tag, bucketed(as_array(values), bins, max_bins), global_step, walltime)

    def add_histogram_raw(
        self,
        tag: str,
        min: float,
        max: float,
        num: int,
        sum: float,
        sum_squares: float,
        bucket_limits: Sequence[float],
        bucket_counts: Sequence[float],
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Record a histogram.

        Args:
            bucket_limits: right edge of each bucket.
            bucket_counts: values in each.
        """
        if len(bucket_limits) != len(bucket_counts):
            raise ValueError(
                f"add_histogram_raw({tag!r}): {len(bucket_limits)} limits and {len(bucket_counts)} counts"
            )
        buckets = {
            "min": min,
            "max": max,
            "num": num,
            "sum": sum,
            "sum_squares": sum_squares,
            "bucket_limits": bucket_limits,
            "bucket_counts": bucket_counts,
        }
        self._histogram(tag, buckets, global_step, walltime)

    def _histogram(
        self, tag: str, buckets: Mapping[str, Any], global_step: Any, walltime: float | None
    ) -> None:
        step = step_of(tag, global_step)
        self._to_run.histogram(tag, buckets, step, walltime)
        if self._to_files is not None:
            self._to_files.values([encoding.histogram_value(tag, buckets)], step, walltime)

    def add_pr_curve(
        self,
        tag: str,
        labels: Any,
        predictions: Any,
        global_step: Any = None,
        num_thresholds: int = 127,
        weights: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Record a precision-recall curve, as rows of a table.

        Args:
            labels: whether each is true.
            predictions: probabilities.
            num_thresholds: 127 at most.
            weights: the weight of each.

        Raises:
            UserErrorException: labels and predictions of different numbers, or predictions that are no probabilities.
        """
        thresholds = min(num_thresholds, _MOST_THRESHOLDS)
        curve = pr_curve(
            as_array(labels),
            as_array(predictions),
            thresholds,
            None if weights is None else as_array(weights),
        )
        self._curve(tag, curve, thresholds, global_step, walltime)

    def add_pr_curve_raw(
        self,
        tag: str,
        true_positive_counts: Any,
        false_positive_counts: Any,
        true_negative_counts: Any,
        false_negative_counts: Any,
        precision: Any,
        recall: Any,
        global_step: Any = None,
        num_thresholds: int = 127,
        weights: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Record a precision-recall curve that is computed already: a number for each threshold."""
        rows = [
            as_array(row).reshape(-1)
            for row in (
                true_positive_counts,
                false_positive_counts,
                true_negative_counts,
                false_negative_counts,
                precision,
                recall,
            )
        ]
        if len({len(row) for row in rows}) != 1:
            lengths = dict(zip(PR_COLUMNS, map(len, rows), strict=True))
            raise UserErrorException(
                f"add_pr_curve_raw({tag!r}): columns of different lengths: {lengths}; pass as many of each"
            )
        self._curve(tag, np.stack(rows), min(num_thresholds, _MOST_THRESHOLDS), global_step, walltime)

    def _curve(self, tag: str, curve: Any, thresholds: int, global_step: Any, walltime: float | None) -> None:
        step = step_of(tag, global_step)
        self._to_run.curve(tag, curve, step, walltime)
        if self._to_files is not None:
            self._to_files.values([encoding.pr_curve_value(tag, curve, thresholds)], step, walltime)
