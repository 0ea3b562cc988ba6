"""CatBoost: `model.fit(..., callbacks=[RunstreamCallback()])`, then `finish(model)`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..core.run import Run
from .tracking import Tracking


class RunstreamCallback:
    """Records each round's metrics as `DATA-METRIC`.

    Args:
        run: see `Tracking`.
        **kwargs: those of `Tracking`.
    """

    def __init__(self, run: Run | None = None, **kwargs: Any) -> None:
        self.tracking = Tracking(run, **kwargs)

    def after_iteration(self, info: Any) -> bool:
        """Record a round; True: the training continues."""
        values = {
            f"{data}-{metric}": scores[-1]
            for data, metrics in info.metrics.items()
            for metric, scores in metrics.items()
        }
        self.tracking.metrics(values, info.iteration)
        return True

    def finish(self, model: Any) -> None:
        """Record the parameters of a model that was fitted, keep it as `model.cbm`, and end the run."""
        self.tracking.params(model.get_all_params())
        columns = {
            "feature": list(model.feature_names_),
            "importance": [float(each) for each in model.feature_importances_],
        }
        self.tracking.table("feature_importance", columns)
        with tempfile.TemporaryDirectory(prefix="runstream-") as folder:
            path = Path(folder, "model.cbm")
            model.save_model(str(path))
            self.tracking.keep(path, "model.cbm")
        self.tracking.finish()
