"""So many trials of each kind, each with a seed of its own: how many held, and the evidence of the rest.

`python -m tests.chaos --trials 60`, or `make chaos TRIALS=60`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .evidence import machine
from .harms import KINDS

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 900.0
"""A trial that takes longer, besides its harm, has not held."""
END_SECONDS = 240.0
"""So long a trial may take to keep its evidence and to end what it has started."""


@dataclass(slots=True)
class Running:
    """A trial under way.

    Attributes:
        directory: for its output and evidence.
    """

    number: int
    kind: str
    seed: int
    directory: Path
    process: subprocess.Popen[bytes]
    began: float

    @property
    def output(self) -> Path:
        """What it prints."""
        return self.directory / "output.txt"


@dataclass(slots=True)
class Batch:
    """Many trials, a few at a time.

    Attributes:
        held: kind to how many held.
        ended: kind to how many have ended.
    """

    trials: int
    seconds: float
    at_once: int
    directory: Path
    todo: Iterator[tuple[int, str, int]]
    held: dict[str, int]
    ended: dict[str, int]
    running: list[Running]

    def run(self) -> None:
        """All of them. Ctrl-C ends those under way, which then do not count."""
        try:
            while self._start() or self.running:
                time.sleep(0.2)
                for trial in [trial for trial in self.running if self._is_over(trial)]:
                    self.running.remove(trial)
                    self._count(trial)
        finally:
            self._end_all()

    def _start(self) -> bool:
        while len(self.running) < self.at_once:
            if (following := next(self.todo, None)) is None:
                return False
            number, kind, seed = following
            directory = self.directory / f"{kind}-{seed}"
            directory.mkdir(parents=True)
            words = ["--kind", kind, "--seed", str(seed), "--seconds", str(self.seconds)]
            with (directory / "output.txt").open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.chaos.trial", *words, "--evidence", str(directory)],
                    cwd=ROOT,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # Ctrl-C comes to us alone
                )
            self.running.append(Running(number, kind, seed, directory, process, time.monotonic()))
        return True

    def _is_over(self, trial: Running) -> bool:
        if trial.process.poll() is not None:
            return True
        if time.monotonic() - trial.began > self.seconds + LIMIT_SECONDS:
            with trial.output.open("a") as output:
                output.write(f"not at its end after {self.seconds + LIMIT_SECONDS:.0f} s\n")
            trial.process.terminate()
            _wait(trial.process)
            return True
        return False

    def _count(self, trial: Running) -> None:
        good = trial.process.returncode == 0
        self.ended[trial.kind] += 1
        self.held[trial.kind] += good
        lines = trial.output.read_text(errors="replace").splitlines()
        said = (lines or [""])[-1] if good else _reason(trial)
        took = time.monotonic() - trial.began
        print(
            f"{trial.number:4}/{self.trials}  {trial.kind:8}  seed {trial.seed:<8}  {took:4.0f} s  "
            f"{'held' if good else 'DID NOT HOLD'}: {said}",
            flush=True,
        )
        if good:
            self._forget(trial)
        else:
            print(f"{'':10} evidence: {trial.directory}", flush=True)

    def _end_all(self) -> None:
        for trial in self.running:
            trial.process.terminate()
        for trial in self.running:
            _wait(trial.process)
            self._forget(trial)

    def _forget(self, trial: Running) -> None:
        shutil.rmtree(trial.directory)
        with contextlib.suppress(OSError):  # others lie beside it
            self.directory.rmdir()

    def report(self) -> str:
        """The share that held, by kind and in all."""
        rows = [(kind, self.held[kind], self.ended[kind]) for kind in self.ended]
        rows.append(("all", sum(self.held.values()), sum(self.ended.values())))
        lines = [f"{name:8}  {held:4} of {ended:<4} held" for name, held, ended in rows]
        return "\n".join([*lines, f"{time.strftime('%Y-%m-%d')}, {machine()}"])


def _reason(trial: Running) -> str:
    message = trial.directory / "message.txt"
    text = (message if message.exists() else trial.output).read_text(errors="replace")
    return (text.splitlines() or ["no word"])[0][:300]


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Run the trials that are asked for; exit code 1 if one did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--trials", type=int, default=1, help="of each kind")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only these")
    parser.add_argument("--seed", type=int, help="of the first trial; the others follow (default: a new one)")
    parser.add_argument("--seconds", type=float, default=30, help="of harm, in each trial")
    parser.add_argument("--at-once", type=int, default=3, help="trials at a time: three keep two cores busy")
    parser.add_argument("--keep", type=Path, default=ROOT / ".bench" / "chaos", help="where evidence is kept")
    options = parser.parse_args()
    kinds = options.kind or list(KINDS)
    if "disk" in kinds and os.geteuid() != 0:
        print("disk: left out, only root can mount a small disk")
        kinds.remove("disk")
    first = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    count = options.trials * len(kinds)
    # The kinds take turns, so that a batch that is broken off has tried them alike.
    todo = ((i + 1, kinds[i % len(kinds)], first + i) for i in range(count))
    directory = options.keep / time.strftime("%Y%m%d-%H%M%S")
    batch = Batch(
        count,
        options.seconds,
        options.at_once,
        directory,
        todo,
        dict.fromkeys(kinds, 0),
        dict.fromkeys(kinds, 0),
        [],
    )
    print(f"{count} trials, seeds {first} to {first + count - 1}; {options.at_once} at a time", flush=True)
    # Started in the background by a shell it would not hear Ctrl-C; told to end, it ends its trials too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        batch.run()
    except KeyboardInterrupt:
        print("broken off; trials that were under way do not count", flush=True)
    print(batch.report())
    if directory.exists():
        print(f"evidence: {directory}")
    raise SystemExit(1 if batch.held != batch.ended else 0)


if __name__ == "__main__":
    main()
