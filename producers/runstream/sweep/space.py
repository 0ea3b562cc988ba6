"""What a sweep varies: parameters by name, each with the values it may take."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from ..exceptions import UserErrorException

_LARGEST = 709.0  # exp() of more is no float


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, which can be written as JSON. A plain list in a space means the same."""

    values: tuple[Any, ...]

    def __init__(self, values: Sequence[Any]) -> None:
        object.__setattr__(self, "values", tuple(values))

    def grid(self) -> Sequence[Any]:
        """All of them."""
        return self.values

    def sample(self, rng: random.Random) -> Any:
        """Each is as likely."""
        return rng.choice(self.values)


@dataclass(frozen=True, slots=True)
class Uniform:
    """A float from `low` to `high`; with `step` only `low`, `low + step` and so on."""

    low: float
    high: float
    step: float | None = None

    def grid(self) -> Sequence[float] | None:
        """The steps; None without a step."""
        if self.step is None:
            return None
        return [self.low + place * self.step for place in range(self._steps() + 1)]

    def sample(self, rng: random.Random) -> float:
        """Each is as likely."""
        if self.step is None:
            return rng.uniform(self.low, self.high)
        return self.low + rng.randint(0, self._steps()) * self.step

    def _steps(self) -> int:
        assert self.step is not None
        return int((self.high - self.low) / self.step + 1e-9)


@dataclass(frozen=True, slots=True)
class LogUniform:
    """A float from `low` to `high`, both above 0, whose logarithm is uniform: for learning rates and the like."""

    low: float
    high: float

    def grid(self) -> None:
        """There is none."""

    def sample(self, rng: random.Random) -> float:
        """Each order of magnitude is as likely."""
        return math.exp(rng.uniform(math.log(self.low), math.log(self.high)))


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from `low` to `high`, both included; with `log` small ones are likelier, as in `LogUniform`."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def grid(self) -> Sequence[int]:
        """All of them."""
        return range(self.low, self.high + 1, self.step)

    def sample(self, rng: random.Random) -> int:
        """By its distribution."""
        if self.log:
            return min(int(math.exp(rng.uniform(math.log(self.low), math.log(self.high + 1)))), self.high)
        return rng.randrange(self.low, self.high + 1, self.step)


@dataclass(frozen=True, slots=True)
class Normal:
    """A float that is normally distributed."""

    mean: float
    deviation: float

    def grid(self) -> None:
        """There is none."""

    def sample(self, rng: random.Random) -> float:
        """By its distribution."""
        return rng.gauss(self.mean, self.deviation)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """A float above 0 whose logarithm is normally distributed; mean and deviation are the logarithm's."""

    mean: float
    deviation: float

    def grid(self) -> None:
        """There is none."""

    def sample(self, rng: random.Random) -> float:
        """By its distribution."""
        return math.exp(min(rng.gauss(self.mean, self.deviation), _LARGEST))


@dataclass(frozen=True, slots=True)
class Quantized:
    """A value of another distribution, rounded to the nearest multiple of `step`."""

    of: Uniform | LogUniform | Normal | LogNormal
    step: float

    def grid(self) -> None:
        """There is none."""

    def sample(self, rng: random.Random) -> float:
        """By the other distribution; an int with an int as step."""
        return self.rounded(self.of.sample(rng))

    def rounded(self, value: float) -> float:
        """A value as this distribution has it."""
        return round(value / self.step) * self.step


Distribution = Choice | Uniform | LogUniform | Integer | Normal | LogNormal | Quantized
Space = Mapping[str, Distribution]


def space_of(given: Mapping[str, Any]) -> dict[str, Distribution]:
    """A space as users write it: distributions, lists of values, and single values that stay as they are.

    Raises:
        UserErrorException: an empty space or list, bounds the wrong way round, or values that cannot be written as JSON.
    """
    if not given:
        raise UserErrorException("a sweep needs a parameter to vary: {'lr': [0.1, 0.01]}")
    space: dict[str, Distribution] = {}
    for name, item in cast(Mapping[Any, Any], given).items():
        if not isinstance(name, str) or not name:
            raise UserErrorException(f"parameter {name!r}: a name has to be a text that is not empty")
        known = (Choice, Uniform, LogUniform, Integer, Normal, LogNormal, Quantized)
        values = item if isinstance(item, (list, tuple, range)) else [item]
        space[name] = item if isinstance(item, known) else Choice(values)
        _check(name, space[name])
    return space


def _check(name: str, item: Distribution) -> None:
    if isinstance(item, Choice):
        if not item.values:
            raise UserErrorException(f"parameter {name!r}: there are no values to choose from; give some")
        for value in item.values:
            try:
                same = json.loads(json.dumps(value)) == value
            except (TypeError, ValueError):
                same = False
            if not same:
                raise UserErrorException(
                    f"parameter {name!r}: {value!r:.80} cannot be written as JSON; choose among names, and look them up in "
                    "the objective"
                )
        return
    if isinstance(item, Quantized):
        if not item.step > 0:
            raise UserErrorException(f"parameter {name!r}: {item} needs a step above 0")
        _check(name, item.of)
        return
    if isinstance(item, (Normal, LogNormal)):
        if not item.deviation >= 0:
            raise UserErrorException(f"parameter {name!r}: {item} needs a deviation of 0 or more")
        return
    if not item.low <= item.high:
        raise UserErrorException(
            f"parameter {name!r}: {item} goes from {item.low} to {item.high}"
            "; let it go from the smaller to the larger"
        )
    if (isinstance(item, LogUniform) or (isinstance(item, Integer) and item.log)) and item.low <= 0:
        raise UserErrorException(f"parameter {name!r}: {item} needs bounds above 0")
    if not isinstance(item, LogUniform) and item.step is not None and item.step <= 0:
        raise UserErrorException(f"parameter {name!r}: {item} needs a step above 0")


def document_of(space: Space) -> dict[str, Any]:
    """A space as JSON."""
    return {name: _document(item) for name, item in space.items()}


def _document(item: Distribution) -> dict[str, Any]:
    values = json.loads(json.dumps(asdict(item)))
    if isinstance(item, Quantized):
        values["of"] = _document(item.of)
    return {"kind": type(item).__name__, **values}
