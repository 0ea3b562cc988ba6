"""Reads MLflow's database in a file of SQLite, with what Python brings along: MLflow need not be installed.

The file is opened for reading only; a server may write to it meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..exceptions import UserErrorException
from .foreign_runs import ForeignFile, ForeignRun, Points
from .local_artifacts import LocalArtifacts
from .mlflow_records import (
    DEFAULT_WORKSPACE,
    DELETED,
    DELETED_VERSION,
    MODEL_STATUSES,
    Document,
    LoggedModel,
    foreign_run,
    key_values,
    metric_value,
    points_of,
    version_document,
)

SCHEME = "sqlite:///"
_ROWS = 100_000  # of points in memory

_RUNS = """
select r.*, e.name as experiment from runs r join experiments e on e.experiment_id = r.experiment_id
where e.experiment_id in (select value from json_each(?)) order by r.start_time, r.run_uuid
"""
_POINTS = """
select key, step, timestamp, case when is_nan then null else value end from metrics where run_uuid = ?
order by key, step, timestamp
"""


class MlflowDatabase:
    """A database of MLflow.

    Args:
        uri: `sqlite:///PATH`.
        artifacts: a folder with a copy of what the artifact root holds.

    Attributes:
        tool, place, left_out, artifact_places: as of any source.

    Raises:
        UserErrorException: there is no such file, or it is no database of MLflow.
    """

    tool = "MLflow"

    def __init__(self, uri: str, artifacts: Path | None = None) -> None:
        path = Path(uri.removeprefix(SCHEME)).resolve()
        if not path.is_file():
            raise UserErrorException(
                f"{uri}: there is no file {path}; write an absolute path as sqlite:////home/..."
            )
        self.place = str(path)
        self._artifacts = LocalArtifacts([path.parent, Path.cwd()], artifacts)
        self.left_out: Counter[str] = Counter()
        self.artifact_places: dict[str, str] = {}
        try:
            self._file = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
            self._file.row_factory = sqlite3.Row
            tables = {
                name for (name,) in self._file.execute("select name from sqlite_master where type = 'table'")
            }
        except sqlite3.Error as error:
            raise UserErrorException(f"{path}: cannot be read as a database of SQLite ({error})") from None
        if not {"experiments", "runs", "metrics", "params", "tags"} <= tables:
            raise UserErrorException(
                f"{path} is no database of MLflow: it lacks tables of it; has a first run been logged?"
            )
        self._tables = tables
        self._experiments: dict[Any, Document] = {}
        for row in self._rows("select * from experiments order by experiment_id"):
            if row["lifecycle_stage"] == DELETED:
                self.left_out["experiments that were deleted in MLflow"] += 1
            elif (workspace := row.get("workspace", DEFAULT_WORKSPACE)) != DEFAULT_WORKSPACE:
                self.left_out[f"experiments of MLflow's workspace {workspace}"] += 1
            else:
                self._experiments[row["experiment_id"]] = row

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rows(self, statement: str, *arguments: Any) -> list[Document]:
        return [dict(row) for row in self._file.execute(statement, arguments)]

    def _pairs(self, table: str, where: str, *arguments: Any) -> dict[str, Any]:
        if table not in self._tables:
            return {}
        return dict(self._file.execute(f"select key, value from {table} where {where}", arguments).fetchall())

    def total(self) -> int:
        """How many values there are."""
        (count,) = self._file.execute("select count(*) from metrics").fetchone()
        return int(count)

    def runs(self) -> Iterator[ForeignRun]:
        """The runs, by the time they started at."""
        for row in self._rows(_RUNS, str(list(self._experiments))):
            if row["lifecycle_stage"] == DELETED:
                self.left_out["runs that were deleted in MLflow"] += 1
                continue
            yield self._run(row)

    def _run(self, row: Document) -> ForeignRun:
        run_id, uri, left_out = row["run_uuid"], str(row["artifact_uri"] or ""), Counter[str]()
        self.artifact_places[run_id] = uri

        def points() -> Iterator[Points]:
            cursor = self._file.cursor()
            cursor.row_factory = None
            cursor.execute(_POINTS, (run_id,))
            while rows := cursor.fetchmany(_ROWS):
                for name, some in groupby(rows, itemgetter(0)):
                    _, steps, times, values = zip(*some, strict=True)
                    yield points_of(name, steps, times, np.array(values, np.float64))  # None becomes NaN

        def files() -> Iterator[ForeignFile]:
            return self._artifacts.files(uri, 3, left_out)

        return foreign_run(
            {**row, "run_id": run_id},
            row["experiment"],
            self._pairs("params", "run_uuid = ?", run_id),
            {key: text or "" for key, text in self._pairs("tags", "run_uuid = ?", run_id).items()},
            points,
            files,
            left_out,
        )

    # --- beside runs ---

    def experiments(self) -> Iterator[Document]:
        """As of any source."""
        for experiment_id, row in self._experiments.items():
            tags = key_values(self._pairs("experiment_tags", "experiment_id = ?", experiment_id))
            document = {"name": row["name"], "creation_time": row.get("creation_time"), "tags": tags}
            yield {key: value for key, value in document.items() if value is not None}

    def inputs(self) -> Iterator[Document]:
        """As of any source."""
        if "inputs" not in self._tables:
            return
        by_run: dict[str, Document] = {}
        for row in self._rows("select * from inputs order by input_uuid"):
            kinds = row["source_type"], row["destination_type"]
            run_id = row["destination_id"] if kinds == ("DATASET", "RUN") else row["source_id"]
            if run_id not in self.artifact_places:
                continue
            document = by_run.setdefault(
                run_id,
                {"run_id": run_id, "inputs": {"datasets": [], "models": []}, "outputs": {"models": []}},
            )
            if kinds == ("DATASET", "RUN"):
                document["inputs"]["datasets"] += self._data_set(row)
            elif kinds == ("RUN_INPUT", "MODEL_INPUT"):
                document["inputs"]["models"].append({"model_id": row["destination_id"]})
            elif kinds == ("RUN_OUTPUT", "MODEL_OUTPUT"):
                made = {"model_id": row["destination_id"], "step": row.get("step") or 0}
                document["outputs"]["models"].append(made)
        yield from by_run.values()

    def _data_set(self, row: Document) -> list[Document]:
        tags = self._file.execute(
            "select name, value from input_tags where input_uuid = ?", (row["input_uuid"],)
        )
        labels = key_values(dict(tags.fetchall()))
        documents = []
        for held in self._rows("select * from datasets where dataset_uuid = ?", row["source_id"]):
            data_set = {
                "name": held["name"], "digest": held["digest"], "source_type": held["dataset_source_type"],
                "source": held["dataset_source"], "schema": held["dataset_schema"], "profile": held["dataset_profile"],
            }  # fmt: skip
            kept = {key: value for key, value in data_set.items() if value is not None}
            documents.append({"dataset": kept, "tags": labels})
        return documents

    def logged_models(self) -> Iterator[LoggedModel]:
        """As of any source."""
        if "logged_models" not in self._tables:
            return
        for row in self._rows("select * from logged_models order by creation_timestamp_ms"):
            if row["experiment_id"] not in self._experiments:
                continue
            if row["lifecycle_stage"] == DELETED:
                self.left_out["logged models that were deleted in MLflow"] += 1
                continue
            yield self._logged_model(row)

    def _logged_model(self, row: Document) -> LoggedModel:
        model_id, uri, left_out = row["model_id"], str(row["artifact_location"] or ""), Counter[str]()

        def pairs(what: str) -> list[Document]:
            statement = f"select {what}_key, {what}_value from logged_model_{what}s where model_id = ?"
            return key_values(dict(self._file.execute(statement, (model_id,)).fetchall()))

        metrics = [
            {
                "key": point["metric_name"], "timestamp": point["metric_timestamp_ms"], "step": point["metric_step"],
                "value": "NaN" if point["metric_value"] is None else metric_value(point["metric_value"]),
                "run_id": point["run_id"], "dataset_name": point["dataset_name"], "dataset_digest": point["dataset_digest"],
            }
            for point in self._rows("select * from logged_model_metrics where model_id = ?", model_id)
        ]  # fmt: skip
        document = {
            "model_id": model_id,
            "experiment": self._experiments[row["experiment_id"]]["name"],
            "name": row["name"],
            "source_run_id": row["source_run_id"],
            "model_type": row["model_type"],
            "status": MODEL_STATUSES.get(str(row["status"])),
            "status_message": row["status_message"],
            "created_ms": row["creation_timestamp_ms"],
            "changed_ms": row["last_updated_timestamp_ms"],
            "params": pairs("param"),
            "tags": pairs("tag"),
            "metrics": metrics,
        }
        kept = {key: value for key, value in document.items() if value is not None}
        return LoggedModel(kept, uri, lambda: self._artifacts.files(uri, 4, left_out), left_out)

    def registered_models(self) -> Iterator[Document]:
        """As of any source."""
        if "registered_models" not in self._tables:
            return
        for row in self._rows("select * from registered_models order by name"):
            if (workspace := row.get("workspace", DEFAULT_WORKSPACE)) != DEFAULT_WORKSPACE:
                self.left_out[f"registered models of MLflow's workspace {workspace}"] += 1
                continue
            yield self._registered_model(row)

    def _registered_model(self, row: Document) -> Document:
        name, versions, last = row["name"], [], 0
        of_workspace = " and workspace = 'default'" if "workspace" in row else ""
        where = f"name = ?{of_workspace}"
        for version in self._rows(f"select * from model_versions where {where} order by version", name):
            last = max(last, version["version"])
            if version["current_stage"] == DELETED_VERSION:
                self.left_out["versions of models that were deleted in MLflow"] += 1
                continue
            tags = self._pairs("model_version_tags", f"{where} and version = ?", name, version["version"])
            versions.append(version_document(version, tags, self.artifact_places))
        aliases: dict[str, Any] = {}
        if "registered_model_aliases" in self._tables:
            statement = f"select alias, version from registered_model_aliases where {where}"
            aliases = dict(self._file.execute(statement, (name,)).fetchall())
        document = {
            "name": name,
            "description": row["description"],
            "created_ms": row["creation_time"],
            "changed_ms": row["last_updated_time"],
            "tags": key_values(self._pairs("registered_model_tags", where, name)),
            "aliases": key_values(aliases),
            "last_version": last,
            "versions": versions,
        }
        return {key: value for key, value in document.items() if value is not None}
