"""How W&B's words become runstream's: for scripts that use `runstream.wandb`, and for what W&B itself has recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from math import isfinite
from typing import Any

from runstream_schemas.values.histograms import MAX_BINS, Histogram, encode_histogram

INTERNAL = frozenset({"_step", "_timestamp", "_runtime", "_wandb"})
"""Keys that are W&B's own."""
ALERTS = "wandb.alerts"
"""Series of texts: the alerts of a run."""
SUMMARY_FILE = "wandb/summary.json"
"""The summary among the run's files."""
STEP_COLUMN = "_step"
"""Column of a table: the step it was logged at; several of one name are one table."""
ARTIFACT_PROPERTY = "wandb.artifact."
"""Property of a run that has logged an artifact: this, and its name."""

_NOT_IN_AN_EXPERIMENT = re.compile(r"[^\w-]+", re.ASCII)


def experiment_of(project: str) -> str:
    """The name of the experiment of a project."""
    return _NOT_IN_AN_EXPERIMENT.sub("-", project).strip("-_")[:255] or "uncategorized"


def artifact_folder(name: str, digest: str) -> str:
    """Where an artifact lies among the files of the run that logged it; a JSON beside it says what it is."""
    return f"artifacts/{name}/{digest[:12] or 'unfinished'}"


def alert_text(level: str, title: str, text: str) -> str:
    """An alert as a value of the series `ALERTS`."""
    return f"{level or 'INFO'}: {title}\n{text}".rstrip()


def put_at(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set the value at a path, over whatever is in its way."""
    for key in path[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    tree[path[-1]] = value


def remove_at(tree: dict[str, Any], path: tuple[str, ...]) -> None:
    """Remove the value at a path, if there is one."""
    for key in path[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            return
        tree = inner
    tree.pop(path[-1], None)


def scalars_of(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The scalars of a summary by flat names; media and the like are none."""
    values: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if not prefix and key in INTERNAL:
            continue
        if isinstance(value, dict):
            if not isinstance(value.get("_type"), str):
                values += scalars_of(value, f"{prefix}{key}.")
        elif value is not None:
            values.append((prefix + key, value))
    return values


def histogram_text(counts: list[int], edges: list[float]) -> str:
    """The text of a histogram of W&B.

    Raises:
        ValueError: counts and edges that do not fit, or more than are held.
    """
    rising = all(left < right for left, right in pairwise(edges))
    if len(edges) != len(counts) + 1 or min(counts) < 0 or not rising or not all(map(isfinite, edges)):
        raise ValueError("counts and edges that do not fit")
    if len(counts) > MAX_BINS:
        raise ValueError(f"more than {MAX_BINS} bins")
    return encode_histogram(Histogram(counts, edges, sum(counts)))


def cell(value: Any) -> Any:
    """A value of JSON as a scalar of a table."""
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 63:
        return float(value)
    return value
