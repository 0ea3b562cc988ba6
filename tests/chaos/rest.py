"""When everything has come to rest: what the trainers noted, held against what readers, the database and the files show."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .branch_checks import Branching
from .branching import PROGRAM, Script
from .checks import Expected, check_deleted, check_files, check_run, check_stored, is_settled, wait_for_rest
from .programs import CHILD_CALLS, PROGRAMS
from .progress import read_progress

if TYPE_CHECKING:
    from .trial import Trial

PATIENCE = 120.0
"""Seconds until a run that has ended is settled."""
GONE_PATIENCE = 20.0
"""Seconds of a check until a run of which nothing is seen, once all is stored, counts as gone with a deleted topic."""
LONG_REST = 90.0
"""What a deleted topic has held up may come after a long rest: so long all is looked at once more."""


def check(trial: Trial) -> dict[str, int]:
    """Wait until all is stored; then raise what is not as it must be.

    Returns:
        run id to values of `int`.
    """
    with environment_of(trial):
        if trial.kind != "topics":
            return _check(trial)
        deadline = time.monotonic() + LONG_REST
        while True:
            wait_for_rest(trial.settings)
            trial.note("nothing more is being stored")
            try:
                return _check(trial)
            except AssertionError as error:
                if time.monotonic() > deadline:
                    raise
                trial.note(f"not yet as it must be: {str(error)[:200]}")


@contextlib.contextmanager
def environment_of(trial: Trial) -> Iterator[None]:
    """What runs after this in the process must not see the trial's database."""
    before = dict(os.environ)
    os.environ.update(trial.environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(slots=True)
class _Seen:
    """A run as readers see it."""

    status: str
    vectors: dict[str, list[Any]]


def _check(trial: Trial) -> dict[str, int]:
    from runstream.core import Workspace

    workspace = Workspace.get("default")
    began = time.monotonic()
    seen: dict[str, _Seen] = {}
    runs = []
    for expected in _expected(trial):
        run = _settled(trial, workspace, expected, began)
        if run is not None:
            seen[expected.run_id] = _Seen(run.get_status(), check_run(run, expected, trial.home))
            runs.append(expected)
    gone = sorted({*trial.deleting} - seen.keys())
    counts = {run_id: len(rested.vectors.get("int", [])) for run_id, rested in seen.items()}
    check_stored(trial.settings, runs, {run_id: rested.vectors for run_id, rested in seen.items()})
    check_deleted(trial.settings, gone, [f"{run_id}." for run_id in gone])
    if trial.kind != "topics":
        check_files(trial.home / "store", counts)
    last = {run_id: (counts[run_id], rested.status) for run_id, rested in seen.items() if "." not in run_id}
    new = trial.home / "last.json.new"
    new.write_text(json.dumps(last))
    new.replace(trial.home / "last.json")
    return counts


def _expected(trial: Trial) -> list[Expected]:
    """Runs and their children, but those that somebody was told are deleted."""
    runs = []
    # A trainer that was killed before it had begun its run left no notes.
    forks = [path.stem for path in sorted(trial.home.glob("run-*f*.script"))]
    for run_id in [*trial.trainers, *forks]:
        path = trial.home / f"{run_id}.progress"
        if not path.exists() or run_id in trial.deleted:
            continue
        progress = read_progress(path)
        branches = progress.program == PROGRAM
        program = (
            Branching(Script.read(path.with_suffix(".script"))) if branches else PROGRAMS[progress.program]
        )
        statuses: tuple[str, ...] = ("Completed",) if progress.finished else ("Failed",)
        if progress.finishing and not progress.finished:
            statuses = ("Completed", "Failed")
        # Killed before there was any room, it leaves nothing, and nothing if it has said that there was none until its end.
        traceless = (
            trial.kind == "disk"
            and not progress.had_room
            and (not progress.finished or f"run {run_id}: disk full" in trial.said_by_trainers())
        )
        gaps, drops, outside = trial.kind == "topics", trial.kind == "disk", trial.outside.get(run_id)
        runs.append(
            Expected(
                run_id,
                program,
                progress.returned,
                progress.begun,
                statuses,
                gaps=gaps,
                drops=drops,
                outside=outside,
                optional=traceless or run_id in trial.deleting,
            )
        )
        sure = program.children(progress.returned)
        for n in range(program.children(progress.begun)):
            done = n < sure
            statuses = ("Completed",) if done and not drops else ("Completed", "Failed")
            runs.append(
                Expected(
                    f"{run_id}.{n}",
                    PROGRAMS["child"],
                    CHILD_CALLS if done else 0,
                    CHILD_CALLS,
                    statuses,
                    gaps=gaps,
                    drops=drops,
                    optional=not done or drops or run_id in trial.deleting,
                    parent=run_id,
                )
            )
    # Last, so that what else there is has been stored by then: a fork that did not come to be may be there in part.
    for run_id in forks:
        path = trial.home / f"{run_id}.script"
        if not path.with_suffix(".progress").exists():
            gaps, drops = trial.kind == "topics", trial.kind == "disk"
            program = Branching(Script.read(path))
            runs.append(
                Expected(
                    run_id, program, -1, 0, ("Failed",), gaps=gaps, drops=drops, optional=True, part=True
                )
            )
    return runs


def _settled(trial: Trial, workspace: Any, expected: Expected, began: float) -> Any:
    """The run, once all of it is stored; None if there need not be any.

    Args:
        began: when the check began, in monotonic seconds.
    """
    from runstream.exceptions import ServiceException

    deadline = time.monotonic() + PATIENCE
    why: object = "never seen"
    while time.monotonic() < deadline:
        try:
            run = workspace.get_run(expected.run_id)
            why = run.get_status()
            if expected.gaps or (why in expected.statuses and is_settled(trial.settings, expected.run_id)):
                return run
        except ServiceException as error:
            why = error
            long_gone = expected.gaps and time.monotonic() > began + GONE_PATIENCE
            if error.status_code == 404 and (expected.optional or long_gone):
                return None
        except Exception as error:  # services may still be coming up
            why = error
        time.sleep(0.5)
    raise AssertionError(
        f"{expected.run_id}: expected {' or '.join(expected.statuses)} and settled, it is {why}"
    )
