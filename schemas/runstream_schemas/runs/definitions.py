"""Definitions of metrics: by which other metric one goes, what of it counts, and which end of it is the good one.

A definition is a step of the run's life, so it is in order with everything else a run tells, and is there once. What was not
given in a later definition of the same name stays from the earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, TypedDict, TypeGuard, get_args

from ..limits import MAX_NAME_BYTES

MetricStatistic: TypeAlias = Literal["min", "max", "mean", "first", "last", "best", "none"]
"""What of a metric counts: `best` is its good end by the goal; `none`: nothing, so no list shows it by itself."""

STATISTICS: Final[tuple[MetricStatistic, ...]] = get_args(MetricStatistic)
MetricGoal: TypeAlias = Literal["min", "max"]
"""Which end of a metric is the good one."""

GOALS: Final[dict[str, MetricGoal]] = {"minimize": "min", "maximize": "max", "min": "min", "max": "max"}
"""Goals by the words that are taken for them."""

DEFINE_STEP: Final = "define"
"""Kind of the step, whose data are `name` and what a `MetricDefinition` holds."""

DETAIL: Final = "metric_definitions"
"""Where the details of a run have its definitions, by name."""

MOST_DEFINED: Final = 1000
"""Names a run has definitions of."""


class MetricDefinition(TypedDict, total=False):
    """What was said of a metric, or of all whose names begin alike (`val/*`); what nobody said is not there."""

    step_metric: str
    summary: list[MetricStatistic]
    goal: MetricGoal


def read_definition(data: Mapping[str, Any]) -> tuple[str, MetricDefinition] | None:
    """Name and definition of a step's data, whoever wrote them; None: they name no metric. What cannot be is left out."""
    name = data.get("name")
    if not _is_name(name) or "*" in name[:-1]:
        return None
    defined: MetricDefinition = {}
    if _is_name(step_metric := data.get("step_metric")):
        defined["step_metric"] = step_metric
    summary = data.get("summary")
    if isinstance(summary, list) and (known := [stat for stat in STATISTICS if stat in summary]):
        defined["summary"] = sorted(known, key=summary.index)
    goal = data.get("goal")
    if isinstance(goal, str) and goal in GOALS:
        defined["goal"] = GOALS[goal]
    return name, defined


def add_definition(details: dict[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The details of a run with a definition more; at most `MOST_DEFINED` names, of which the first stay."""
    read = read_definition(data)
    if read is None:
        return details
    name, defined = read
    held = details.get(DETAIL)
    known: dict[str, Any] = held if isinstance(held, dict) else {}
    if name not in known and len(known) >= MOST_DEFINED:
        return details
    before = known.get(name)
    return {**details, DETAIL: {**known, name: {**(before if isinstance(before, dict) else {}), **defined}}}


def _is_name(text: Any) -> TypeGuard[str]:
    return isinstance(text, str) and 0 < len(text.encode(errors="surrogatepass")) <= MAX_NAME_BYTES
