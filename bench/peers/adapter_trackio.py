"""Trackio, local: one SQLite database a project."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import measure

IMPORTS = ("trackio",)
PACKAGES = ("trackio",)


def prepare(home: Path) -> None:
    """Data in the home, nothing asked of a hub."""
    os.environ.update(TRACKIO_DIR=str(home / "trackio"), HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")


def open_run(home: Path, name: str) -> measure.Writer:
    """`finish` waits for the thread that writes."""
    import trackio

    trackio.init(project="bench", name=name, embed=False, auto_log_gpu=False, auto_log_cpu=False)
    return measure.Writer(
        lambda step, value: trackio.log({"loss": value}, step=step),
        lambda step, values: trackio.log(values, step=step),
        trackio.finish,
    )


def read(home: Path, name: str) -> int:
    """What `trackio get metric` answers with."""
    from trackio.sqlite_storage import SQLiteStorage

    return len(SQLiteStorage.get_metric_values("bench", name, "loss"))


def list_runs(home: Path) -> int:
    """The runs, and the logs of each, of which the last values are kept: there is no summary."""
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    count = 0
    for run in trackio.Api().runs("bench"):
        last: dict[str, object] = {}
        for row in SQLiteStorage.get_logs("bench", run.name):
            last.update(row)
        count += len(last.keys() - {"timestamp", "step"}) == measure.LAST_METRICS
    return count


def disk(home: Path) -> int:
    """The databases."""
    return measure.allocated(home / "trackio")


if __name__ == "__main__":
    measure.main(sys.modules[__name__])
