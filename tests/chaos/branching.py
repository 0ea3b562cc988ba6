"""Trainers that rewind their run and fork it, by a seed: what a run shows after so many of their calls, on each branch.

A value is the number of the call that logged it, from FORK_VALUE on in a fork: it tells when it was logged, at which step.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .progress import FINISHED, FINISHING, Notes

PROGRAM = "branches"
NAMES = ("loss", "int")
FORK = "fork"
FORK_CALLS = 2000
"""Calls of a fork: it rewinds too, also behind where it began."""
MOST_FORKS = 3
"""Of one trainer."""
FORK_VALUE = 1 << 32
"""Where the values of a fork begin."""
TOGETHER = 50
"""Calls between two rests."""
RESTS = (0.05, 0.1, 0.3)
"""Seconds, one of which a trainer gets."""
MOST = 2000
"""Calls between two rewinds of a trainer of a trial, at most."""
NEVER = 1 << 62

Vectors = dict[tuple[str, int], list[tuple[int, int]]]
"""(step, value) by metric and branch, 0 for the visible one, in order of logging."""
Facts = tuple[int, int, int]
"""How many values a metric shows, the first and the last."""


class Call(NamedTuple):
    """A value that is logged; with no name a rewind, with the name FORK another run that begins where this one was."""

    name: str
    step: int


@dataclass(frozen=True, slots=True)
class Script:
    """What a run goes through.

    Attributes:
        seed: of its calls.
        most: calls between two rewinds at most.
        forks: whether it forks.
        origin: of a fork: the other run's script, how many calls it had done, and the step.
    """

    seed: int
    most: int = 400
    forks: bool = False
    origin: tuple[Script, int, int] | None = None

    def calls(self) -> Iterator[Call]:
        """The same in the process that does it and in the one that checks."""
        chance, step = random.Random(self.seed), self.origin[2] + 1 if self.origin else 0
        while True:
            for _ in range(chance.randint(1, self.most)):
                yield Call(chance.choice(NAMES), step)
                step += chance.random() < 0.7
            what = chance.random()
            if what < 0.5:
                step = max(-1, step - chance.randint(0, max(300, self.most)))
                yield Call("", step)
                step += 1
            elif what < 0.75 and self.forks:
                yield Call(FORK, max(0, step - chance.randint(0, self.most)))

    def fork(self, number: int, calls: int, step: int) -> Script:
        """That of the fork with this number."""
        return Script(zlib.crc32(f"{self.seed} {number}".encode()), 400, origin=(self, calls, step))

    def write(self, path: Path) -> None:
        """Where readers find it."""
        path.write_text(json.dumps(self._document()))

    def _document(self) -> list[Any]:
        origin = [self.origin[0]._document(), *self.origin[1:]] if self.origin else None
        return [self.seed, self.most, self.forks, origin]

    @classmethod
    def read(cls, path: Path) -> Script:
        """What was written."""
        return cls._of(json.loads(path.read_text()))

    @classmethod
    def _of(cls, document: list[Any]) -> Script:
        seed, most, forks, origin = document
        return cls(seed, most, forks, (cls._of(origin[0]), origin[1], origin[2]) if origin else None)


@dataclass(slots=True)
class History:
    """What was logged in some calls, and when it left the visible branch.

    Attributes:
        points: name, step, value, number of the call, of each.
        cut: the number of the rewind that cut it off, by point.
        facts: by number of calls, what each of NAMES shows.
    """

    script: Script
    points: list[tuple[int, int, int, int]] = field(default_factory=list)
    cut: dict[int, tuple[int, int]] = field(default_factory=dict)
    facts: list[tuple[Facts, ...]] = field(default_factory=list)
    begins_with: int = 0
    rewinds: int = 0
    _visible: tuple[list[int], ...] = field(default_factory=lambda: tuple([] for _ in NAMES))
    _calls: Iterator[Call] = field(init=False)

    def __post_init__(self) -> None:
        self._calls = self.script.calls()
        if self.script.origin:
            other, calls, step = self.script.origin
            shown = History(other).vectors(calls, former=False)
            for place, name in enumerate(NAMES):
                for at, value in shown.get((name, 0), []):
                    if at <= step:
                        self._add(place, at, value, -1)
        self.begins_with = len(self.points)
        self._note()

    def _add(self, name: int, step: int, value: int, call: int) -> None:
        self._visible[name].append(len(self.points))
        self.points.append((name, step, value, call))

    def _note(self) -> None:
        points = self.points
        self.facts.append(
            tuple(
                (len(shown), points[shown[0]][2], points[shown[-1]][2]) if shown else (0, -1, -1)
                for shown in self._visible
            )
        )

    def reach(self, calls: int) -> None:
        """Go on until so many calls are done."""
        base = FORK_VALUE if self.script.origin else 0
        for call in itertools.islice(self._calls, max(0, calls + 1 - len(self.facts))):
            number = len(self.facts) - 1
            if call.name in NAMES:
                self._add(NAMES.index(call.name), call.step, base + number, number)
            elif not call.name:
                self.rewinds += 1
                for shown in self._visible:
                    # Steps never fall along the visible branch.
                    while shown and self.points[shown[-1]][1] > call.step:
                        self.cut[shown.pop()] = (self.rewinds, number)
            self._note()

    def logged(self, calls: int) -> int:
        """How many values there are on all branches after so many calls."""
        self.reach(calls)
        return sum(1 for point in self.points if point[3] < calls)

    def vectors(self, calls: int, *, former: bool = True) -> Vectors:
        """What the run shows after so many calls, with its former branches or without."""
        self.reach(calls)
        vectors: Vectors = {}
        for at, (name, step, value, call) in enumerate(self.points):
            if call >= calls:
                break
            branch, when = self.cut.get(at, (0, NEVER))
            branch = branch if when < calls else 0
            if former or not branch:
                vectors.setdefault((NAMES[name], branch), []).append((step, value))
        return vectors

    def moments(self, shown: dict[str, Facts], most: int) -> list[int]:
        """After how many calls, at most so many, metrics show just this."""
        self.reach(most)
        places = [(NAMES.index(name), facts) for name, facts in shown.items()]
        return [
            calls
            for calls, facts in enumerate(self.facts[: most + 1])
            if all(facts[place] == of_metric for place, of_metric in places)
        ]


@dataclass(slots=True)
class _Live:
    """A run that is being logged."""

    run: Any
    notes: Notes
    script: Script
    calls: Iterator[Call] = field(init=False)
    done: int = 0

    def __post_init__(self) -> None:
        self.calls = self.script.calls()

    def go_on(self) -> Call:
        """One call more; a fork is the caller's to make."""
        from runstream.exceptions import AzureMLException

        call = next(self.calls)
        self.notes.note(0, self.done + 1)
        if call.name in NAMES:
            value = self.done + (FORK_VALUE if self.script.origin else 0)
            self.run.log(call.name, value, step=call.step)
        elif not call.name:
            # Only a full disk refuses it; what the run shows then is checked no closer than that.
            with contextlib.suppress(AzureMLException):
                self.run.rewind(call.step)
        self.done += 1
        if call.name != FORK:
            self.notes.note(1, self.done)
        if self.run._live().writer._map is not None:
            self.notes.note(3, 1)
        return call

    def end(self) -> None:
        """Complete it."""
        self.notes.note(2, FINISHING)
        self.run.complete()
        self.notes.note(2, FINISHED)


def main() -> None:
    """Arguments: run id, file to note the progress in, stop file, seconds to rest after TOGETHER calls, seed, calls between
    two rewinds at most, 1 if it forks."""
    run_id, home, stop, rest = sys.argv[1], Path(sys.argv[2]).parent, Path(sys.argv[3]), float(sys.argv[4])
    script = Script(int(sys.argv[5]), int(sys.argv[6]), sys.argv[7] == "1")
    from runstream.core import Experiment, Workspace
    from runstream.exceptions import ServiceException

    experiment = Experiment(Workspace.get("default"), "chaos")

    def begin(run_id: str, script: Script, **origin: Any) -> _Live:
        script.write(home / f"{run_id}.script")
        run = experiment.start_logging(run_id=run_id, snapshot_directory=None, outputs=False, **origin)
        return _Live(run, Notes(home / f"{run_id}.progress", PROGRAM), script)

    live = begin(run_id, script)
    forks: list[_Live] = []
    number = 0
    while not stop.exists():
        for _ in range(TOGETHER):
            call = live.go_on()
            if call.name == FORK:
                if number < MOST_FORKS:
                    number += 1
                    following = script.fork(number, live.done - 1, call.step)
                    try:
                        forks.append(begin(f"{run_id}f{number}", following, fork_from=(live.run, call.step)))
                    except ServiceException as error:
                        print(f"{run_id}: fork {number}: {error}", flush=True)
                live.notes.note(1, live.done)
            for fork in list(forks):
                fork.go_on()
                if fork.done == FORK_CALLS:
                    forks.remove(fork)
                    fork.end()
        time.sleep(rest)
    for ending in (*forks, live):
        ending.end()


if __name__ == "__main__":
    main()
