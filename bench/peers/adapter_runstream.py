"""runstream, embedded: its services are up, as they are from the first run of a day on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import measure

IMPORTS = ("runstream.core.workspace", "runstream.core.experiment", "runstream.core.run")
"""What `from runstream import Experiment, Workspace` and a first run load: the package alone loads next to nothing."""
PACKAGES = ("runstream",)

_last: list[Any] = []


def prepare(home: Path) -> None:
    """Its services start with the first measurement of a home; `stop` ends them."""
    os.environ["RUNSTREAM_HOME"] = str(home / "home")
    if not (home / "home" / "service.json").exists():
        _command("up")
        (home / "empty").write_text(str(_tables(home)))


def stop(home: Path) -> None:
    """End the services."""
    os.environ["RUNSTREAM_HOME"] = str(home / "home")
    _command("down")


def open_run(home: Path, name: str) -> measure.Writer:
    """Ends when everything is committed in Postgres."""
    from runstream import Experiment, Workspace

    run = Experiment(Workspace.get("default"), "bench").start_logging(
        run_id=name, snapshot_directory=None, outputs=False
    )
    _last[:] = [run]

    def finish() -> None:
        run.complete()
        if not name.startswith("run_"):
            run.flush()

    return measure.Writer(
        lambda step, value: run.log("loss", value, step=step),
        lambda step, values: run.log_metrics(values, step),
        finish,
    )


def settle(home: Path) -> None:
    """Wait for the many runs at once."""
    _last[0].flush()


def read(home: Path, name: str) -> int:
    """One series over HTTP, as an Arrow table."""
    import runstream.query

    return len(runstream.query.metrics(name, "loss").table)


def list_runs(home: Path) -> int:
    """All runs with their summaries."""
    import runstream.query

    runs = runstream.query.runs("bench").to_pylist()
    return sum(
        all(run[name]["last"] == 0.5 for name in measure.NAMES[: measure.LAST_METRICS]) for run in runs
    )


def disk(home: Path) -> int:
    """Parquet, and what the tables of Postgres grew by; its write-ahead log and the spool are of bounded size."""
    _command("compact")
    return measure.allocated(home / "home" / "store") + _tables(home) - int((home / "empty").read_text())


def _tables(home: Path) -> int:
    return measure.allocated(home / "home" / "postgres" / "data" / "base")


def _command(*words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "runstream", *words], check=True, stdout=subprocess.DEVNULL, timeout=60
    )


if __name__ == "__main__":
    measure.main(sys.modules[__name__])
