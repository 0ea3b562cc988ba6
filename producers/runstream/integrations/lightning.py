"""Lightning: `Trainer(logger=RunstreamLogger())`, of `lightning` or of `pytorch_lightning`, whichever is installed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.run import Run
from .tracking import Tracking

try:
    from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
    from lightning.pytorch.utilities.rank_zero import rank_zero_only
except ImportError:
    from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
    from pytorch_lightning.utilities.rank_zero import rank_zero_only


class RunstreamLogger(Logger):
    """Records metrics by global step, hyperparameters, and checkpoints, in the process of rank 0 only.

    Args:
        run: see `Tracking`; with the `run_id` of a training that was interrupted that run continues.
        checkpoints: keep each checkpoint that `ModelCheckpoint` saves among the run's files.
        **kwargs: those of `Tracking`.
    """

    def __init__(self, run: Run | None = None, *, checkpoints: bool = True, **kwargs: Any) -> None:
        super().__init__()
        self._experiment_name = kwargs.get("experiment")
        self._tracking = Tracking(run, checkpoints=checkpoints, first=True, **kwargs)
        self._kept: dict[str, float] = {}

    @property
    def name(self) -> str | None:
        """The name of the experiment."""
        run = self._tracking._run
        return run.experiment.name if run else self._experiment_name

    @property
    def version(self) -> str | None:
        """The id of the run, as far as it is known."""
        return self._tracking.run_id

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; in other processes something that takes every call and does nothing."""
        return self._tracking.run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record metrics."""
        self._tracking.metrics(
            {name: value for name, value in metrics.items() if name != "epoch" or step is not None}, step
        )

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Record hyperparameters as parameters."""
        self._tracking.params(vars(params) if isinstance(params, Namespace) else params)

    @rank_zero_only
    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Accepted: graphs are not recorded."""

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Keep the checkpoints that are new."""
        self._keep(checkpoint_callback)

    @rank_zero_only
    def _keep(self, callback: Any) -> None:
        paths = {
            *getattr(callback, "best_k_models", {}),
            getattr(callback, "last_model_path", ""),
            callback.best_model_path,
        }
        for path in sorted(filter(None, paths)):
            if Path(path).exists() and self._kept.get(path) != (changed := Path(path).stat().st_mtime):
                self._kept[path] = changed
                self._tracking.checkpoint(path)
        if callback.best_model_score is not None:
            self._tracking.tags({"best_checkpoint": Path(callback.best_model_path).name})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, if it was started here: Completed, or Failed."""
        if self._tracking._run is not None:
            self._tracking.finish("the training failed" if status == "failed" else None)

    def __getstate__(self) -> dict[str, Any]:
        """For processes that are spawned: they find the run by its id."""
        return {**self.__dict__}
