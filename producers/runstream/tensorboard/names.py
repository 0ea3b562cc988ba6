"""Names of what comes from log directories and tags."""

from __future__ import annotations

import re
from pathlib import Path

LAYOUT_FILE = "tensorboard/custom_scalars.json"
"""Where a layout of custom scalars lies among the files of a run."""

_NOT_IN_AN_EXPERIMENT = re.compile(r"[^\w-]+", re.ASCII)
_NOT_IN_A_PATH = re.compile(r"[^\w.=-]+")
_LONGEST = 150


def experiment_name(logdir: Path) -> str:
    """A name of an experiment for a log directory."""
    return _NOT_IN_AN_EXPERIMENT.sub("-", logdir.name).strip("-_")[:255] or "tensorboard"


def file_path(tag: str, step: int, wall_time: float, ending: str) -> str:
    """Where a file of a tag lies among those of a run. It holds the file's own time: a step may come twice.

    Args:
        ending: the ending of its name.
    """
    safe = _NOT_IN_A_PATH.sub("_", tag)[:_LONGEST]
    return f"tensorboard/{safe}/{step}_{round(wall_time * 1e6)}_{ending}"
