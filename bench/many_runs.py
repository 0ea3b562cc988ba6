"""2,000 runs that log five series once a second: the hard case, many tiny batches."""

from __future__ import annotations

import time

from .cluster import HOT, cluster, finish, go, start_writers
from .result import Result

RUNS, SERIES = 2000, 5


def run(quick: bool) -> list[Result]:
    """CPU of all our processes but the trainer, and what a point costs in Postgres before it is compacted."""
    seconds = 15 if quick else 40
    with cluster(settings={"RUNSTREAM_COMPACT_AFTER": "3600"}) as made:
        made.up()
        writers = start_writers(
            made,
            1,
            "--runs",
            str(RUNS),
            "--series",
            str(SERIES),
            "--steps",
            str(seconds),
            "--rate",
            str(RUNS * SERIES),
        )
        go(writers)
        time.sleep(5)
        skip = {writer.pid for writer in writers}
        before, _ = made.cpu_and_memory()
        start = time.perf_counter()
        time.sleep(seconds - 8)
        after, memory = made.cpu_and_memory()
        taken = time.perf_counter() - start
        logged = finish(writers)
        made.wait_stored(logged)
        points, payload, total = made.query(HOT)
        made.down()
    assert skip
    return [
        Result("2,000 runs x 5 series at 1 Hz: CPU", [100 * (after - before) / taken], "% of a core", 60, 30),
        Result("2,000 runs x 5 series at 1 Hz: memory", [memory / 1e6], "MB", 400),
        Result("hot tier before compaction", [total / points], "B/point", 100, 40),
        Result("of that, packed points", [payload / points], "B/point"),
    ]
