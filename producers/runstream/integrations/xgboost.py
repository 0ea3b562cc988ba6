"""XGBoost: `xgboost.train(..., callbacks=[RunstreamCallback()])`, and `XGBClassifier(callbacks=[...])`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xgboost

from ..core.run import Run
from .tracking import Tracking


class RunstreamCallback(xgboost.callback.TrainingCallback):
    """Records each round's metrics as `DATA-METRIC`; at the end the model, the best round, and how much features count.

    Args:
        run: see `Tracking`.
        keep_model: keep the model, as `model.ubj`.
        importance: the kind of importance (`weight`, `gain` ...) that is the table `feature_importance`; None for none.
        **kwargs: those of `Tracking`.
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        keep_model: bool = True,
        importance: str | None = "gain",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.tracking = Tracking(run, **kwargs)
        self._keep_model, self._importance = keep_model, importance

    def before_training(self, model: Any) -> Any:
        """Record the parameters the booster tells of."""
        self.tracking.params({name: value for name, value in model.attributes().items() if value})
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> bool:
        """Record a round."""
        values: dict[str, Any] = {}
        for data, metrics in evals_log.items():
            for metric, scores in metrics.items():
                last = scores[-1]
                if isinstance(last, tuple):  # of `cv`: mean and deviation
                    values[f"{data}-{metric}-mean"], values[f"{data}-{metric}-std"] = last
                else:
                    values[f"{data}-{metric}"] = last
        self.tracking.metrics(values, epoch)
        return False

    def after_training(self, model: Any) -> Any:
        """Record what is known at the end."""
        if isinstance(model, xgboost.Booster):
            self.tracking.params(_flat(model))
            attributes = model.attributes()
            best = {
                name: float(attributes[name])
                for name in ("best_iteration", "best_score")
                if name in attributes
            }
            self.tracking.metrics(best)
            if self._importance is not None:
                scores = model.get_score(importance_type=self._importance)
                if scores:
                    columns = {
                        "feature": list(scores),
                        self._importance: [float(score) for score in scores.values()],
                    }
                    self.tracking.table("feature_importance", columns)
            if self._keep_model:
                with tempfile.TemporaryDirectory(prefix="runstream-") as folder:
                    path = Path(folder, "model.ubj")
                    model.save_model(path)
                    self.tracking.keep(path, "model.ubj")
        self.tracking.finish()
        return model


def _flat(model: Any) -> dict[str, Any]:
    """The parameters of training that a booster was made with, by their own names."""
    import json

    flat: dict[str, Any] = {}

    def visit(tree: Any) -> None:
        for name, value in tree.items():
            if isinstance(value, dict):
                visit(value)
            elif isinstance(value, str):
                flat[name] = _number(value)

    visit(json.loads(model.save_config()).get("learner", {}))
    return flat


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
