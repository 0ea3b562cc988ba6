"""A sweep over processes of this machine: ridge regression with an Optuna study, weak trials stopped early.

python examples/sweep_processes.py
"""

from __future__ import annotations

from runstream import Experiment, Run, Workspace, sweep


def objective(run: Run, alpha: float, degree: int) -> None:
    """Fit growing parts of the data; the mean squared error on the rest is the metric."""
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge
    from sklearn.metrics import mean_squared_error
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    x, y = load_diabetes(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0)
    for part in range(1, 6):
        rows = len(x_train) * part // 5
        model = make_pipeline(PolynomialFeatures(degree), Ridge(alpha=alpha))
        model.fit(x_train[:rows], y_train[:rows])
        run.log("mse", mean_squared_error(y_test, model.predict(x_test)), step=part)


def main() -> None:
    """Search, and say what was found."""
    experiment = Experiment(Workspace.from_config(), "ridge-sweep")
    space = {"alpha": sweep.LogUniform(1e-4, 10.0), "degree": sweep.Integer(1, 2)}
    found = sweep.run(
        experiment,
        objective,
        space,
        metric="mse",
        method="optuna",
        trials=12,
        concurrency=2,
        seed=1,
        stop=sweep.Median(warmup=2, trials=3),
        show_output=True,
    )
    assert found.best is not None
    print(f"best of {len(found.trials)}: {found.best.parameters}, mse {found.best.value:.1f}")
    print(found.run.get_portal_url())


main()
