"""What MLflow keeps, whichever way it is read: runs as foreign runs, and what is beside them as the server takes it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .foreign_runs import ForeignFile, ForeignRun, ForeignStore, Points

Document = dict[str, Any]

RUN_NAME, NOTE, PARENT, USER = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId", "mlflow.user"
DELETED = "deleted"
"""The stage of what somebody has deleted in MLflow, which keeps it."""
DELETED_VERSION = "Deleted_Internal"
DEFAULT_WORKSPACE = "default"
_GREATEST = 1.7976931348623157e308  # what MLflow's database has for an infinity
_ENDINGS: Mapping[str, str] = {
    "FINISHED": "complete", "FAILED": "fail", "KILLED": "cancel", "3": "complete", "4": "fail", "5": "cancel",
}  # fmt: skip
MODEL_STATUSES: Mapping[str, str] = {
    "1": "LOGGED_MODEL_PENDING", "2": "LOGGED_MODEL_READY",
    "3": "LOGGED_MODEL_UPLOAD_FAILED", "PENDING": "LOGGED_MODEL_PENDING", "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}  # fmt: skip


@dataclass(slots=True)
class LoggedModel:
    """A logged model.

    Attributes:
        document: as `POST logged-models` of the import takes it.
        place: where its files lie there.
        files: reads them.
        left_out: reason to number of what cannot be taken over.
    """

    document: Document
    place: str
    files: Callable[[], Iterator[ForeignFile]]
    left_out: Counter[str] = field(default_factory=Counter)


class MlflowStore(ForeignStore, Protocol):
    """A store of MLflow.

    Attributes:
        left_out: reason to number of what is not taken over, of no run.
        artifact_places: run id to where the files of the run lie there, of those that were read.
    """

    left_out: Counter[str]
    artifact_places: dict[str, str]

    def experiments(self) -> Iterator[Document]:
        """Experiments: `name`, `creation_time`, `tags`."""

    def inputs(self) -> Iterator[Document]:
        """What runs have read and made: `run_id`, `inputs`, `outputs`."""

    def logged_models(self) -> Iterator[LoggedModel]:
        """Logged models."""

    def registered_models(self) -> Iterator[Document]:
        """Registered models with their versions, as `POST registered-model` of the import takes them."""


def foreign_run(
    facts: Mapping[str, Any],
    experiment: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    points: Callable[[], Iterator[Points]],
    files: Callable[[], Iterator[ForeignFile]],
    left_out: Counter[str],
) -> ForeignRun:
    """A run of MLflow.

    Args:
        facts: `run_id`, `name`, `status`, `start_time`, `end_time`, `user_id`, `artifact_uri`, `experiment_id`.
    """
    name = tags.get(RUN_NAME) or facts.get("name") or facts["run_id"]
    labels = dict(tags)
    labels.setdefault(RUN_NAME, name)
    if facts.get("user_id") and facts["user_id"] != "unknown":
        labels.setdefault(USER, str(facts["user_id"]))
    started, ended = facts.get("start_time"), facts.get("end_time")
    properties = {
        "mlflow.experiment_id": facts.get("experiment_id"),
        "mlflow.artifact_uri": facts.get("artifact_uri"),
    }
    return ForeignRun(
        run_id=str(facts["run_id"]),
        experiment=experiment,
        name=str(name),
        started=(started or ended or 0) / 1000,
        ended=ended / 1000 if ended else None,
        ending=_ENDINGS.get(str(facts.get("status"))),
        parent=tags.get(PARENT) or None,
        description=tags.get(NOTE) or None,
        params=params,
        tags=labels,
        properties={key: str(text) for key, text in properties.items() if text},
        points=points,
        files=files,
        left_out=left_out,
    )


def points_of(
    name: str, steps: Iterable[int], times_ms: Iterable[int], values: NDArray[np.float64]
) -> Points:
    """Points of a metric in MLflow's own order: the last one is the one its lists show."""
    step, time = np.array(steps, np.int64), np.array(times_ms, np.int64)
    values = np.where(np.abs(values) >= _GREATEST, np.copysign(np.inf, values), values)
    order = np.lexsort((values, time, step))
    return Points(name, step[order], time[order] * 1000, values[order])


def key_values(pairs: Mapping[str, Any]) -> list[Document]:
    """Tags or parameters, as requests have them."""
    return [{"key": key, "value": "" if value is None else str(value)} for key, value in pairs.items()]


def metric_value(value: float) -> float | str:
    """A number, as requests have it."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def within(source: str, place: str) -> str | None:
    """The path of a source below a place; None: it lies elsewhere."""
    source, place = (text.removeprefix("file://").rstrip("/") for text in (source, place))
    if not place or not (source == place or source.startswith(f"{place}/")):
        return None
    return source[len(place) + 1 :]


def version_document(
    version: Mapping[str, Any], tags: Mapping[str, Any], places: Mapping[str, str]
) -> Document:
    """A version of a registered model, as the import's request has it.

    Args:
        version: `version`, `source`, `run_id`, `model_id`, `storage_location`, `current_stage` and times.
        places: run id to where its files lie there.
    """
    source, run_id = str(version.get("source") or ""), str(version.get("run_id") or "")
    model_id = str(version.get("model_id") or "")
    if not model_id and source.startswith("models:/m-"):
        model_id = source.removeprefix("models:/").partition("/")[0]
    path = within(str(version.get("storage_location") or source), places.get(run_id, "")) if run_id else None
    if source.startswith(f"runs:/{run_id}/"):
        path = source.removeprefix(f"runs:/{run_id}/")
    stage = str(version.get("current_stage") or "None")
    document = {
        "version": version["version"],
        "source": source or "unknown",
        "run_id": run_id,
        "model_id": model_id,
        "of_run": not model_id and path is not None,
        "path": "" if model_id else path or "",
        "run_link": version.get("run_link"),
        "description": version.get("description"),
        "stage": stage,
        "created_ms": version.get("creation_time"),
        "changed_ms": version.get("last_updated_time"),
        "tags": key_values(tags),
    }
    return {key: value for key, value in document.items() if value is not None}
