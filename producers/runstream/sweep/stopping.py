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
        factor: of how many trials one continues.

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
