"""What may be said of a metric."""

from __future__ import annotations

from typing import Any

from runstream_schemas.errors import brief
from runstream_schemas.runs.definitions import GOALS, STATISTICS, MetricDefinition

from ...exceptions import UserErrorException


def checked_definition(name: Any, step_metric: Any, summary: Any, goal: Any) -> MetricDefinition:
    """The definition of a metric, of what a caller gave.

    Raises:
        UserErrorException: it cannot be one.
    """
    given = {"name": name, "step_metric": step_metric, "summary": summary, "goal": goal}
    for word, value in given.items():
        if not isinstance(value, str) and (value is not None or word == "name"):
            raise UserErrorException(
                f"define_metric: {word} is {brief(value)}, a {type(value).__name__}; give a string"
            )
        if value == "":
            raise UserErrorException(f"define_metric: {word} is empty; name it, or leave it out")
    if "*" in name[:-1]:
        raise UserErrorException(
            f"define_metric: {name!r:.80} has a * that is not its end; write what the names begin with, and * behind it"
        )
    definition: MetricDefinition = {}
    if step_metric is not None:
        definition["step_metric"] = step_metric
    if summary is not None:
        words = [word.strip().lower() for word in summary.split(",")]
        if unknown := [word for word in words if word not in STATISTICS]:
            raise UserErrorException(
                f"define_metric: summary {unknown[0]!r:.80} of {name!r:.80} is none; use {', '.join(STATISTICS)}"
            )
        definition["summary"] = sorted((stat for stat in STATISTICS if stat in words), key=words.index)
    if goal is not None:
        if goal.lower() not in GOALS:
            raise UserErrorException(
                f"define_metric: goal {goal!r:.80} of {name!r:.80} is none; use minimize or maximize"
            )
        definition["goal"] = GOALS[goal.lower()]
    return definition
