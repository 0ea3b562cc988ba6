"""What trainers log, as programs: after so many calls everybody knows which values which series has, so readers can check.

A program is a round of calls that is repeated. The k-th value of a series follows from k, and k from the value.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

CHILD_CALLS = 20
"""Calls of a child of a run."""
TAG_ROUNDS = 5
"""A tag changes every so many rounds."""
CHILD_ROUNDS = 20
"""A child is made every so many rounds."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series whose values can be told.

    Attributes:
        kind: int, float or text.
        offset: of the number in its values, so that two series cannot be taken for each other.
        size: most characters of a text.
    """

    kind: str
    offset: int = 0
    size: int = 16

    def value(self, k: int) -> int | float | str:
        """The k-th."""
        number = k + self.offset
        if self.kind == "int":
            return number
        if self.kind == "float":
            return number / 2
        return f"{number} {'äß☃ ' * (self.size * (number % 7) // 28)}"

    def index(self, value: Any) -> int:
        """Which of its values this is; -1 if it is none."""
        number = value
        if self.kind == "float":
            number = 2 * value
        elif self.kind == "text":
            number = int(str(value).partition(" ")[0])
        k = int(number) - self.offset
        return k if k >= 0 and self.value(k) == value else -1


@dataclass(frozen=True, slots=True)
class Step:
    """One call: `log` of a series, `metrics` of many, a `row` (series `table.column`), a `text`, a `tag`, a `child`."""

    do: str
    series: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A round of calls that is repeated.

    Attributes:
        rests: seconds between rounds, one of which a trainer gets.
    """

    steps: Sequence[Step]
    series: Mapping[str, Series]
    rests: Sequence[float] = (0.01, 0.05, 0.2)
    _per_round: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        counts = Counter(itertools.chain.from_iterable(step.series for step in self.steps))
        object.__setattr__(self, "_per_round", counts)

    def counts(self, calls: int) -> dict[str, int]:
        """How many values each series has after so many calls."""
        rounds, rest = divmod(calls, len(self.steps))
        more = Counter(itertools.chain.from_iterable(step.series for step in self.steps[:rest]))
        return {name: rounds * n + more[name] for name, n in self._per_round.items()}

    def points(self, calls: int) -> int:
        """How many values there are after so many calls."""
        return sum(self.counts(calls).values())

    def tags(self, calls: int) -> dict[str, str]:
        """The run's tags after so many calls."""
        tags: dict[str, str] = {}
        for at, step in enumerate(self.steps):
            rounds = (calls - at - 1) // len(self.steps) + 1  # in how many rounds this step was done
            if step.do == "tag" and rounds > 0:
                last = (rounds - 1) // TAG_ROUNDS * TAG_ROUNDS
                tags["latest"] = str(last)
                if last // TAG_ROUNDS % 2:
                    tags["odd"] = str(last)
        return tags

    def tag_calls(self, calls: int) -> int:
        """At most so many tags were set or removed."""
        return 2 * (calls // len(self.steps) // TAG_ROUNDS + 1)

    def children(self, calls: int) -> int:
        """How many children there are after so many calls."""
        made = 0
        for at, step in enumerate(self.steps):
            rounds = (calls - at - 1) // len(self.steps) + 1
            made += rounds > 0 and step.do == "child" and (rounds - 1) // CHILD_ROUNDS + 1
        return made

    def impossible(
        self, vectors: Mapping[str, Sequence[Any]], calls: int, *, gaps: bool, whole: bool = True
    ) -> str:
        """What cannot be in what was read; empty if all is well.

        Args:
            vectors: values by series; a table's columns as `table.column`.
            calls: at most so many had begun when it was read.
            gaps: values may be missing; not doubled, and not out of order.
            whole: every series was asked for, in one answer.
        """
        most = self.counts(calls)
        for name, values in vectors.items():
            series = self.series.get(name)
            if series is None:
                return f"{name} was never logged"
            if len(values) > most[name]:
                return f"{name}: {len(values)} values are there, {most[name]} at most were logged"
            if not gaps and list(values) != [series.value(k) for k in range(len(values))]:
                return f"{name}: {self._odd(series, values)}"
            places = [series.index(value) for value in values] if gaps else []
            if places and (places[0] < 0 or any(a >= b for a, b in itertools.pairwise(places))):
                return f"{name}: doubled, out of order or foreign: {self._odd(series, values)}"
            if places and places[-1] >= most[name]:
                return f"{name}: value {places[-1]} is there, {most[name]} at most were logged"
        counts = {name: len(values) for name, values in vectors.items()}
        return self.torn(counts) if whole and not gaps else ""

    def torn(self, counts: Mapping[str, int], but: str = "") -> str:
        """Why these can't be the counts of one prefix of what was logged; empty if they can. Tables, and a series that
        was not asked for, are left out."""
        least, least_name, most, most_name = -1, "", 1 << 62, ""
        for name, places in self._places.items():
            if name == but:
                continue
            count = counts.get(name, 0)
            following = count // len(places) * self._size + places[count % len(places)]
            if following < most:
                most, most_name = following, name
            if count:
                last = (count - 1) // len(places) * self._size + places[(count - 1) % len(places)]
                if last > least:
                    least, least_name = last, name
        if least < most:
            return ""
        return f"{counts[least_name]} values of {least_name}, but {counts.get(most_name, 0)} of {most_name}"

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        """Of each series that is no table's: where in a round's points its values come."""
        places: dict[str, list[int]] = {}
        points = itertools.chain.from_iterable(step.series for step in self.steps)
        for at, name in enumerate(points):
            if "." not in name:
                places.setdefault(name, []).append(at)
        return places

    @cached_property
    def _size(self) -> int:
        return sum(self._per_round.values())

    @staticmethod
    def _odd(series: Series, values: Sequence[Any]) -> str:
        i = next((i for i, value in enumerate(values) if series.value(i) != value), len(values))
        around = [series.index(value) for value in values[max(0, i - 3) : i + 5]]
        return f"the values at {i} of {len(values)} are number ... {around}"


def perform(run: Any, step: Step, values: Sequence[Any], round_: int, child: Callable[[], None]) -> None:
    """Do one call.

    Args:
        values: of the step's series.
        child: makes a child and completes it.
    """
    if step.do in ("log", "text"):
        run.log(step.series[0], values[0])
    elif step.do == "metrics":
        run.log_metrics(dict(zip(step.series, values, strict=True)))
    elif step.do == "row":
        table = step.series[0].partition(".")[0]
        columns = [name.partition(".")[2] for name in step.series]
        run.log_row(table, **dict(zip(columns, values, strict=True)))
    elif step.do == "child" and round_ % CHILD_ROUNDS == 0:
        child()
    elif step.do == "tag" and round_ % TAG_ROUNDS == 0:
        run.tag("latest", str(round_))
        if round_ // TAG_ROUNDS % 2:
            run.tag("odd", str(round_))
        else:
            run.remove_tags(["odd"])


_HUNDRED = [Step("log", ("float",)), Step("log", ("int",))] * 100
_WIDE = tuple(f"w{j:04}" for j in range(1998))
_ROW = Step("row", ("rows.i", "rows.text"))
_PLAIN = {
    "int": Series("int"),
    "float": Series("float"),
    "a": Series("float", 7),
    "b": Series("int", 11),
    "rows.i": Series("int", 13),
    "rows.text": Series("text", 17),
}
PROGRAMS = {
    "plain": Program([*_HUNDRED, Step("metrics", ("a", "b")), _ROW, Step("tag")], _PLAIN),
    "wide": Program(
        [Step("log", ("int",)), Step("metrics", ("float", *_WIDE)), Step("tag")],
        {
            "int": Series("int"), "float": Series("float"),
            **{name: Series("float", 100 * j) for j, name in enumerate(_WIDE)},
        },
        rests=(0.05, 0.3),
    ),
    "long": Program(
        [
            *_HUNDRED[:20], Step("text", ("text",)), *_HUNDRED[:20],
            Step("row", ("rows.i", "rows.text", "rows.more")), Step("tag"),
        ],
        {
            "int": Series("int"), "float": Series("float"), "text": Series("text", 3, 200_000),
            "rows.i": Series("int", 13), "rows.text": Series("text", 17, 100_000), "rows.more": Series("text", 19, 50_000),
        },
        rests=(0.1, 0.3),
    ),
    "family": Program([*_HUNDRED, Step("child"), _ROW, Step("tag")], _PLAIN, rests=(0.05, 0.1)),
    "child": Program([Step("log", ("int",))], {"int": Series("int")}),
}  # fmt: skip
"""What trainers do: much of a little; 2,000 series; long texts and large rows; children."""
