"""What a sweep leaves in its runs, and reads from them again: there is no other record of it.

The parent has the properties `sweep` (what it varies, and how) and `primary_metric_config` (its metric and goal), and the
tags `best_run_id` and `best_value`. The id of a child is the parent's with the trial's number, from 0, and a second number
if it had to be run again: it is known as soon as the child is. A child has the property `sweep_parameters`, its parameters
as tags, and the tag `stopped` if a rule stopped it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..client.records import TERMINAL, RunRecord, list_records
from ..core.run import Run
from ..exceptions import UserErrorException

PARAMETERS = "sweep_parameters"
SPEC, GOAL = "sweep", "primary_metric_config"
BEST_RUN, BEST_VALUE, STOPPED = "best_run_id", "best_value", "stopped"

_NUMBERS = re.compile(r"_(\d+)(?:_(\d+))?")
_LOST = frozenset({"ProcessDied", "WorkerLost", "ComputeTargetError", "SystemError"})
"""Codes of failures that are not the trial's own."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a sweep is after.

    Attributes:
        metric: name of the metric.
        goal: whether small or large values are good.
        scope: which of a trial's values counts: the last one, or the best.
    """

    metric: str
    goal: Literal["minimize", "maximize"] = "minimize"
    scope: Literal["last", "best"] = "last"

    @property
    def minimize(self) -> bool:
        """Small values are good."""
        return self.goal == "minimize"

    def better(self, value: float, other: float) -> bool:
        """Whether one value is better than another."""
        return value < other if self.minimize else value > other

    @property
    def statistic(self) -> str:
        """The statistic of a metric's summary that counts."""
        return "last" if self.scope == "last" else "min" if self.minimize else "max"


@dataclass(frozen=True, slots=True)
class Trial:
    """One child of a sweep.

    Attributes:
        number: from 0, in the order they were begun.
        parameters: what it was given.
        run_id: the id of its run.
        status: the status of its run.
        value: the value of the metric; None if it logged none.
        stopped: why a rule stopped it, or ''.
        error: message of its error, or ''.
    """

    number: int
    parameters: dict[str, Any]
    run_id: str
    status: str
    value: float | None = None
    stopped: str = ""
    error: str = ""

    @property
    def finished(self) -> bool:
        """It is not to be run again: it completed, failed by itself, or was stopped by a rule."""
        return (
            self.status == "Completed" or (self.status == "Failed" and bool(self.error)) or bool(self.stopped)
        )

    @property
    def active(self) -> bool:
        """It is queued or at work."""
        return self.status not in TERMINAL


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep: its run, and what became of its trials.

    Attributes:
        run: the parent.
        aim: the metric and the goal.
        trials: by number; of one that was run again, the last.
        best: the best of those that completed, or None.
    """

    run: Run
    aim: Aim
    trials: list[Trial] = field(default_factory=list)
    best: Trial | None = None

    @property
    def best_run(self) -> Run | None:
        """The best trial's run.

        Raises:
            ServiceException: the service is away.
        """
        return Run.get(self.run.experiment.workspace, self.best.run_id) if self.best else None


def load(run: Run) -> Sweep:
    """A sweep from its stored runs; it may be at work.

    Args:
        run: the parent.

    Raises:
        UserErrorException: the run is no sweep.
        ServiceException: the service is away.
    """
    properties = run.get_properties()
    spec = properties.get(SPEC)
    if spec is None:
        raise UserErrorException(
            f"run {run.id} is no sweep: it has no property {SPEC!r}; name the run of a sweep"
        )
    document = json.loads(spec)
    aim = Aim(document["metric"], document["goal"], document["scope"])
    trials = stored_trials(run, aim)
    return Sweep(run, aim, trials, best_of(trials, aim))


def stored_trials(run: Run, aim: Aim) -> list[Trial]:
    """The stored trials of a sweep, by number. Of one that was run again what is finished counts, else what is at work."""
    trials: dict[int, Trial] = {}
    params = [("parent", run.id), ("summary", aim.metric), ("archived", "all")]
    for record in list_records(run._client, params):
        if number_of(run.id, record.run_id) is None:
            continue  # another child of the same run
        trial = trial_of(run.id, record, aim)
        other = trials.get(trial.number)
        if other is None or (trial.finished, trial.active) > (other.finished, other.active):
            trials[trial.number] = trial
    return [trials[number] for number in sorted(trials)]


def run_id_of(parent: str, number: int, attempt: int = 0) -> str:
    """Id of a child."""
    return f"{parent}_{number}_{attempt}" if attempt else f"{parent}_{number}"


def number_of(parent: str, run_id: str) -> int | None:
    """Number of the trial of an id; None: it is another run's."""
    match = _NUMBERS.fullmatch(run_id.removeprefix(parent))
    return int(match[1]) if match else None


def attempt_of(parent: str, run_id: str) -> int:
    """The second number of an id; 0 without one."""
    match = _NUMBERS.fullmatch(run_id.removeprefix(parent))
    return int(match[2] or 0) if match else 0


def trial_of(parent: str, record: RunRecord, aim: Aim) -> Trial:
    """The trial of a child's record."""
    properties, error = record.properties, record.error or {}
    summary: Mapping[str, Any] = (record.summaries or {}).get(aim.metric) or {}
    value = summary.get(aim.statistic)
    return Trial(
        number=number_of(parent, record.run_id) or 0,
        parameters=json.loads(properties.get(PARAMETERS) or "{}"),
        run_id=record.run_id,
        status=record.status,
        value=float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None,
        stopped=record.tags.get(STOPPED) or "",
        error="" if error.get("code") in _LOST else str(error.get("message") or error.get("code") or ""),
    )


def best_of(trials: list[Trial], aim: Aim) -> Trial | None:
    """The best of the trials that completed; the first of equals."""
    best: Trial | None = None
    for trial in trials:
        if trial.status != "Completed" or trial.value is None or math.isnan(trial.value):
            continue
        if best is None or best.value is None or aim.better(trial.value, best.value):
            best = trial
    return best


def tags_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as tags: they are the columns of the page's list of children."""
    return {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()
    }


def properties_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The properties of a child."""
    return {PARAMETERS: json.dumps(dict(parameters), ensure_ascii=False)}
