"""Optuna: `study.optimize(objective, callbacks=[RunstreamCallback()])`; each trial is a run below that of the study."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import optuna

from ..core.run import Run
from .tracking import Tracking


class RunstreamCallback:
    """Records each trial that ends: parameters, values, and what it reported; Completed, Canceled when pruned, or Failed.

    Args:
        run: the run of the study; see `Tracking`.
        metric_name: name of the value, or a list of them where there are several.
        **kwargs: those of `Tracking`.
    """

    def __init__(
        self, run: Run | None = None, *, metric_name: str | list[str] = "value", **kwargs: Any
    ) -> None:
        self.tracking = Tracking(run, **kwargs)
        self._names = [metric_name] if isinstance(metric_name, str) else list(metric_name)
        self._inside: dict[int, Run] = {}

    def __call__(self, study: Any, trial: Any) -> None:
        """Record a trial."""
        parent = self.tracking.run
        if parent is None:
            return
        run = self._inside.pop(trial.number, None) or parent.child_run(f"trial {trial.number}")
        child = Tracking(run)
        child.params(trial.params)
        child.params({f"user_attrs.{name}": value for name, value in trial.user_attrs.items()})
        for step, value in sorted(trial.intermediate_values.items()):
            child.metrics({"intermediate": value}, step)
        if trial.values is not None:
            child.metrics(dict(zip(self._metric_names(len(trial.values)), trial.values, strict=True)))
        if trial.state == optuna.trial.TrialState.PRUNED:
            run.tag("stopped", "pruned")
            run.cancel()
        elif trial.state == optuna.trial.TrialState.COMPLETE:
            run.complete()
        else:
            run.fail(trial.system_attrs.get("fail_reason") or "the trial failed")
        self._note_best(study, parent)

    def track_in_trial(self, objective: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """An objective whose trials' runs are started before it is called: it finds its own by `run_of(trial)`."""

        @wraps(objective)
        def tracked(trial: Any) -> Any:
            parent = self.tracking.run
            if parent is not None:
                self._inside[trial.number] = parent.child_run(f"trial {trial.number}")
            return objective(trial)

        return tracked

    def run_of(self, trial: Any) -> Run | None:
        """The run of a trial under way, in an objective of `track_in_trial`."""
        return self._inside.get(trial.number)

    def finish(self) -> None:
        """End the study's run, if it was started here."""
        self.tracking.finish()

    def _metric_names(self, count: int) -> list[str]:
        return (
            self._names
            if len(self._names) == count
            else [f"{self._names[0]}_{place}" for place in range(count)]
        )

    def _note_best(self, study: Any, parent: Run) -> None:
        if len(study.directions) > 1:
            return
        try:
            best = study.best_trial
        except ValueError:  # none has completed
            return
        parent.set_tags({"best_trial": str(best.number), "best_value": str(best.value)})
