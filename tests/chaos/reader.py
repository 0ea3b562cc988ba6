"""A reader beside the nemesis: at random moments it reads a run, and what it sees must be possible.

A run's values are a prefix 0, 1, 2 ... of what was logged, never shorter than what this reader saw before, never more than
the trainer logged. A run that has ended stays as it ended. Reading may fail while services are down, with an error of ours.
The first thing that may not be is written into a file; that file stays empty in a good trial.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from runstream_schemas.errors import RunstreamError
from runstream_schemas.status import TERMINAL

LOGGED_BEFORE_NOTED = 100
"""A trainer notes its progress after so many values."""


STATUSES = TERMINAL | {"NotStarted", "Running", "NotResponding"}


def main() -> None:
    """Arguments: home, file for what is wrong, stop file, seed, 1 if values may be missing (a topic is recreated)."""
    home, wrong, stop = (Path(word) for word in sys.argv[1:4])
    chance, gaps = random.Random(int(sys.argv[4])), sys.argv[5] == "1"
    seen: dict[str, int] = {}
    ended: dict[str, str] = {}
    reads = failed = 0
    while not stop.exists():
        time.sleep(chance.uniform(0.05, 0.6))
        runs = sorted(path.stem for path in home.glob("run-*.progress"))
        if not runs:
            continue
        run_id = chance.choice(runs)
        try:
            status, metrics = _read(run_id)
        except RunstreamError as error:
            failed += 1
            if not str(error).strip():
                wrong.write_text(f"{run_id}: an error without a message: {error!r}\n")
                return
            continue
        except Exception:  # anything else is a defect, and must be seen
            wrong.write_text(f"{run_id}: {traceback.format_exc()}\n")
            return
        reads += 1
        logged = int((home / f"{run_id}.progress").read_text()[:12] or 0) + LOGGED_BEFORE_NOTED
        problem = impossible(metrics, seen.get(run_id, 0), logged, gaps=gaps)
        if status not in STATUSES or ended.get(run_id, status) != status:
            problem = f"status {status} after {ended.get(run_id, 'none')}"
        if status in TERMINAL:
            ended[run_id] = status
        if problem:
            wrong.write_text(f"{run_id}: {problem}\n")
            return
        seen[run_id] = len(listed(metrics.get("int")))
    print(f"{reads} reads, {len(ended)} runs seen ended, {failed} refused with a clear error", flush=True)


def _read(run_id: str) -> tuple[str, dict[str, Any]]:
    from runstream.core import Workspace

    run = Workspace.get("default").get_run(run_id)
    return run.status, run.get_metrics()


def listed(value: Any) -> list[Any]:
    """A metric as `get_metrics` gives it (a scalar, a list, or missing), as a list."""
    return [] if value is None else value if isinstance(value, list) else [value]


def impossible(metrics: dict[str, Any], seen: int, logged: int, *, gaps: bool) -> str:
    """What cannot be in what was read; empty if all is well.

    Args:
        metrics: the answer of `get_metrics`.
        seen: how many values an earlier read returned.
        logged: the most values the trainer can have logged by now.
        gaps: values may be missing, not doubled and not out of order.
    """
    ints, floats = listed(metrics.get("int")), listed(metrics.get("float"))
    rows = metrics.get("rows", {"i": [], "text": []})
    hundreds, texts = listed(rows["i"]), listed(rows["text"])
    if len(ints) < seen:
        return f"{len(ints)} values, {seen} were read before"
    if ints and ints[-1] >= logged:
        return f"value {ints[-1]} is there, {logged} at most were logged"
    if texts != [f"row {i}" for i in hundreds]:
        return f"texts of rows {texts[:20]} for {hundreds[:20]}"
    if gaps:
        doubled = any(a >= b for values in (ints, floats, hundreds) for a, b in itertools.pairwise(values))
        return "values doubled or out of order" if doubled else ""
    if ints != list(range(len(ints))):
        return f"values are not 0 ... {len(ints) - 1}: {_odd(ints)}"
    if floats != [i / 2 for i in range(len(floats))]:
        return f"floats are not 0, 0.5 ...: {_odd([2 * value for value in floats])}"
    if not 0 <= len(floats) - len(ints) <= 1:
        return f"{len(floats)} floats, {len(ints)} ints"
    if hundreds != list(range(100, 100 * len(hundreds) + 1, 100)):
        return f"rows {hundreds[:20]}"
    return ""


def _odd(values: list[Any]) -> str:
    i = next((i for i, value in enumerate(values) if value != i), len(values))
    return f"... {values[max(0, i - 3) : i + 5]} at {i}"


if __name__ == "__main__":
    main()
