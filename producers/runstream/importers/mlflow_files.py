"""Reads MLflow's store of files (`mlruns/`): plain texts, and `meta.yaml` for what each is. MLflow need not be installed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from ..exceptions import UserErrorException
from .foreign_runs import ForeignFile, ForeignRun, Points
from .local_artifacts import LocalArtifacts, files_below
from .mlflow_records import (
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

_META = "meta.yaml"
_MODELS = "models"
_BYTES_A_VALUE = 30  # of a line, about: `1796019151029 0.123456789012345 3`


class MlflowFiles:
    """A store of files.

    Args:
        root: the folder with the experiments, or the one `mlruns` is in.
        artifacts: a folder with a copy of what the artifact root holds.

    Attributes:
        tool, place, left_out, artifact_places: as of any source.

    Raises:
        UserErrorException: the folder is no such store.
    """

    tool = "MLflow"

    def __init__(self, root: Path, artifacts: Path | None = None) -> None:
        root = root.resolve()
        if not any(root.glob(f"*/{_META}")) and (root / "mlruns").is_dir():
            root /= "mlruns"
        if not any(root.glob(f"*/{_META}")):
            raise UserErrorException(
                f"{root}: no experiment of MLflow lies here (a folder with {_META}); name the folder mlruns, or a database "
                "as sqlite:///path/mlflow.db"
            )
        self._root, self.place = root, str(root)
        self._artifacts = LocalArtifacts([root.parent, Path.cwd()], artifacts)
        self.left_out: Counter[str] = Counter()
        self.artifact_places: dict[str, str] = {}
        self._experiments: dict[str, Document] = {}
        for path in sorted(root.glob(f"*/{_META}")):
            if path.parent.name == _MODELS:
                continue
            meta = self._meta(path)
            if meta.get("lifecycle_stage") == DELETED:
                self.left_out["experiments that were deleted in MLflow"] += 1
            elif "name" in meta:
                self._experiments[path.parent.name] = meta
        self.left_out["experiments that were deleted in MLflow"] += len(list(root.glob(f".trash/*/{_META}")))

    def close(self) -> None:
        """Nothing is open."""

    def total(self) -> int:
        """About how many values there are, by the sizes of their files."""
        sizes = (path.stat().st_size for path in self._root.glob("*/*/metrics/**/*") if path.is_file())
        return sum(sizes) // _BYTES_A_VALUE

    def runs(self) -> Iterator[ForeignRun]:
        """The runs, by the time they started at."""
        dated: list[tuple[int, str, Path, Document]] = []
        for folder in self._experiments:
            for path in (self._root / folder).glob(f"*/{_META}"):
                meta = self._meta(path)
                if meta.get("lifecycle_stage") == DELETED:
                    self.left_out["runs that were deleted in MLflow"] += 1
                elif "run_id" in meta or "run_uuid" in meta:
                    dated.append((meta.get("start_time") or 0, folder, path.parent, meta))
        for _, folder, path, meta in sorted(dated, key=lambda run: run[:3]):
            yield self._run(self._experiments[folder]["name"], path, meta)

    def _run(self, experiment: str, folder: Path, meta: Document) -> ForeignRun:
        run_id = str(meta.get("run_id") or meta["run_uuid"])
        uri = str(meta.get("artifact_uri") or "")
        self.artifact_places[run_id] = uri
        left_out: Counter[str] = Counter()

        def points() -> Iterator[Points]:
            for name, path in _texts_of(folder / "metrics"):
                if (series := _points(name, path, left_out)) is not None:
                    yield series

        def files() -> Iterator[ForeignFile]:
            own = folder / "artifacts"
            return files_below(own, left_out) if own.is_dir() else self._artifacts.files(uri, 3, left_out)

        facts = {**meta, "run_id": run_id, "name": meta.get("run_name") or meta.get("name")}
        params, tags = _pairs(folder / "params"), _pairs(folder / "tags")
        return foreign_run(facts, experiment, params, tags, points, files, left_out)

    # --- beside runs ---

    def experiments(self) -> Iterator[Document]:
        """As of any source."""
        for folder, meta in self._experiments.items():
            tags = key_values(_pairs(self._root / folder / "tags"))
            document = {"name": meta["name"], "creation_time": meta.get("creation_time"), "tags": tags}
            yield {key: value for key, value in document.items() if value is not None}

    def inputs(self) -> Iterator[Document]:
        """As of any source."""
        for folder in self._experiments:
            for path in sorted((self._root / folder).glob(f"*/{_META}")):
                run = path.parent
                if not ((run / "inputs").is_dir() or (run / "outputs").is_dir()):
                    continue
                read: Document = {"datasets": [], "models": []}
                for meta in self._metas(run / "inputs"):
                    if meta.get("source_type") == "MODEL":
                        read["models"].append({"model_id": meta["source_id"]})
                        continue
                    data_set = self._meta(run.parent / "datasets" / str(meta.get("source_id")) / _META)
                    kept = {key: value for key, value in data_set.items() if value is not None}
                    read["datasets"].append({"dataset": kept, "tags": key_values(meta.get("tags") or {})})
                made = [
                    {
                        "model_id": meta.get("destination_id") or meta["source_id"],
                        "step": meta.get("step") or 0,
                    }
                    for meta in self._metas(run / "outputs")
                ]
                yield {"run_id": run.name, "inputs": read, "outputs": {"models": made}}

    def logged_models(self) -> Iterator[LoggedModel]:
        """As of any source."""
        for folder, experiment in self._experiments.items():
            for path in sorted((self._root / folder / _MODELS).glob(f"*/{_META}")):
                meta = self._meta(path)
                if meta.get("lifecycle_stage") == DELETED:
                    self.left_out["logged models that were deleted in MLflow"] += 1
                elif "model_id" in meta:
                    yield self._logged_model(str(experiment["name"]), path.parent, meta)

    def _logged_model(self, experiment: str, folder: Path, meta: Document) -> LoggedModel:
        document = {
            "model_id": meta["model_id"],
            "experiment": experiment,
            "name": meta.get("name"),
            "source_run_id": meta.get("source_run_id"),
            "model_type": meta.get("model_type"),
            "status": MODEL_STATUSES.get(str(meta.get("status"))),
            "status_message": meta.get("status_message"),
            "created_ms": meta.get("creation_timestamp"),
            "changed_ms": meta.get("last_updated_timestamp"),
            "params": key_values(_pairs(folder / "params")),
            "tags": key_values(_pairs(folder / "tags")),
            "metrics": list(_model_metrics(folder / "metrics")),
        }
        uri, left_out = str(meta.get("artifact_location") or ""), Counter[str]()

        def files() -> Iterator[ForeignFile]:
            own = folder / "artifacts"
            return files_below(own, left_out) if own.is_dir() else self._artifacts.files(uri, 4, left_out)

        return LoggedModel(
            {key: value for key, value in document.items() if value is not None}, uri, files, left_out
        )

    def registered_models(self) -> Iterator[Document]:
        """As of any source."""
        for path in sorted((self._root / _MODELS).glob(f"*/{_META}")):
            folder, meta = path.parent, self._meta(path)
            versions, last = [], 0
            for version in self._metas(folder, "version-*"):
                last = max(last, int(version["version"]))
                if version.get("current_stage") == DELETED_VERSION:
                    self.left_out["versions of models that were deleted in MLflow"] += 1
                    continue
                version["creation_time"] = version.get("creation_timestamp")
                version["last_updated_time"] = version.get("last_updated_timestamp")
                tags = _pairs(folder / f"version-{version['version']}" / "tags")
                versions.append(version_document(version, tags, self.artifact_places))
            document = {
                "name": meta.get("name") or folder.name,
                "description": meta.get("description"),
                "created_ms": meta.get("creation_timestamp"),
                "changed_ms": meta.get("last_updated_timestamp"),
                "tags": key_values(_pairs(folder / "tags")),
                "aliases": key_values(_pairs(folder / "aliases")),
                "last_version": last,
                "versions": sorted(versions, key=lambda version: int(version["version"])),
            }
            yield {key: value for key, value in document.items() if value is not None}

    def _metas(self, folder: Path, pattern: str = "*") -> list[Document]:
        metas = (self._meta(path) for path in sorted(folder.glob(f"{pattern}/{_META}")))
        return [meta for meta in metas if meta]

    def _meta(self, path: Path) -> Document:
        """A `meta.yaml`; one that cannot be read is empty, and said."""
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            if isinstance(document, dict):
                return document
            why = "it holds no fields"
        except (OSError, ValueError, yaml.YAMLError) as error:
            why = str(getattr(error, "strerror", None) or type(error).__name__)
        self.left_out[f"{path}: cannot be read ({why})"] += 1
        return {}


def _texts_of(folder: Path) -> list[tuple[str, Path]]:
    """Files below a folder, whose paths are names."""
    return [
        (path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()
    ]


def _pairs(folder: Path) -> dict[str, str]:
    return {name: path.read_bytes().decode("utf-8", "replace") for name, path in _texts_of(folder)}


def _points(name: str, path: Path, left_out: Counter[str]) -> Points | None:
    """The points in a file of a metric: a line each, of time, value and (but for very old ones) step."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    times, values, steps = [], [], []
    for line in lines:
        parts = line.split(" ")
        try:
            time, value = int(parts[0]), float(parts[1])
            step = int(parts[2]) if len(parts) > 2 else 0
        except (ValueError, IndexError):
            if line.strip():
                left_out["lines of metrics that cannot be read"] += 1
            continue
        times.append(time)
        values.append(value)
        steps.append(step)
    return points_of(name, steps, times, np.array(values, np.float64)) if times else None


def _model_metrics(folder: Path) -> Iterator[Document]:
    """Metrics of a logged model: a line each, of time, value, step, run, and perhaps name and digest of a data set."""
    for name, path in _texts_of(folder):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            parts = line.split(" ")
            if len(parts) < 4:
                continue
            point = {
                "key": name, "timestamp": int(parts[0]), "value": metric_value(float(parts[1])), "step": int(parts[2]),
                "run_id": parts[3],
            }  # fmt: skip
            if len(parts) >= 6:
                point |= {"dataset_name": parts[4], "dataset_digest": parts[5]}
            yield point
