"""Rules that stop a trial early: it does worse than the others did when they were as far.

A curve is a trial's values of the metric in the order they were logged: (step, value) pairs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Curve = Sequence[tuple[int, float]]


class Rule(Protocol):
    """Says of each new point whether its trial is to stop."""

    def stops(self, curve: Curve, others: Iterable[Curve], minimize: bool) -> str | None:
        """Why a trial is to stop after the last point of its curve; None: it continues.

        Args:
            curve: the trial's, up to the point asked about.
            others: those of all other trials.
            minimize: small values are good.
        """


@dataclass(frozen=True, slots=True)
class Median:
    """Stop a trial whose best value is worse than the median of the others' best values up to the same step.

    Attributes:
        warmup: no trial is stopped before this step.
        trials: nor before so many others were that far.

    Source: the median stopping rule of Google Vizier (Golovin and others, 2017).
    """

    warmup: int = 0
    trials: int = 5

    def stops(self, curve: Curve, others: Iterable[Curve], minimize: bool) -> str | None:
        """See `Rule`."""
        step = curve[-1][0]
        if step < self.warmup:
            return None
        peers = [
            best
            for other in others
            if other and other[-1][0] >= step and (best := _best(other, step, minimize)) is not None
        ]
        own = _best(curve, step, minimize)
        if len(peers) < self.trials or own is None:
            return None
        middle = statistics.median(peers)
        if own > middle if minimize else own < middle:
            return f"at step {step} its best, {own:g}, is worse than the median of {len(peers)} others, {middle:g}"
        return None


@dataclass(frozen=True, slots=True)
class Halving:
    """Successive halving without waiting (ASHA): at the steps `first`, `first * factor`, `first * factor**2` ... only the
    best of every `factor` trials continue.

    Attributes:
        first: the first of these steps.
        factor: how many trials there are for each that continues.

    Source: Li and others, "A System for Massively Parallel Hyperparameter Tuning", 2020.
    """

    first: int = 1
    factor: int = 3

    def stops(self, curve: Curve, others: Iterable[Curve], minimize: bool) -> str | None:
        """See `Rule`."""
        step, before = curve[-1][0], curve[-2][0] if len(curve) > 1 else -1
        rung = self.first
        while rung * self.factor <= step:
            rung *= self.factor
        if not before < rung <= step:
            return None  # it was judged there
        own = _best(curve, step, minimize)
        peers = [
            best
            for other in others
            if other and other[-1][0] >= rung and (best := _best(other, rung, minimize)) is not None
        ]
        places = (len(peers) + 1) // self.factor
        if own is None or places < 1:
            return None
        better = sum(peer < own if minimize else peer > own for peer in peers)
        if better >= places:
            return f"at step {rung} {better} of {len(peers)} others were better, and {places} continue"
        return None


def _best(curve: Curve, step: int, minimize: bool) -> float | None:
    """Best value up to a step."""
    values = [value for at, value in curve if at <= step and value == value]
    if not values:
        return None
    return min(values) if minimize else max(values)


@dataclass(frozen=True, slots=True)
class Intervals:
    """When the rules of HyperDrive judge a trial: they count its values of the metric, whatever their steps.

    Attributes:
        interval: a trial is judged after each multiple of so many values.
        delay: never before it has logged so many.
    """

    interval: int = 1
    delay: int = 0

    def due(self, curve: Curve) -> bool:
        """Whether a trial is judged after the last value of its curve."""
        return len(curve) >= self.delay and len(curve) % self.interval == 0


@dataclass(frozen=True, slots=True)
class Bandit:
    """Stop a trial whose best value is worse than the best of all the others' by more than some slack.

    Only as many values of each trial count as the judged one has logged.

    Attributes:
        slack_factor: the slack as a share: beside a best value of 0.8 a factor of 0.2 lets 0.8 / 1.2 pass where large values
            are good, and 0.8 * 1.2 where small ones are.
        slack_amount: the slack itself. One of the two is given.
        when: when trials are judged.
    """

    slack_factor: float | None = None
    slack_amount: float | None = None
    when: Intervals = Intervals()

    def stops(self, curve: Curve, others: Iterable[Curve], minimize: bool) -> str | None:
        """See `Rule`."""
        own = _best_of_first(curve, len(curve), minimize)
        if not self.when.due(curve) or own is None:
            return None
        peers = [
            value for other in others if (value := _best_of_first(other, len(curve), minimize)) is not None
        ]
        if not peers:
            return None
        best = min(peers) if minimize else max(peers)
        if self.slack_amount is not None:
            behind = own - best if minimize else best - own
            worse = behind > self.slack_amount
        elif minimize:
            worse = own > best + abs(best) * (self.slack_factor or 0.0)
        else:
            worse = own + abs(own) * (self.slack_factor or 0.0) < best
        if worse:
            slack = f"{self.slack_factor:g} of it" if self.slack_amount is None else f"{self.slack_amount:g}"
            return f"after {len(curve)} values its best, {own:g}, is worse than the best, {best:g}, by more than {slack}"
        return None


@dataclass(frozen=True, slots=True)
class AverageMedian:
    """Stop a trial whose best value is worse than the median of all trials' averages, its own among them.

    Only as many values of each trial count as the judged one has logged, and only trials that have logged as many.

    Attributes:
        when: when trials are judged.
    """

    when: Intervals = Intervals()

    def stops(self, curve: Curve, others: Iterable[Curve], minimize: bool) -> str | None:
        """See `Rule`."""
        count = len(curve)
        own = _best_of_first(curve, count, minimize)
        if not self.when.due(curve) or own is None:
            return None
        averages = [
            statistics.fmean(values)
            for other in (curve, *others)
            if len(other) >= count and (values := [value for _, value in other[:count] if value == value])
        ]
        middle = statistics.median(averages)
        if own > middle if minimize else own < middle:
            return (
                f"after {count} values its best, {own:g}, is worse than the median of {len(averages)} averages, "
                f"{middle:g}"
            )
        return None


@dataclass(frozen=True, slots=True)
class Truncation:
    """Stop a trial that is among the worst so many percent of all.

    Only as many values of each trial count as the judged one has logged, and only trials that have logged as many.

    Attributes:
        percentage: how many of a hundred are stopped, rounded down.
        when: when trials are judged.
    """

    percentage: int
    when: Intervals = Intervals()

    def stops(self, curve: Curve, others: Iterable[Curve], minimize: bool) -> str | None:
        """See `Rule`."""
        count = len(curve)
        own = _best_of_first(curve, count, minimize)
        if not self.when.due(curve) or own is None:
            return None
        peers = [
            value
            for other in others
            if len(other) >= count and (value := _best_of_first(other, count, minimize)) is not None
        ]
        most = (len(peers) + 1) * self.percentage // 100
        behind = sum(value >= own if minimize else value <= own for value in peers)
        if behind < most:
            return f"after {count} values its best, {own:g}, is among the worst {most} of {len(peers) + 1}"
        return None


RULES = (Median, Halving, Bandit, AverageMedian, Truncation)


def _best_of_first(curve: Curve, count: int, minimize: bool) -> float | None:
    """Best of a curve's first values."""
    values = [value for _, value in curve[:count] if value == value]
    if not values:
        return None
    return min(values) if minimize else max(values)
