"""Trials that are submitted scripts: runs of a compute target, which outlive the driver."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

from ..client.reading import fetch_metrics
from ..client.records import TERMINAL, RunRecord, list_records
from ..compute.job import STARTED, run_directory
from ..compute.queue import entries
from ..core._submission.submit import submit
from ..core.run import Run
from ..core.script_run_config import ScriptRunConfig
from ..exceptions import ServiceException
from .messages import Assignment, End, Point
from .trial import STOPPED, Aim, Trial, properties_of, tags_of, trial_of

_LOOK_SECONDS = 0.5
_UNBEGUN = ("NotStarted", "Queued", "Starting")
_SETTLE_SECONDS = 30.0  # an ended run whose last points are still missing after that counts as it is


class ScriptCrew:
    """Submitted trials, followed through the service.

    Args:
        parent: the sweep's run.
        config: what is submitted; the parameters are appended to its arguments: `--name value`, and `-n value` of one
            that is called `-n`.
        aim: the aim of the sweep.
        judged: a rule or a pruner looks at the points.
        compute_target: instead of the configuration's.
    """

    def __init__(
        self, parent: Run, config: ScriptRunConfig, aim: Aim, judged: bool, compute_target: Any = None
    ) -> None:
        self._parent, self._config, self._aim, self._judged = parent, config, aim, judged
        self._target = compute_target
        # The source of a submitted sweep is a copy, of which git knows nothing.
        self._source = {
            name: value
            for name, value in parent.properties.items()
            if value is not None and name.startswith(("azureml.git.", "mlflow.source.git.", "runstream.git."))
        }
        self._active: dict[int, str] = {}
        self._judged_points: dict[int, int] = {}
        self._stopped: dict[int, str] = {}
        self._ended_at: dict[int, float] = {}
        self._looked_at = 0.0

    def begin(self, assignment: Assignment) -> None:
        """See `Crew`."""
        config = copy.copy(self._config)
        config.run_config = copy.deepcopy(config.run_config)
        if self._target is not None:
            config.run_config.target = getattr(self._target, "name", self._target)
        given = config.arguments if config.arguments is not None else []
        words = [part for name, value in assignment.parameters.items() for part in (_option(name), value)]
        config.arguments = (
            f"{given} {' '.join(map(str, words))}" if isinstance(given, str) else [*given, *words]
        )
        submit(
            self._parent.experiment.workspace,
            self._parent.experiment.name,
            config,
            tags_of(assignment.parameters),
            parent=self._parent,
            run_id=assignment.run_id,
            properties={**self._source, **properties_of(assignment.parameters)},
        )
        self._active[assignment.number] = assignment.run_id

    def adopt(self, trial: Trial) -> bool:
        """Follow a trial an earlier driver submitted. False: it was killed meanwhile, and the trial will never begin."""
        settings = self._parent._settings
        directory = run_directory(settings, trial.run_id)
        queued = any(entry.run_id == trial.run_id for entry in entries(settings).values())
        if (
            trial.status in _UNBEGUN
            and not queued
            and directory.is_dir()
            and not (directory / STARTED).exists()
        ):
            Run.get(self._parent.experiment.workspace, trial.run_id).cancel()
            return False
        self._active[trial.number] = trial.run_id
        return True

    def wait(self, seconds: float) -> list[Point | End]:
        """See `Crew`."""
        pause = min(self._looked_at + _LOOK_SECONDS - time.monotonic(), seconds)
        if pause > 0:
            time.sleep(pause)
        self._looked_at = time.monotonic()
        messages: list[Point | End] = []
        try:
            records = self._records()
            if self._judged:
                messages += self._points([number for number in records if number not in self._stopped])
        except ServiceException as error:
            if error.status_code not in (None, 503):
                raise
            return []  # away: the scripts continue
        for number, record in records.items():
            if record.status in TERMINAL and self._is_settled(number, record):
                messages.append(self._end(number, record))
        return messages

    def answer(self, number: int, stop: str) -> None:
        """See `Crew`."""
        if not stop or number in self._stopped:
            return
        run = self._run(number)
        run.tag(STOPPED, stop)
        run.cancel()
        self._stopped[number] = stop

    def dismiss(self) -> None:
        """See `Crew`."""
        for number in self._active:
            self._run(number).cancel()
        self.close()

    def close(self) -> None:
        """See `Crew`."""
        self._active.clear()

    def _records(self) -> dict[int, RunRecord]:
        if not self._active:
            return {}
        by_id = {run_id: number for number, run_id in self._active.items()}
        params = [("run", run_id) for run_id in by_id]
        params += [("summary", self._aim.metric), ("archived", "all")]
        return {by_id[record.run_id]: record for record in list_records(self._parent._client, params)}

    def _points(self, numbers: list[int]) -> list[Point | End]:
        if not numbers:
            return []
        by_id = {self._active[number]: number for number in numbers}
        messages: list[Point | End] = []
        for run_id, series in fetch_metrics(self._parent._client, list(by_id), name=self._aim.metric).items():
            number = by_id[run_id]
            points = [
                (int(step), float(value))
                for curve in series
                for step, value in zip(curve.steps, curve.values, strict=True)
                if isinstance(value, (int, float)) and not math.isnan(value)
            ]
            for step, value in points[self._judged_points.get(number, 0) :]:
                messages.append(Point(number, step, value))
            self._judged_points[number] = len(points)
        return messages

    def _is_settled(self, number: int, record: RunRecord) -> bool:
        since = self._ended_at.setdefault(number, time.monotonic())
        return record.settled or time.monotonic() - since > _SETTLE_SECONDS

    def _end(self, number: int, record: RunRecord) -> End:
        del self._active[number]
        self._ended_at.pop(number, None)
        self._judged_points.pop(number, None)
        trial = trial_of(self._parent.id, record, self._aim)
        stopped = self._stopped.pop(number, "") or trial.stopped
        lost = record.status == "Failed" and not trial.error
        error = str((record.error or {}).get("message", "")) if lost else trial.error
        return End(number, record.status, trial.value, stopped, error, lost)

    def _run(self, number: int) -> Run:
        return Run.get(self._parent.experiment.workspace, self._active[number])


def _option(parameter: str) -> str:
    """The script's option for a parameter, which may be called like the option itself."""
    return parameter if parameter.startswith("-") else f"--{parameter}"
