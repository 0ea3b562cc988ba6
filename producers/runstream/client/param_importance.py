"""Which parameters matter for a metric, as the service answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .http import ServiceClient
from .reading import settle


@dataclass(frozen=True, slots=True)
class ParamImportance:
    """How much a parameter matters.

    Attributes:
        importance: 0 to 1; those of all parameters add up to 1.
        correlation: Spearman's with the metric, of a parameter of numbers; None: there is none.
        kind: `number` or `category`.
        runs: runs that have it.
        values: different values of these.
    """

    name: str
    importance: float
    correlation: float | None
    kind: str
    runs: int
    values: int


@dataclass(frozen=True, slots=True)
class Importance:
    """Which parameters matter for a metric, the most important first.

    Attributes:
        refusal: why there is nothing to say; None: there is.
        runs: runs it rests on, of the `considered` newest of `total` that pass.
        r2: how well the parameters predict runs that were not learned from: 1 all, 0 or less nothing.
        constant: parameters in which the runs do not differ.
        left_out: those that were not weighed: too many categories, or too many parameters.
    """

    metric: str
    stat: str
    refusal: str | None
    runs: int
    considered: int
    total: int
    r2: float | None
    params: list[ParamImportance]
    constant: list[str]
    left_out: list[str]


def ask_importance(client: ServiceClient, params: Sequence[tuple[str, str]]) -> Importance:
    """Ask, after the service has stored what this process recorded.

    Raises:
        ServiceException: the service refuses it, or is away.
    """
    settle(client)
    answer = client.get_json("/api/v1/param-importance", params)
    known = {name: answer[name] for name in Importance.__slots__ if name != "params"}
    weighed = [
        ParamImportance(**{name: param[name] for name in ParamImportance.__slots__})
        for param in answer["params"]
    ]
    return Importance(**known, params=weighed)
