"""A script to search over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runstream.core import ScriptRunConfig
from runstream.train.hyperdrive import (
    HyperDriveConfig,
    PrimaryMetricGoal,
)

TRAIN = """
import argparse, os, time
from azureml.core import Run
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.add_argument("--kind", default="a")
options = parser.parse_args()
run = Run.get_context()
"""


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., HyperDriveConfig]:
    """Makes a configuration of a script of the given lines; it maximizes `accuracy`."""

    def make(lines: str, sampling: Any, trials: int, **more: Any) -> HyperDriveConfig:
        project = tmp_path / "project"
        project.mkdir(exist_ok=True)
        (project / "train.py").write_text(TRAIN + lines)
        return HyperDriveConfig(
            run_config=ScriptRunConfig(str(project), "train.py"),
            hyperparameter_sampling=sampling,
            primary_metric_name="accuracy",
            primary_metric_goal=more.pop("primary_metric_goal", PrimaryMetricGoal.MAXIMIZE),
            max_total_runs=trials,
            **more,
        )

    return make
