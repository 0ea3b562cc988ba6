"""`sweep.run`: checks what was asked for, has it driven, and ends the sweep's run."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from runstream_schemas.backoff import Backoff

from ..client.records import TERMINAL
from ..core._run.lifecycle import Lifecycle
from ..core.experiment import Experiment
from ..core.run import Run
from ..core.script_run_config import ScriptRunConfig
from ..exceptions import ServiceException, UserErrorException
from .description import check_known, describe
from .driver import Driver
from .local import LocalCrew
from .messages import Crew
from .scripts import ScriptCrew
from .search import search_of
from .sole_driver import sole_driver
from .space import document_of, space_of
from .stopping import RULES
from .trial import Aim, Sweep

_STORED_SECONDS = 30.0

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
    size = concurrency if concurrency is not None else os.cpu_count() or 1
    _check(objective, goal, method, trials, size, compute_target, scope)
    pruner = _pruner(stop, method)
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


def _check(
    objective: object, goal: str, method: Any, trials: int | None, size: int, compute_target: Any, scope: str
) -> None:
    if goal not in ("minimize", "maximize"):
        raise UserErrorException(f"goal {goal!r:.80}: expected 'minimize' or 'maximize'")
    if scope not in ("last", "best"):
        raise UserErrorException(f"scope {scope!r:.80}: expected 'last' or 'best'")
    if trials is None and method != "grid":
        raise UserErrorException("trials: say how many; only a grid has an end of its own")
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


def _pruner(stop: Any, method: Any) -> Any:
    """The Optuna pruner that `stop` is; None: it is none."""
    pruner = stop if stop is not None and not isinstance(stop, RULES) else None
    if pruner is not None and (not hasattr(pruner, "prune") or method in ("grid", "random")):
        raise UserErrorException(
            f"stop {stop!r:.80}: expected Median, Halving, Bandit, AverageMedian or Truncation; an Optuna pruner needs an "
            "Optuna search (method='optuna')"
        )
    return pruner


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
