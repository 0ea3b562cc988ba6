"""One measured figure, and how it is taken: warm-up, repeats, median and spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Result:
    """A figure.

    Attributes:
        samples: one value a repeat; the median is quoted.
        must, aim: what is asked for, in the same unit; None: nothing.
        higher_is_better: how to compare with `must`.
        of: the column, in a table that compares systems; empty: a table of one system.
        note: said below such a table: why a cell is empty, or what was scaled.
    """

    name: str
    samples: Sequence[float]
    unit: str
    must: float | None = None
    aim: float | None = None
    higher_is_better: bool = False
    of: str = ""
    note: str = ""

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


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a section, with sentences to write below them, and plots: file name to the SVG text."""

    results: Sequence[Result]
    notes: Sequence[str] = ()
    plots: dict[str, str] = field(default_factory=dict)


def repeat(measure: Callable[[], float], repeats: int = 5, warmup: int = 1) -> list[float]:
    """Values of `measure()`, after calls that are not counted."""
    for _ in range(warmup):
        measure()
    return [measure() for _ in range(repeats)]


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    if any(result.of for result in results):
        return comparison(results)
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


def comparison(results: Sequence[Result]) -> str:
    """Results of several systems as a Markdown table: one row a name, one column a system, notes below."""
    columns = list(dict.fromkeys(result.of for result in results))
    units = {result.name: result.unit for result in results}
    cells = {(result.name, result.of): result for result in results}
    notes: dict[str, int] = {}
    lines = [f"| what | unit | {' | '.join(columns)} |", f"|---|---|{'---:|' * len(columns)}"]
    for name, unit in units.items():
        row = []
        for column in columns:
            result = cells.get((name, column))
            if result is None:
                row.append("—")
                continue
            text = _cell(result.samples)
            if result.note:
                text += f" <sup>{notes.setdefault(result.note, len(notes) + 1)}</sup>"
            row.append(text)
        lines.append(f"| {name} | {unit} | {' | '.join(row)} |")
    if notes:
        lines += ["", "; ".join(f"{number}: {note}" for note, number in notes.items()) + "."]
    return "\n".join(lines)


def _cell(samples: Sequence[float]) -> str:
    if not samples:
        return "—"
    middle = _short(statistics.median(samples))
    return middle if len(samples) == 1 else f"{middle} ({_short(min(samples))} to {_short(max(samples))})"


def _short(value: float) -> str:
    """Three significant digits, without an exponent."""
    text = f"{value:.3g}"
    return f"{value:,.0f}" if "e" in text and abs(value) >= 1 else text
