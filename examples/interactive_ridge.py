"""An interactive run: fit ridge regressions on scikit-learn's diabetes data and log what comes of them.

    python examples/interactive_ridge.py

Nothing has to be started first: the run starts at once, and the service comes up in the background. Needs scikit-learn.
"""

from __future__ import annotations

import pickle

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

from runstream.core import Experiment, Workspace


def main() -> None:
    """Run the example."""
    workspace = Workspace.from_config()
    experiment = Experiment(workspace=workspace, name="interactive-ridge")
    features, target = load_diabetes(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(features, target, test_size=0.2, random_state=0)

    run = experiment.start_logging(outputs=False, tags={"dataset": "diabetes"})
    run.log_list("alphas tried", list(np.arange(0.0, 1.0, 0.05)))
    best_mse, best_model = float("inf"), Ridge()
    for alpha in np.arange(0.0, 1.0, 0.05):
        model = Ridge(alpha=alpha).fit(train_x, train_y)
        mse = mean_squared_error(test_y, model.predict(test_x))
        run.log("alpha", alpha)
        run.log("mse", mse)
        run.log_row("mse by alpha", alpha=alpha, mse=mse)
        if mse < best_mse:
            best_mse, best_model = mse, model
    with open("best_ridge.pkl", "wb") as file:
        pickle.dump(best_model, file)
    run.upload_file("outputs/best_ridge.pkl", "best_ridge.pkl")
    run.tag("best alpha", f"{best_model.alpha:.2f}")
    run.complete()

    metrics = run.get_metrics()
    best = metrics["alpha"][int(np.argmin(metrics["mse"]))]
    print(f"best alpha {best:.2f}, mean squared error {min(metrics['mse']):.1f}")
    print("files:", run.get_file_names())
    print("page: ", run.get_portal_url())


if __name__ == "__main__":
    main()
