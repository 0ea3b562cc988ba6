"""Events of few points: a short run's, of which each numpy call would cost more than its points. What comes out is what
`events.metrics_event` makes of the same points, to the byte; what is rarer than plain numbers is left to that."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from operator import sub

import msgpack
import numpy as np

from ..limits import TIME_MAX_US, TIME_MIN_US
from ..series import Kind, SeriesKey
from .events import MetricsEvent, Summaries
from .payload import FLAG_ZSTD, MIN_COMPRESSED, PREFIX, VERSION, compressor

MOST_POINTS = 256
"""Of a short event."""
_MOST_OF_SERIES = 7
"""Points of one series: from eight on, numpy sums in another order."""
_FAR = 1 << 62
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
Row = Sequence[int]


def short_event(
    run_id: str,
    source: bytes,
    first: int,
    count: int,
    rows: Sequence[Row],
    seconds: Sequence[float],
    seqs: Sequence[int],
    names: Mapping[int, SeriesKey],
    kind: Kind,
    dropped: int,
) -> MetricsEvent | None:
    """The event that carries points of one kind and covers the slots [first, first + count); None: there is more to it.

    Args:
        rows: step, anything, 64 bits of the value, and a word with the number of the series in its upper half; one a point.
        seconds: time of each point, since the epoch.
        seqs: slot of each.
        kind: FLOAT or INT, of all of them.
    """
    n = len(rows)
    grouped: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        grouped.setdefault(row[3] >> 32, []).append(i)
    numbers = sorted(grouped)
    groups = [grouped[number] for number in numbers]
    if (
        n > MOST_POINTS
        or not n
        or max(map(len, groups)) > _MOST_OF_SERIES
        or not names.keys() >= grouped.keys()
    ):
        return None
    micros = [second * 1e6 for second in seconds]
    if not all(TIME_MIN_US <= micro <= TIME_MAX_US for micro in micros):
        return None
    whole = [int(micro + 0.5) if micro >= 0.0 else int(micro - 0.5) for micro in micros]
    flat_steps, _, flat_bits, _ = zip(*rows, strict=True)
    times = [[whole[i] for i in group] for group in groups]
    steps = [[flat_steps[i] for i in group] for group in groups]
    bits = [[flat_bits[i] for i in group] for group in groups]
    flat = array("q", chain.from_iterable(bits))
    series = [(names[number], kind) for number in numbers]
    lengths = [len(group) for group in groups]
    ends = list(accumulate(lengths))
    numeric = memoryview(flat).cast("B").cast("d").tolist() if kind == Kind.FLOAT else list(map(float, flat))
    values = [numeric[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    sums = [_sum(some) for some in values]
    if not all(map(math.isfinite, numeric)) or not all(map(math.isfinite, sums)):
        return None

    narrow = [
        _narrow(steps),
        _narrow(times),
        _narrow(bits) if kind == Kind.INT else ((0, 0), b""),
        _narrow([seqs]),
    ]
    if any(part is None for part in narrow):
        return None
    (step_head, step_planes), (time_head, time_planes), (int_head, int_planes), (seq_head, seq_planes) = (
        part for part in narrow if part is not None
    )
    parts = [_firsts(steps), step_planes, _firsts(times), time_planes]
    if kind == Kind.FLOAT:
        parts.append(_planes(flat.tobytes(), 8))
    else:
        parts += [_firsts(bits), int_planes]
    order = bytearray(n)
    for place, group in enumerate(groups):
        for i in group:
            order[i] = place
    sections = [b"".join(parts), (bytes(order) if len(groups) > 1 else b"") + seq_planes]
    flags = 0
    if sum(map(len, sections)) >= MIN_COMPRESSED:
        flags = FLAG_ZSTD
        compress = compressor().compress
        sections = [compress(section) for section in sections]
    header = msgpack.packb(
        [
            [[key.cls, key.name, key.column, int(kind)] for key, _ in series],
            lengths,
            [[len(series), len(sections[0])]],
            [len(sections[1]), seqs[0]],
            [step_head, time_head, int_head, seq_head],
        ]
    )
    payload = b"".join([PREFIX.pack(b"RP", VERSION, flags, len(header)), header, *sections])
    counts = np.array(lengths, dtype=np.int64)
    floats = array("d", [some[0] for some in values])
    floats.extend([some[-1] for some in values])
    floats.extend(map(min, values))
    floats.extend(map(max, values))
    floats.extend(sums)
    integers = array("q", [some[0] for some in times])
    integers.extend([some[-1] for some in steps])
    integers.extend([some[-1] for some in times])
    first_values, last_values, low, high, total = np.frombuffer(floats).reshape(5, -1)
    first_times, last_steps, last_times = np.frombuffer(integers, np.int64).reshape(3, -1)
    summary = Summaries(
        counts,
        counts.copy(),
        first_values,
        last_values,
        low,
        high,
        total,
        first_times,
        last_steps,
        last_times,
        {},
    )
    return MetricsEvent(run_id, source, first, count, n, series, summary, payload, dropped)


def _sum(values: Sequence[float]) -> float:
    """As numpy adds up: to the first what the others make, one after the other (`sum` of later Pythons is more exact)."""
    rest = 0.0
    for value in values[1:]:
        rest += value
    return values[0] + rest


def _firsts(groups: Sequence[Sequence[int]]) -> bytes:
    return array("q", [group[0] for group in groups]).tobytes()


def _planes(raw: bytes, width: int) -> bytes:
    return raw if width == 1 else b"".join(raw[i::width] for i in range(width))


def _narrow(groups: Sequence[Sequence[int]]) -> tuple[tuple[int, int], bytes] | None:
    """Bytes a difference and their minimum, and the planes; None where differences wrap."""
    # What `log_metrics` gives is at the same steps and times for all.
    alike = len(groups) if groups.count(groups[0]) == len(groups) else 1
    distinct = groups[:1] if alike > 1 else groups
    differences = [list(map(sub, group[1:], group)) for group in distinct]
    inside = [*chain.from_iterable(differences)]
    if not inside:
        return (0, 0), b""
    low, high = min(inside), max(inside)
    if low < -_FAR or high > _FAR:
        return None
    if low == high:
        return (0, low), b""
    spread = high - low
    width = 1 if spread < 1 << 8 else 2 if spread < 1 << 16 else 4 if spread < 1 << 32 else 8
    border = inside[0] - low  # a border between series means nothing
    column: list[int] = []
    for some in differences:
        column.append(border)
        column += [difference - low for difference in some]
    return (width, low), _planes(array(_CODES[width], column * alike).tobytes(), width)
