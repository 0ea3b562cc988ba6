"""Ray Tune: `RunConfig(callbacks=[RunstreamLoggerCallback()])`; each trial is a run below that of the experiment."""

from __future__ import annotations

from typing import Any

from ray.tune.logger import LoggerCallback

from ..core.run import Run
from .tracking import Tracking


class RunstreamLoggerCallback(LoggerCallback):
    """Records each trial's configuration as parameters, its results by training iteration, and checkpoints.

    Args:
        run: the run of the experiment; see `Tracking`.
        checkpoints: keep checkpoints among the files of the trial's run.
        **kwargs: those of `Tracking`.
    """

    def __init__(self, run: Run | None = None, *, checkpoints: bool = False, **kwargs: Any) -> None:
        self.tracking = Tracking(run, checkpoints=checkpoints, **kwargs)
        self._trials: dict[Any, Tracking] = {}

    def log_trial_start(self, trial: Any) -> None:
        """Start a trial's run; one that is started again continues its own."""
        parent = self.tracking.run
        if parent is not None and trial not in self._trials:
            self._trials[trial] = Tracking(
                parent.child_run(str(trial)), checkpoints=self.tracking.checkpoints
            )
            self._trials[trial].owns = True
            self._trials[trial].params(trial.config)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Record a result."""
        self.log_trial_start(trial)
        if (tracking := self._trials.get(trial)) is not None:
            values = {
                name: value for name, value in result.items() if name not in ("config", "training_iteration")
            }
            tracking.metrics(values, result.get("training_iteration", iteration))

    def log_trial_save(self, trial: Any) -> None:
        """Keep a checkpoint."""
        tracking, checkpoint = self._trials.get(trial), trial.checkpoint
        if tracking is not None and tracking.checkpoints and checkpoint is not None:
            with checkpoint.as_directory() as folder:
                tracking.checkpoint(folder, f"iteration-{trial.last_result.get('training_iteration', 0)}")

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End a trial's run."""
        if (tracking := self._trials.pop(trial, None)) is not None:
            tracking.finish("the trial failed" if failed else None)

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        """End the run of the experiment, if it was started here."""
        self.tracking.finish()
