"""What a hyperparameter may be. Each function checks its arguments, and returns its name with them: `["uniform", [0, 1]]`.

Source: `azureml.train.hyperdrive.parameter_expressions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ...sweep.space import Choice, Distribution, Integer, LogNormal, LogUniform, Normal, Quantized, Uniform
from ._numbers import is_number, is_whole
from .exceptions import HyperDriveConfigException

__all__ = [
    "choice",
    "lognormal",
    "loguniform",
    "normal",
    "qlognormal",
    "qloguniform",
    "qnormal",
    "quniform",
    "randint",
    "uniform",
]

Expression = list[Any]
"""Name of a distribution, and its arguments."""


def choice(*options: Any) -> Expression:
    """One of some values: `choice(1, 2)`, `choice([1, 2])` or `choice(range(1, 3))`.

    Args:
        options: what can be written as JSON.

    Raises:
        HyperDriveConfigException: no value, or a list beside other values.
    """
    if not options:
        raise HyperDriveConfigException(
            "choice: there is nothing to choose from; give a value", target="options"
        )
    listed = [option for option in options if isinstance(option, (list, range))]
    if not listed:
        return ["choice", [list(options)]]
    if len(options) > 1 or not listed[0]:
        raise HyperDriveConfigException(
            f"choice{options!r:.80}: expected one list or range that is not empty, or values without a list among them",
            target="options",
        )
    return ["choice", [list(listed[0])]]


def randint(upper: int) -> Expression:
    """A whole number from 0 to `upper` - 1, each as likely.

    Raises:
        HyperDriveConfigException: not a whole number above 0.
    """
    if not is_whole(upper, 1):
        raise HyperDriveConfigException(
            f"randint: upper {upper!r:.80}: expected a whole number above 0", target="upper"
        )
    return ["randint", [upper]]


def uniform(min_value: float, max_value: float) -> Expression:
    """A number between two bounds, each as likely.

    Raises:
        HyperDriveConfigException: bounds that are no numbers, or the wrong way round.
    """
    _bounds("uniform", min_value, max_value)
    return ["uniform", [min_value, max_value]]


def quniform(min_value: float, max_value: float, q: int) -> Expression:
    """`round(uniform(min_value, max_value) / q) * q`.

    Raises:
        HyperDriveConfigException: as `uniform`, or a `q` that is no whole number above 0.
    """
    _bounds("quniform", min_value, max_value)
    return ["quniform", [min_value, max_value, _step("quniform", q)]]


def loguniform(min_value: float, max_value: float) -> Expression:
    """`exp(uniform(min_value, max_value))`: the bounds are logarithms.

    Raises:
        HyperDriveConfigException: bounds that are no numbers, the wrong way round, or logarithms of no number.
    """
    _log_bounds("loguniform", min_value, max_value)
    return ["loguniform", [min_value, max_value]]


def qloguniform(min_value: float, max_value: float, q: int) -> Expression:
    """`round(exp(uniform(min_value, max_value)) / q) * q`.

    Raises:
        HyperDriveConfigException: as `loguniform`, or a `q` that is no whole number above 0.
    """
    _log_bounds("qloguniform", min_value, max_value)
    return ["qloguniform", [min_value, max_value, _step("qloguniform", q)]]


def normal(mu: float, sigma: float) -> Expression:
    """A number that is normally distributed.

    Args:
        mu: its mean.
        sigma: its standard deviation.

    Raises:
        HyperDriveConfigException: no numbers, or a deviation below 0.
    """
    return ["normal", _moments("normal", mu, sigma)]


def qnormal(mu: float, sigma: float, q: int) -> Expression:
    """`round(normal(mu, sigma) / q) * q`.

    Raises:
        HyperDriveConfigException: as `normal`, or a `q` that is no whole number above 0.
    """
    return ["qnormal", [*_moments("qnormal", mu, sigma), _step("qnormal", q)]]


def lognormal(mu: float, sigma: float) -> Expression:
    """`exp(normal(mu, sigma))`.

    Raises:
        HyperDriveConfigException: as `normal`.
    """
    return ["lognormal", _moments("lognormal", mu, sigma)]


def qlognormal(mu: float, sigma: float, q: int) -> Expression:
    """`round(exp(normal(mu, sigma)) / q) * q`.

    Raises:
        HyperDriveConfigException: as `normal`, or a `q` that is no whole number above 0.
    """
    return ["qlognormal", [*_moments("qlognormal", mu, sigma), _step("qlognormal", q)]]


def _number(function: str, name: str, value: object) -> None:
    if not is_number(value):
        raise HyperDriveConfigException(f"{function}: {name} {value!r:.80}: expected a number", target=name)


def _bounds(function: str, low: float, high: float) -> None:
    _number(function, "min_value", low)
    _number(function, "max_value", high)
    if low >= high:
        raise HyperDriveConfigException(
            f"{function}: min_value {low}, max_value {high}: expected a min_value below max_value",
            target="min_value, max_value",
        )


def _log_bounds(function: str, low: float, high: float) -> None:
    _number(function, "min_value", low)
    _number(function, "max_value", high)
    if low > high:
        raise HyperDriveConfigException(
            f"{function}: min_value {low}, max_value {high}: expected a min_value of at most max_value",
            target="min_value, max_value",
        )
    if low < -700 or high > 700:
        raise HyperDriveConfigException(
            f"{function}: min_value {low}, max_value {high}: expected the logarithms of the bounds, from -700 to 700",
            target="min_value, max_value",
        )


def _step(function: str, q: float) -> float:
    if not is_number(q) or q != int(q) or q <= 0:
        raise HyperDriveConfigException(
            f"{function}: q {q!r:.80}: expected a whole number above 0", target="q"
        )
    return q


def _moments(function: str, mu: float, sigma: float) -> list[float]:
    _number(function, "mu", mu)
    _number(function, "sigma", sigma)
    if sigma < 0:
        raise HyperDriveConfigException(
            f"{function}: sigma {sigma}: expected a number of 0 or more", target="sigma"
        )
    return [mu, sigma]


_DISTRIBUTIONS: dict[str, Callable[..., Distribution]] = {
    "choice": Choice,
    "randint": lambda upper: Integer(0, upper - 1),
    "uniform": Uniform,
    "quniform": lambda low, high, q: Quantized(Uniform(low, high), q),
    "loguniform": lambda low, high: LogUniform(math.exp(low), math.exp(high)),
    "qloguniform": lambda low, high, q: Quantized(LogUniform(math.exp(low), math.exp(high)), q),
    "normal": Normal,
    "qnormal": lambda mu, sigma, q: Quantized(Normal(mu, sigma), q),
    "lognormal": LogNormal,
    "qlognormal": lambda mu, sigma, q: Quantized(LogNormal(mu, sigma), q),
}


def distributions_of(space: Mapping[str, Any]) -> dict[str, Distribution]:
    """A parameter space as the sweep takes it; whatever is no expression is one value.

    Raises:
        HyperDriveConfigException: an expression of a name nobody knows, or with too few or too many arguments.
    """
    return {name: _distribution(name, item) for name, item in space.items()}


def _distribution(parameter: str, item: Any) -> Distribution:
    if not isinstance(item, list):
        return Choice([item])
    try:
        kind, arguments = item
        return _DISTRIBUTIONS[kind](*arguments)
    except (KeyError, TypeError, ValueError):
        raise HyperDriveConfigException(
            f"parameter {parameter!r}: {item!r:.80} is no parameter expression; use one of {', '.join(_DISTRIBUTIONS)}",
            target="parameter_space",
        ) from None
