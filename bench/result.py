"""One measured figure, and how it is taken: warm-up, repeats, median and spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """A figure.

    Attributes:
        samples: one value a repeat; the median is quoted.
        must, aim: what is asked for, in the same unit; None: nothing.
        higher_is_better: how to compare with `must`.
    """

    name: str
    samples: Sequence[float]
    unit: str
    must: float | None = None
    aim: float | None = None
    higher_is_better: bool = False

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.samples)

    @property
    def reached(self) -> bool | None:
        """Whether `must` is reached; None when nothing is asked for."""
        if self.must is None:
            return None
        return self.median >= self.must if self.higher_is_better else self.median <= self.must


def repeat(measure: Callable[[], float], repeats: int = 5, warmup: int = 1) -> list[float]:
    """Values of `measure()`, after calls that are not counted."""
    for _ in range(warmup):
        measure()
    return [measure() for _ in range(repeats)]


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    lines = ["| what | median | spread | must | aim | |", "|---|---:|---|---:|---:|---|"]
    for result in results:
        spread = (
            f"{min(result.samples):.3g} to {max(result.samples):.3g}" if len(result.samples) > 1 else "1 run"
        )
        must = "" if result.must is None else f"{result.must:g}"
        aim = "" if result.aim is None else f"{result.aim:g}"
        verdict = {None: "", True: "yes", False: "**no**"}[result.reached]
        lines.append(
            f"| {result.name} | {result.median:.3g} {result.unit} | {spread} | {must} | {aim} | {verdict} |"
        )
    return "\n".join(lines)
