"""A small real training with each framework that installs in seconds; the others: make test-integrations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runstream.core import Experiment, Run, Workspace
from runstream.integrations import tracking
from runstream.integrations.tracking import Tracking
from tests.producers.conftest import environment

X = np.random.default_rng(1).normal(size=(120, 4))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)


@pytest.fixture
def run(experiment: Experiment) -> Run:
    return experiment.start_logging(outputs=False, snapshot_directory=None)


def names_of(run: Run) -> set[str]:
    return set(run.get_file_names())


def test_xgboost(run: Run) -> None:
    import xgboost

    from runstream.integrations.xgboost import RunstreamCallback

    data = xgboost.DMatrix(X, Y, feature_names=list("abcd"))
    evals = [(data, "train"), (data, "valid")]
    results: dict[str, dict[str, list[float]]] = {}
    xgboost.train(
        {"objective": "binary:logistic", "max_depth": 2, "eta": 0.3},
        data,
        8,
        evals=evals,
        evals_result=results,
        verbose_eval=False,
        callbacks=[RunstreamCallback(run)],
    )
    metrics = run.get_metrics()
    assert metrics["valid-logloss"] == pytest.approx(results["valid"]["logloss"])
    assert set(metrics["feature_importance"]["feature"]) <= set("abcd")  # type: ignore[index,arg-type,call-overload]
    assert (run.get_params()["max_depth"], run.get_params()["objective"]) == (2, "binary:logistic")
    assert names_of(run) == {"model.ubj"}
    assert run.get_status() == "Running"  # it was given, and is not ended here


def test_xgboosts_sklearn_face_starts_a_run_of_its_own(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xgboost

    from runstream.integrations.xgboost import RunstreamCallback

    monkeypatch.setenv("RUNSTREAM_WORKSPACE", workspace.name)
    callback = RunstreamCallback(experiment="trees", name="first")
    model = xgboost.XGBClassifier(n_estimators=5, max_depth=2, callbacks=[callback])
    model.fit(X, Y, eval_set=[(X, Y)], verbose=False)
    (run,) = Experiment(workspace, "trees").get_runs()
    assert (run.name, run.get_status(), len(run.get_metrics()["validation_0-logloss"])) == (
        "first",
        "Completed",
        5,
    )


def test_lightgbm(run: Run) -> None:
    import lightgbm

    from runstream.integrations.lightgbm import RunstreamCallback

    data = lightgbm.Dataset(X, Y, feature_name=list("abcd"))
    results: dict[str, dict[str, list[float]]] = {}
    lightgbm.train(
        {"objective": "binary", "num_leaves": 5, "verbose": -1},
        data,
        num_boost_round=6,
        valid_sets=[data],
        valid_names=["valid"],
        callbacks=[RunstreamCallback(run), lightgbm.record_evaluation(results)],
    )
    metrics = run.get_metrics()
    assert metrics["valid-binary_logloss"] == pytest.approx(results["valid"]["binary_logloss"])
    assert metrics["feature_importance"]["feature"] == list("abcd")  # type: ignore[index,call-overload]
    assert run.get_params()["num_leaves"] == 5
    assert names_of(run) == {"model.txt"}


def test_optuna_each_trial_is_a_run_below_the_studys(run: Run) -> None:
    import optuna

    from runstream.integrations.optuna import RunstreamCallback

    callback = RunstreamCallback(run, metric_name="loss")

    @callback.track_in_trial
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 1)
        inner = callback.run_of(trial)
        assert inner is not None
        inner.log("inner", x)
        for step in range(3):
            trial.report(x + step, step)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise ValueError("no")
        return x * x

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=4, callbacks=[callback], catch=(ValueError,))
    trials = sorted(run.get_children(), key=lambda trial: str(trial.display_name))
    assert [trial.get_status() for trial in trials] == ["Completed", "Canceled", "Failed", "Completed"]
    assert [trial.get_params()["x"] for trial in trials] == [each.params["x"] for each in study.trials]
    first = trials[0].get_metrics()
    assert (first["loss"], len(first["intermediate"]), first["inner"]) == (
        study.trials[0].value,
        3,
        study.trials[0].params["x"],
    )  # type: ignore[arg-type]
    assert run.get_tags()["best_trial"] == str(study.best_trial.number)


def test_sklearn(run: Run) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from runstream.integrations.sklearn import log_estimator, log_search

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(X, Y)
    assert log_estimator(pipeline, X, Y, run=run) is run
    assert run.get_metrics()["accuracy"] == pipeline.score(X, Y)
    assert run.get_params()["logisticregression__C"] == 0.5
    assert names_of(run) == {"model.joblib"}
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X, Y)
    log_search(search, run=run)
    assert sorted(child.get_params()["C"] for child in run.get_children()) == [0.1, 1.0]
    assert run.get_metrics()["best_score"] == search.best_score_


HYDRA = """
import hydra
from runstream.integrations.hydra import runstream_run

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(config):
    run = runstream_run()
    run.log("loss", 1 / config.lr)
    if config.lr == 0.5:
        raise ValueError("half")

main()
"""


def test_hydra_single_and_multirun(workspace: Workspace, served_home: Path) -> None:
    Path("train.py").write_text(HYDRA)
    callbacks = "hydra: {callbacks: {runstream: {_target_: runstream.integrations.hydra.RunstreamCallback}}}"
    Path("config.yaml").write_text(f"lr: 0.1\nopt: {{name: adam}}\n{callbacks}\n")
    variables = {key: value for key, value in environment(served_home).items() if key != "PYTHONWARNINGS"}
    variables["RUNSTREAM_WORKSPACE"] = workspace.name
    for words in (("lr=0.25",), ("-m", "lr=0.5,1")):
        subprocess.run([sys.executable, "train.py", *words], env=variables, capture_output=True, timeout=60)
    runs = {
        str(run.display_name): run for run in Experiment(workspace, "train").get_runs(include_children=True)
    }
    assert set(runs) == {"train", "multirun of train", "train 0", "train 1"}
    assert (runs["train"].get_params(), runs["train"].get_metrics()) == (
        {"lr": 0.25, "opt.name": "adam"},
        {"loss": 4.0},
    )
    assert runs["train"].get_tags()["overrides"] == "lr=0.25"
    assert [runs[name].get_status() for name in ("train", "train 0")] == ["Completed", "Failed"]
    assert runs["train 0"].parent is not None
    assert runs["train 0"].parent.id == runs["multirun of train"].id


def test_only_the_first_process_records(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    monkeypatch.setenv("RUNSTREAM_WORKSPACE", workspace.name)
    monkeypatch.setenv("RANK", "1")
    other = Tracking(experiment="ranks")
    other.params({"a": 1})
    other.metrics({"b": 2})
    other.keep(__file__, "file")
    other.finish()
    assert (other.records, other.run, list(Experiment.list(workspace))) == (False, None, [])
    monkeypatch.setenv("RANK", "0")
    assert tracking.is_first_process()


def test_a_run_of_an_id_continues(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    monkeypatch.setenv("RUNSTREAM_WORKSPACE", workspace.name)
    for step in range(2):
        again = Tracking(experiment="again", run_id="kept")
        again.metrics({"loss": 1.0 - step, "text": "x", "array": np.array([step]), "many": np.zeros(3)}, step)
        again.finish()
    run = Run.get(workspace, "kept")
    assert (run.get_metrics(), run.get_status()) == ({"loss": [1.0, 0.0], "array": [0, 1]}, "Completed")


def test_an_integration_imports_its_framework_and_no_other(served_home: Path) -> None:
    code = "import sys, runstream.integrations.tracking; print({'xgboost', 'sklearn', 'optuna'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(served_home), capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stderr
