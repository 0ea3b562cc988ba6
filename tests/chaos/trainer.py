"""A trainer for the nemesis: logs numbered values until a stop file appears or it is killed.

Each time 100 values are logged it notes, in a file of its own, up to where `log` has returned: so many must be there at
the end.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Arguments: run id, file to note the progress in, stop file, seconds to rest after each hundred."""
    run_id, progress, stop, pause = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
    from runstream.core import Experiment, Workspace

    experiment = Experiment(Workspace.get("default"), "chaos")
    run = experiment.start_logging(run_id=run_id, snapshot_directory=None, outputs=False)
    descriptor = os.open(progress, os.O_WRONLY | os.O_CREAT, 0o600)
    i = 0
    while not stop.exists():
        for _ in range(100):
            run.log("float", i / 2)
            run.log("int", i)
            i += 1
        run.log_metrics({"a": float(i), "b": i}, step=i)
        run.log_row("rows", i=i, text=f"row {i}")
        run.tag("latest", str(i))
        os.pwrite(descriptor, b"%012d" % i, 0)
        time.sleep(pause)
    run.complete()
    os.pwrite(descriptor, b"%012d done" % i, 0)


if __name__ == "__main__":
    main()
