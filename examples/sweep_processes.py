"""A sweep over processes of this machine: an Optuna study of a regression by gradient descent, weak trials stopped early.

python examples/sweep_processes.py
"""

from __future__ import annotations

import numpy as np

from runstream import Experiment, Run, Workspace, sweep


def objective(run: Run, lr: float, momentum: float) -> None:
    """Fit a line through noisy data, one step at a time."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 10))
    y = x @ np.arange(10.0) + rng.normal(size=400)
    weights, velocity = np.zeros(10), np.zeros(10)
    for step in range(30):
        gradient = 2 * x.T @ (x @ weights - y) / len(y)
        velocity = momentum * velocity - lr * gradient
        weights += velocity
        run.log("mse", float(np.mean((x @ weights - y) ** 2)), step=step)


def main() -> None:
    """Search, and say what was found."""
    experiment = Experiment(Workspace.from_config(), "regression-sweep")
    space = {"lr": sweep.LogUniform(1e-4, 1.0), "momentum": sweep.Uniform(0.0, 0.9)}
    swept = sweep.run(
        experiment,
        objective,
        space,
        metric="mse",
        method="optuna",
        trials=20,
        concurrency=2,
        seed=1,
        stop=sweep.Median(warmup=5, trials=3),
        show_output=True,
    )
    assert swept.best is not None
    print(f"best of {len(swept.trials)}: {swept.best.parameters}, mse {swept.best.value:.2f}")
    print(swept.run.get_portal_url())


main()
