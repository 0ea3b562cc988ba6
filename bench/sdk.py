"""What a script waits for: starting runs, children by the hundred and by the ten thousand, reading them, listing them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

from .cluster import Cluster, cluster
from .result import Result

CHILDREN = 300
METRICS, STEPS = 5, 100
SWEEP = 10_000

SETUP = """
import json, sys, time
from runstream.core import Experiment, Workspace
experiment = Experiment(Workspace.get("default"), sys.argv[1])
repeats, count = int(sys.argv[2]), int(sys.argv[3])
clock = time.perf_counter
plain = dict(snapshot_directory=None, outputs=False)
samples = []
"""

START = """
for _ in range(repeats):
    begin = clock()
    run = experiment.start_logging()
    samples.append(clock() - begin)
    run.complete()
"""

RECURSIVE = f"""
parent = experiment.start_logging(**plain)
for number in range(count):
    child = parent.child_run()
    for step in range({STEPS}):
        child.log_metrics({{f"metric/{{m}}": 0.5 * step for m in range({METRICS})}})
    child.complete()
parent.complete()
parent.flush()
for _ in range(repeats + 1):
    begin = clock()
    found = parent.get_metrics(recursive=True)
    samples.append(clock() - begin)
del samples[0]
assert len(found) == count and all(len(one) == {METRICS} for one in found.values()), len(found)
assert all(len(values) == {STEPS} for one in found.values() for values in one.values())
"""

CREATE = """
parent = experiment.start_logging(**plain)
for _ in range(repeats):
    begin = clock()
    children = parent.create_children(count=count)
    samples.append(clock() - begin)
    assert len({child.id for child in children}) == count
    for child in children:
        child.complete()
parent.complete()
"""

SWEEP_RUNS = """
parent = experiment.start_logging(**plain)
begin = clock()
for number in range(count):
    child = parent.child_run()
    child.log("alpha", number / count)
    child.log("loss", 1.0 / (number + 1))
    child.complete()
logged = clock() - begin
parent.complete()
parent.flush()
from runstream.client.reading import settle
assert settle(parent._client, None, 300)
samples = [logged, clock() - begin]
"""


def run(quick: bool) -> list[Result]:
    """Medians in fresh processes against one embedded service; the sweep and the list last, for the others' sake."""
    repeats = 5 if quick else 15
    sweep = SWEEP // 10 if quick else SWEEP
    with cluster() as made:
        made.up()
        starts = _script(made, START, repeats=repeats)
        recursive = _script(made, RECURSIVE, repeats=repeats, count=CHILDREN)
        created = _script(made, CREATE, repeats=3, count=1000)
        logged, stored = _script(made, SWEEP_RUNS, count=sweep)
        lists = [_list(made) for _ in range(repeats)]
    runs = f"{sweep:,}".replace(",", " ")
    return [
        Result("start_logging, service up", [1000 * seconds for seconds in starts], "ms", 50),
        Result(f"get_metrics(recursive=True) of {CHILDREN} children", recursive, "s", 0.5),
        Result("create_children(count=1000)", created, "s", 2),
        Result(
            f"{runs} child runs created, logged, completed",
            [sweep / logged],
            "runs/s",
            500,
            higher_is_better=True,
        ),
        Result(
            f"{runs} child runs, until all is stored", [sweep / stored], "runs/s", 500, higher_is_better=True
        ),
        Result(f"runstream run list of {runs} runs", lists, "s", 0.3),
    ]


def _script(made: Cluster, body: str, *, repeats: int = 1, count: int = 0) -> list[float]:
    """Seconds a script measured, in an empty directory."""
    with tempfile.TemporaryDirectory(prefix="rsb") as directory:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                SETUP + body + "print(json.dumps(samples))",
                "sdk",
                str(repeats),
                str(count),
            ],
            env=made.environment,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return list(json.loads(done.stdout.splitlines()[-1]))


def _list(made: Cluster) -> float:
    """Wall time of the command as a shell sees it, from a directory that is attached to nothing."""
    command = os.path.join(os.path.dirname(sys.executable), "runstream")
    start = time.perf_counter()
    done = subprocess.run(
        [command, "run", "list", "--include-children"],
        env=made.environment,
        cwd="/",
        capture_output=True,
        check=True,
        timeout=60,
    )
    taken = time.perf_counter() - start
    assert len(json.loads(done.stdout)) == 10
    return taken
