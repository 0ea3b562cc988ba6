"""Configurations of HyperDrive: expressions, distributions, policies, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runstream.core import Experiment, ScriptRunConfig
from runstream.core._submission.submitters import submitter_of
from runstream.exceptions import AzureMLException, ServiceException
from runstream.sweep import AverageMedian, Bandit, Intervals, Truncation
from runstream.train.hyperdrive import (
    BanditPolicy,
    BayesianParameterSampling,
    GridParameterSampling,
    HyperDriveConfig,
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
    HyperDriveScenarioNotSupportedException,
)


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
