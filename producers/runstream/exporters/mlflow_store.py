"""Runs as a file store of MLflow (`mlflow ui --backend-store-uri DIR`), as its versions 2 and 3 lay it out."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from runstream_schemas.series import SeriesClass

from ..client.metrics import shape_metrics
from ..client.records import TERMINAL, RunRecord
from ..exceptions import UserErrorException
from .run_contents import RunContents

_RUNNING, _SCHEDULED, _FINISHED, _FAILED, _KILLED = 1, 2, 3, 4, 5
_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_OTHERS_IN_NAMES = re.compile(r"[^/\w.\- :]")
_LONGEST_NAME, _LONGEST_PARAM, _LONGEST_TAG = 250, 6000, 8000


@dataclass
class MlflowStore:
    """The store as a whole: gives its experiments their numbers.

    Attributes:
        root: its folder.
    """

    root: Path
    _numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for meta in sorted(self.root.glob("*/meta.yaml")):
            match = re.search(r"^name: (.*)$", meta.read_text(encoding="utf-8"), re.M)
            if match and meta.parent.name.isdecimal():
                name = json.loads(match[1]) if match[1].startswith('"') else match[1].strip("'")
                self._numbers[name] = int(meta.parent.name)

    def place(self, record: RunRecord) -> Path:
        """Where a run's folder is; makes its experiment.

        Raises:
            UserErrorException: an id that MLflow does not take.
        """
        if not _ID.fullmatch(record.run_id):
            raise UserErrorException(
                f"run {record.run_id!r:.100}: MLflow takes ids of letters, digits, _ and - only; leave it out"
            )
        return self._experiment(record.experiment or "Default", record) / record.run_id

    def write(self, run: RunContents, folder: Path) -> None:
        """Write a run: metrics, parameters, tags and artifacts; tables as MLflow's own, under `tables/`.

        Texts, histograms and missing values are counted in `run.left_out`.
        """
        record = run.record
        for kind in ("metrics", "params", "tags", "artifacts", "inputs", "outputs"):
            (folder / kind).mkdir()
        names = _Names(run.left_out)
        for (series,) in run.series(SeriesClass.METRIC):
            lines = [
                f"{time // 1000} {float(value)!r} {step}"
                for step, time, value in zip(series.steps, series.times, series.values, strict=True)
                if isinstance(value, (int, float))
            ]
            run.left_out["texts and missing values of metrics"] += len(series.values) - len(lines)
            if lines:
                _put(folder / "metrics", names.safe(series.name), "".join(f"{line}\n" for line in lines))
        names = _Names(run.left_out)
        for name, value in run.params.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            text = repr(value) if isinstance(value, (bool, float)) or value is None else text
            if len(text) > _LONGEST_PARAM:
                run.left_out[f"characters of parameters beyond {_LONGEST_PARAM}"] += (
                    len(text) - _LONGEST_PARAM
                )
            _put(folder / "params", names.safe(name), text[:_LONGEST_PARAM])
        names = _Names(run.left_out)
        for name, text in _tags(record).items():
            if len(text) > _LONGEST_TAG:
                run.left_out[f"characters of tags beyond {_LONGEST_TAG}"] += len(text) - _LONGEST_TAG
            _put(folder / "tags", names.safe(name), text[:_LONGEST_TAG])
        run.save_files(folder / "artifacts")
        names = _Names(run.left_out)
        for columns in run.series(SeriesClass.TABLE):
            (table,) = shape_metrics(columns).values()
            assert isinstance(table, dict)
            cells = {name: values if isinstance(values, list) else [values] for name, values in table.items()}
            rows = [list(row) for row in zip(*cells.values(), strict=True)]
            document = json.dumps({"columns": list(cells), "data": rows}, ensure_ascii=False)
            _put(folder / "artifacts" / "tables", f"{names.safe(columns[0].name)}.json", document)
        run.left_out["histograms"] += sum(
            count for cls, _, count in run.counts if cls == SeriesClass.HISTOGRAM
        )
        run.left_out += Counter()  # without what counts 0
        place = (self._experiment(record.experiment or "Default", record) / record.run_id).absolute()
        _put(folder, "meta.yaml", _yaml(_run_meta(record, place, self._number(record))))

    def _number(self, record: RunRecord) -> str:
        return str(self._numbers[record.experiment or "Default"])

    def _experiment(self, name: str, record: RunRecord) -> Path:
        number = self._numbers.get(name)
        if number is None:
            taken = self._numbers.values()
            number = 0 if name == "Default" else max([0, *taken]) + 1
            self._numbers[name] = number
        folder = self.root / str(number)
        if not (folder / "meta.yaml").exists():
            folder.mkdir(parents=True, exist_ok=True)
            created = _milliseconds(record.created_utc)
            meta = {
                "artifact_location": folder.absolute().as_uri(),
                "creation_time": created,
                "experiment_id": str(number),
                "last_update_time": created,
                "lifecycle_stage": "active",
                "name": name,
            }
            _put(folder, "meta.yaml", _yaml(meta))
        return folder


@dataclass
class _Names:
    """Names as MLflow takes them; no two of a run become one."""

    left_out: Counter[str]
    _taken: set[str] = field(default_factory=set)
    _folders: set[str] = field(default_factory=set)

    def safe(self, name: str) -> str:
        """A name as a path of its own. A slash makes a folder of what is before it, which then is no name any more."""
        parts = [part for part in _OTHERS_IN_NAMES.sub("_", name).split("/") if part not in ("", ".", "..")]
        wished = safe = "/".join(parts)[:_LONGEST_NAME].rstrip("/") or "_"
        number = 1
        while safe in self._taken or safe in self._folders or self._taken & _folders_of(safe):
            number += 1
            flat = wished.replace("/", "_") if self._taken & _folders_of(wished) else wished
            safe = f"{flat[: _LONGEST_NAME - 8]}_{number}"
        self._taken.add(safe)
        self._folders |= _folders_of(safe)
        if safe != name:
            self.left_out["names that MLflow does not take, changed"] += 1
        return safe


def _folders_of(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:depth]) for depth in range(1, len(parts))}


def _put(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _tags(record: RunRecord) -> dict[str, str]:
    """The run's tags, and those by which MLflow shows name, note and parent."""
    shown = {name: text or "" for name, text in record.tags.items()}
    own = {
        "mlflow.runName": record.display_name,
        "mlflow.note.content": record.description,
        "mlflow.parentRunId": record.parent_run_id,
        "mlflow.source.git.commit": record.properties.get("mlflow.source.git.commit"),
    }
    return {**shown, **{name: text for name, text in own.items() if text}}


def _run_meta(record: RunRecord, place: Path, experiment_id: str) -> dict[str, Any]:
    return {
        "artifact_uri": (place / "artifacts").as_uri(),
        "end_time": _milliseconds(record.end_time_utc),
        "entry_point_name": "",
        "experiment_id": experiment_id,
        "lifecycle_stage": "active",
        "run_id": record.run_id,
        "run_name": record.display_name or record.run_id,
        "run_uuid": record.run_id,
        "source_name": "",
        "source_type": 4,
        "source_version": "",
        "start_time": _milliseconds(record.start_time_utc or record.created_utc),
        "status": _status(record),
        "tags": [],
        "user_id": record.properties.get("user") or "",
    }


def _status(record: RunRecord) -> int:
    if record.status == "Completed":
        return _FINISHED
    if record.status == "Canceled":
        return _KILLED
    if record.status in TERMINAL:
        return _FAILED
    return _RUNNING if record.start_time_utc else _SCHEDULED


def _milliseconds(time: str | None) -> int | None:
    return int(datetime.fromisoformat(time).timestamp() * 1000) if time else None


def _yaml(document: dict[str, Any]) -> str:
    """YAML, in which each JSON value stands as it is."""
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in document.items())
