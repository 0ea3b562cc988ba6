"""A sweep: many short runs of 10 metrics by 3 steps, started, logged and completed by one process, as fast as it can.

`python -m bench.runs_many [--runs 2000 10000 100000] [--kafka] [--place DIR]` prints one column a number of runs. Measured,
in this order: how fast runs are created and stored while nothing is compacted, and the CPU it takes; SQL and lists over all
of them in the hot tier; then how fast the service compacts them, and the same SQL and lists again; the service's memory at
its peak and afterwards; what Postgres and the store hold a run at rest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .cluster import Cluster, cluster
from .growth import environment_of
from .result import Measured, Result, comparison

METRICS, STEPS = 10, 3
POINTS = METRICS * STEPS
HELD_BACK, AT_ONCE = {"RUNSTREAM_COMPACT_AFTER": "86400"}, {"RUNSTREAM_COMPACT_AFTER": "0"}
STATEMENTS = {
    "SQL: mean of a metric over all points": "select avg(value) from metrics where name = 'm3'",
    "SQL: points of one run": "select * from metrics where run_id = '{run}'",
    "SQL: best summaries": "select run_id, last from summaries where name = 'm3' order by last limit 10",
    "SQL: summaries joined with runs": "select r.status, avg(s.last) from summaries s join runs r using (run_id) "
    "where s.name = 'm3' group by 1",
}
LISTS = {
    "list: newest": "",
    "list: by a metric": "&q=m3.min%3C0.001",
    "list: in the order of a metric": "&order=metric:m3:last",
    "list: by a metric that half of them pass": "&q=m3.min%3C0.5",
    "list: by tag and metric": "&q=tag:group=g7+m3.min%3C0.2",
    "list: by a word": "&q=needle",
}
SETTLED = "select count(*) from runs where settled_at is not null"
AT_REST = "select not exists (select from chunks), not exists (select from runs where packing is null)"
CLAIMS = "select coalesce(max(n), 0) from (select count(*) as n from file_runs group by file_id) f"
TABLES = """
select relname || ' ' || pg_total_relation_size(oid) from pg_class
where relkind = 'r' and relnamespace = 'public'::regnamespace order by pg_total_relation_size(oid) desc limit 12"""


@dataclass(slots=True)
class Memory:
    """Resident bytes of our processes, looked at four times a second in a thread."""

    made: Cluster
    but: set[int] = field(default_factory=set)
    peak: int = 0
    now: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look until stopped."""
        while not self.stopped.wait(0.25):
            self.now = self.made.cpu_and_memory(self.but)[1]
            self.peak = max(self.peak, self.now)


def run(quick: bool) -> Measured:
    """20,000 and 100,000 runs; quick: 2,000."""
    return measure_all([2_000] if quick else [20_000, 100_000], kafka=False)


def measure_all(sizes: list[int], *, kafka: bool, place: str | None = None) -> Measured:
    """One column a size, each in a home of its own."""
    results: list[Result] = []
    notes: list[str] = []
    for runs in sizes:
        measured, said = measure(runs, kafka=kafka, place=place)
        results += measured
        notes += said
    return Measured([], [comparison(results), *notes])


def measure(runs: int, *, kafka: bool, place: str | None) -> tuple[list[Result], list[str]]:
    """One size."""
    of = f"{runs:,}" + (" (Kafka)" if kafka else "")
    results: list[Result] = []

    def add(name: str, unit: str, *samples: float) -> None:
        results.append(Result(name, samples, unit, of=of))
        print(
            f"{of}: {name}: {', '.join(f'{sample:.4g}' for sample in samples)} {unit}",
            file=sys.stderr,
            flush=True,
        )

    with cluster(kafka=kafka, settings=HELD_BACK, place=place) as made:
        made.up()
        rates = _create(made, runs, add, f"{of}: ")
        for name, sample in _questions(made):
            add(f"{name}, not compacted", "ms", *sample)
        made.down()
        made.environment |= AT_ONCE
        began = time.perf_counter()
        memory = Memory(made)
        threading.Thread(target=memory.watch, daemon=True).start()
        made.up()
        while not made.query(AT_REST)[0]:
            time.sleep(0.1)
        compacted = time.perf_counter() - began
        while not made.query(AT_REST)[1]:
            time.sleep(0.1)
        memory.stopped.set()
        add("compaction", "runs/s", runs / compacted)
        add("until packed", "s", time.perf_counter() - began)
        add("largest file", "runs", *made.query(CLAIMS))
        add("memory while compacting: peak", "MB", memory.peak / 1e6)
        for name, sample in _questions(made):
            add(f"{name}, compacted", "ms", *sample)
        add("memory afterwards", "MB", made.cpu_and_memory()[1] / 1e6)
        made.rows("vacuum full")
        add(
            "Postgres at rest",
            "kB a run",
            made.query("select pg_database_size(current_database())")[0] / runs / 1e3,
        )
        tables = [row for (row,) in made.rows(TABLES)]
    notes = [f"{of}: runs created a second, by tenths: {', '.join(f'{rate:,.0f}' for rate in rates)}."]
    notes.append(f"{of}: bytes of tables: {', '.join(tables)}.")
    return results, notes


def _create(made: Cluster, runs: int, add: Callable[..., None], title: str) -> list[float]:
    """Runs created a second, by tenths; with memory and a statement of SQL meanwhile."""
    service, postgres = made.cpu_and_memory()[0], made.cpu_of_postgres()
    began = time.perf_counter()
    creating = subprocess.Popen(
        [sys.executable, "-m", "bench.runs_many", "--create", str(runs)],
        env=made.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    memory = Memory(made, {creating.pid})
    threading.Thread(target=memory.watch, daemon=True).start()
    rates = []
    assert creating.stdout is not None
    for line in creating.stdout:
        rates.append(float(line))
        stored = made.query("select count(*) from runs")[0]
        print(
            f"{title}{rates[-1]:,.0f} runs/s, {stored:,} stored, {memory.now / 1e6:.0f} MB",
            file=sys.stderr,
            flush=True,
        )
    _, status, used = os.wait4(creating.pid, 0)
    creating.returncode = os.waitstatus_to_exitcode(status)
    if creating.returncode:
        raise RuntimeError("the process that creates runs failed")
    created = time.perf_counter() - began
    while made.query(SETTLED)[0] < runs:
        time.sleep(0.1)
    stored_all = time.perf_counter() - began
    memory.stopped.set()
    add("CPU of the process that creates", "us a run", (used.ru_utime + used.ru_stime) / runs * 1e6)
    add("CPU of the service", "us a run", (made.cpu_and_memory()[0] - service) / runs * 1e6)
    add("CPU of Postgres", "us a run", (made.cpu_of_postgres() - postgres) / runs * 1e6)
    add("creating", "runs/s", runs / created)
    add("the slowest tenth", "runs/s", min(rates))
    add("creating, until all are stored", "runs/s", runs / stored_all)
    add("memory while creating: peak", "MB", memory.peak / 1e6)
    return rates


def create(runs: int) -> None:
    """The sweep: prints the rate after each tenth."""
    from runstream import Experiment, Workspace

    experiment = Experiment(Workspace.get("default"), "sweep")
    began = time.perf_counter()
    for number in range(runs):
        run = experiment.start_logging(
            snapshot_directory=None, outputs=False, display_name="needle" if number % 1000 == 7 else None
        )
        if number % 4 == 0:
            run.tag("group", f"g{number % 50}")
        for step in range(STEPS):
            run.log_metrics(
                {f"m{i}": (number * 7919 % 10_007) / 10_007 + i * step for i in range(METRICS)}, step
            )
        run.complete()
        if (number + 1) % (runs // 10) == 0:
            print(runs // 10 / (time.perf_counter() - began), flush=True)
            began = time.perf_counter()


def _questions(made: Cluster) -> list[tuple[str, list[float]]]:
    """Milliseconds of each statement and list; the first is what is quoted for SQL, where nothing is warm."""
    import runstream.query
    from runstream.client.http import client_for
    from runstream_schemas.settings import Settings

    timed = []
    with environment_of(made):
        client = client_for(Settings.load())
        (run_id,) = made.rows("select run_id from runs order by key desc limit 1")[0]
        for name, text in STATEMENTS.items():
            timed.append((name, _ms(lambda text=text: runstream.query.sql(text.format(run=run_id)), 3)))
        for name, options in LISTS.items():
            timed.append(
                (name, _ms(lambda options=options: client.get_json(f"/api/v1/runs?limit=50{options}"), 5))
            )
    return timed


def _ms(ask: Callable[[], object], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        try:
            ask()
        except Exception as error:
            print(f"  {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return [float("nan")]
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.runs_many", description=__doc__)
    parser.add_argument(
        "--runs", type=int, nargs="+", default=[2_000], help="how many; several: one column each"
    )
    parser.add_argument("--kafka", action="store_true", help="through a Kafka, with all roles as processes")
    parser.add_argument("--place", help="directory for the homes, some 100 kB a run")
    parser.add_argument("--create", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.create:
        create(options.create)
        return
    measured = measure_all(options.runs, kafka=options.kafka, place=options.place)
    print("\n\n".join(measured.notes))


if __name__ == "__main__":
    main()
