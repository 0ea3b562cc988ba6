"""Histograms and PR curves, between TensorBoard's form and ours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.values.histograms import MAX_BINS, Histogram

from ..exceptions import UserErrorException

PR_COLUMNS = ("true_positives", "false_positives", "true_negatives", "false_negatives", "precision", "recall")
"""Rows of a PR curve's tensor, and columns of the table it becomes."""


def binned(rows: NDArray[Any]) -> Histogram:
    """A histogram of TensorBoard's, whose rows are left edge, right edge and count of a bucket. Its counts are whole.

    Buckets without a value that lie between others fill what these leave out. Of more buckets than a histogram may have,
    neighbours are taken together.

    Raises:
        ValueError: edges that fall, or numbers that are not finite.
    """
    edges: list[float] = []
    counts: list[int] = []
    for left, right, count in rows.astype(float).tolist():
        if not edges:
            edges.append(left)
        elif left > edges[-1]:
            edges.append(left)
            counts.append(0)
        if right > edges[-1]:
            edges.append(right)
            counts.append(round(count))
        elif counts:  # a bucket of no width lies on the edge of the one before
            counts[-1] += round(count)
        else:
            edges.append(math.nextafter(edges[-1], math.inf))
            counts.append(round(count))
    if not all(map(math.isfinite, edges)) or any(count < 0 for count in counts):
        raise ValueError("a histogram of edges or counts that are no histogram's")
    while len(counts) > MAX_BINS:
        counts = [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)]
        edges = [*edges[:-1:2], edges[-1]]
    return Histogram(counts, edges if counts else [], sum(counts))


def curve_table(curve: NDArray[Any], step: int) -> dict[str, list[Any]]:
    """The columns of the table a PR curve becomes.

    Args:
        curve: a row for each of `PR_COLUMNS`, a column for each threshold from 0 to 1.
        step: the step it was added at.
    """
    n = curve.shape[1]
    table: dict[str, list[Any]] = {"step": [step] * n, "threshold": [i / max(1, n - 1) for i in range(n)]}
    rows = curve.astype(float).tolist()
    return table | dict(zip(PR_COLUMNS, rows, strict=True))


def pr_curve(
    labels: NDArray[Any], predictions: NDArray[Any], thresholds: int, weights: Any
) -> NDArray[np.float64]:
    """A PR curve of predictions, which are probabilities.

    Args:
        labels: whether each is true.
        predictions: from 0 to 1.
        thresholds: how many, evenly from 0 to 1.
        weights: the weight of each; None: all the same.

    Raises:
        UserErrorException: labels and predictions of different numbers, or predictions that are no probabilities.
    """
    truth, chance = labels.reshape(-1).astype(np.float64), predictions.reshape(-1).astype(np.float64)
    if truth.shape != chance.shape or thresholds < 2:
        raise UserErrorException(
            f"a PR curve of {len(truth)} labels, {len(chance)} predictions and {thresholds} thresholds: expected as many "
            "labels as predictions, and 2 thresholds or more"
        )
    if len(chance) and not (np.isfinite(chance).all() and 0.0 <= chance.min() <= chance.max() <= 1.0):
        raise UserErrorException("a PR curve: predictions are not between 0 and 1; pass probabilities")
    weight = (
        np.ones_like(truth) if weights is None else np.broadcast_to(np.asarray(weights, float), truth.shape)
    )
    bucket = np.floor(chance * (thresholds - 1)).astype(np.int64)

    def at_least(each: NDArray[np.float64]) -> NDArray[np.float64]:
        sums: NDArray[Any] = np.bincount(bucket, weights=each, minlength=thresholds)
        return np.cumsum(sums[::-1])[::-1]

    true_positives, false_positives = at_least(truth * weight), at_least((1.0 - truth) * weight)
    true_negatives = false_positives[0] - false_positives
    false_negatives = true_positives[0] - true_positives
    least = 1e-7  # so that nothing is divided by zero
    precision = true_positives / np.maximum(least, true_positives + false_positives)
    recall = true_positives / np.maximum(least, true_positives + false_negatives)
    rows = (true_positives, false_positives, true_negatives, false_negatives, precision, recall)
    return np.stack(rows)


def bucketed(values: NDArray[Any], bins: Any, most: int | None) -> dict[str, Any]:
    """A histogram as event files have it, of finite values.

    Args:
        values: numbers.
        bins: as `numpy.histogram` takes them; `tensorflow`: 64.
        most: bins at most.
    """
    finite = values.reshape(-1).astype(np.float64)
    finite = finite[np.isfinite(finite)]
    counts: NDArray[Any]
    counts, edges = np.histogram(finite, bins=64 if isinstance(bins, str) and bins == "tensorflow" else bins)
    if most is not None and len(counts) > most:
        step = -(-len(counts) // most)
        counts = np.add.reduceat(counts, np.arange(0, len(counts), step))
        edges = np.append(edges[:-1:step], edges[-1])
    return {
        "min": float(finite.min()) if finite.size else 0.0,
        "max": float(finite.max()) if finite.size else 0.0,
        "num": finite.size,
        "sum": float(finite.sum()),
        "sum_squares": float(finite @ finite),
        "bucket_limits": edges[1:].tolist(),
        "bucket_counts": counts.tolist(),
    }
