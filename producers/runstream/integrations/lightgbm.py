"""LightGBM: `lightgbm.train(..., callbacks=[RunstreamCallback()])`, and `fit(..., callbacks=[...])`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import lightgbm

from ..core.run import Run
from .tracking import Tracking


class RunstreamCallback:
    """Records parameters, and each round's metrics as `DATA-METRIC`; in the last round the model, as `model.txt`.

    Args:
        run: see `Tracking`.
        keep_model: keep the model after the last round; after an early stop call `finish(model)`.
        **kwargs: those of `Tracking`.
    """

    order = 25  # behind LightGBM's own, in front of early stopping

    def __init__(self, run: Run | None = None, *, keep_model: bool = True, **kwargs: Any) -> None:
        self.tracking = Tracking(run, **kwargs)
        self._keep_model = keep_model

    def __call__(self, env: Any) -> None:
        """Record a round."""
        if env.iteration == env.begin_iteration:
            self.tracking.params(env.params)
        values: dict[str, Any] = {}
        for data, metric, value, _, *deviation in env.evaluation_result_list or ():
            name = f"{data}-{metric}".replace(" ", "-")
            values[f"{name}-mean" if deviation else name] = value
            if deviation:
                values[f"{name}-std"] = deviation[0]
        self.tracking.metrics(values, env.iteration)
        if env.iteration == env.end_iteration - 1 and isinstance(env.model, lightgbm.Booster):
            self.finish(env.model)

    def finish(self, model: Any = None) -> None:
        """Keep a model and end the run.

        Args:
            model: a booster, or an estimator that was fitted.
        """
        booster = getattr(model, "booster_", model)
        if booster is not None:
            if booster.best_iteration > 0:
                self.tracking.metrics({"best_iteration": booster.best_iteration})
            if self._keep_model:
                with tempfile.TemporaryDirectory(prefix="runstream-") as folder:
                    path = Path(folder, "model.txt")
                    booster.save_model(path)
                    self.tracking.keep(path, "model.txt")
            names, gains = booster.feature_name(), booster.feature_importance("gain")
            self.tracking.table(
                "feature_importance", {"feature": list(names), "gain": [float(gain) for gain in gains]}
            )
        self.tracking.finish()
