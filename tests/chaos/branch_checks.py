"""What must be true of a run that is rewound and forked: what it shows is what it had after some number of its calls.

Where values may be missing (a topic was deleted, a disk was full), each that is there was logged, at its step, and is once.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .api import ask
from .branching import NAMES, NEVER, Facts, History, Script, Vectors
from .ways import AnyLook, Wrong, listed

FORMER = 10
"""The class of the series of former branches, in HTTP."""


class Seen(NamedTuple):
    """How far the run was when it was read, in calls: at least and at most."""

    least: int
    most: int


@dataclass(slots=True)
class Branching:
    """A run that goes through a script, where others have a program."""

    script: Script
    history: History = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.history = History(self.script)

    # --- what checks ask of every program ---

    def points(self, calls: int) -> int:
        """How many values there are, on all branches, after so many calls."""
        return self.history.logged(calls)

    def bounds(self, least: int, most: int, *, exact: bool) -> tuple[int, int]:
        """How many values there are at least and at most.

        Args:
            least, most: calls.
            exact: no value may be missing. Else the run that a fork began with may have shown less, or more, for a rewind
                that found no room.
        """
        if exact or self.script.origin is None:
            return self.points(least), self.points(most)
        begins_with = self.history.begins_with
        other, calls, _ = self.script.origin
        whole = History(other).logged(calls)
        return max(0, self.points(least) - begins_with), self.points(most) - begins_with + whole

    def tags(self, calls: int) -> dict[str, str]:
        """It sets none."""
        return {}

    def tag_calls(self, calls: int) -> int:
        """It sets none."""
        return 0

    def children(self, calls: int) -> int:
        """It has none: a fork is a run of its own."""
        return 0

    # --- moments ---

    def moments(self, shown: Mapping[str, Facts], most: int) -> list[int]:
        """After how many calls, at most so many, metrics show just this.

        Raises:
            Wrong: they never did.
        """
        with self._lock:
            moments = self.history.moments(dict(shown), most)
        if not any(count for count, _, _ in shown.values()):
            # Also before its first record is stored, or when it is deleted; not only after a rewind of everything.
            return sorted({0, *moments})
        if moments:
            return moments
        if self._begins(shown):
            return [0]
        raise Wrong(f"after none of {most} calls {dict(shown)} was shown (how many, first, last)")

    def _begins(self, shown: Mapping[str, Facts]) -> bool:
        """Whether it may be a part of what a fork begins with, which is written series by series."""
        whole = self.history.facts[0]
        return all(
            facts[0] == 0
            or (facts[1] == whole[NAMES.index(name)][1] and facts[2] <= whole[NAMES.index(name)][2])
            for name, facts in shown.items()
        )

    def check(self, vectors: Vectors, most: int, *, gaps: bool, names: Sequence[str] = NAMES) -> Seen:
        """Steps and values of metrics, of one answer, with former branches if there are keys of any.

        Args:
            names: those that were asked for.

        Raises:
            Wrong: what cannot be.
        """
        if gaps:
            return self._check_loosely(vectors, most)
        shown = {name: _facts([value for _, value in vectors.get((name, 0), [])]) for name in names}
        moments = self.moments(shown, most)
        former = any(branch for _, branch in vectors)
        fitting = []
        for calls in moments:
            with self._lock:
                expected = self.history.vectors(calls, former=former)
            expected = {key: points for key, points in expected.items() if key[0] in names}
            if vectors == expected or (calls == 0 and self._is_part(vectors, expected)):
                fitting.append(calls)
        if not fitting:
            raise Wrong(f"after {moments} calls: {difference(vectors, expected)}")
        return Seen(fitting[0], fitting[-1])

    @staticmethod
    def _is_part(vectors: Vectors, whole: Vectors) -> bool:
        return all(points == whole.get(key, [])[: len(points)] for key, points in vectors.items())

    def possible(self, most: int) -> Iterator[tuple[int, int, int]]:
        """Name, step and value of all that may be there; the run that a fork began with may not have been rewound, for want
        of room."""
        self.history.reach(most)
        yield from (point[:3] for point in self.history.points if point[3] < most)
        if self.script.origin:
            other, calls, last = self.script.origin
            begins = History(other)
            begins.reach(calls)
            yield from (point[:3] for point in begins.points if point[3] < calls and point[1] <= last)

    def _check_loosely(self, vectors: Vectors, most: int) -> Seen:
        with self._lock:
            logged = {(NAMES[name], step, value) for name, step, value in self.possible(most)}
        seen = set()
        for (name, branch), points in vectors.items():
            if any(a >= b for (_, a), (_, b) in itertools.pairwise(points)):
                raise Wrong(f"branch {branch} of {name} is out of order")
            for step, value in points:
                if (name, step, value) not in logged:
                    raise Wrong(f"value {value} of {name} at step {step} was never logged")
                if value in seen:
                    raise Wrong(f"value {value} of {name} is there twice")
                seen.add(value)
        return Seen(min(len(seen), 1), NEVER)


def _facts(values: Sequence[int]) -> Facts:
    return (len(values), int(values[0]), int(values[-1])) if values else (0, -1, -1)


def difference(shown: Vectors, expected: Vectors) -> str:
    """How many values of each metric and branch there are, where they differ, and should be."""
    keys = sorted(shown.keys() | expected.keys())
    wrong = [key for key in keys if shown.get(key) != expected.get(key)]
    counts = {key: (len(shown.get(key, ())), len(expected.get(key, ()))) for key in wrong}
    return f"(metric, branch): (shown, logged) {counts}"


# --- ways to read one, as those of `ways` ---


@dataclass(frozen=True)
class BranchLook(AnyLook):
    """Such a run that is looked at."""

    program: Branching


def metrics(look: BranchLook) -> Seen:
    """`Run.get_metrics`: the visible branch, without steps."""
    from runstream.core import Workspace

    run = Workspace.get("default").get_run(look.run_id)
    shown = {name: listed(values) for name, values in run.get_metrics().items()}
    return check_values(
        look.program, {(name, 0): values for name, values in shown.items()}, look.most(), look.gaps
    )


def check_values(
    program: Branching, values: Mapping[tuple[str, int], Sequence[int]], most: int, gaps: bool
) -> Seen:
    """As `Branching.check`, of values alone."""
    with program._lock:
        steps = {value: step for _, step, value in program.possible(most)}
    vectors: Vectors = {
        key: [(steps.get(value, -1), value) for value in shown] for key, shown in values.items() if shown
    }
    return program.check(vectors, most, gaps=gaps)


def former(look: BranchLook) -> Seen:
    """Every branch in one answer of HTTP."""
    return look.program.check(read_branches(look.home, look.run_id), look.most(), gaps=look.gaps)


def read_branches(home: Path, run_id: str) -> Vectors:
    """All that a run has, visible and former."""
    import msgpack
    import numpy as np

    parameters = {"run": run_id, "cls": [0, FORMER]}
    content = ask(home, "/api/v1/metrics", parameters, accept="application/x-msgpack")
    vectors: Vectors = {}
    for run in msgpack.unpackb(content, strict_map_key=False)["runs"]:
        for series in run["series"]:
            steps, values = (
                np.frombuffer(series[name], dtype="<i8").tolist() for name in ("steps", "values")
            )
            vectors[series["name"], int(series["column"] or 0)] = list(zip(steps, values, strict=True))
    return vectors


def sql(look: BranchLook) -> Seen:
    """Every branch in one statement: how many, and the ends."""
    query = " union all ".join(
        f"select name, {branch}, count(*), count(distinct int_value), min(int_value), max(int_value) "
        f"from {view} where run_id = '{look.run_id}' group by all"
        for view, branch in (("metrics", "0"), ("former_metrics", "branch::int"))
    )
    answer = json.loads(ask(look.home, "/api/v1/sql", method="POST", body={"query": query}))
    shown: dict[tuple[str, int], Facts] = {}
    for name, branch, count, distinct, low, high in answer["rows"]:
        if count != distinct:
            raise Wrong(f"SQL: {count} values of {name} on branch {branch}, {distinct} of them distinct")
        shown[name, branch] = (count, low, high)
    program, most = look.program, look.most()
    if look.gaps:
        return Seen(min(len(shown), 1), NEVER)
    moments = program.moments({name: shown.get((name, 0), (0, -1, -1)) for name in NAMES}, most)
    fitting = []
    for calls in moments:
        with program._lock:
            vectors = program.history.vectors(calls)
        expected = {key: _facts([value for _, value in points]) for key, points in vectors.items()}
        if shown == expected or (calls == 0 and not any(branch for _, branch in shown)):
            fitting.append(calls)
    if not fitting:
        raise Wrong(f"SQL: after {moments} calls {shown}, not {expected} (how many, first, last)")
    return Seen(fitting[0], fitting[-1])


def charts(look: BranchLook) -> Seen:
    """The pages' charts, by step: buckets of the visible branch without holes between them."""
    names = list(NAMES)
    parameters = {"run": look.run_id, "name": names, "width": look.chance.choice([50, 800, 5000])}
    answer = json.loads(ask(look.home, "/api/v1/charts", parameters))
    program, most = look.program, look.most()
    least, latest = 0, NEVER
    for chart in answer["charts"]:
        name = chart["name"]
        for line in chart["lines"]:
            ends = list(zip(line["low"], line["high"], strict=True))
            rising = look.gaps or all(before[1] < after[0] for before, after in itertools.pairwise(ends))
            # With a rewind that found no room, or was lost, steps are gone through twice.
            if any(low > high for low, high in ends) or not rising:
                raise Wrong(f"chart of {name}: buckets overlap: {ends[:9]}")
            if look.gaps or not ends:
                continue
            moments = program.moments({name: (line["total"], int(ends[0][0]), int(ends[-1][1]))}, most)
            with program._lock:
                points = program.history.vectors(moments[0], former=False).get((name, 0), [])
            place = {value: at for at, (_, value) in enumerate(points)}
            if moments != [0]:
                following = [0, *(place.get(int(high), -2) + 1 for _, high in ends)]
                lows = [place.get(int(low), -1) for low, _ in ends]
                if lows != following[:-1] or following[-1] != line["total"]:
                    raise Wrong(
                        f"chart of {name}: {line['total']} values, after {moments[0]} calls, {ends[:9]}"
                    )
            # Each chart is of a moment of its own.
            least, latest = max(least, moments[0]), min(latest, max(moments[-1], least))
    return Seen(least, NEVER if look.gaps else max(least, latest))


def export(look: BranchLook) -> Seen:
    """A file of points, as CSV or Parquet: the visible branch."""
    vectors: Vectors = {}
    for row in look.exported(list(NAMES)):
        value = row["value"] if row.get("int_value") is None else row["int_value"]
        vectors.setdefault((row["name"], 0), []).append((row["step"], int(value)))
    return look.program.check(vectors, look.most(), gaps=look.gaps)


WAYS: dict[str, Callable[[BranchLook], Seen]] = {
    "metrics": metrics,
    "former": former,
    "sql": sql,
    "charts": charts,
    "export": export,
}


def check_branches(run: Any, look: BranchLook, least: int, most: int, *, part: bool) -> dict[str, list[Any]]:
    """A settled run by every way, after so many calls.

    Args:
        part: its trainer was killed, or could not go on, while it wrote what the fork begins with.

    Returns:
        Every series as a list, those of former branches as `name.branch`.

    Raises:
        AssertionError: something is lost, doubled, out of order, on another branch, or other than it was logged.
    """
    vectors = read_branches(look.home, look.run_id)
    try:
        seen = look.program.check(vectors, most, gaps=part or look.gaps)
        assert part or seen.most >= least, (
            f"it shows what it had after {seen.most} calls, {least} had returned"
        )
        for name, way in WAYS.items():
            if not part:
                by_way = way(look)
                assert by_way.most >= least, (
                    f"{name} shows what it had after {by_way.most} calls, not {least}"
                )
    except Wrong as wrong:
        raise AssertionError(f"{look.run_id}: {wrong}") from None
    former = {
        (name, branch): listed(values)
        for branch, metrics in run.get_former_metrics().items()
        for name, values in metrics.items()
    }
    values = {key: [value for _, value in points] for key, points in vectors.items()}
    assert former == {key: shown for key, shown in values.items() if key[1]}, (
        f"{look.run_id}: get_former_metrics differs"
    )
    return {f"{name}.{branch}" if branch else name: shown for (name, branch), shown in values.items()}
