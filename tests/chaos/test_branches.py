"""Services are killed while runs are rewound, some of them in files already: each point is once on the branch it should."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from tests.seeds import SEED

from .api import Away, ask
from .branching import NAMES, Tree
from .harms import send_signal
from .progress import read_progress
from .trial import Trial

SECONDS = float(os.environ.get("CHAOS_SECONDS", "15"))
PATIENCE = 300.0


class Rewinding(Trial):
    """A home whose live runs move to files at once, so that their points have to come back."""

    @property
    def environment(self) -> dict[str, str]:
        inherited = Trial.environment.fget(self)  # type: ignore[attr-defined]
        return {**inherited, "RUNSTREAM_COMPACT_BYTES": "4000"}

    def start_rewinding(self, seed: int) -> None:
        """One more trainer."""
        run_id = f"run-{seed}"
        words = [run_id, str(seed), str(self.home / f"{run_id}.progress"), str(self.home / "stop")]
        self.trainers[run_id] = self._python("branching", *words)

    def kill_some(self, chance: random.Random) -> None:
        """For so many seconds, one process after the other."""
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            time.sleep(chance.uniform(0.5, 3.0))
            if victims := self.victims():
                pid = chance.choice(sorted(victims))
                self.note(f"kill {victims[pid]}")
                send_signal(pid, signal.SIGKILL)
            self.up()


def vectors(home: Path, run_id: str) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """The metrics and former points of a run as HTTP shows them."""
    parameters = {"run": run_id, "cls": [0, 10]}
    content = ask(home, "/api/v1/metrics", parameters, accept="application/x-msgpack")
    read_back = {}
    for run in msgpack.unpackb(content, strict_map_key=False)["runs"]:
        for series in run["series"]:
            steps, values = (
                np.frombuffer(series[name], dtype="<i8").tolist() for name in ("steps", "values")
            )
            read_back[series["name"], int(series["column"] or 0)] = list(zip(steps, values, strict=True))
    return read_back


def eventually(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if read_back := look():
                return read_back
        except Away:
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def check(trial: Rewinding, run_id: str, seed: int) -> None:
    """What is read, and read by SQL, is what a list has after the calls that began, or one less."""
    progress = read_progress(trial.home / f"{run_id}.progress")
    assert progress.returned > 100
    trees = [Tree.after(seed, count) for count in sorted({progress.returned, progress.begun})]
    eventually(lambda: _settled(trial.home, run_id), f"{run_id} did not settle")
    read_back = vectors(trial.home, run_id)
    assert read_back in [tree.vectors() for tree in trees], _difference(read_back, trees[-1].vectors())
    (tree,) = [tree for tree in trees if tree.vectors() == read_back][:1]
    assert tree.rewinds or progress.returned < 3000
    for view, branch in (("metrics", "0"), ("former_metrics", "branch::int")):
        query = (
            f"select name, {branch}, count(*), count(distinct int_value) from {view} "
            f"where run_id = '{run_id}' group by all"
        )
        rows = json.loads(ask(trial.home, "/api/v1/sql", method="POST", body={"query": query}))["rows"]
        shown = {(name, number): (count, distinct) for name, number, count, distinct in rows}
        assert shown == {
            key: (len(points), len(points))
            for key, points in read_back.items()
            if bool(key[1]) == (view == "former_metrics")
        }
    record = json.loads(ask(trial.home, f"/api/v1/runs/{run_id}", {"summaries": "1"}))
    for name in NAMES:
        if points := read_back.get((name, 0)):
            values = [value for _, value in points]
            summary = record["summaries"][name]
            facts = (summary["count"], summary["first"], summary["last"], summary["min"], summary["max"])
            assert facts == (len(values), values[0], values[-1], min(values), max(values))


def _settled(home: Path, run_id: str) -> bool:
    return bool(json.loads(ask(home, f"/api/v1/runs/{run_id}"))["settled"])


def _difference(read_back: dict[Any, Any], expected: dict[Any, Any]) -> str:
    keys = sorted(read_back.keys() | expected.keys())
    wrong = [key for key in keys if read_back.get(key) != expected.get(key)]
    return f"differ: { {key: (len(read_back.get(key, ())), len(expected.get(key, ()))) for key in wrong} }"


@pytest.mark.timeout(SECONDS + 700)
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the processes to kill in /proc")
def test_whatever_is_killed_each_point_is_on_its_branch_once() -> None:
    trial = Rewinding(Path(tempfile.mkdtemp(prefix="rsc")), "embedded", SEED, SECONDS)
    try:
        trial.prepare()
        trial.up()
        seeds = [SEED * 10 + number for number in range(3)]
        for seed in seeds:
            trial.start_rewinding(seed)
        eventually(
            lambda: all((trial.home / f"run-{seed}.progress").exists() for seed in seeds), "no trainer"
        )
        trial.kill_some(trial.chance)
        trial.trainers[f"run-{seeds[0]}"].kill()  # in the midst of it
        (trial.home / "stop").touch()
        for process in trial.trainers.values():
            process.wait(60)
        trial.up()
        for seed in seeds:
            check(trial, f"run-{seed}", seed)
    except Exception as error:
        raise AssertionError(f"{error}\n{trial.log()}") from error
    finally:
        trial.end()
