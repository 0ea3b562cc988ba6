"""The points of metrics: of one run in pages, and of several runs, all of them or those at steps that are spread evenly."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Final

import numpy as np

from ..points.vectors import Series
from . import runs
from .errors import invalid
from .grammar import read_token, write_token
from .run_documents import metric
from .scope import Document, Scope
from .sent import Sent

MOST_POINTS: Final = 25_000
MOST_RUNS: Final = 100
MOST_STEPS: Final = 2500
"""Points of each run that are chosen by their steps, at most."""
_THERE: Final = """
select r.run_id from runs r join experiments e on e.id = r.experiment_id
where e.workspace = $1 and r.run_id = any($2::text[])
"""


async def get_history(scope: Scope, sent: Sent) -> Document:
    """metrics/get-history."""
    run_id, key = sent.run_id(), sent.text("metric_key", needed=True)
    most = sent.integer("max_results") if sent.has("max_results") else None
    offset = read_token(sent.text("page_token"))
    await runs.find(scope.pool, scope, run_id)
    points = _in_time(await _series(scope, [run_id], key), key).get(run_id, [])
    end = len(points) if most is None else offset + most
    answer: Document = {"metrics": points[offset:end]}
    if end < len(points):
        answer["next_page_token"] = write_token(end)
    return answer


async def get_bulk(scope: Scope, sent: Sent) -> Document:
    """metrics/get-history-bulk: by run, then by time."""
    run_ids = sent.texts("run_id")
    if not run_ids:
        raise invalid("GetMetricHistoryBulk request must specify at least one run_id.")
    if len(run_ids) > MOST_RUNS:
        raise invalid(
            f"GetMetricHistoryBulk request cannot specify more than {MOST_RUNS} run_ids. "
            f"Received {len(run_ids)} run_ids."
        )
    if not sent.has("metric_key"):
        raise invalid("GetMetricHistoryBulk request must specify a metric_key.")
    key = sent.text("metric_key")
    most = min(max(sent.integer("max_results", default=MOST_POINTS), 0), MOST_POINTS)
    points = _in_time(await _series(scope, await _there(scope, run_ids), key), key)
    flat = [{**point, "run_id": run_id} for run_id in sorted(points) for point in points[run_id]]
    return {"metrics": flat[:most]}


async def get_bulk_interval(scope: Scope, sent: Sent) -> Document:
    """metrics/get-history-bulk-interval: every point at some steps, spread evenly over those there are."""
    run_ids = sent.texts("run_ids")
    if not run_ids:
        raise sent.absent("run_ids")
    if len(run_ids) > MOST_RUNS:
        raise invalid(
            f"GetMetricHistoryBulkInterval request must specify at most {MOST_RUNS} run_ids. "
            f"Received {len(run_ids)} run_ids."
        )
    key = sent.text("metric_key", needed=True)
    first = sent.integer("start_step") if sent.has("start_step") else None
    last = sent.integer("end_step") if sent.has("end_step") else None
    most = sent.integer("max_results", default=MOST_STEPS)
    if not 1 <= most <= MOST_STEPS:
        raise invalid(f"max_results must be between 1 and {MOST_STEPS}.")
    if (first is None) != (last is None):
        raise invalid("If either start step or end step are specified, both must be specified.")
    if first is not None and last is not None and first > last:
        raise invalid(
            f"end_step must be greater than start_step. Found start_step={first} and end_step={last}."
        )
    there = await _there(scope, run_ids)
    series = {vector.run_id: vector for vector in await _series(scope, there, key)}
    if not series:
        return {"metrics": []}
    chosen = _chosen_steps(list(series.values()), first, last, most)
    metrics: list[Document] = []
    for run_id in run_ids:
        if run_id in series:
            vector = series[run_id]
            at = np.flatnonzero(np.isin(vector.steps, chosen))
            at = at[np.lexsort((vector.floats()[at], vector.times[at], vector.steps[at]))]
            metrics += [{**point, "run_id": run_id} for point in _points(vector, at, key)[:MOST_POINTS]]
    return {"metrics": metrics}


def _chosen_steps(series: Sequence[Series], first: int | None, last: int | None, most: int) -> list[int]:
    """Some steps between two, with the first and the last one of each run."""
    steps = np.unique(np.concatenate([vector.steps for vector in series])).tolist()
    ends = {int(step) for vector in series for step in (vector.steps.min(), vector.steps.max())}
    if first is None or last is None:
        first, last = 0, steps[-1]
    start, end = bisect.bisect_left(steps, first), bisect.bisect_right(steps, last)
    between = steps[start:end]
    if len(between) > most:
        apart = len(between) / most
        between = [between[int(place * apart)] for place in range(most)] + between[-1:]
    return sorted({*between, *(step for step in ends if first <= step <= last)})


async def _there(scope: Scope, run_ids: Sequence[str]) -> list[str]:
    """Those of the runs that are of the workspace."""
    rows = await scope.pool.fetch(_THERE, scope.workspace, list(run_ids))
    return [row["run_id"] for row in rows]


async def _series(scope: Scope, run_ids: Sequence[str], key: str) -> list[Series]:
    vectors = await scope.query.vectors(run_ids, names=(key,), cls=(0,))
    return [series for series in vectors.series if len(series)]


def _in_time(series: Sequence[Series], key: str) -> dict[str, list[Document]]:
    """The points of each run, by time, then step, then value."""
    ordered: dict[str, list[Document]] = {}
    for vector in series:
        at = np.lexsort((vector.floats(), vector.steps, vector.times))
        ordered[vector.run_id] = _points(vector, at, key)
    return ordered


def _points(series: Series, at: np.ndarray[tuple[int], np.dtype[np.int64]], key: str) -> list[Document]:
    columns = series.floats()[at].tolist(), series.times[at].tolist(), series.steps[at].tolist()
    return [metric(key, value, time // 1000, step) for value, time, step in zip(*columns, strict=True)]
