"""What is measured of one system, in a process of its own Python: adapter_*.py call `main` with themselves.

Needs the standard library only, for it runs in each peer's environment. Every loop is bounded by a number of calls,
which is chosen from the cost of the first ones: a slow system gets fewer points, and the answer says how many.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import random
import signal
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

MARK = "BENCH_PEER_HOME"
"""Variable whose value is the home, by which the processes a system starts are found again."""

NAMES = [f"m{i}" for i in range(10)]
WARM, FEWEST = 200, 20
MAX_CALLS = 1_000_000
MAX_DICTS = 50_000
LONG = 10.0
"""Seconds of reading after which it is not repeated."""

LAST_METRICS = 5
"""Metrics of each of the many runs."""


@dataclass(slots=True)
class Writer:
    """How one run is written through the system's public interface.

    Attributes:
        one: log one metric, `loss`, at a step.
        ten: log a dict of ten metrics at a step.
        finish: end the run; returns when the system promises that all of it is stored.
    """

    one: Callable[[int, float], Any]
    ten: Callable[[int, dict[str, float]], Any]
    finish: Callable[[], Any]


class Adapter(Protocol):
    """What an adapter module has."""

    IMPORTS: tuple[str, ...]

    def prepare(self, home: Path) -> None:
        """Set the environment, before the system is imported; start what it needs."""

    def open_run(self, home: Path, name: str) -> Writer:
        """A new run."""

    def read(self, home: Path, name: str) -> int:
        """Read all of series `loss` of the run of that name into memory; how many points."""

    def list_runs(self, home: Path) -> int:
        """List all runs with the last value of each metric; how many runs."""

    def disk(self, home: Path) -> int:
        """Bytes on disk that grow with the data."""


def main(adapter: Any) -> None:
    """Take one measurement and print it as JSON on the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=sorted(MEASUREMENTS))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    os.environ[MARK] = str(options.home)
    os.chdir(options.home)
    adapter.prepare(options.home)
    if options.what in READING and hasattr(adapter, "before_reading"):
        adapter.before_reading(options.home)
    answer = MEASUREMENTS[options.what](adapter, options.home, options.seconds)
    print("\n" + json.dumps(answer), flush=True)
    os._exit(0)  # some systems wait at exit, for a network or a thread; what matters is measured


def import_time(adapter: Any, home: Path, seconds: float) -> dict[str, Any]:
    """Seconds to import, and the versions imported."""
    start = time.perf_counter()
    for name in adapter.IMPORTS:
        importlib.import_module(name)
    return {"seconds": time.perf_counter() - start, "versions": versions(adapter)}


def calls(adapter: Any, home: Path, seconds: float) -> dict[str, Any]:
    """Cost of a call, time until stored, memory and bytes on disk."""
    before = memory(home)[0]
    for name in adapter.IMPORTS:
        importlib.import_module(name)
    answer: dict[str, Any] = {}
    points = library = 0
    for what, most, per_call in (("one", MAX_CALLS, 1), ("ten", MAX_DICTS, 10)):
        writer = adapter.open_run(home, what)
        call = writer.one if what == "one" else writer.ten
        make = values if what == "one" else rows
        warm, first = warm_up(call, make, seconds / 4)
        if what == "one":  # what the library takes; the values to log are made after that, and counted out
            library = memory(home)[0] - before
        count = affordable(first / warm, seconds, most)
        data = make(count)
        gc.collect()
        gc.freeze()
        added = memory(home)[0]
        start = time.perf_counter()
        spend(call, data, warm)
        called = time.perf_counter() - start
        own, others = memory(home)
        writer.finish()
        stored = time.perf_counter() - start + first
        answer[what] = {
            "calls": count + warm,
            "mean": called / count / per_call,
            "rate": (count + warm) * per_call / stored,
        }
        answer["own"] = max(answer.get("own", 0), library + own - added)
        answer["others"] = max(answer.get("others", 0), others)
        points += (count + warm) * per_call
        writer = adapter.open_run(home, f"{what}_timed")
        call = writer.one if what == "one" else writer.ten
        warm, _ = warm_up(call, make, seconds / 4)
        costs = timed(call, data[: max(FEWEST, count // 2)], warm)
        writer.finish()
        points += (len(costs) + warm) * per_call
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            answer[what][name] = costs[int(share * (len(costs) - 1))] / per_call
    answer["bytes"] = adapter.disk(home) / points
    answer["points"] = points
    return answer


def kill(adapter: Any, home: Path, seconds: float) -> dict[str, Any]:
    """Log, note how many calls returned, and die at once of SIGKILL. The caller reads the note: nothing is printed."""
    writer = adapter.open_run(home, "killed")
    warm, first = warm_up(writer.one, values, seconds / 4)
    count = affordable(first / warm, seconds / 2, 20_000)
    data = values(count)
    (home / "logged").write_text(str(count + warm))
    spend(writer.one, data, warm)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still here")


def survivors(adapter: Any, home: Path, seconds: float) -> dict[str, Any]:
    """How many points of the killed run can be read, once that number stands still.

    A service that outlives its caller has eight seconds to store what it has.
    """
    logged = int((home / "logged").read_text())
    shown, deadline = -1, time.monotonic() + 8
    while shown < logged and time.monotonic() < deadline:
        try:
            now = adapter.read(home, "killed")
        except Exception as error:  # of whatever kind: then nothing can be read
            print(f"reading: {error!r}", file=sys.stderr)
            now = 0
        if now in (shown, logged):
            shown = now
            break
        shown = now
        time.sleep(1.0)
    return {"logged": logged, "found": max(shown, 0)}


def read(adapter: Any, home: Path, seconds: float) -> dict[str, Any]:
    """Seconds to read the series of run `one` whole, the second time: connections and late imports are not counted."""
    for name in adapter.IMPORTS:
        importlib.import_module(name)
    taken, points = 0.0, 0
    for _ in range(2):
        start = time.perf_counter()
        points = adapter.read(home, "one")
        taken = time.perf_counter() - start
        if taken > LONG:
            break
    return {"seconds": taken, "points": points}


def runs(adapter: Any, home: Path, seconds: float) -> dict[str, Any]:
    """Seconds to create runs that log one step and end, as many as fit into the time."""
    for name in adapter.IMPORTS:
        importlib.import_module(name)
    last = dict.fromkeys(NAMES[:LAST_METRICS], 0.5)
    start = time.perf_counter()
    count = -1  # the first one sets up the place
    while count < 1000 and time.perf_counter() - start < 4 * seconds:
        writer = adapter.open_run(home, f"run_{count}")
        writer.ten(0, last)
        writer.finish()
        count += 1
        if not count:
            start = time.perf_counter()
    if hasattr(adapter, "settle"):
        adapter.settle(home)
    return {"seconds": time.perf_counter() - start, "runs": count}


def listing(adapter: Any, home: Path, seconds: float) -> dict[str, Any]:
    """Seconds to list the runs that `runs` made, the second time."""
    for name in adapter.IMPORTS:
        importlib.import_module(name)
    taken, count = 0.0, 0
    for _ in range(2):
        start = time.perf_counter()
        count = adapter.list_runs(home)
        taken = time.perf_counter() - start
        if taken > LONG:
            break
    return {"seconds": taken, "runs": count}


MEASUREMENTS: dict[str, Callable[[Any, Path, float], dict[str, Any]]] = {
    "import": import_time,
    "calls": calls,
    "kill": kill,
    "survivors": survivors,
    "read": read,
    "runs": runs,
    "list": listing,
}

READING = ("survivors", "read", "list")


def values(count: int) -> list[float]:
    """Noise, which nothing compresses."""
    return [random.gauss(0.0, 1.0) for _ in range(count)]


def rows(count: int) -> list[dict[str, float]]:
    """Dicts of ten noisy values."""
    return [{name: random.gauss(0.0, 1.0) for name in NAMES} for _ in range(count)]


def warm_up(
    call: Callable[[int, Any], Any], make: Callable[[int], list[Any]], seconds: float
) -> tuple[int, float]:
    """The first calls, which are slower: up to `WARM`, fewer when they take long; how many, and their seconds."""
    data, done, start = make(WARM), 0, time.perf_counter()
    while done < WARM and time.perf_counter() - start < seconds:
        spend(call, data[done : done + FEWEST], done)
        done += FEWEST
    return done, time.perf_counter() - start


def affordable(cost: float, seconds: float, most: int) -> int:
    """How many calls of that cost fit into the seconds: at least `FEWEST`, at most `most`."""
    return max(FEWEST, min(most, int(seconds / max(cost, 1e-9))))


def spend(call: Callable[[int, Any], Any], data: list[Any], first: int) -> None:
    """The calls, in a loop as a script has it."""
    step = first
    for value in data:
        call(step, value)
        step += 1


def timed(call: Callable[[int, Any], Any], data: list[Any], first: int) -> list[float]:
    """Seconds of each call, sorted, without what reading the clock takes."""
    clock = time.perf_counter_ns
    costs = array("q", bytes(8 * len(data)))
    for place, value in enumerate(data):
        start = clock()
        call(first + place, value)
        costs[place] = clock() - start
    empty = sorted(-clock() + clock() for _ in range(1001))[500]
    return [max(0, cost - empty) / 1e9 for cost in sorted(costs)]


def versions(adapter: Any) -> str:
    """Of the packages that are measured."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in adapter.PACKAGES)


def memory(home: Path) -> tuple[int, int]:
    """Bytes of memory of this process, and of the others started for that home; shared pages count once."""
    own, others = 0, 0
    for process in {os.getpid(), *processes_of(f"{MARK}={home}")}:
        try:
            size = proportional(Path(f"/proc/{process}"))
        except OSError:
            continue
        if process == os.getpid():
            own = size
        else:
            others += size
    return own, others


def processes_of(variable: str) -> set[int]:
    """Processes with that in their environment, and all below them: Postgres' own processes write over theirs."""
    parents: dict[int, int] = {}
    processes: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if variable.encode() in (entry / "environ").read_bytes().split(b"\0"):
                processes.add(int(entry.name))
        except OSError:
            continue
    while more := {process for process, parent in parents.items() if parent in processes} - processes:
        processes |= more
    return processes


def proportional(process: Path) -> int:
    """Proportional set size of a process, in bytes."""
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def allocated(*places: Path) -> int:
    """Bytes that the files below the places take on disk."""
    total = 0
    for place in places:
        for path in [place, *place.rglob("*")]:
            try:
                if path.is_file() and not path.is_symlink():
                    total += path.stat().st_blocks * 512
            except OSError:
                continue
    return total
