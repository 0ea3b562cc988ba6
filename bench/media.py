"""Pictures and histograms: what the call costs, and until all pictures are stored."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from .cluster import Cluster, cluster
from .result import Result

PICTURES, BYTES = 10_000, 20_000

LOGGING = f"""
import json, os, sys, time
import numpy as np
from runstream.core import Experiment, Workspace
from runstream.client import media_outbox
from runstream.client.outbox import outbox_of

count = int(sys.argv[1])
run = Experiment(Workspace.get("default"), "media").start_logging(snapshot_directory=None, outputs=False)
head, tail = b"\\x89PNG\\r\\n\\x1a\\n", b"\\0\\0\\0\\0IEND\\xaeB`\\x82"
body = os.urandom({BYTES} - len(head) - len(tail) - 8)
pictures = [head + number.to_bytes(8, "little") + body + tail for number in range(count)]
clock = time.perf_counter
begin = clock()
for picture in pictures:
    run.log_media("samples", picture)
logged = clock() - begin
outbox = outbox_of(run._settings)
while media_outbox.waiting(outbox, run.id):
    time.sleep(0.05)
stored = clock() - begin
last = run.get_media("samples")
assert len(last) == count and last[-1].step == count - 1, len(last)
values = np.random.default_rng(1).normal(size=10_000)
samples = []
for _ in range(300):
    begin = clock()
    run.log_histogram("weights", values)
    samples.append(clock() - begin)
run.complete()
print(json.dumps([logged, stored, samples]))
"""


def run(quick: bool) -> list[Result]:
    """One embedded service; pictures that look like PNG and differ, as real ones do."""
    count = PICTURES // 10 if quick else PICTURES
    with cluster() as made:
        made.up()
        logged, stored, histograms = _script(made, count)
    named = f"{count:,} images of 20 kB".replace(",", " ")
    return [
        Result(f"{named}, logged", [count / logged], "images/s", 2000, higher_is_better=True),
        Result(f"{named}, until all are stored", [count / stored], "images/s", higher_is_better=True),
        Result("log_histogram of 10 000 float64", [1e6 * seconds for seconds in histograms], "µs"),
    ]


def _script(made: Cluster, count: int) -> tuple[float, float, list[float]]:
    with tempfile.TemporaryDirectory(prefix="rsb") as directory:
        done = subprocess.run(
            [sys.executable, "-c", LOGGING, str(count)],
            env=made.environment,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    logged, stored, histograms = json.loads(done.stdout.splitlines()[-1])
    return logged, stored, histograms
