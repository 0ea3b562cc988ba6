"""The sweep itself: asks the search for parameters, keeps so many trials at work, judges their points, notes the best."""

from __future__ import annotations

import json
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from runstream_schemas.backoff import Backoff

from ..client.addresses import quoted
from ..client.reading import fetch_metrics, settle
from ..client.records import TERMINAL
from ..core._run.lifecycle import Lifecycle
from ..core.experiment import Experiment
from ..core.run import Run
from ..core.script_run_config import ScriptRunConfig
from ..exceptions import ServiceException, UserErrorException
from ..printable import say
from .description import check_known, describe
from .local import LocalCrew
from .messages import Assignment, Crew, End, Point
from .scripts import ScriptCrew
from .search import OptunaSearch, Search, search_of
from .sole_driver import sole_driver
from .space import document_of, space_of
from .stopping import RULES, Rule
from .trial import (
    BEST_RUN,
    BEST_VALUE,
    Aim,
    Sweep,
    Trial,
    attempt_of,
    best_of,
    run_id_of,
    stored_trials,
)

_ASK_SECONDS = 2.0  # between two questions whether the sweep was canceled
_WAIT_SECONDS = 0.5
_STORED_SECONDS = 30.0
_DECIDE_SECONDS = 90.0  # until it must be known what became of an earlier driver's trials
_MOST_ATTEMPTS = 3

_log = logging.getLogger("runstream")


def run(
    where: Experiment | Run,
    objective: Callable[..., float | None] | ScriptRunConfig,
    space: Mapping[str, Any],
    *,
    metric: str,
    goal: Literal["minimize", "maximize"] = "minimize",
    method: Any = "random",
    trials: int | None = None,
    concurrency: int | None = None,
    stop: Any = None,
    compute_target: Any = None,
    scope: Literal["last", "best"] = "last",
    seed: int | None = None,
    run_id: str | None = None,
    name: str | None = None,
    tags: Mapping[str, Any] | None = None,
    show_output: bool = False,
) -> Sweep:
    """Try parameters out: each trial is a child run, so many at a time. Returns when all have ended.

    The same call with the `run_id` of a sweep that was interrupted, or killed, resumes it: trials that are finished are
    not run again, whatever else happened to them. With more `trials` than before, a finished sweep is resumed, too.

    Args:
        where: the experiment a run is started in for the sweep; or a run the trials become children of, such as that of the
            script this is called in, which is not ended.
        objective: a function, called as `objective(run, **parameters)` in processes of this machine, each trial with its own
            run: it logs the metric, or returns it. Or a configuration, submitted for each trial with the parameters
            appended to its arguments: `--name value`.
        space: parameter to `Choice`, `Uniform`, `LogUniform`, `Integer`, `Normal`, `LogNormal`, `Quantized`, a list of
            values, or one value.
        metric: name of the metric.
        goal: `minimize` or `maximize`.
        method: `grid`, `random`, `optuna` (its default sampler), or an Optuna sampler.
        trials: how many; None: all of a grid.
        concurrency: how many at a time; default: as many as there are processors.
        stop: `Median`, `Halving`, `Bandit`, `AverageMedian`, `Truncation`, or with an Optuna search an Optuna pruner; it
            judges every value of the metric that is logged. A trial that is stopped is Canceled, and has the reason
            as tag `stopped`.
        compute_target: where configurations are submitted to, instead of their own target; a name or a `ComputeTarget`.
        scope: which of a trial's values counts: the `last` or the `best`.
        seed: the seed of random choices; default: a new one, kept with the sweep.
        run_id: id of the sweep's run, by which it can be resumed.
        name, tags: the name and the tags of the sweep's run.
        show_output: print a line for each trial that ends.

    Raises:
        UserErrorException: a space, method, rule or number that makes no sense, or a stored sweep of the same id that was
            made with other ones.
        ServiceException: the service is away at the start, or an unknown compute target.
        KeyboardInterrupt: Ctrl-C; what is at work is canceled, and so is the sweep.
    """
    kinds = space_of(space)
    if goal not in ("minimize", "maximize"):
        raise UserErrorException(f"goal {goal!r:.80}: expected 'minimize' or 'maximize'")
    if scope not in ("last", "best"):
        raise UserErrorException(f"scope {scope!r:.80}: expected 'last' or 'best'")
    if trials is None and method != "grid":
        raise UserErrorException("trials: say how many; only a grid has an end of its own")
    size = concurrency if concurrency is not None else os.cpu_count() or 1
    if size < 1 or (trials is not None and trials < 1):
        raise UserErrorException(f"trials {trials}, concurrency {size}: both have to be 1 or more; give more")
    if not callable(objective) and not isinstance(objective, ScriptRunConfig):
        raise UserErrorException(
            f"objective: expected a function or a ScriptRunConfig, got {type(objective).__name__}"
        )
    if compute_target is not None and callable(objective):
        raise UserErrorException(
            f"compute_target {getattr(compute_target, 'name', compute_target)!r:.80}: a function is executed by "
            "processes of this machine; for a compute target put it into a script, and pass a ScriptRunConfig"
        )
    pruner = stop if stop is not None and not isinstance(stop, RULES) else None
    if pruner is not None and (not hasattr(pruner, "prune") or method in ("grid", "random")):
        raise UserErrorException(
            f"stop {stop!r:.80}: expected Median, Halving, Bandit, AverageMedian or Truncation; an Optuna pruner needs an "
            "Optuna search (method='optuna')"
        )
    aim = Aim(metric, goal, scope)
    search = search_of(method, kinds, aim, seed or 0, pruner)  # refuses before there is a run
    document = {
        "space": document_of(kinds),
        "metric": metric,
        "goal": goal,
        "scope": scope,
        "method": method if isinstance(method, str) else type(method).__name__,
    }
    own = isinstance(where, Experiment)
    sweep_id = (run_id or str(uuid.uuid4())) if isinstance(where, Experiment) else where.id
    with sole_driver(
        where.workspace._settings if isinstance(where, Experiment) else where._settings, sweep_id
    ):
        if isinstance(where, Experiment):
            if run_id is not None:
                check_known(where, run_id, document, seed)
            parent = where.start_logging(
                name=name, run_id=sweep_id, outputs=False, snapshot_directory=None, tags=tags
            )
        else:
            parent = where
        try:
            seed = describe(parent, document, seed, started=own)
            search = search_of(method, kinds, aim, seed, pruner)
            crew: Crew
            if isinstance(objective, ScriptRunConfig):
                crew = ScriptCrew(parent, objective, aim, stop is not None, compute_target)
            else:
                crew = LocalCrew(parent, objective, aim, stop is not None, size)
            driver = Driver(parent, aim, search, crew, trials, size, stop, show_output)
            try:
                driver.resume()
                canceled = driver.drive()
            except BaseException:
                crew.dismiss()
                raise
            crew.close()
        except KeyboardInterrupt:
            if own:
                parent.cancel()
            raise
        except BaseException as error:
            if own:
                parent.fail(error)
            raise
        _await_stored(parent, len(driver.trials))
        sweep = Sweep(parent, aim, driver.trials, driver.best)
        if own:
            _end(parent, sweep, canceled)
        return sweep


def _await_stored(parent: Run, trials: int) -> None:
    """Wait until what the trials wrote can be read: they are other processes, whose writes no reader of ours waits for."""
    deadline = time.monotonic() + _STORED_SECONDS
    question = [("parent", parent.id), ("count", "1"), ("limit", "1")]
    question += [("status", status) for status in sorted(TERMINAL)]
    pauses = Backoff(0.02, 0.5)
    try:
        while sum(parent._client.get_json("/api/v1/runs", question, fresh=False)["count"].values()) < trials:
            if time.monotonic() > deadline:
                _log.warning("sweep %s: not all of its trials are stored yet", parent.id)
                return
            time.sleep(next(pauses))
    except ServiceException as error:
        _log.warning("sweep %s: whether its trials are stored is not known: %s", parent.id, error)


def _end(parent: Run, sweep: Sweep, canceled: bool) -> None:
    if canceled:
        Lifecycle.cancel(parent)
    elif sweep.trials and all(trial.status == "Failed" for trial in sweep.trials):
        parent.fail(f"all {len(sweep.trials)} trials failed; the last one: {sweep.trials[-1].error}")
    else:
        parent.complete()


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
