"""Which parameters matter for a metric of some runs, and how far that can be believed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..runs.run_filter import RunFilter
from ..runs.runs import attach_named_summaries, attach_params, count_runs, list_runs
from .forest_process import weigh_apart
from .run_table import RunTable, Statistic, good_end, table_of

if TYPE_CHECKING:
    import asyncpg

MOST_RUNS = 1000
"""Runs that are looked at: the newest that pass."""
LEAST_RUNS = 8
"""With fewer values a forest says nothing."""
_SHOWN = 200  # characters by which texts are told apart


class ParamImportance(TypedDict):
    """How much a parameter matters: `importance` 0 to 1, all adding up to 1; `correlation` (Spearman's, -1 to 1) of numbers
    with the metric; `runs` that have it, and how many different `values` these have."""

    name: str
    kind: Literal["number", "category"]
    importance: float
    correlation: float | None
    runs: int
    values: int


class Importance(TypedDict):
    """Which parameters matter for a metric, the most important first. `refusal`: why there is nothing to say, else null.
    It rests on `runs` of `considered`, the newest of `total` that pass. `r2`: how well the parameters predict runs the
    forest did not learn from (1 all, 0 or less nothing). `constant`: parameters in which the runs do not differ;
    `left_out`: those that were not weighed."""

    metric: str
    stat: str
    refusal: str | None
    runs: int
    considered: int
    total: int
    r2: float | None
    params: list[ParamImportance]
    constant: list[str]
    left_out: list[str]


async def param_importance(
    pool: asyncpg.Pool[Any],
    filters: RunFilter,
    metric: str,
    stat: Statistic,
    *,
    timeout: float,
) -> Importance:
    """Weigh the parameters of the newest `MOST_RUNS` runs that pass.

    Args:
        timeout: seconds for reading, and again for weighing.

    Raises:
        QueryError: a filter that makes no sense.
        NotInstalled: scikit-learn is missing where the server runs.
        TimeoutError: it took too long.
    """
    async with asyncio.timeout(timeout), pool.acquire() as connection:
        runs = (await list_runs(connection, filters, limit=MOST_RUNS)).runs
        total = len(runs)
        if total == MOST_RUNS:
            total = sum((await count_runs(connection, filters)).values())
        await attach_named_summaries(connection, runs, [metric])
        await attach_params(connection, runs, most=_SHOWN)
    known = stat if stat != "best" else good_end(runs, metric)
    table = await asyncio.to_thread(table_of, runs, metric, known) if known else RunTable()
    answer: Importance = {
        "metric": metric,
        "stat": known or stat,
        "refusal": _refusal(table, metric, known, len(runs)),
        "runs": len(table.numbers),
        "considered": len(runs),
        "total": total,
        "r2": None,
        "params": [],
        "constant": table.constant,
        "left_out": table.left_out,
    }
    if answer["refusal"] is not None:
        return answer
    weights = await weigh_apart(table, timeout)
    params: list[ParamImportance] = [
        {
            "name": column.name,
            "kind": column.kind,
            "importance": importance,
            "correlation": correlation,
            "runs": len(column.present),
            "values": len(set(column.present)),
        }
        for column, importance, correlation in zip(
            table.columns, weights.importances, weights.correlations, strict=True
        )
    ]
    params.sort(key=lambda param: (-param["importance"], param["name"]))
    return {**answer, "r2": weights.r2, "params": params}


def _refusal(table: RunTable, metric: str, stat: str | None, considered: int) -> str | None:
    """Why nothing can be said, and what would help; None: it can."""
    if not considered:
        return "No run passes the filter; widen it."
    if stat is None:
        return (
            f"None of these runs says which end of {metric!r} is the good one; ask for min or max, or say it in the script: "
            f"run.define_metric({metric!r}, goal='minimize')."
        )
    number = f"a finite number as {stat} of {metric!r}"
    if (runs := len(table.numbers)) < LEAST_RUNS:
        return (
            f"{runs} of {considered:,} run{'s' if considered != 1 else ''} {'has' if runs == 1 else 'have'} {number}; "
            f"{LEAST_RUNS} are needed: take in more runs, or another metric."
        )
    if len(set(table.numbers)) == 1:
        return f"All {runs:,} runs have the same number as {stat} of {metric!r}; there is nothing to explain."
    if not table.columns:
        return (
            f"The {runs:,} runs that have {number} do not differ in a parameter that can be weighed; "
            "log what they differ in: run.log_params({...})."
        )
    return None
