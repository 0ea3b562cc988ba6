"""fastai: `learn.fit(..., cbs=RunstreamCallback())`."""

from __future__ import annotations

from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Recorder

from ..core.run import Run
from .tracking import Tracking


class RunstreamCallback(Callback):
    """Records the smoothed loss and hyperparameters by batch, and each epoch's metrics.

    Args:
        run: see `Tracking`.
        keep_model: keep the model at the end.
        **kwargs: those of `Tracking`.
    """

    order = Recorder.order + 1

    def __init__(self, run: Run | None = None, *, keep_model: bool = False, **kwargs: Any) -> None:
        self.tracking = Tracking(run, **kwargs)
        self._keep_model, self._batches = keep_model, 0

    def before_fit(self) -> None:
        """Record parameters."""
        learner = self.learn
        name = getattr(learner.opt_func, "__name__", "")
        values = {"n_epoch": learner.n_epoch, "lr": learner.lr, "wd": learner.wd, "opt_func": name}
        self.tracking.params({name: value for name, value in values.items() if value is not None})

    def after_batch(self) -> None:
        """Record a batch of training."""
        if self.learn.training:
            self._batches += 1
            rates = {f"lr_{place}": hyper["lr"] for place, hyper in enumerate(self.learn.opt.hypers)}
            self.tracking.metrics({"train_loss": self.learn.smooth_loss, **rates}, self._batches)

    def after_epoch(self) -> None:
        """Record an epoch."""
        recorder, others = self.learn.recorder, ("epoch", "time", "train_loss")
        logged = dict(zip(recorder.metric_names, recorder.log, strict=False))
        self.tracking.metrics({key: logged[key] for key in logged if key not in others}, self.learn.epoch)

    def after_fit(self) -> None:
        """Keep the model and end the run, if it was started here."""
        if self._keep_model and self.tracking.records:
            self.tracking.keep(self.learn.save("runstream"), "model.pth")
        self.tracking.finish()
