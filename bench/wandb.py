"""W&B: what `log` of ten numbers costs with `runstream.wandb`, and with W&B itself offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .cluster import cluster
from .result import Result

CALLS, PEER_CALLS = 100_000, 3_000

LOG = """
import json, sys, time
count, samples = int(sys.argv[1]), []
run = wandb.init(project="bench")
values = {f"train/metric_{number}": 0.5 + number for number in range(10)}
log = wandb.log
for _ in range(6):
    begin = time.process_time()
    for step in range(count):
        log(values)
    samples.append((time.process_time() - begin) / count * 1e6)
del samples[0]
print(json.dumps(samples), flush=True)
run.finish()
"""


def run(quick: bool) -> list[Result]:
    """The figures, each in a process of its own."""
    share = 10 if quick else 1
    with cluster() as made, tempfile.TemporaryDirectory(prefix="rsb") as directory:
        made.up()
        ours = _script("import runstream.wandb as wandb", CALLS // share, made.environment, directory)
        offline = {
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "WANDB_CONSOLE": "off",
            "WANDB_DIR": directory,
        }
        peer = _script("import wandb", PEER_CALLS // share, {**os.environ, **offline}, directory)
    return [
        Result("runstream.wandb: log of ten", ours, "µs", 5.0),
        Result("the same of wandb, offline", peer, "µs"),
    ]


def _script(imports: str, count: int, environment: dict[str, str], directory: str) -> list[float]:
    """What a script measured."""
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}\n{LOG}", str(count)],
        env=environment,
        cwd=Path(directory),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return list(json.loads(done.stdout.splitlines()[0]))
