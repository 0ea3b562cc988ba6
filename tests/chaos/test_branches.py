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

import pytest

from runstream.core import Workspace
from tests.seeds import SEED

from .api import Away, ask
from .branch_checks import Branching, BranchLook, check_branches
from .branching import NAMES, Script
from .harms import send_signal
from .progress import read_progress
from .rest import environment_of
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
        words = [str(self.home / f"{run_id}.progress"), str(self.home / "stop"), "0.1", str(seed), "400", "0"]
        self.trainers[run_id] = self._python("branching", run_id, *words)

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


def check(trial: Rewinding, run_id: str) -> None:
    """What is read, by every way, is what a list has after the calls that began, or one less."""
    notes = trial.home / f"{run_id}.progress"
    progress = read_progress(notes)
    assert progress.returned > 100
    eventually(lambda: _settled(trial.home, run_id), f"{run_id} did not settle")
    script = Script.read(trial.home / f"{run_id}.script")
    look = BranchLook(trial.home, run_id, notes, False, random.Random(), Branching(script))
    with environment_of(trial):
        run = Workspace.get("default").get_run(run_id)
        read_back = check_branches(run, look, progress.returned, progress.begun, part=False)
    assert progress.returned < 3000 or any("." in name for name in read_back)
    record = json.loads(ask(trial.home, f"/api/v1/runs/{run_id}", {"summaries": "1"}))
    for name in NAMES:
        if values := read_back.get(name):
            summary = record["summaries"][name]
            facts = (summary["count"], summary["first"], summary["last"], summary["min"], summary["max"])
            assert facts == (len(values), values[0], values[-1], min(values), max(values))


def _settled(home: Path, run_id: str) -> bool:
    return bool(json.loads(ask(home, f"/api/v1/runs/{run_id}"))["settled"])


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
            check(trial, f"run-{seed}")
    except Exception as error:
        raise AssertionError(f"{error}\n{trial.log()}") from error
    finally:
        trial.end()
