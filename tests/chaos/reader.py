"""Readers beside the harm: several at once, by every way, at random moments; and one page that follows what is pushed to it.

What they see must be possible (see `ways`): a prefix of what was logged, never less than was seen before, by any way. A
run that has ended stays as it ended; one that was seen is there until it is deleted, and never again after that. Reading
may fail while services are down, with an error of ours. The first thing that may not be is written into a file; a good trial
has none.
"""

from __future__ import annotations

import faulthandler
import random
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from runstream_schemas.errors import RunstreamError
from runstream_schemas.runs.status import TERMINAL

from . import branch_checks
from .api import Away, Refused, overdue
from .branch_checks import Branching, BranchLook, Seen
from .branching import PROGRAM, Script
from .live import Page
from .programs import PROGRAMS, Program
from .progress import read_progress
from .ways import WAYS, Look, Wrong

READERS = 3
STATUSES = TERMINAL | {"NotStarted", "Running", "NotResponding"}


@dataclass(slots=True)
class Readers:
    """What they share.

    Attributes:
        seen: by run, values of `int` that an answer showed; of one that is rewound, calls.
        ended: the status a run ended with.
        counts: reads that were answered, by way; refusals while services were down.
    """

    home: Path
    gaps: bool
    stop: Path
    seen: dict[str, int] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    branching: dict[str, Branching] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read_on(self, seed: int) -> None:
        """Read until the stop file appears."""
        chance = random.Random(seed)
        while not self.stop.exists() and not (self.home / "wrong").exists():
            time.sleep(chance.uniform(0.1, 1.0))
            runs = sorted(path.stem for path in self.home.glob("run-*.progress"))
            if not runs:
                continue
            run_id = chance.choice(runs)
            program = self._program(run_id)
            ways = branch_checks.WAYS if isinstance(program, Branching) else WAYS
            way = chance.choice([*ways, "status"])
            starved = self._starved()
            try:
                if way == "status":
                    self._status(run_id)
                else:
                    self._points(run_id, program, way, chance)
                self._count(way)
            except Exception as error:
                if problem := self._is_wrong(run_id, error, starved or self._starved()):
                    say_wrong(self.home, f"{run_id} by {way}: {problem}")
                    return
                self._count("refused")

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def _program(self, run_id: str) -> Program | Branching:
        progress = read_progress(self.home / f"{run_id}.progress")
        if progress.program != PROGRAM:
            return PROGRAMS[progress.program]
        with self._lock:
            if run_id not in self.branching:
                self.branching[run_id] = Branching(Script.read(self.home / f"{run_id}.script"))
            return self.branching[run_id]

    def _points(self, run_id: str, program: Program | Branching, way: str, chance: random.Random) -> None:
        looked = (self.home, run_id, self.home / f"{run_id}.progress", self.gaps, chance)
        before, deleted = self.seen.get(run_id, 0), self._deleted(run_id)
        if isinstance(program, Branching):
            seen = branch_checks.WAYS[way](BranchLook(*looked, program))
        else:
            values = WAYS[way](Look(*looked, program))
            seen = Seen(values, values)
        if deleted and seen.least:
            raise Wrong(f"{seen.least} values of a deleted run")
        if seen.most < before and not self._deleting(run_id):
            raise Wrong(f"{seen.most} values, {before} were seen before this was asked")
        if seen.least:
            with self._lock:
                self.seen[run_id] = max(seen.least, self.seen.get(run_id, 0))

    def _status(self, run_id: str) -> None:
        from runstream.core import Workspace

        before, deleted = self.ended.get(run_id), self._deleted(run_id)
        status = Workspace.get("default").get_run(run_id).status
        if deleted:
            raise Wrong("a deleted run is there")
        if status not in STATUSES or (before and status != before):
            raise Wrong(f"status {status} after {before}")
        if status in TERMINAL:
            self.ended[run_id] = status

    def _deleting(self, run_id: str) -> bool:
        """Whether somebody has asked for it to be deleted."""
        return (self.home / f"{run_id}.deleting").exists()

    def _deleted(self, run_id: str) -> bool:
        """Whether somebody was told that it is deleted."""
        return (self.home / f"{run_id}.deleted").exists()

    def _starved(self) -> bool:
        """Whether a process gets no memory: then its errors may be any."""
        return (self.home / "starved").exists()

    def _is_wrong(self, run_id: str, error: Exception, starved: bool) -> str:
        """What is wrong about a read that failed; empty if it may fail so."""
        if isinstance(error, Wrong):
            return str(error)
        if isinstance(error, Away):
            return ""
        if isinstance(error, (Refused, RunstreamError)):
            status = getattr(error, "status", getattr(error, "status_code", 503))
            if status == 404 and not self._deleting(run_id):
                # Its first record may not be stored yet.
                return f"it was there, and is not: {error}" if run_id in self.seen else ""
            if overdue(error):
                return ""
            if status == 404 or (status in (503, 504) and str(error).strip()) or (status == 500 and starved):
                return ""
        return f"{error}\n{''.join(traceback.format_exception(error))}"


def say_wrong(home: Path, text: str) -> None:
    """Write what is wrong where the trial looks for it, whole at once."""
    new = home / f"wrong-{threading.get_ident()}.new"
    new.write_text(f"{text}\n")
    new.replace(home / "wrong")


def main() -> None:
    """Arguments: home, stop file, seed, 1 if values may be missing (a topic is recreated, a disk is full)."""
    faulthandler.register(signal.SIGUSR1)
    home, stop, seed, gaps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"
    readers, page = Readers(home, gaps, stop), Page(home)
    threads = [threading.Thread(target=readers.read_on, args=(seed + i,)) for i in range(READERS)]
    threading.Thread(target=page.follow, daemon=True).start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"reads: {dict(sorted(readers.counts.items()))}", flush=True)
    if problem := page.wait_for_end():
        say_wrong(home, problem)


if __name__ == "__main__":
    main()
