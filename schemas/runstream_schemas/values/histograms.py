"""A histogram as a value of a series: the text that travels, and what it says.

The text is JSON::

    {"counts": [3, 0, 5], "edges": [0.0, 1.5], "count": 8, "min": 0.1, "max": 1.4, "sum": 6.5}

Two edges stand for bins of equal width; otherwise there is one edge more than there are counts. `count`, `min`, `max` and
`sum` are those of the finite values; the last three are left out of what came binned. `nan`, `positive_infinite` and
`negative_infinite` count what lies in no bin; each is left out when 0. No finite value: no bins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CorruptEvent

MAX_BINS = 1024
"""Most bins of a histogram."""


@dataclass(slots=True)  # frozen, it would cost a tenth of what it takes to log one
class Histogram:
    """How often values lie in which bins.

    Attributes:
        counts: values in each bin; a value on an edge belongs to the bin on its right, one on the last edge to the last bin.
        edges: the edges of the bins, rising; one more than there are counts, none when there are no bins.
        count: finite values.
        min, max, sum: those of the finite values; None: there are none, or it came binned.
        nan, positive_infinite, negative_infinite: values that lie in no bin.
    """

    counts: list[int]
    edges: list[float]
    count: int
    min: float | None = None
    max: float | None = None
    sum: float | None = None
    nan: int = 0
    positive_infinite: int = 0
    negative_infinite: int = 0


def encode_histogram(histogram: Histogram, *, uniform: bool = False) -> str:
    """The text of a histogram.

    Args:
        uniform: the bins are of equal width: of the edges, first and last are enough.
    """
    edges, low, high = histogram.edges, histogram.min, histogram.max
    if uniform and edges:
        edges = [edges[0], edges[-1]]
    if low is None:
        text = f'{{"counts": {histogram.counts}, "edges": {edges}, "count": {histogram.count}'
    elif len(edges) == 2 and edges[0] is low and edges[1] is high:  # to write a number takes its time
        ends = f"{low!r}", f"{high!r}"
        text = (
            f'{{"counts": {histogram.counts}, "edges": [{ends[0]}, {ends[1]}], "count": {histogram.count}, '
            f'"min": {ends[0]}, "max": {ends[1]}'
        )
    else:
        text = (
            f'{{"counts": {histogram.counts}, "edges": {edges}, "count": {histogram.count}, '
            f'"min": {low!r}, "max": {high!r}'
        )
    if histogram.sum is not None:
        text += f', "sum": {histogram.sum!r}'
    if histogram.nan or histogram.positive_infinite or histogram.negative_infinite:
        for name in ("nan", "positive_infinite", "negative_infinite"):
            if number := getattr(histogram, name):
                text += f', "{name}": {number}'
    return text + "}"


def decode_histogram(text: str) -> Histogram:
    """Read what `encode_histogram` made.

    Raises:
        CorruptEvent: it is no histogram.
    """
    try:
        document = json.loads(text)
        counts = [int(count) for count in document["counts"]]
        edges = [float(edge) for edge in document["edges"]]
        if len(counts) > MAX_BINS or min(counts, default=0) < 0:
            raise ValueError("counts")
        if counts and len(edges) == 2:
            edges = even_edges(edges[0], edges[1], len(counts))
        if len(edges) != (len(counts) + 1 if counts else 0):
            raise ValueError(f"{len(edges)} edges of {len(counts)} bins")
        numbers = [document.get(name) for name in ("min", "max", "sum")]
        low, high, total = (None if number is None else float(number) for number in numbers)
        others = [int(document.get(name, 0)) for name in ("nan", "positive_infinite", "negative_infinite")]
        return Histogram(counts, edges, int(document["count"]), low, high, total, *others)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptEvent(f"{text[:80]!r} is no histogram ({type(error).__name__}: {error})") from None


def even_edges(low: float, high: float, bins: int) -> list[float]:
    """The edges of `bins` bins of equal width; no step of it overflows."""
    if high - low < math.inf:
        return [*(low + (high - low) * (i / bins) for i in range(bins)), high]
    return [*(low * (1 - i / bins) + high * (i / bins) for i in range(bins)), high]


def thinned(steps: Sequence[int], most: int) -> list[int]:
    """Places of at most `most` of these steps: the last one of each bucket of steps.

    Buckets are powers of two wide with edges at their multiples, so that what is shown stays when more come.
    """
    if len(steps) <= most:
        return list(range(len(steps)))
    shift = 0
    while len({step >> shift for step in steps}) > most:
        shift += 1
    return sorted({step >> shift: place for place, step in enumerate(steps)}.values())
