"""The file `run submit-hyperdrive` reads: a configuration of HyperDrive as YAML or JSON, but for its script.

sampling:
  type: random                  # random, grid, bayesian
  parameter_space:
    - name: --penalty
      expression: choice        # a parameter expression
      values: [0.5, 1, 1.5]     # its arguments
policy:
  type: BanditPolicy            # the name of a policy, its arguments beside it
  slack_factor: 0.2
primary_metric_name: accuracy
primary_metric_goal: maximize
max_total_runs: 8
max_concurrent_runs: 2
max_duration_minutes: 100
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...core.script_run_config import ScriptRunConfig
from . import parameter_expressions, policy, sampling
from .exceptions import HyperDriveConfigException
from .policy import EarlyTerminationPolicy
from .runconfig import HyperDriveConfig, PrimaryMetricGoal
from .sampling import HyperParameterSampling

_SAMPLINGS: dict[str, Callable[[Mapping[str, Any]], HyperParameterSampling]] = {
    "random": sampling.RandomParameterSampling,
    "grid": sampling.GridParameterSampling,
    "bayesian": sampling.BayesianParameterSampling,
}
_NUMBERS = ("max_total_runs", "max_concurrent_runs", "max_duration_minutes")
_KEYS = ("sampling", "policy", "primary_metric_name", "primary_metric_goal", *_NUMBERS)


def config_of(folder: Path, name: str, script: ScriptRunConfig) -> HyperDriveConfig:
    """The configuration of a file.

    Args:
        folder: the source directory.
        name: the name of the file: a path, or what it is called in `folder` or its `.azureml`, with or without `.yml`.
        script: what each trial runs.

    Raises:
        HyperDriveConfigException: there is no such file, or something in it makes no sense.
    """
    import yaml

    names = (name, f"{name}.yml", f"{name}.yaml")
    places = [
        where / each
        for where in (Path(), folder, folder / ".azureml", folder / "aml_config")
        for each in names
    ]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise HyperDriveConfigException(
            f"hyperdrive configuration {name!r:.200}: there is no such file in {folder}, nor in its .azureml; give its path"
        )
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        return _config(document, script)
    except HyperDriveConfigException as error:
        raise HyperDriveConfigException(f"{error.message}; mend it in {file}", target=error.target) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HyperDriveConfigException(f"{file} cannot be read: {error}; write it as YAML") from None


def _config(document: Any, script: ScriptRunConfig) -> HyperDriveConfig:
    whole = _mapping("the file", document)
    if unknown := sorted(set(map(str, whole)) - set(_KEYS)):
        raise HyperDriveConfigException(f"{unknown[0]!r:.80} is no key; use {', '.join(_KEYS)}")
    if missing := [key for key in (*_KEYS[:1], *_KEYS[2:5]) if key not in whole]:
        raise HyperDriveConfigException(f"{missing[0]} is missing; give it")
    return HyperDriveConfig(
        run_config=script,
        hyperparameter_sampling=_sampling(_mapping("sampling", whole["sampling"])),
        policy=_policy(_mapping("policy", whole["policy"])) if whole.get("policy") else None,
        primary_metric_name=whole["primary_metric_name"],
        primary_metric_goal=PrimaryMetricGoal.from_str(whole["primary_metric_goal"]),
        **{key: whole[key] for key in _NUMBERS if key in whole},
    )


def _sampling(document: Mapping[str, Any]) -> HyperParameterSampling:
    kind = _SAMPLINGS.get(str(document.get("type")).lower())
    if kind is None:
        raise HyperDriveConfigException(
            f"sampling: type {document.get('type')!r:.80}: expected random, grid or bayesian"
        )
    space = {}
    items = document.get("parameter_space")
    for item in items if isinstance(items, list) else [items]:
        row = _mapping("parameter_space", item)
        name, expression = row.get("name"), row.get("expression")
        if expression not in parameter_expressions.__all__ or not isinstance(row.get("values"), list):
            raise HyperDriveConfigException(
                f"parameter {name!r:.80}: expression {expression!r:.80}: expected one of "
                f"{', '.join(parameter_expressions.__all__)}, and values as a list"
            )
        try:
            space[str(name)] = getattr(parameter_expressions, expression)(*row["values"])
        except TypeError as error:
            raise HyperDriveConfigException(
                f"parameter {name!r:.80}: {error}; give the arguments of {expression} as values"
            ) from None
    return kind(space)


def _policy(document: Mapping[str, Any]) -> EarlyTerminationPolicy:
    kinds = {
        name.lower(): getattr(policy, name) for name in policy.__all__ if name != "EarlyTerminationPolicy"
    }
    arguments = {str(key): value for key, value in document.items() if key != "type"}
    try:
        made: EarlyTerminationPolicy = kinds[str(document.get("type")).lower()](**arguments)
    except (KeyError, TypeError) as error:
        raise HyperDriveConfigException(
            f"policy: type {document.get('type')!r:.80}: {error}; expected {', '.join(kinds)}, with arguments of it"
        ) from None
    return made


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise HyperDriveConfigException(f"{what}: expected keys and values, got {type(value).__name__}")
    return value
