"""HyperDrive: configurations submitted to a real service, their trials, policies, cancels, and what they are asked."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.producers.compute.test_queue import until

from runstream.compute.job import STARTED, run_directory
from runstream.core import Experiment, Run, ScriptRunConfig
from runstream.core._submission.submitters import submitter_of
from runstream.exceptions import AzureMLException, ServiceException, UserErrorException
from runstream.sweep import AverageMedian, Bandit, Intervals, Truncation
from runstream.train.hyperdrive import (
    BanditPolicy,
    BayesianParameterSampling,
    GridParameterSampling,
    HyperDriveConfig,
    HyperDriveRun,
    HyperDriveRunConfig,
    MedianStoppingPolicy,
    NoTerminationPolicy,
    PrimaryMetricGoal,
    RandomParameterSampling,
    TruncationSelectionPolicy,
    choice,
    lognormal,
    loguniform,
    normal,
    qlognormal,
    qloguniform,
    qnormal,
    quniform,
    randint,
    uniform,
)
from runstream.train.hyperdrive.exceptions import (
    HyperDriveConfigException,
    HyperDriveNotImplementedException,
    HyperDriveRehydrateException,
    HyperDriveScenarioNotSupportedException,
)

TRAIN = """
import argparse, os, time
from azureml.core import Run
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.add_argument("--kind", default="a")
options = parser.parse_args()
run = Run.get_context()
"""


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., HyperDriveConfig]:
    """Makes a configuration of a script of the given lines; it maximizes `accuracy`."""

    def make(lines: str, sampling: Any, trials: int, **more: Any) -> HyperDriveConfig:
        project = tmp_path / "project"
        project.mkdir(exist_ok=True)
        (project / "train.py").write_text(TRAIN + lines)
        return HyperDriveConfig(
            run_config=ScriptRunConfig(str(project), "train.py"),
            hyperparameter_sampling=sampling,
            primary_metric_name="accuracy",
            primary_metric_goal=more.pop("primary_metric_goal", PrimaryMetricGoal.MAXIMIZE),
            max_total_runs=trials,
            **more,
        )

    return make


def test_a_grid(experiment: Experiment, configured: Callable[..., HyperDriveConfig]) -> None:
    sampling = GridParameterSampling({"--x": choice(1, 2), "kind": choice("a", "b")})
    lines = (
        "for step in (1, 0.5): run.log('accuracy', options.x * step + (options.kind == 'b') / 4)\n"
        "run.log('seen', options.kind)"
    )
    run = experiment.submit(configured(lines, sampling, 10), tags={"team": "t"})
    assert isinstance(run, HyperDriveRun)
    details = run.wait_for_completion(show_output=True)
    assert (details["status"], run.type, run.get_tags()["team"]) == ("Completed", "hyperdrive", "t")
    children = {child.id: child for child in run.get_children()}
    assert sorted(children) == [f"{run.id}_{number}" for number in range(4)]
    assert {child.get_status() for child in children.values()} == {"Completed"}
    parameters = {name: json.loads(text) for name, text in run.get_hyperparameters().items()}
    assert parameters[f"{run.id}_1"] == {"--x": 1, "kind": "b"}
    ordered = run.get_children_sorted_by_primary_metric()
    assert [child["best_primary_metric"] for child in ordered] == [2.25, 2.0, 1.25, 1.0]
    assert ordered[0] == {
        "run_id": f"{run.id}_3",
        "hyperparameters": '{"--x": 2, "kind": "b"}',
        "best_primary_metric": 2.25,
        "status": "Completed",
    }
    assert [child["run_id"] for child in run.get_children_sorted_by_primary_metric(2, reverse=True)] == [
        f"{run.id}_0",
        f"{run.id}_1",
    ]
    best = run.get_best_run_by_primary_metric()
    assert best is not None
    assert best.id == f"{run.id}_3"
    assert run.get_metrics()[best.id] == {"accuracy": [2.25, 1.25], "seen": "b"}
    assert set(run.get_metrics()) == set(children)
    again = Run.get(experiment.workspace, run.id)
    assert isinstance(again, HyperDriveRun)
    assert again.hyperdrive_config._sampling == sampling
    assert (again.hyperdrive_config._policy, again.hyperdrive_config._max_total_runs) == (
        NoTerminationPolicy(),
        10,
    )
    with pytest.raises(HyperDriveConfigException, match="names no script; make one"):
        experiment.submit(again.hyperdrive_config)
    assert run.cancel() is False
    assert run.get_status() == "Completed"


def _running(experiment: Experiment, configured: Callable[..., HyperDriveConfig]) -> HyperDriveRun:
    run: HyperDriveRun = experiment.submit(
        configured("time.sleep(90)", GridParameterSampling({"x": choice(1, 2)}), 2, max_concurrent_runs=1)
    )
    until(lambda: [child.status for child in run.get_children()] == ["Running"])
    return run


def test_a_cancel_ends_the_trials(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig]
) -> None:
    run = _running(experiment, configured)
    with pytest.raises(UserErrorException, match="is Running; wait for its end, or choose another run id"):
        experiment.submit(run.hyperdrive_config, run_id=run.id)
    assert run.cancel() is True
    assert run.wait_for_completion()["status"] == "Canceled"
    assert run.cancel() is True
    until(lambda: [child.status for child in run.get_children()] == ["Canceled"])
    assert run.get_best_run_by_primary_metric() is None
    assert run.get_children_sorted_by_primary_metric(discard_no_metric=True) == []
    assert [child["best_primary_metric"] for child in run.get_children_sorted_by_primary_metric()] == [None]


def test_random_values_two_at_a_time(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig], tmp_path: Path
) -> None:
    lines = (
        f"mine = {str(tmp_path / 'at-')!r} + run.id\nopen(mine, 'w').close()\n"
        f"import glob\ntime.sleep(0.5)\nrun.log('at_once', len(glob.glob({str(tmp_path / 'at-*')!r})))\n"
        "os.unlink(mine)\nrun.log('accuracy', options.x)"
    )
    config = configured(
        lines,
        RandomParameterSampling({"x": quniform(0, 100, 5), "kind": "fixed"}),
        6,
        max_concurrent_runs=2,
        primary_metric_goal=PrimaryMetricGoal.MINIMIZE,
    )
    run = experiment.submit(config)
    run.wait_for_completion()
    ordered = run.get_children_sorted_by_primary_metric()
    values = [child["best_primary_metric"] for child in ordered]
    assert len(values) == 6
    assert values == sorted(values)
    assert all(value % 5 == 0 for value in values)
    assert {json.loads(child["hyperparameters"])["kind"] for child in ordered} == {"fixed"}
    assert max(metrics["at_once"] for metrics in run.get_metrics().values()) <= 2


def test_a_bandit_ends_a_bad_trial(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig]
) -> None:
    lines = (
        "for step in range(4): run.log('accuracy', options.x)\n"
        "while options.x < 0.5: time.sleep(0.1)"  # it never ends by itself
    )
    config = configured(
        lines,
        GridParameterSampling({"x": choice(0.8, 0.7, 0.1)}),
        3,
        max_concurrent_runs=1,
        policy=BanditPolicy(slack_factor=0.2, evaluation_interval=2, delay_evaluation=3),
    )
    run = experiment.submit(config)
    assert run.wait_for_completion()["status"] == "Completed"
    children = run.get_children_sorted_by_primary_metric()
    assert [(child["best_primary_metric"], child["status"]) for child in children] == [
        (0.8, "Completed"),
        (0.7, "Completed"),
        (0.1, "Canceled"),
    ]
    stopped = Run.get(experiment.workspace, children[2]["run_id"])
    assert stopped.tags["stopped"] == (
        "after 4 values its best, 0.1, is worse than the best, 0.8, by more than 0.2 of it"
    )


def test_a_study(experiment: Experiment, configured: Callable[..., HyperDriveConfig]) -> None:
    sampling = BayesianParameterSampling({"x": quniform(0, 10, 2), "kind": choice("a", "b")})
    lines = "run.log('accuracy', -(options.x - 4) ** 2 - (options.kind == 'a'))"
    with pytest.warns(UserWarning, match="max_total_runs 4: Bayesian sampling learns best from 40 or more"):
        config = configured(lines, sampling, 4, max_concurrent_runs=2)
    run = experiment.submit(config)
    run.wait_for_completion()
    drawn = [json.loads(text) for text in run.get_hyperparameters().values()]
    assert len(drawn) == 4
    assert {(item["x"] % 2, item["kind"] in "ab") for item in drawn} == {(0, True)}


def test_a_killed_run_resumes(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig], tmp_path: Path
) -> None:
    lines = (
        f"open({str(tmp_path / 'begun')!r}, 'a').write(str(int(options.x)) + ' ')\n"
        f"while options.x > 1 and not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)\n"
        "run.log('accuracy', options.x)"
    )
    name = f"hd-{experiment.workspace.name}"
    sampling = GridParameterSampling({"x": choice(1, 2, 3)})
    config = configured(lines, sampling, 3, max_concurrent_runs=2, custom_run_id=name)
    run = experiment.submit(config)
    begun = tmp_path / "begun"
    until(lambda: begun.exists() and sorted(begun.read_text().split()) == ["1", "2", "3"])
    directory = run_directory(experiment.workspace._settings, name)
    os.kill(json.loads((directory / STARTED).read_text())["pid"], signal.SIGKILL)
    until(lambda: run.get_status() == "Failed")
    assert {child.get_status() for child in run.get_children()} <= {"Completed", "Running"}
    (tmp_path / "go").touch()
    until(lambda: all(child.get_status() == "Completed" for child in run.get_children()))
    again = experiment.submit(config)
    assert again.wait_for_completion()["status"] == "Completed"
    assert [child["best_primary_metric"] for child in again.get_children_sorted_by_primary_metric()] == [
        3,
        2,
        1,
    ]
    assert sorted(begun.read_text().split()) == ["1", "2", "3"]  # none was submitted again
    longer = configured(lines, GridParameterSampling({"x": choice(1, 2, 3)}), 2, custom_run_id=name)
    assert experiment.submit(longer).wait_for_completion()["status"] == "Completed"
    other = configured(lines, GridParameterSampling({"x": choice(1, 9)}), 2, custom_run_id=name)
    failed = experiment.submit(other)
    assert failed.wait_for_completion(raise_on_error=False)["status"] == "Failed"
    assert (
        "is a sweep with space"
        in failed.get_details_with_logs()["logFiles"]["azureml-logs/70_driver_log.txt"]
    )


def test_its_time_limit_and_failing_trials(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig]
) -> None:
    slow = configured("time.sleep(90)", GridParameterSampling({"x": choice(1)}), 1, max_duration_minutes=0.1)
    run = experiment.submit(slow)
    failing = experiment.submit(
        configured("raise ValueError('no')", GridParameterSampling({"x": choice(1)}), 1)
    )
    assert failing.wait_for_completion(raise_on_error=False)["status"] == "Failed"
    assert "all 1 trials failed; the last one: " in failing.get_details()["error"]["error"]["message"]
    assert failing.get_best_run_by_primary_metric() is None
    assert run.wait_for_completion()["status"] == "Canceled"
    until(lambda: all(child.get_status() == "Canceled" for child in run.get_children()))


def test_a_child_of_a_run(experiment: Experiment, configured: Callable[..., HyperDriveConfig]) -> None:
    with experiment.start_logging(outputs=False, snapshot_directory=None) as parent:
        run = parent.submit_child(
            configured("run.log('accuracy', options.x)", GridParameterSampling({"x": choice(5)}), 1)
        )
        assert isinstance(run, HyperDriveRun)
        run.wait_for_completion()
        assert [child.id for child in parent.get_children()] == [run.id]
        best = run.get_best_run_by_primary_metric()
        assert best is not None
        assert best.get_metrics() == {"accuracy": 5.0}


def test_what_runs_of_hyperdrive_do_not_do(experiment: Experiment) -> None:
    from runstream import sweep

    made = sweep.run(experiment, lambda run, x: x, {"x": [1, 2]}, metric="y", method="grid").run
    run = HyperDriveRun(experiment, made.id)
    assert (
        run.get_children_sorted_by_primary_metric(1)[0]["best_primary_metric"] == 1.0
    )  # of a sweep of runstream
    with pytest.raises(HyperDriveRehydrateException, match=r"runstream\.sweep\.load\(\) reads"):
        _ = run.hyperdrive_config
    with pytest.raises(HyperDriveNotImplementedException, match=r"use cancel\(\)"):
        run.fail()
    with pytest.raises(HyperDriveNotImplementedException, match=r"use get_all_logs\(\)"):
        run.get_diagnostics()
    with pytest.raises(HyperDriveConfigException, match="top -1: expected a whole number"):
        run.get_children_sorted_by_primary_metric(-1)
    with pytest.raises(HyperDriveConfigException, match="run_id: expected a text, got int"):
        HyperDriveRun(experiment, 7)  # type: ignore[arg-type]
    plain = experiment.start_logging(outputs=False, snapshot_directory=None)
    plain.complete()
    with pytest.raises(HyperDriveRehydrateException, match="names no primary metric"):
        HyperDriveRun(experiment, plain.id).get_hyperparameters()


def test_expressions() -> None:
    assert choice(1, 2) == choice([1, 2]) == choice(range(1, 3)) == ["choice", [[1, 2]]]
    assert randint(3) == ["randint", [3]]
    assert uniform(0, 1.5) == ["uniform", [0, 1.5]]
    assert quniform(0, 10, 2.0) == ["quniform", [0, 10, 2.0]]
    assert loguniform(-6, -1) == ["loguniform", [-6, -1]]
    assert qloguniform(0, 3, 2) == ["qloguniform", [0, 3, 2]]
    assert normal(1, 0.5) == ["normal", [1, 0.5]]
    assert qnormal(1, 0.5, 1) == ["qnormal", [1, 0.5, 1]]
    assert lognormal(1, 0.5) == ["lognormal", [1, 0.5]]
    assert qlognormal(1, 0.5, 3) == ["qlognormal", [1, 0.5, 3]]


@pytest.mark.parametrize(
    ("expression", "mean", "deviation", "step"),
    [
        (randint(5), 2.0, 1.41, 1),
        (uniform(2, 4), 3.0, 0.58, 0),
        (quniform(0, 100, 10), 50.0, 29.0, 10),
        (loguniform(0, 1), 1.72, 0.49, 0),
        (qloguniform(0, 6, 4), 67.0, 93.0, 4),
        (normal(5, 2), 5.0, 2.0, 0),
        (qnormal(50, 20, 5), 50.0, 20.0, 5),
        (lognormal(0, 0.25), 1.03, 0.26, 0),
        (qlognormal(3, 0.5, 2), 22.8, 12.1, 2),
    ],
)
def test_distributions(expression: list[Any], mean: float, deviation: float, step: int) -> None:
    import random
    import statistics

    item = RandomParameterSampling({"x": expression}).space()["x"]
    rng = random.Random(1)
    values = [item.sample(rng) for _ in range(4000)]
    assert statistics.fmean(values) == pytest.approx(mean, rel=0.06)
    assert statistics.pstdev(values) == pytest.approx(deviation, rel=0.1)
    if step:
        assert all(isinstance(value, int) and value % step == 0 for value in values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: choice(), "nothing to choose from; give a value"),
        (lambda: choice([1], 2), "expected one list or range that is not empty"),
        (lambda: choice([]), "expected one list or range that is not empty"),
        (lambda: randint(0), "randint: upper 0: expected a whole number above 0"),
        (lambda: randint(1.5), "randint: upper 1.5: expected a whole number"),  # type: ignore[arg-type]
        (lambda: uniform("0", 1), "uniform: min_value '0': expected a number"),  # type: ignore[arg-type]
        (lambda: uniform(0, float("nan")), "uniform: max_value nan: expected a number"),
        (lambda: uniform(1, 1), "expected a min_value below max_value"),
        (lambda: quniform(0, 1, 0.5), "quniform: q 0.5: expected a whole number above 0"),  # type: ignore[arg-type]
        (lambda: quniform(0, 1, 0), "quniform: q 0: expected a whole number above 0"),
        (lambda: loguniform(2, 1), "expected a min_value of at most max_value"),
        (lambda: loguniform(1, 1e5), "expected the logarithms of the bounds"),
        (lambda: normal(0, -1), "normal: sigma -1: expected a number of 0 or more"),
        (lambda: lognormal(None, 1), "lognormal: mu None: expected a number"),  # type: ignore[arg-type]
        (lambda: RandomParameterSampling({}), "expected a dictionary of parameters"),
        (
            lambda: RandomParameterSampling({"x": ["unify", [1]]}),
            "is no parameter expression; use one of choice",
        ),
        (lambda: GridParameterSampling({"x": uniform(0, 1)}), "'uniform' is not offered here; use choice"),
        (
            lambda: BayesianParameterSampling({"x": normal(0, 1)}),
            "'normal' is not offered here; use choice, quniform, uniform, or another sampling",
        ),
        (
            lambda: BayesianParameterSampling({"x": choice(1, "a")}),
            "either all values of a choice are texts, or none",
        ),
        (lambda: BayesianParameterSampling({"x": choice(None)}), "have to be int, str or float"),
        (
            lambda: BayesianParameterSampling({"x": quniform(0, 1.5, 1)}),
            "arguments of quniform have to be int",
        ),
        (lambda: BayesianParameterSampling({"x": quniform(0, 10**6, 1)}), "has more than 100,000 values"),
        (lambda: BanditPolicy(), "expected one of them"),
        (lambda: BanditPolicy(1, 0.1, 0.1), "expected one of them"),
        (lambda: BanditPolicy(1, -0.1), "slack_factor -0.1: expected a number of 0 or more"),
        (lambda: BanditPolicy(0, 0.1), "evaluation_interval 0: expected a whole number of 1 or more"),
        (lambda: MedianStoppingPolicy(1, 0.5), "delay_evaluation 0.5: expected a whole number of 0"),  # type: ignore[arg-type]
        (
            lambda: TruncationSelectionPolicy(100),
            "truncation_percentage 100: expected a whole number from 1 to 99",
        ),
        (lambda: PrimaryMetricGoal.from_str("best"), "goal 'best': expected 'maximize' or 'minimize'"),
    ],
)
def test_what_makes_no_sense(call: Callable[[], object], message: str) -> None:
    with pytest.raises(HyperDriveConfigException) as refused:
        call()
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"run_config": None},
            HyperDriveConfigException,
            "run_config: expected a ScriptRunConfig, got NoneType",
        ),
        (
            {"hyperparameter_sampling": {}},
            HyperDriveConfigException,
            "expected a HyperParameterSampling, got dict",
        ),
        ({"primary_metric_goal": "max"}, HyperDriveConfigException, "expected a PrimaryMetricGoal, got str"),
        ({"primary_metric_name": ""}, HyperDriveConfigException, "is empty; give the name of a metric"),
        ({"policy": "bandit"}, HyperDriveConfigException, "expected a EarlyTerminationPolicy, got str"),
        ({"max_total_runs": 0}, HyperDriveConfigException, "max_total_runs 0: expected a whole number of 1"),
        ({"max_concurrent_runs": -1}, HyperDriveConfigException, "max_concurrent_runs -1: expected"),
        ({"max_duration_minutes": 0}, HyperDriveConfigException, "max_duration_minutes 0: expected a number"),
        (
            {"estimator": 1},
            HyperDriveScenarioNotSupportedException,
            "estimator is not offered; give a ScriptRunConfig",
        ),
        (
            {"pipeline": 1},
            HyperDriveScenarioNotSupportedException,
            "pipeline is not offered; give a ScriptRunConfig",
        ),
        (
            {"resume_from": []},
            HyperDriveScenarioNotSupportedException,
            "resume_from is not offered; submit with",
        ),
        ({"resume_child_runs": []}, HyperDriveScenarioNotSupportedException, "not offered; submit with"),
    ],
)
def test_configurations_that_are_refused(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {
        "run_config": ScriptRunConfig(".", "train.py"),
        "hyperparameter_sampling": RandomParameterSampling({"x": uniform(0, 1)}),
        "primary_metric_name": "accuracy",
        "primary_metric_goal": PrimaryMetricGoal.MAXIMIZE,
        "max_total_runs": 1,
        **options,
    }
    with pytest.raises(kind, match=message):
        HyperDriveConfig(**given)


def test_what_is_wrong_is_found_at_submission(
    experiment: Experiment, configured: Callable[..., HyperDriveConfig], tmp_path: Path
) -> None:
    config = configured("", RandomParameterSampling({"x": uniform(0, 1)}), 1)
    assert config.run_config is not None
    config.run_config.run_config.target = "nowhere"
    with pytest.raises(ServiceException, match="Unknown compute target 'nowhere'"):
        experiment.submit(config)
    (tmp_path / "project" / "train.py").unlink()
    with pytest.raises(AzureMLException, match="script path doesn't exist"):
        experiment.submit(config)
    assert list(experiment.get_runs()) == []
    with pytest.raises(HyperDriveScenarioNotSupportedException, match="estimator is not offered"):
        HyperDriveRunConfig(1, RandomParameterSampling({"x": 1}), "y", PrimaryMetricGoal.MINIMIZE, 1)
    assert submitter_of(object()) is None


Values = list[float]


def curve(values: Values) -> list[tuple[int, float]]:
    return list(enumerate(values))


@pytest.mark.parametrize(
    ("rule", "own", "others", "stops"),
    [
        (Bandit(slack_factor=0.2), [0.66], [[0.8]], True),  # 0.8 / 1.2 is 0.667
        (Bandit(slack_factor=0.2), [0.67], [[0.8]], False),
        (Bandit(slack_factor=0.2), [-1.0], [[-1.0]], False),
        (Bandit(slack_amount=0.2), [0.59], [[0.8]], True),
        (Bandit(slack_amount=0.2), [0.61], [[0.8]], False),
        (Bandit(slack_amount=0.2), [0.1], [], False),
        (Bandit(slack_amount=0.2), [0.59], [[0.6, 0.9]], False),  # only as many values count
        (Bandit(slack_amount=0.2, when=Intervals(2)), [0.1], [[0.8]], False),
        (Bandit(slack_amount=0.2, when=Intervals(2)), [0.1, 0.1], [[0.8]], True),
        (Bandit(slack_amount=0.2, when=Intervals(2, 3)), [0.1, 0.1], [[0.8]], False),
        (Bandit(slack_amount=0.2, when=Intervals(2, 3)), [0.1] * 4, [[0.8]], True),
        (Bandit(slack_amount=0.2), [float("nan")], [[0.8]], False),
        (AverageMedian(), [0.2, 0.4], [[0.2, 0.8], [0.5, 0.5]], True),  # averages 0.3, 0.5, 0.5
        (AverageMedian(), [0.2, 0.6], [[0.2, 0.8], [0.5, 0.5]], False),
        (AverageMedian(), [0.2, 0.1], [[0.9], []], False),  # nobody else came as far
        (AverageMedian(Intervals(5)), [0.1], [[0.9], [0.8]], False),
        (Truncation(40), [0.1], [[0.2], [0.3]], True),  # one of three
        (Truncation(40), [0.2], [[0.1], [0.3]], False),
        (Truncation(40), [0.1], [[0.1], [0.3]], False),  # as good as another one
        (Truncation(30), [0.1], [[0.2], [0.3]], False),
        (Truncation(40), [0.1, 0.1], [[0.2], [0.3, 0.3]], False),  # of two that came as far none is
        (Truncation(50), [0.1, 0.1], [[0.2], [0.3, 0.3]], True),
        (Truncation(99, Intervals(1, 2)), [0.1], [[0.2], [0.3]], False),
    ],
)
def test_rules(rule: Any, own: Values, others: list[Values], stops: bool) -> None:
    assert bool(rule.stops(curve(own), [curve(other) for other in others], minimize=False)) is stops
    if getattr(rule, "slack_factor", None) is None:
        mirrored = [curve([-value for value in other]) for other in others]
        assert bool(rule.stops(curve([-value for value in own]), mirrored, minimize=True)) is stops


def test_a_factor_where_small_values_are_good() -> None:
    rule = Bandit(slack_factor=0.2)
    assert rule.stops(curve([1.21]), [curve([1.0])], minimize=True)
    assert not rule.stops(curve([1.19]), [curve([1.0])], minimize=True)


def test_policies_as_documents() -> None:
    assert BanditPolicy(2, 0.1, delay_evaluation=3).to_json() == {
        "name": "Bandit",
        "properties": {"evaluation_interval": 2, "delay_evaluation": 3, "slack_factor": 0.1},
    }
    assert BanditPolicy(slack_factor=0, slack_amount=0.3).rule() == Bandit(None, 0.3)
    assert BanditPolicy(slack_factor=0).rule() == Bandit(0, None)
    assert TruncationSelectionPolicy(10, 5).to_json()["properties"] == {
        "evaluation_interval": 5,
        "delay_evaluation": 0,
        "truncation_percentage": 10,
        "exclude_finished_jobs": False,
    }
    assert MedianStoppingPolicy(delay_evaluation=5).rule() == AverageMedian(Intervals(1, 5))
    assert NoTerminationPolicy().to_json() == {"name": "Default"}
    assert NoTerminationPolicy().rule() is None
    assert TruncationSelectionPolicy(10).rule() == Truncation(10)
