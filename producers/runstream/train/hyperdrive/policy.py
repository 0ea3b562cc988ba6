"""Policies that end trials early which do badly beside the others.

A policy counts how often a trial has logged the primary metric. It judges at each multiple of `evaluation_interval`, from
`delay_evaluation` on.

Source: `azureml.train.hyperdrive.policy`.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

from ...sweep.stopping import AverageMedian, Bandit, Intervals, Rule, Truncation
from ._numbers import is_number, is_whole
from .exceptions import HyperDriveConfigException, HyperDriveRehydrateException

__all__ = [
    "BanditPolicy",
    "EarlyTerminationPolicy",
    "MedianStoppingPolicy",
    "NoTerminationPolicy",
    "TruncationSelectionPolicy",
]


class EarlyTerminationPolicy(ABC):
    """Base of the policies.

    Args:
        name: the name of its kind.
        properties: what else describes it.
    """

    POLICY_NAME: ClassVar[str]

    def __init__(self, name: str, properties: Mapping[str, Any] | None = None) -> None:
        self._name, self._properties = name, properties

    def rule(self) -> Rule | None:
        """The policy as `runstream.sweep` takes it. Not in the reproduced API."""
        return None

    def to_json(self) -> dict[str, Any]:
        """The policy as a dictionary."""
        document: dict[str, Any] = {"name": self._name}
        if self._properties is not None:
            document["properties"] = dict(self._properties)
        return document

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EarlyTerminationPolicy) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]


class _Judging(EarlyTerminationPolicy):
    """A policy that judges at intervals."""

    def __init__(self, evaluation_interval: int, delay_evaluation: int, **properties: Any) -> None:
        for name, value, least in (
            ("evaluation_interval", evaluation_interval, 1),
            ("delay_evaluation", delay_evaluation, 0),
        ):
            if not is_whole(value, least):
                raise HyperDriveConfigException(
                    f"{type(self).__name__}: {name} {value!r:.80}: expected a whole number of {least} or more",
                    target=name,
                )
        super().__init__(
            self.POLICY_NAME,
            {
                "evaluation_interval": evaluation_interval,
                "delay_evaluation": delay_evaluation,
                **properties,
            },
        )
        self._evaluation_interval, self._delay_evaluation = evaluation_interval, delay_evaluation

    @property
    def evaluation_interval(self) -> int:
        """Trials are judged at each multiple of so many values of the metric."""
        return self._evaluation_interval

    @property
    def delay_evaluation(self) -> int:
        """No trial is judged before it has logged so many."""
        return self._delay_evaluation

    def _when(self) -> Intervals:
        return Intervals(self._evaluation_interval, self._delay_evaluation)


class BanditPolicy(_Judging):
    """Ends a trial whose best value is worse than the best of all others' by more than a slack.

    Args:
        evaluation_interval: see `runstream.train.hyperdrive.policy`.
        slack_factor: the slack as a share: 0.2 beside a best value of 0.8 that is to be large ends what is below 0.8 / 1.2.
        slack_amount: the slack itself; one of the two is given.
        delay_evaluation: see `runstream.train.hyperdrive.policy`.

    Raises:
        HyperDriveConfigException: none or both of the slacks, one below 0, or intervals that are no whole numbers.
    """

    POLICY_NAME = "Bandit"

    def __init__(
        self,
        evaluation_interval: int = 1,
        slack_factor: float | None = None,
        slack_amount: float | None = None,
        delay_evaluation: int = 0,
    ) -> None:
        if (slack_factor is None and slack_amount is None) or (slack_factor and slack_amount):
            raise HyperDriveConfigException(
                f"BanditPolicy: slack_factor {slack_factor!r:.40}, slack_amount {slack_amount!r:.40}: expected one of them",
                target="slack_factor, slack_amount",
            )
        # As in the original a factor of 0 gives way to an amount.
        name, slack = ("slack_factor", slack_factor) if slack_factor else ("slack_amount", slack_amount)
        if slack is None:
            name, slack = "slack_factor", slack_factor
        if slack is None or not is_number(slack) or slack < 0:
            raise HyperDriveConfigException(
                f"BanditPolicy: {name} {slack!r:.80}: expected a number of 0 or more", target=name
            )
        super().__init__(evaluation_interval, delay_evaluation, **{name: slack})
        self._slack_factor = slack_factor
        self._slack = {name: slack}

    @property
    def slack_factor(self) -> float | None:
        """The slack as a share of the best value."""
        return self._slack_factor

    def rule(self) -> Rule:
        """See `EarlyTerminationPolicy.rule`."""
        return Bandit(self._slack.get("slack_factor"), self._slack.get("slack_amount"), self._when())


class MedianStoppingPolicy(_Judging):
    """Ends a trial whose best value is worse than the median of all trials' averages up to the same interval.

    Args:
        evaluation_interval, delay_evaluation: see `runstream.train.hyperdrive.policy`.

    Raises:
        HyperDriveConfigException: intervals that are no whole numbers.
    """

    POLICY_NAME = "MedianStopping"

    def __init__(self, evaluation_interval: int = 1, delay_evaluation: int = 0) -> None:
        super().__init__(evaluation_interval, delay_evaluation)

    def rule(self) -> Rule:
        """See `EarlyTerminationPolicy.rule`."""
        return AverageMedian(self._when())


class TruncationSelectionPolicy(_Judging):
    """Ends the worst so many percent of the trials that have come as far; those that have ended count too.

    Args:
        truncation_percentage: from 1 to 99.
        evaluation_interval, delay_evaluation: see `runstream.train.hyperdrive.policy`.

    Raises:
        HyperDriveConfigException: another percentage, or intervals that are no whole numbers.
    """

    POLICY_NAME = "TruncationSelection"

    def __init__(
        self, truncation_percentage: int, evaluation_interval: int = 1, delay_evaluation: int = 0
    ) -> None:
        if not is_whole(truncation_percentage, 1, 99):
            raise HyperDriveConfigException(
                f"TruncationSelectionPolicy: truncation_percentage {truncation_percentage!r:.80}: expected a whole number "
                "from 1 to 99",
                target="truncation_percentage",
            )
        super().__init__(
            evaluation_interval,
            delay_evaluation,
            truncation_percentage=truncation_percentage,
            exclude_finished_jobs=False,
        )
        self._truncation_percentage = truncation_percentage

    @property
    def truncation_percentage(self) -> int:
        """How many of a hundred trials are ended."""
        return self._truncation_percentage

    def rule(self) -> Rule:
        """See `EarlyTerminationPolicy.rule`."""
        return Truncation(self._truncation_percentage, self._when())


class NoTerminationPolicy(EarlyTerminationPolicy):
    """Every trial runs to its end."""

    POLICY_NAME = "Default"

    def __init__(self) -> None:
        super().__init__(self.POLICY_NAME)


_POLICIES: tuple[type[EarlyTerminationPolicy], ...] = (
    BanditPolicy,
    MedianStoppingPolicy,
    TruncationSelectionPolicy,
    NoTerminationPolicy,
)


def policy_of(document: Mapping[str, Any]) -> EarlyTerminationPolicy:
    """The policy of a stored dictionary.

    Raises:
        HyperDriveRehydrateException: it is of no kind known here.
    """
    properties = dict(document.get("properties") or {})
    properties.pop("exclude_finished_jobs", None)
    for kind in _POLICIES:
        if str(document.get("name")).lower() == kind.POLICY_NAME.lower():
            return kind(**properties)
    raise HyperDriveRehydrateException(
        f"policy {document.get('name')!r:.80}: expected {', '.join(kind.POLICY_NAME for kind in _POLICIES)}"
    )
