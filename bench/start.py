"""How long a script waits before it can log: import, and the first run with the service up and from cold."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from .cluster import cluster
from .result import Result

IMPORT = "import time; t = time.perf_counter(); import runstream; print(time.perf_counter() - t)"
FIRST_RUN = """
import json, time
start = time.perf_counter()
from runstream.core import Experiment, Workspace
imported = time.perf_counter()
run = Experiment(Workspace.get("default"), "bench").start_logging(snapshot_directory=None, outputs=False)
started = time.perf_counter()
run.log("x", 1.0)
stored = run.get_metrics()
print(json.dumps([imported - start, started - imported, time.perf_counter() - start]))
assert stored == {"x": 1.0}, stored
run.complete()
"""


def run(quick: bool) -> list[Result]:
    """Medians over fresh processes."""
    repeats = 3 if quick else 9
    waits: list[float] = []
    imports, firsts, reads, colds, cold_reads = [], [], [], [], []
    with cluster() as made:
        made.up()
        for _ in range(repeats):
            done = subprocess.run(
                [sys.executable, "-c", IMPORT],
                env=made.environment,
                capture_output=True,
                text=True,
                check=True,
            )
            imports.append(float(done.stdout) * 1000)
            _, first, read = _first_run(made.environment)
            firsts.append(first * 1000)
            reads.append(read * 1000)
            waits.append(_start_of_command(made.environment) * 1000)
    for _ in range(repeats // 2 + 1):
        with cluster(settings={"RUNSTREAM_AUTOSTART": "1"}) as made:
            _, first, read = _first_run(made.environment)
            colds.append(first)
            cold_reads.append(read)
    return [
        Result("import runstream", imports, "ms", 100, 30),
        Result("first start_logging, service up", firsts, "ms", 50),
        Result("import, start, log, read back, service up", reads, "ms"),
        Result("start of a command under exec, beyond its own", waits, "ms", 150),
        Result("first start_logging, cold", colds, "s", 2),
        Result("import, start, log, read back, cold", cold_reads, "s"),
    ]


def _start_of_command(environment: dict[str, str]) -> float:
    """Seconds from the start of `runstream exec` to the first line of its command, less those of the command alone."""

    def seconds(*before: str) -> float:
        began = time.time()
        line = subprocess.run(
            [*before, sys.executable, "-c", "import time; print(time.time())"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return float(line) - began

    return seconds(sys.executable, "-P", "-m", "runstream", "exec", "-e", "bench", "--") - seconds()


def _first_run(environment: dict[str, str]) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_RUN],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return list(json.loads(done.stdout.splitlines()[-1]))
