"""What a run of HyperDrive is: a script, what varies, the metric it is judged by, and how many trials there are.

Source: `azureml.train.hyperdrive.runconfig`.
"""

from __future__ import annotations

import enum
import json
import warnings
from collections.abc import Mapping
from typing import Any

from ...core.script_run_config import ScriptRunConfig
from ._numbers import is_number, is_whole
from .exceptions import (
    HyperDriveConfigException,
    HyperDriveRehydrateException,
    HyperDriveScenarioNotSupportedException,
)
from .policy import EarlyTerminationPolicy, NoTerminationPolicy, policy_of
from .sampling import BayesianParameterSampling, HyperParameterSampling, sampling_of

__all__ = ["HyperDriveConfig", "HyperDriveRunConfig", "PrimaryMetricGoal"]

MAX_DURATION_MINUTES = 10080
_RUNS_A_PARAMETER = 20  # with fewer a study hardly learns anything
_CONCURRENT_SUGGESTIONS = 20

_INSTEAD = {
    "estimator": "give a ScriptRunConfig as run_config, which replaced estimators in the original too",
    "pipeline": "give a ScriptRunConfig as run_config, and submit the steps as children of its run (Run.submit_child)",
    "resume_from": "submit with custom_run_id, the id of a run that ended, and more max_total_runs: it resumes",
    "resume_child_runs": "submit with custom_run_id, the id of a run that ended: trials that were lost are run again",
}


class PrimaryMetricGoal(enum.Enum):
    """Whether large or small values of the metric are good."""

    MAXIMIZE = "MAXIMIZE"
    MINIMIZE = "MINIMIZE"

    @staticmethod
    def from_str(goal: str) -> PrimaryMetricGoal:
        """The goal of a name, in whatever case.

        Raises:
            HyperDriveConfigException: another name.
        """
        try:
            return PrimaryMetricGoal[goal.upper()]
        except (KeyError, AttributeError):
            raise HyperDriveConfigException(
                f"goal {goal!r:.80}: expected 'maximize' or 'minimize'", target="goal"
            ) from None


class HyperDriveConfig:
    """What `Experiment.submit` takes for a `HyperDriveRun`.

    Args:
        hyperparameter_sampling: what varies, and how values are drawn.
        primary_metric_name: metric the script logs.
        primary_metric_goal: whether large or small values of it are good.
        max_total_runs: how many trials; a grid may have fewer.
        max_concurrent_runs: how many at a time, if the compute target takes as many; default: all.
        max_duration_minutes: after so many the run is canceled, with the trials at work.
        policy: ends trials early; default none.
        run_config: what each trial runs; the parameters are appended to its arguments.
        custom_run_id: id of the run. That of one that has ended resumes it.
        estimator, pipeline, resume_from, resume_child_runs: refused, with what to do instead.
        debug_flag: accepted.

    Raises:
        HyperDriveConfigException: something is missing, or makes no sense.
        HyperDriveScenarioNotSupportedException: an argument that is refused.

    Source: `azureml.train.hyperdrive.HyperDriveConfig`.
    """

    def __init__(
        self,
        hyperparameter_sampling: HyperParameterSampling,
        primary_metric_name: str,
        primary_metric_goal: PrimaryMetricGoal,
        max_total_runs: int,
        max_concurrent_runs: int | None = None,
        max_duration_minutes: float = MAX_DURATION_MINUTES,
        policy: EarlyTerminationPolicy | None = None,
        estimator: Any = None,
        run_config: ScriptRunConfig | None = None,
        resume_from: Any = None,
        resume_child_runs: Any = None,
        pipeline: Any = None,
        debug_flag: Any = None,
        custom_run_id: str | None = None,
    ) -> None:
        del debug_flag
        refused = {
            "estimator": estimator,
            "pipeline": pipeline,
            "resume_from": resume_from,
            "resume_child_runs": resume_child_runs,
        }
        for name, value in refused.items():
            if value is not None:
                raise HyperDriveScenarioNotSupportedException(
                    f"HyperDriveConfig: {name} is not offered; {_INSTEAD[name]}", target=name
                )
        _expect("run_config", run_config, ScriptRunConfig)
        _expect("hyperparameter_sampling", hyperparameter_sampling, HyperParameterSampling)
        _expect("primary_metric_goal", primary_metric_goal, PrimaryMetricGoal)
        _expect("policy", policy if policy is not None else NoTerminationPolicy(), EarlyTerminationPolicy)
        _expect("primary_metric_name", primary_metric_name, str)
        if not primary_metric_name:
            raise HyperDriveConfigException(
                "HyperDriveConfig: primary_metric_name is empty; give the name of a metric the script logs",
                target="primary_metric_name",
            )
        _at_least_one("max_total_runs", max_total_runs)
        if max_concurrent_runs:
            _at_least_one("max_concurrent_runs", max_concurrent_runs)
        if not is_number(max_duration_minutes) or max_duration_minutes <= 0:
            raise HyperDriveConfigException(
                f"HyperDriveConfig: max_duration_minutes {max_duration_minutes!r:.80}: expected a number above 0",
                target="max_duration_minutes",
            )
        self._run_config = run_config
        self._sampling = hyperparameter_sampling
        self._policy = policy if policy is not None else NoTerminationPolicy()
        self._generator_config = hyperparameter_sampling.to_json()
        self._policy_config = self._policy.to_json()
        self._primary_metric_config = {
            "name": primary_metric_name,
            "goal": primary_metric_goal.name.lower(),
        }
        self._max_total_runs = max_total_runs
        self._max_concurrent_runs = max_concurrent_runs or max_total_runs
        self._max_duration_minutes = max_duration_minutes
        self._custom_run_id = custom_run_id
        self._advise()

    def _advise(self) -> None:
        if not isinstance(self._sampling, BayesianParameterSampling):
            return
        advised = _RUNS_A_PARAMETER * len(self._generator_config["parameter_space"])
        if self._max_total_runs < advised:
            warnings.warn(
                f"max_total_runs {self._max_total_runs}: Bayesian sampling learns best from {advised} or more, "
                f"{_RUNS_A_PARAMETER} a parameter",
                stacklevel=3,
            )
        if self._max_concurrent_runs > _CONCURRENT_SUGGESTIONS:
            warnings.warn(
                f"max_concurrent_runs {self._max_concurrent_runs}: Bayesian sampling learns best from at most "
                f"{_CONCURRENT_SUGGESTIONS} at a time",
                stacklevel=3,
            )

    @property
    def run_config(self) -> ScriptRunConfig | None:
        """What each trial runs; None in the configuration of a stored run."""
        return self._run_config

    @property
    def estimator(self) -> None:
        """None: there are no estimators."""

    @property
    def pipeline(self) -> None:
        """None: there are no pipelines."""

    @property
    def source_directory(self) -> str | None:
        """Directory of the script."""
        return self._run_config.source_directory if self._run_config is not None else None

    def _properties(self) -> dict[str, str]:
        """The configuration as properties of its run."""
        documents = {
            "generator_config": self._generator_config,
            "policy_config": self._policy_config,
            "primary_metric_config": self._primary_metric_config,
            "max_total_jobs": self._max_total_runs,
            "max_concurrent_jobs": self._max_concurrent_runs,
            "max_duration_minutes": self._max_duration_minutes,
        }
        return {name: json.dumps(value, ensure_ascii=False) for name, value in documents.items()}

    @staticmethod
    def _of_properties(run_id: str, properties: Mapping[str, str | None]) -> HyperDriveConfig:
        """The configuration of a stored run.

        Raises:
            HyperDriveRehydrateException: it was not made by HyperDrive.
        """
        try:
            stored = {
                name: json.loads(properties[name] or "")
                for name in ("generator_config", "policy_config", "primary_metric_config", "max_total_jobs")
            }
        except (KeyError, ValueError):
            raise HyperDriveRehydrateException(
                f"run {run_id} holds no configuration of HyperDrive; runstream.sweep.load() reads one of runstream.sweep"
            ) from None
        config = HyperDriveConfig.__new__(HyperDriveConfig)
        config._run_config, config._custom_run_id = None, None
        config._sampling = sampling_of(stored["generator_config"])
        config._policy = policy_of(stored["policy_config"])
        config._generator_config, config._policy_config = stored["generator_config"], stored["policy_config"]
        config._primary_metric_config = stored["primary_metric_config"]
        config._max_total_runs = stored["max_total_jobs"]
        config._max_concurrent_runs = json.loads(properties.get("max_concurrent_jobs") or "1")
        config._max_duration_minutes = json.loads(
            properties.get("max_duration_minutes") or str(MAX_DURATION_MINUTES)
        )
        return config


class HyperDriveRunConfig(HyperDriveConfig):
    """The first form of `HyperDriveConfig`, which takes an estimator only: refused."""

    def __init__(
        self,
        estimator: Any,
        hyperparameter_sampling: HyperParameterSampling,
        primary_metric_name: str,
        primary_metric_goal: PrimaryMetricGoal,
        max_total_runs: int,
        max_concurrent_runs: int | None = None,
        max_duration_minutes: float = MAX_DURATION_MINUTES,
        policy: EarlyTerminationPolicy | None = None,
    ) -> None:
        super().__init__(
            hyperparameter_sampling,
            primary_metric_name,
            primary_metric_goal,
            max_total_runs,
            max_concurrent_runs,
            max_duration_minutes,
            policy,
            estimator,
        )


def _expect(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise HyperDriveConfigException(
            f"HyperDriveConfig: {name}: expected a {kind.__name__}, got {type(value).__name__}", target=name
        )


def _at_least_one(name: str, value: object) -> None:
    if not is_whole(value, 1):
        raise HyperDriveConfigException(
            f"HyperDriveConfig: {name} {value!r:.80}: expected a whole number of 1 or more", target=name
        )
