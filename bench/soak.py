"""Half an hour under load with everything that can be restarted being killed: does anything grow?

`python -m bench.soak [--minutes 30] [--rate POINTS] [--write]`. With `--write` the table goes into docs/explanation/soak.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from .__main__ import machine
from .cluster import STORED, Cluster, cluster, finish, go, start_writers
from .load import role
from .peers.measure import processes_of

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "soak.md"
BEGIN, END = "<!-- begin measured -->", "<!-- end measured -->"
WRITERS, RUNS, SERIES = 2, 8, 10
ROUND = 60.0
"""Seconds a run lasts: then its process ends, and another begins."""
EVERY = 45.0
"""Seconds between two kills."""
KILLED = ("agent", "consumer", "compactor", "server", "Postgres", "Kafka")
SETTINGS = {
    "RUNSTREAM_COMPACT_AFTER": "5",
    "RUNSTREAM_COMPACT_INTERVAL": "1",
    "RUNSTREAM_COMPACT_BYTES": str(8 << 20),
    "RUNSTREAM_TRASH_GRACE": "60",
}
STATE = """
select pg_database_size(current_database()),
    (select coalesce(sum(octet_length(payload)), 0) from chunks)::bigint,
    (select coalesce(sum(bytes), 0) from files where state = 'live')::bigint,
    (select coalesce(extract(epoch from now()) * 1e6 - max(last_time), 0) from summaries)::bigint
"""


@dataclass(slots=True)
class Sample:
    """One look at everything.

    Attributes:
        minute: since the beginning.
        memory: resident bytes of a role's processes together.
        handles: open files of a role's processes together.
        processes: how many a role has.
    """

    minute: float
    database: int
    hot: int
    files: int
    lag: float
    spool: int
    memory: dict[str, int] = field(default_factory=dict)
    handles: dict[str, int] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)


def main() -> int:
    """Run, print the table, and fail if a point is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--rate", type=float, default=0.0, help="points a second; 0: half of what is stored at most"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    with cluster(kafka=True, settings=SETTINGS) as made:
        made.up()
        text = "\n".join(
            [f"{machine()}\n", soak(made, options.minutes, options.rate, random.Random(options.seed))]
        )
    print(text)
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}")
    return 0


def soak(made: Cluster, minutes: float, rate: float, chance: random.Random) -> str:
    """The report."""
    stored, half = 0, ""
    if not rate:
        half = ", half of what was stored at most just before"
        writers = start_writers(made, WRITERS, "--runs", "32", "--steps", "10000")
        start = go(writers)
        stored = finish(writers)
        rate = stored / (made.wait_stored(stored) - start) / 2
    samples: list[Sample] = []
    reads, kills = Reads(), dict.fromkeys(KILLED, 0)
    stop = threading.Event()
    helpers = [
        threading.Thread(target=sample, args=(made, stop, samples)),
        threading.Thread(target=kill, args=(made, stop, chance, kills)),
        threading.Thread(target=reads.run, args=(made, stop, chance)),
    ]
    for helper in helpers:
        helper.start()
    logged = 0
    try:
        deadline = time.monotonic() + 60 * minutes
        steps = int(rate * ROUND / (WRITERS * RUNS * SERIES))
        while time.monotonic() < deadline:
            words = ("--runs", str(RUNS), "--steps", str(steps), "--rate", str(rate / WRITERS))
            writers = start_writers(made, WRITERS, *words)
            go(writers)
            logged += finish(writers)
            print(
                f"  {logged / 1e6:.0f} M points, {samples[-1] if samples else ''}",
                file=sys.stderr,
                flush=True,
            )
    finally:
        stop.set()
        for helper in helpers:
            helper.join()
    made.up()
    made.wait_stored(stored + logged)
    present = made.query(STORED)[0]
    if present != stored + logged:
        raise RuntimeError(f"{present} points are stored, {stored + logged} were logged")
    happened = ", ".join(f"{name} {count}" for name, count in kills.items() if count)
    text = (
        f"{logged / 1e6:,.0f} M points in {minutes:.0f} minutes, {rate / 1e6:.2f} M a second{half}. Killed with -9: "
        f"{happened}. {reads.done:,} charts of a series read beside it, {1e3 * median(reads.seconds):.0f} ms at the "
        f"median; {reads.refused} met a service that was just being started. In the end every point was stored, once.\n"
    )
    return f"{text}\n{table(samples, minutes)}"


@dataclass(slots=True)
class Reads:
    """What a dashboard would ask, all the time."""

    done: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)

    def run(self, made: Cluster, stop: threading.Event, chance: random.Random) -> None:
        """The newest runs, and a chart of every series of one of them."""
        while not stop.wait(0.5):
            start = time.perf_counter()
            try:
                listed = ask(made, "/api/v1/runs?limit=20")
                run_id = chance.choice(listed["runs"])["run_id"]
                ask(made, f"/api/v1/series?run={run_id}&name=metric_{chance.randrange(SERIES)}&width=1000")
            except (OSError, ValueError, IndexError):
                self.refused += 1
                continue
            self.done += 1
            self.seconds.append(time.perf_counter() - start)


def ask(made: Cluster, path: str) -> Any:
    """An answer of the HTTP API."""
    service = json.loads((made.home / "service.json").read_text())
    token = (made.home / "token").read_text().strip()
    request = urllib.request.Request(service["url"] + path, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def kill(made: Cluster, stop: threading.Event, chance: random.Random, kills: dict[str, int]) -> None:
    """One process with -9, again and again; who keeps it starts it again."""
    while not stop.wait(EVERY):
        name = chance.choice(KILLED)
        pids = by_role(made.home).get(name, [])
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(pids) if name != "Postgres" else min(pids), signal.SIGKILL)
                kills[name] += 1


def sample(made: Cluster, stop: threading.Event, samples: list[Sample]) -> None:
    """A look every five seconds."""
    began = time.monotonic()
    while not stop.wait(5.0):
        try:
            database, hot, files, lag = made.query(STATE)
        except Exception:  # Postgres was just killed
            continue
        spool = sum(path.stat().st_size for path in (made.home / "spool").rglob("*.seg") if path.exists())
        taken = Sample((time.monotonic() - began) / 60, database, hot, files, lag / 1e6, spool)
        for name, pids in by_role(made.home).items():
            for pid in pids:
                with contextlib.suppress(OSError):
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    handles = len(os.listdir(f"/proc/{pid}/fd"))
                    taken.memory[name] = taken.memory.get(name, 0) + pages * os.sysconf("SC_PAGE_SIZE")
                    taken.handles[name] = taken.handles.get(name, 0) + handles
                    taken.processes[name] = taken.processes.get(name, 0) + 1
        samples.append(taken)


def by_role(home: Path) -> dict[str, list[int]]:
    """The processes of a home, by what they are."""
    pids: dict[str, list[int]] = {}
    for pid in processes_of(f"RUNSTREAM_HOME={home}") - {os.getpid()}:
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            pids.setdefault(role(line), []).append(pid)
    return pids


def table(samples: list[Sample], minutes: float, columns: int = 6) -> str:
    """Medians of as many stretches of time."""
    length = minutes / columns
    parts = [[s for s in samples if i * length <= s.minute < (i + 1) * length] for i in range(columns)]
    parts = [part for part in parts if part]
    rows: list[tuple[str, list[str]]] = []

    def row(name: str, values: list[float], form: str) -> None:
        rows.append((name, [form.format(value) for value in values]))

    for name in ("agent", "consumer", "compactor", "server", "up", "Kafka", "Postgres"):
        if any(name in s.memory for s in samples):
            held = [
                median(s.memory.get(name, 0) / max(1, s.processes.get(name, 1)) for s in part)
                for part in parts
            ]
            row(f"memory of a process: {name}", [value / 1e6 for value in held], "{:.0f} MB")
            open_files = [
                median(s.handles.get(name, 0) / max(1, s.processes.get(name, 1)) for s in part)
                for part in parts
            ]
            row(f"open files of a process: {name}", open_files, "{:.0f}")
    row("database", [median(s.database for s in part) / 1e6 for part in parts], "{:.0f} MB")
    row("points in the hot tier", [median(s.hot for s in part) / 1e6 for part in parts], "{:.0f} MB")
    row("spool", [median(s.spool for s in part) / 1e6 for part in parts], "{:.0f} MB")
    row("age of the newest stored point", [median(s.lag for s in part) for part in parts], "{:.2f} s")
    row(
        "Parquet files, which keep what is logged",
        [max(s.files for s in part) / 1e9 for part in parts],
        "{:.2f} GB",
    )
    heads = [f"{i * length:.0f} to {(i + 1) * length:.0f} min" for i in range(len(parts))]
    lines = [f"| median of | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in rows]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
