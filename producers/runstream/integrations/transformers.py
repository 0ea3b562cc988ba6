"""Hugging Face: `Trainer(..., callbacks=[RunstreamCallback()])`; TRL's and others' trainers take it as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..core.run import Run
from .tracking import Tracking


class RunstreamCallback(TrainerCallback):
    """Records what the trainer logs by global step (`eval_loss` as `eval/loss`, others as `train/...`), its arguments and
    the model's configuration as parameters, and checkpoints, in the first process only.

    Args:
        run: see `Tracking`; with the `run_id` of a training that was interrupted that run continues.
        checkpoints: keep each checkpoint among the run's files.
        **kwargs: those of `Tracking`.
    """

    def __init__(self, run: Run | None = None, *, checkpoints: bool = False, **kwargs: Any) -> None:
        self._given: dict[str, Any] = {"run": run, "checkpoints": checkpoints, **kwargs}
        self.tracking: Tracking | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Start the run and record parameters."""
        if self.tracking is None:
            name = self._given.pop("name", None) or getattr(args, "run_name", None)
            self.tracking = Tracking(name=name, first=state.is_world_process_zero, **self._given)
        self.tracking.params(args.to_dict())
        config = getattr(model, "config", None)
        if config is not None and hasattr(config, "to_dict"):
            self.tracking.params({"model": config.to_dict()})
        if state.global_step:
            self.tracking.tags({"resumed_at_step": state.global_step})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Record what the trainer logs."""
        if self.tracking is not None and logs:
            self.tracking.metrics({_named(name): value for name, value in logs.items()}, state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep a checkpoint."""
        if self.tracking is not None and self.tracking.records:
            path = Path(args.output_dir, f"checkpoint-{state.global_step}")
            if path.is_dir():
                self.tracking.checkpoint(path)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record how it ended. The run ends with the process, or by `finish`: evaluation may follow."""
        if self.tracking is not None and state.best_metric is not None:
            self.tracking.metrics({"best_metric": state.best_metric}, state.global_step)

    def finish(self) -> None:
        """End the run, if it was started here."""
        if self.tracking is not None:
            self.tracking.finish()


def _named(name: str) -> str:
    for prefix in ("eval", "test"):
        if name.startswith(f"{prefix}_"):
            return f"{prefix}/{name.removeprefix(f'{prefix}_')}"
    return f"train/{name}"
