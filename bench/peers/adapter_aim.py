"""Aim, with a local repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import measure

IMPORTS = ("aim",)
PACKAGES = ("aim",)


def prepare(home: Path) -> None:
    """No reports of use."""
    os.environ.update(AIM_UI_TELEMETRY_ENABLED="0", __AIM_PROFILE_PATH__=str(home))


def open_run(home: Path, name: str) -> measure.Writer:
    """Neither the machine nor the output is sampled."""
    import aim

    run = aim.Run(
        repo=str(home), system_tracking_interval=None, capture_terminal_logs=False, log_system_params=False
    )
    run.name = name
    track = run.track
    return measure.Writer(
        lambda step, value: track(value, name="loss", step=step),
        lambda step, values: track(values, step=step),
        run.close,
    )


def before_reading(home: Path) -> None:
    """What was written can be read once it is in the index: Aim's server does that as it goes, this command does it here."""
    command = [str(Path(sys.executable).parent / "aim"), "storage", "--repo", str(home), "reindex", "-y"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


def read(home: Path, name: str) -> int:
    """The metric's values and steps as arrays."""
    for run in _runs(home):
        if run.name == name:
            for metric in run.metrics():
                if metric.name == "loss":
                    _, values = metric.values.sparse_numpy()
                    return len(values)
    return 0


def list_runs(home: Path) -> int:
    """Each run's metrics and their last values."""
    count = 0
    for run in _runs(home):
        last = {metric.name: metric.values.last() for metric in run.metrics()}
        count += len(last) == measure.LAST_METRICS
    return count


def disk(home: Path) -> int:
    """The repository."""
    return measure.allocated(home / ".aim")


def _runs(home: Path):  # type: ignore[no-untyped-def]
    import aim

    repo = aim.Repo(str(home))
    for name in repo.list_all_runs():
        yield aim.Run(name, repo=repo, read_only=True)


if __name__ == "__main__":
    measure.main(sys.modules[__name__])
