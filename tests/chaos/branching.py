"""A trainer that rewinds its run again and again, by a seed; one record a call: it is known to the call what is there."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .progress import Notes

NAMES = ("loss", "accuracy")


class Call(NamedTuple):
    """A value that is logged, or with no name a rewind."""

    name: str
    step: int


def calls(seed: int) -> Iterator[Call]:
    """What a trainer does: the same in the process that does it and in the one that checks."""
    chance, step = random.Random(seed), 0
    while True:
        for _ in range(chance.randint(1, 400)):
            yield Call(chance.choice(NAMES), step)
            step += chance.random() < 0.7
        if chance.random() < 0.5:
            step = max(-1, step - chance.randint(0, 300))
            yield Call("", step)
            step += 1


@dataclass(slots=True)
class Tree:
    """What a run shows after some calls: (step, value) by metric, of its visible branch (0) and its former ones."""

    rewinds: int = 0
    points: list[list[int | str]] = field(default_factory=list)  # name, step, value, branch

    @classmethod
    def after(cls, seed: int, count: int) -> Tree:
        """After so many calls."""
        tree = cls()
        for number, call in zip(range(count), calls(seed), strict=False):
            if call.name:
                tree.points.append([call.name, call.step, number, 0])
                continue
            tree.rewinds += 1
            for point in tree.points:
                if not point[3] and int(point[1]) > call.step:
                    point[3] = tree.rewinds
        return tree

    def vectors(self) -> dict[tuple[str, int], list[tuple[int, int]]]:
        """By metric and branch, in order of logging."""
        vectors: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for name, step, value, branch in self.points:
            vectors.setdefault((str(name), int(branch)), []).append((int(step), int(value)))
        return vectors


def main() -> None:
    """Arguments: run id, seed, file to note the progress in, stop file."""
    run_id, seed, stop = sys.argv[1], int(sys.argv[2]), Path(sys.argv[4])
    from runstream.core import Experiment, Workspace

    experiment = Experiment(Workspace.get("default"), "chaos")
    run = experiment.start_logging(run_id=run_id, snapshot_directory=None, outputs=False)
    notes = Notes(Path(sys.argv[3]), "branches")
    for number, call in enumerate(calls(seed)):
        if stop.exists():
            break
        notes.note(0, number + 1)
        if call.name:
            run.log(call.name, number, step=call.step)
        else:
            run.rewind(call.step)
        notes.note(1, number + 1)
        time.sleep(0.002)
    run.complete()
    notes.note(2, 1)


if __name__ == "__main__":
    main()
