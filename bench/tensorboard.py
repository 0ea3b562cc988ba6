"""TensorBoard: what `SummaryWriter.add_scalar` costs, how fast event files are taken over, how soon a value is stored."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from .cluster import Cluster, cluster
from .result import Result

CALLS, PEER_CALLS = 200_000, 5_000
TAGS = 10
FOLLOWED = 100

SETUP = """
import json, sys, tempfile, threading, time
from pathlib import Path
from runstream.core import Experiment, Workspace
count, folder = int(sys.argv[1]), Path(sys.argv[2])
workspace = Workspace.get("default")
samples = []
"""

OURS = """
from runstream.tensorboard import SummaryWriter
run = Experiment(workspace, "bench").start_logging(snapshot_directory=None, outputs=False)
add = SummaryWriter("runs", run=run).add_scalar
"""

PEER = """
from tensorboardX import SummaryWriter
add = SummaryWriter(str(folder / "peer")).add_scalar
"""

ADD_SCALAR = """
for _ in range(6):
    begin = time.process_time()
    for step in range(count):
        add("train/loss", 0.5, step)
    samples.append((time.process_time() - begin) / count * 1e6)
del samples[0]
"""

WRITE = f"""
from runstream.tensorboard import encoding
from runstream.tensorboard.event_writer import EventFileWriter
from runstream.importers.tensorboard import TensorBoardImport
from runstream.client.reading import fetch_metrics, settle
heads = [encoding.scalar_head(f"train/loss_{{number}}") for number in range({TAGS})]

def write(place, count, queue):
    writer = EventFileWriter(folder / place, queue)
    for step in range(count // {TAGS}):
        for head in heads:
            writer.add(encoding.scalar_event(1.7e9 + step, step, head, 0.5 * step))
    writer.close()
"""

IMPORT = """
write("whole/a", count, 1000)
begin = time.perf_counter()
(report,) = TensorBoardImport(workspace, folder / "whole").once()
taken = time.perf_counter() - begin
assert settle(workspace._client, report.run_id, 300)
samples = [taken, time.perf_counter() - begin]
assert report.points == {"scalars": count}, report
"""

FOLLOW = """
from runstream.importers.event_follower import follow
write("followed/a", 10, 1)
stop, opened = threading.Event(), []
importing = TensorBoardImport(workspace, folder / "followed")
thread = threading.Thread(target=follow, args=(importing, stop, opened.append))
thread.start()
writer = EventFileWriter(folder / "followed" / "a", 1)
while not opened:
    time.sleep(0.05)
for step in range(count):
    writer.add(encoding.scalar_event(time.time(), step, encoding.scalar_head("delay"), 1.0))
    begin = time.perf_counter()
    while True:
        found = fetch_metrics(workspace._client, [opened[0].run_id], name="delay").get(opened[0].run_id)
        if found and len(found[0].values) > step:
            break
        time.sleep(0.01)
    samples.append(time.perf_counter() - begin)
stop.set()
thread.join()
"""


def run(quick: bool) -> list[Result]:
    """The figures, each in a process of its own."""
    scalars, followed = (100_000, FOLLOWED // 5) if quick else (1_000_000, FOLLOWED)
    with cluster() as made, tempfile.TemporaryDirectory(prefix="rsb") as directory:
        made.up()
        ours = _script(made, OURS + ADD_SCALAR, CALLS, directory)
        peer = _script(made, PEER + ADD_SCALAR, PEER_CALLS, directory)
        taken, stored = _script(made, WRITE + IMPORT, scalars, directory)
        delays = sorted(_script(made, WRITE + FOLLOW, followed, directory))
    name = f"{scalars:,} scalars of event files".replace(",", " ")
    return [
        Result("SummaryWriter.add_scalar", ours, "µs", 1.0),
        Result("the same of tensorboardX", peer, "µs"),
        Result(f"{name} taken over", [scalars / taken], "scalars/s", 100_000, higher_is_better=True),
        Result(f"{name}, until all is stored", [stored], "s", 10.0),
        Result("followed, from file to reader, p99", [delays[int(len(delays) * 0.99)]], "s", 1.0),
    ]


def _script(made: Cluster, body: str, count: int, directory: str) -> list[float]:
    """What a script measured."""
    done = subprocess.run(
        [sys.executable, "-c", f"{SETUP}{body}\nprint(json.dumps(samples))", str(count), directory],
        env=made.environment,
        cwd=Path(directory),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return list(json.loads(done.stdout.splitlines()[-1]))
