"""scikit-learn: `log_estimator(estimator, X_test, y_test)` after `fit`, `log_search(search)` after a grid search."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import joblib
import sklearn
from sklearn.base import is_classifier, is_regressor

from ..core.run import Run
from .tracking import Tracking


def log_estimator(
    estimator: Any,
    X: Any = None,
    y: Any = None,
    *,
    run: Run | None = None,
    keep_model: bool = True,
    **kwargs: Any,
) -> Run | None:
    """Record an estimator that was fitted: its parameters, what it scores on some data, and itself as `model.joblib`.

    Args:
        estimator: the estimator, or a pipeline.
        X, y: data that it was not fitted with; None: nothing is scored.
        run: see `Tracking`.
        keep_model: keep the estimator.
        **kwargs: those of `Tracking`.

    Returns:
        The run; None in a process that does not record.
    """
    tracking = Tracking(run, **kwargs)
    tracking.params({name: _shown(value) for name, value in estimator.get_params().items()})
    tracking.tags({"estimator": type(estimator).__name__, "sklearn": sklearn.__version__})
    if X is not None and y is not None:
        tracking.metrics(_scores(estimator, X, y))
    if keep_model and tracking.records:
        with tempfile.TemporaryDirectory(prefix="runstream-") as folder:
            path = Path(folder, "model.joblib")
            joblib.dump(estimator, path)
            tracking.keep(path, "model.joblib")
    tracking.finish()
    return tracking.run


def log_search(search: Any, *, run: Run | None = None, **kwargs: Any) -> Run | None:
    """Record a search that was fitted (`GridSearchCV` and the like): a run below this one for each candidate, and the best.

    Args:
        search: the search.
        run: see `Tracking`.
        **kwargs: those of `Tracking`.
    """
    tracking = Tracking(run, **kwargs)
    parent = tracking.run
    if parent is None:
        return None
    results = search.cv_results_
    scores = [name for name in results if name.startswith(("mean_", "std_", "rank_"))]
    for number, candidate in enumerate(results["params"]):
        with_params = parent.child_run(f"candidate {number}")
        child = Tracking(with_params)
        child.params({name: _shown(value) for name, value in candidate.items()})
        child.metrics({name: results[name][number] for name in scores})
        with_params.complete()
    tracking.params({f"best.{name}": _shown(value) for name, value in search.best_params_.items()})
    tracking.metrics({"best_score": search.best_score_})
    tracking.finish()
    return parent


def _scores(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    from sklearn import metrics

    predicted = estimator.predict(X)
    if is_classifier(estimator):
        averaged = {"average": "weighted", "zero_division": 0}
        return {
            "accuracy": metrics.accuracy_score(y, predicted),
            "precision": metrics.precision_score(y, predicted, **averaged),
            "recall": metrics.recall_score(y, predicted, **averaged),
            "f1": metrics.f1_score(y, predicted, **averaged),
        }
    if is_regressor(estimator):
        return {
            "r2": metrics.r2_score(y, predicted),
            "mae": metrics.mean_absolute_error(y, predicted),
            "mse": metrics.mean_squared_error(y, predicted),
        }
    return {"score": estimator.score(X, y)}


def _shown(value: Any) -> Any:
    """A value of a parameter; estimators and the like by their names."""
    return type(value).__name__ if hasattr(value, "get_params") else value
