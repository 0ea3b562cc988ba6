"""Which runs a list has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


class AnyValue:
    """Stands for "has the key, whatever its value"."""

    def __repr__(self) -> str:
        return "ANY"


ANY = AnyValue()
KeyFilter = tuple[str, "str | AnyValue | None"]
"""A tag or property to have: (key, value), (key, None) for one without a value, (key, ANY) for any value."""


@dataclass(frozen=True, slots=True)
class MetricFilter:
    """A comparison with a statistic of a metric, e.g. `MetricFilter("loss", "min", "<", 0.1)`; what is not finite does not
    pass."""

    name: str
    stat: str
    operator: str
    value: float


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """A comparison with a tag, property or parameter: as a number, e.g. `LabelFilter("tag", "lr", "<", 0.1)`, as a text, or
    `ANY`: to have it, whatever the operator. A run without it does not pass."""

    kind: str
    key: str
    operator: str
    value: float | str | AnyValue


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list; everything given must hold.

    Attributes:
        parent: run id of the parent; `"none"`: only runs without one.
        ancestor: run id of a run whose descendants, at any depth, are wanted.
        started_from, started_to: `start_time` in [from, to).
        archived: False: neither the run nor its experiment, unless `experiment` names it; True: only those; None: both.
        words: each occurs in the name, id, experiment, description or the value of a tag, in any case.
        longer, shorter: seconds between start and end, or until now for a run that has not ended.
        without: none of these may hold.
    """

    workspace: str | None = None
    experiment: str | None = None
    run_ids: Sequence[str] | None = None
    status: Sequence[str] = ()
    type: str | None = None
    target: str | None = None
    tags: Sequence[KeyFilter] = ()
    properties: Sequence[KeyFilter] = ()
    parent: str | None = None
    ancestor: str | None = None
    started_from: datetime | None = None
    started_to: datetime | None = None
    archived: bool | None = False
    metrics: Sequence[MetricFilter] = ()
    words: Sequence[str] = ()
    labels: Sequence[LabelFilter] = ()
    longer: float | None = None
    shorter: float | None = None
    without: Sequence[RunFilter] = ()
