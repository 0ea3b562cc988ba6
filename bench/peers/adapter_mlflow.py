"""MLflow, with its SQLite store."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import measure

IMPORTS = ("mlflow",)
PACKAGES = ("mlflow",)


def prepare(home: Path) -> None:
    """A database file in the home."""
    os.environ.update(
        MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db",
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="true",
        GIT_PYTHON_REFRESH="quiet",
    )


def open_run(home: Path, name: str) -> measure.Writer:
    """Every call is a transaction."""
    import mlflow

    mlflow.end_run()
    mlflow.start_run(run_name=name)
    return measure.Writer(
        lambda step, value: mlflow.log_metric("loss", value, step=step),
        lambda step, values: mlflow.log_metrics(values, step=step),
        mlflow.end_run,
    )


def read(home: Path, name: str) -> int:
    """The metric's history."""
    import mlflow

    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"], f"attributes.run_name = '{name}'")
    return len(client.get_metric_history(run.info.run_id, "loss"))


def list_runs(home: Path) -> int:
    """Pages of runs, which hold the last values."""
    import mlflow

    client = mlflow.MlflowClient()
    count, token = 0, None
    while True:
        page = client.search_runs(["0"], max_results=1000, page_token=token)
        count += sum(len(run.data.metrics) == measure.LAST_METRICS for run in page)
        token = page.token
        if not token:
            return count


def disk(home: Path) -> int:
    """The database, after it was closed for a moment."""
    time.sleep(0.2)
    return measure.allocated(*home.glob("mlflow.db*"))


if __name__ == "__main__":
    measure.main(sys.modules[__name__])
