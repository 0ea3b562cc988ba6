"""How values of hyperparameters are drawn from their space.

Source: `azureml.train.hyperdrive.sampling`.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from ...sweep.space import Distribution, space_of
from .exceptions import HyperDriveConfigException, HyperDriveRehydrateException
from .parameter_expressions import distributions_of

__all__ = [
    "BayesianParameterSampling",
    "GridParameterSampling",
    "HyperParameterSampling",
    "RandomParameterSampling",
]

Validator = Callable[[list[Any]], tuple[bool, str | None]]
"""Says of an expression whether it will do, and if not, why."""

_MOST_POINTS = 100_000


class HyperParameterSampling(ABC):
    """Base of the samplings.

    Args:
        sampling_method_name: the name of its kind.
        parameter_space: parameter to expression; a value that is no expression stays as it is.
        properties: kept.
        supported_distributions: names of the expressions it takes; None: all.
        distributions_validators: name of an expression to what checks its arguments.

    Raises:
        HyperDriveConfigException: an empty space, no expression, or one this kind does not take.
        UserErrorException: values that cannot be written as JSON.
    """

    SAMPLING_NAME: ClassVar[str]
    METHOD: ClassVar[str]
    """What the sweep calls it."""

    def __init__(
        self,
        sampling_method_name: str,
        parameter_space: Mapping[str, Any],
        properties: Mapping[str, Any] | None = None,
        supported_distributions: Collection[str] | None = None,
        distributions_validators: Mapping[str, Validator] | None = None,
    ) -> None:
        given: object = parameter_space
        if not isinstance(given, Mapping) or not given:
            raise HyperDriveConfigException(
                f"{type(self).__name__}: parameter_space {given!r:.80}: expected a dictionary of parameters",
                target="parameter_space",
            )
        self._sampling_method_name = sampling_method_name
        self._parameter_space = dict(parameter_space)
        self._properties = properties
        for parameter, item in self._parameter_space.items():
            if isinstance(item, list) and item:
                self._check(parameter, item, supported_distributions, distributions_validators or {})
        self.space()

    def _check(
        self,
        parameter: str,
        item: list[Any],
        supported: Collection[str] | None,
        validators: Mapping[str, Validator],
    ) -> None:
        kind = item[0]
        if supported is not None and kind not in supported:
            raise HyperDriveConfigException(
                f"{type(self).__name__}: parameter {parameter!r}: {kind!r:.80} is not offered here; use "
                f"{', '.join(sorted(supported))}, or another sampling",
                target="parameter_space",
            )
        if kind in validators and not (verdict := validators[kind](item))[0]:
            raise HyperDriveConfigException(
                f"{type(self).__name__}: parameter {parameter!r}: {verdict[1]}; change its values, or use another sampling",
                target="parameter_space",
            )

    def space(self) -> dict[str, Distribution]:
        """The space as `runstream.sweep` takes it. Not in the reproduced API."""
        return space_of(distributions_of(self._parameter_space))

    def to_json(self) -> dict[str, Any]:
        """The sampling as a dictionary."""
        definition = {"name": self._sampling_method_name, "parameter_space": self._parameter_space}
        if self._properties:
            definition["properties"] = self._properties
        return definition

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HyperParameterSampling) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]


class RandomParameterSampling(HyperParameterSampling):
    """Each value is drawn from its distribution, independently of all others."""

    SAMPLING_NAME = "RANDOM"
    METHOD = "random"

    def __init__(
        self, parameter_space: Mapping[str, Any], properties: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(self.SAMPLING_NAME, parameter_space, properties)


class GridParameterSampling(HyperParameterSampling):
    """Every combination of the values; takes `choice` only."""

    SAMPLING_NAME = "GRID"
    METHOD = "grid"

    def __init__(
        self, parameter_space: Mapping[str, Any], properties: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(self.SAMPLING_NAME, parameter_space, properties, {"choice"})


class BayesianParameterSampling(HyperParameterSampling):
    """Values that promise most after those tried out, as an Optuna study suggests them (extra `sweep`).

    It takes `choice`, `uniform` and, with whole numbers, `quniform`.
    """

    SAMPLING_NAME = "BayesianOptimization"
    METHOD = "optuna"

    def __init__(
        self, parameter_space: Mapping[str, Any], properties: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(
            self.SAMPLING_NAME,
            parameter_space,
            properties,
            {"choice", "quniform", "uniform"},
            {"choice": _plain_choice, "quniform": _countable},
        )


def _plain_choice(item: list[Any]) -> tuple[bool, str | None]:
    values = item[1][0]
    if any(type(value) not in (int, str, float) for value in values):
        return False, "values of a choice have to be int, str or float"
    if len({isinstance(value, str) for value in values}) > 1:
        return False, "either all values of a choice are texts, or none"
    return True, None


def _countable(item: list[Any]) -> tuple[bool, str | None]:
    if any(type(value) is not int for value in item[1]):
        return False, "arguments of quniform have to be int"
    low, high, step = item[1]
    if (high - low) / step > _MOST_POINTS:
        return False, f"quniform has more than {_MOST_POINTS:,} values"
    return True, None


def sampling_of(document: Mapping[str, Any]) -> HyperParameterSampling:
    """The sampling of a stored dictionary.

    Raises:
        HyperDriveRehydrateException: it is of no kind known here.
    """
    for kind in (RandomParameterSampling, GridParameterSampling, BayesianParameterSampling):
        if str(document.get("name")).lower() == kind.SAMPLING_NAME.lower():
            return kind(document["parameter_space"], document.get("properties"))
    raise HyperDriveRehydrateException(
        f"sampling {document.get('name')!r:.80}: expected RANDOM, GRID or BayesianOptimization"
    )
