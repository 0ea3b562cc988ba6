"""The sweep itself: asks the search for parameters, keeps so many trials at work, judges their points, notes the best."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import replace
from typing import Any

from runstream_schemas.backoff import Backoff

from ..client.addresses import quoted
from ..client.reading import fetch_metrics, settle
from ..core.run import Run
from ..exceptions import ServiceException
from ..printable import say
from .messages import Assignment, Crew, End, Point
from .scripts import ScriptCrew
from .search import OptunaSearch, Search
from .stopping import RULES, Rule
from .trial import (
    BEST_RUN,
    BEST_VALUE,
    Aim,
    Trial,
    attempt_of,
    best_of,
    run_id_of,
    stored_trials,
)

_ASK_SECONDS = 2.0  # between two questions whether the sweep was canceled
_WAIT_SECONDS = 0.5
_DECIDE_SECONDS = 90.0  # until it must be known what became of an earlier driver's trials
_MOST_ATTEMPTS = 3

_log = logging.getLogger("runstream")


class Driver:
    """A sweep at work.

    Attributes:
        trials: those that have ended, by number.
        best: the best of those that completed.
    """

    def __init__(
        self,
        parent: Run,
        aim: Aim,
        search: Search,
        crew: Crew,
        most: int | None,
        size: int,
        stop: Any,
        show_output: bool,
    ) -> None:
        self.parent, self.aim, self.search, self.crew = parent, aim, search, crew
        self.most, self.size, self.stop, self.show_output = most, size, stop, show_output
        self.rule: Rule | None = stop if isinstance(stop, RULES) else None
        self.best: Trial | None = None
        self._ended: dict[int, Trial] = {}
        self._active: dict[int, Assignment] = {}
        self._again: list[Assignment] = []
        self._attempts: dict[int, int] = {}
        self._curves: dict[int, list[tuple[int, float]]] = {}
        self._next = 0
        self._session = 0
        self._exhausted = False
        self._asked = time.monotonic()

    @property
    def trials(self) -> list[Trial]:
        return [self._ended[number] for number in sorted(self._ended)]

    # --- what an earlier driver left ---

    def resume(self) -> None:
        """Take over the stored trials: finished ones count, scripts at work are followed, lost ones are run again."""
        settle(self.parent._client, self.parent.id)
        decided = self._decided()
        if decided:
            # A killed driver's last trials may not be stored yet: their ids must not be given out again.
            self._session = 1 + max(attempt_of(self.parent.id, trial.run_id) for trial in decided)
        finished = [trial for trial in decided if trial.finished]
        if self.stop is not None and finished:
            self._read_curves(finished)
        for trial in decided:
            self._next = max(self._next, trial.number + 1)
            if trial.finished:
                self._ended[trial.number] = trial
                self.search.tell(trial, self._curves.get(trial.number, []))
                continue
            if trial.parameters:
                self.search.adopt(trial)
            else:  # killed before it had noted them
                trial = replace(trial, parameters=self.search.ask(trial.number) or {})
            if trial.active and isinstance(self.crew, ScriptCrew) and self.crew.adopt(trial):
                self._active[trial.number] = Assignment(trial.number, trial.run_id, trial.parameters)
            else:
                self._run_again(Assignment(trial.number, trial.run_id, trial.parameters))
        known = {trial.number for trial in decided}
        for number in range(self._next):  # begun, and killed before anything of it was written
            if number not in known and (parameters := self.search.ask(number)) is not None:
                self._again.append(
                    Assignment(number, run_id_of(self.parent.id, number, self._session), parameters)
                )
        self.best = best_of(self.trials, self.aim)
        if decided:
            _log.warning(
                "sweep %s resumes: %d of its trials are finished, %d are at work, %d are run again",
                self.parent.id,
                len(finished),
                len(self._active),
                len(self._again),
            )

    def _decided(self) -> list[Trial]:
        """The stored trials, once it is known what became of those a killed driver's processes were at."""
        deadline, pauses = time.monotonic() + _DECIDE_SECONDS, Backoff(0.1, 1.0, 1.5)
        while True:
            trials = stored_trials(self.parent, self.aim)
            open_ = [trial for trial in trials if trial.active]
            if not open_ or isinstance(self.crew, ScriptCrew):
                return trials
            if time.monotonic() > deadline:
                for trial in open_:
                    Run.get(self.parent.experiment.workspace, trial.run_id).cancel()
                return trials
            time.sleep(next(pauses))

    def _read_curves(self, finished: list[Trial]) -> None:
        by_id = {trial.run_id: trial.number for trial in finished}
        for run_id, series in fetch_metrics(self.parent._client, list(by_id), name=self.aim.metric).items():
            self._curves[by_id[run_id]] = [
                (int(step), float(value))
                for curve in series
                for step, value in zip(curve.steps, curve.values, strict=True)
                if isinstance(value, (int, float)) and not math.isnan(value)
            ]

    def _run_again(self, assignment: Assignment) -> None:
        number = assignment.number
        attempt = max(attempt_of(self.parent.id, assignment.run_id) + 1, self._session)
        self._attempts[number] = self._attempts.get(number, 0) + 1
        again = Assignment(number, run_id_of(self.parent.id, number, attempt), assignment.parameters)
        self._again.append(again)

    # --- at work ---

    def drive(self) -> bool:
        """Until all trials have ended; whether the sweep was canceled from elsewhere."""
        while True:
            while len(self._active) < self.size and (assignment := self._assignment()):
                self._active[assignment.number] = assignment
                self.crew.begin(assignment)
            if not self._active:
                return False
            for message in self.crew.wait(_WAIT_SECONDS):
                if isinstance(message, Point):
                    self.crew.answer(message.number, self._judge(message))
                else:
                    self._note_end(message)
            if self._is_canceled():
                self.crew.dismiss()
                return True

    def _assignment(self) -> Assignment | None:
        if self._again:
            return self._again.pop(0)
        if self._exhausted or (self.most is not None and self._next >= self.most):
            return None
        number = self._next
        parameters = self.search.ask(number)
        if parameters is None:
            self._exhausted = True
            return None
        self._next += 1
        return Assignment(number, run_id_of(self.parent.id, number, self._session), parameters)

    def _judge(self, point: Point) -> str:
        """Why the trial of a point is to stop, or ''."""
        number = point.number
        if number not in self._active:
            return ""
        curve = self._curves.setdefault(number, [])
        curve.append((point.step, point.value))
        if self.rule is not None:
            others = (other for key, other in self._curves.items() if key != number)
            return self.rule.stops(curve, others, self.aim.minimize) or ""
        if isinstance(self.search, OptunaSearch):
            return self.search.prunes(number, point.step, point.value) or ""
        return ""

    def _note_end(self, end: End) -> None:
        assignment = self._active.pop(end.number)
        if end.lost and self._attempts.get(end.number, 0) + 1 < _MOST_ATTEMPTS:
            _log.warning("trial %d was lost and is run again: %s", end.number, end.error)
            self._curves.pop(end.number, None)
            self._run_again(assignment)
            return
        trial = Trial(
            end.number,
            assignment.parameters,
            assignment.run_id,
            end.status,
            end.value,
            end.stopped,
            end.error,
        )
        self._ended[end.number] = trial
        self.search.tell(trial, self._curves.get(end.number, []))
        self._note_best(trial)
        if self.show_output:
            value = "no value" if trial.value is None else f"{self.aim.metric} {trial.value:g}"
            best = f"; best {self.best.value:g}, trial {self.best.number}" if self.best else ""
            say(f"trial {trial.number} {trial.status}: {value}{best}")

    def _note_best(self, trial: Trial) -> None:
        best = best_of([self.best, trial] if self.best else [trial], self.aim)
        if best is trial:
            self.best = best
            self.parent.set_tags({BEST_RUN: trial.run_id, BEST_VALUE: json.dumps(trial.value)})
            self.parent.log(f"best {self.aim.metric}", trial.value, step=trial.number)

    def _is_canceled(self) -> bool:
        if time.monotonic() - self._asked < _ASK_SECONDS:
            return False
        self._asked = time.monotonic()
        try:
            # Not get_status(): that would wait until all the driver wrote is stored, and keep the trials waiting.
            record = self.parent._client.get_json(f"/api/v1/runs/{quoted(self.parent.id)}", fresh=False)
            return record["status"] in ("CancelRequested", "Canceled")
        except ServiceException:
            return False  # away: nobody cancels through it now
