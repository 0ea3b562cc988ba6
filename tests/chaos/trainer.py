"""A trainer: goes through a program round after round until a stop file appears or it is killed, and notes how far it is."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from .programs import CHILD_CALLS, PROGRAMS, perform
from .progress import FINISHED, FINISHING, Notes


def main() -> None:
    """Arguments: run id, program, file to note the progress in, stop file, seconds to rest after each round."""
    run_id, name, stop, pause = sys.argv[1], sys.argv[2], Path(sys.argv[4]), float(sys.argv[5])
    from runstream.core import Experiment, Workspace

    experiment = Experiment(Workspace.get("default"), "chaos")
    run = experiment.start_logging(run_id=run_id, snapshot_directory=None, outputs=False)
    notes, program = Notes(Path(sys.argv[3]), name), PROGRAMS[name]
    calls = rounds = children = 0
    counts = dict.fromkeys(program.series, 0)

    def child() -> None:
        nonlocal children
        child_run = run.child_run(name="child", run_id=f"{run_id}.{children}")
        children += 1
        for k in range(CHILD_CALLS):
            child_run.log("int", k)
        child_run.complete()

    def following(name: str) -> int | float | str:
        k = counts[name]
        counts[name] = k + 1
        return program.series[name].value(k)

    has_room = False
    while not stop.exists():
        for step in program.steps:
            values = [following(name) for name in step.series]
            calls += 1
            notes.note(0, calls)
            perform(run, step, values, rounds, child)
            notes.note(1, calls)
            if not has_room and run._live().writer._map is not None:
                has_room = True
                notes.note(3, 1)
        rounds += 1
        time.sleep(pause)
    notes.note(2, FINISHING)
    run.complete()
    notes.note(2, FINISHED)


if __name__ == "__main__":
    main()
