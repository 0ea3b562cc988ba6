"""Keras 3, with any of its backends: `model.fit(..., callbacks=[RunstreamCallback()])`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras

from ..core.run import Run
from .tracking import Tracking, is_first_process


class RunstreamCallback(keras.callbacks.Callback):
    """Records each epoch's metrics, the parameters of training and of the optimizer, and the model.

    Args:
        run: see `Tracking`.
        every_batches: record the metrics of a batch every so many, as `batch/...`; 0: never.
        keep_model: keep the model at the end, as `model.keras`.
        **kwargs: those of `Tracking`.
    """

    def __init__(
        self, run: Run | None = None, *, every_batches: int = 0, keep_model: bool = True, **kwargs: Any
    ) -> None:
        super().__init__()
        self.tracking = Tracking(run, first=is_first_process(), **kwargs)
        self._every, self._keep_model, self._batches = every_batches, keep_model, 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Record parameters."""
        self.tracking.params(
            {name: value for name, value in (self.params or {}).items() if value is not None}
        )
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            config = optimizer.get_config()
            plain = {name: value for name, value in config.items() if not isinstance(value, dict)}
            self.tracking.params({"optimizer": {**plain, "learning_rate": float(optimizer.learning_rate)}})
        self.tracking.params({"model": {"name": self.model.name, "class": type(self.model).__name__}})

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Record a batch, if it is its turn."""
        self._batches += 1
        if self._every and self._batches % self._every == 0:
            self.tracking.metrics(
                {f"batch/{name}": value for name, value in (logs or {}).items()}, self._batches
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record an epoch."""
        optimizer = getattr(self.model, "optimizer", None)
        rate = {} if optimizer is None else {"learning_rate": float(optimizer.learning_rate)}
        self.tracking.metrics({**(logs or {}), **rate}, epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """Keep the model, and end the run if it was started here."""
        if self._keep_model and self.tracking.records:
            with tempfile.TemporaryDirectory(prefix="runstream-") as folder:
                path = Path(folder, "model.keras")
                self.model.save(path)
                self.tracking.keep(path, "model.keras")
        self.tracking.params({"model": {"parameters": self.model.count_params()}})
        self.tracking.finish()
