"""Reads a tracking server of MLflow through its REST interface, which is that of runstream's own server, too."""

from __future__ import annotations

import base64
import http.client
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

import numpy as np

from ..exceptions import AuthenticationException, ServiceException, UserErrorException
from .foreign_runs import ForeignFile, ForeignRun, Points
from .mlflow_records import (
    DELETED_VERSION,
    MODEL_STATUSES,
    Document,
    LoggedModel,
    foreign_run,
    key_values,
    points_of,
    version_document,
)

_TOGETHER = 8  # requests at once
_PAGE, _POINTS = 200, 25_000
_TRIES, _TIMEOUT, _PIECE = 4, 120.0, 1 << 20
_IN_MEMORY = 8 << 20  # of a file that goes over


class MlflowServer:
    """A tracking server.

    Args:
        uri: `http(s)://...`. `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, sign in,
            and `MLFLOW_WORKSPACE` names a workspace, as with MLflow's client.

    Attributes:
        tool, place, left_out, artifact_places: as of any source.

    Raises:
        ServiceException: it does not answer as MLflow does.
    """

    tool = "MLflow"

    def __init__(self, uri: str) -> None:
        self.place = uri.rstrip("/")
        self._http = _Requests(self.place)
        self._pool = ThreadPoolExecutor(_TOGETHER, "runstream import")
        self.left_out: Counter[str] = Counter()
        self.artifact_places: dict[str, str] = {}
        self._experiments: dict[str, Document] = {}
        question = {"max_results": 1000, "view_type": "ACTIVE_ONLY"}
        for experiment in self._pages("POST", "2.0/mlflow/experiments/search", question, "experiments"):
            self._experiments[experiment["experiment_id"]] = experiment

    def close(self) -> None:
        """Give its connections back."""
        self._pool.shutdown()
        self._http.close()

    def _pages(self, method: str, path: str, question: Document, what: str) -> Iterator[Document]:
        token = ""
        while True:
            asked = {**question, **({"page_token": token} if token else {})}
            answer = self._http.json(method, f"/api/{path}", asked)
            yield from answer.get(what) or ()
            token = answer.get("next_page_token") or ""
            if not token:
                return

    def total(self) -> int:
        """Not known."""
        return 0

    def runs(self) -> Iterator[ForeignRun]:
        """The runs, by the time they started at."""
        ids = list(self._experiments)
        for first in range(0, len(ids), 20):
            question = {
                "experiment_ids": ids[first : first + 20], "max_results": _PAGE,
                "order_by": ["attributes.start_time ASC"],
            }  # fmt: skip
            for run in self._pages("POST", "2.0/mlflow/runs/search", question, "runs"):
                yield self._run(run)

    def _run(self, run: Document) -> ForeignRun:
        info, data = run["info"], run.get("data") or {}
        run_id = info.get("run_id") or info["run_uuid"]
        self.artifact_places[run_id] = str(info.get("artifact_uri") or "")
        names = [metric["key"] for metric in data.get("metrics") or ()]
        left_out: Counter[str] = Counter()

        def points() -> Iterator[Points]:
            for first in range(0, len(names), _TOGETHER):
                yield from self._pool.map(partial(self._history, run_id), names[first : first + _TOGETHER])

        def files() -> Iterator[ForeignFile]:
            return self._files_of_run(run_id, "", left_out)

        facts = {**info, "run_id": run_id, "name": info.get("run_name")}
        tags, params = _pairs(data.get("tags")), _pairs(data.get("params"))
        experiment = self._experiments[info["experiment_id"]]["name"]
        return foreign_run(facts, experiment, params, tags, points, files, left_out)

    def _history(self, run_id: str, name: str) -> Points:
        question = {"run_id": run_id, "metric_key": name, "max_results": _POINTS}
        points = list(self._pages("GET", "2.0/mlflow/metrics/get-history", question, "metrics"))
        values = np.array([float(point["value"]) for point in points], np.float64)
        steps, times = (
            [int(point.get("step") or 0) for point in points],
            [int(point["timestamp"]) for point in points],
        )
        return points_of(name, steps, times, values)

    def _files_of_run(self, run_id: str, path: str, left_out: Counter[str]) -> Iterator[ForeignFile]:
        question = {"run_id": run_id, **({"path": path} if path else {})}
        try:
            files = list(self._pages("GET", "2.0/mlflow/artifacts/list", question, "files"))
        except ServiceException as error:
            left_out[f"files: {error.message}"[:300]] += 1
            return
        for file in files:
            if file.get("is_dir"):
                yield from self._files_of_run(run_id, file["path"], left_out)
            else:
                address = f"/get-artifact?{urlencode({'run_uuid': run_id, 'path': file['path']})}"
                size = int(file.get("file_size") or 0)
                yield ForeignFile(file["path"], size, partial(self._http.file, address), local=False)

    # --- beside runs ---

    def experiments(self) -> Iterator[Document]:
        """As of any source."""
        for experiment in self._experiments.values():
            document = {name: experiment.get(name) for name in ("name", "creation_time", "tags")}
            yield {key: value for key, value in document.items() if value is not None}

    def inputs(self) -> Iterator[Document]:
        """As of any source."""
        for run_id, answer in zip(
            self.artifact_places, self._pool.map(self._whole, self.artifact_places), strict=True
        ):
            run = answer["run"]
            read, made = run.get("inputs") or {}, run.get("outputs") or {}
            if read or made:
                inputs = {
                    "datasets": read.get("dataset_inputs") or [],
                    "models": read.get("model_inputs") or [],
                }
                yield {
                    "run_id": run_id,
                    "inputs": inputs,
                    "outputs": {"models": made.get("model_outputs") or []},
                }

    def _whole(self, run_id: str) -> Document:
        """A run with its models, which are not in all servers' lists."""
        return self._http.json("GET", "/api/2.0/mlflow/runs/get", {"run_id": run_id})

    def logged_models(self) -> Iterator[LoggedModel]:
        """As of any source; a server of MLflow 2 has none."""
        ids = list(self._experiments)
        for first in range(0, len(ids), 20):
            question = {"experiment_ids": ids[first : first + 20], "max_results": 50}
            try:
                for model in self._pages("POST", "2.0/mlflow/logged-models/search", question, "models"):
                    yield self._logged_model(model)
            except ServiceException as error:
                if error.status_code not in (404, 405, 501):
                    raise
                return

    def _logged_model(self, model: Document) -> LoggedModel:
        info, data = model["info"], model.get("data") or {}
        model_id, left_out = info["model_id"], Counter[str]()
        document = {
            "model_id": model_id,
            "experiment": self._experiments[info["experiment_id"]]["name"],
            "name": info.get("name"),
            "source_run_id": info.get("source_run_id") or None,
            "model_type": info.get("model_type") or None,
            "status": MODEL_STATUSES.get(str(info.get("status")), info.get("status")),
            "status_message": info.get("status_message"),
            "created_ms": info.get("creation_timestamp_ms"),
            "changed_ms": info.get("last_updated_timestamp_ms"),
            "params": data.get("params") or [],
            "tags": info.get("tags") or [],
            "metrics": data.get("metrics") or [],
        }
        kept = {key: value for key, value in document.items() if value is not None}
        place = str(info.get("artifact_uri") or "")
        return LoggedModel(kept, place, lambda: self._files_of_model(model_id, "", left_out), left_out)

    def _files_of_model(self, model_id: str, path: str, left_out: Counter[str]) -> Iterator[ForeignFile]:
        question = {"artifact_directory_path": path} if path else {}
        try:
            listed = f"2.0/mlflow/logged-models/{quote(model_id)}/artifacts/directories"
            files = list(self._pages("GET", listed, question, "files"))
        except ServiceException as error:
            left_out[f"files of logged models: {error.message}"[:300]] += 1
            return
        for file in files:
            if file.get("is_dir"):
                yield from self._files_of_model(model_id, file["path"], left_out)
            else:
                address = (
                    f"/ajax-api/2.0/mlflow/logged-models/{quote(model_id)}/artifacts/files?"
                    f"{urlencode({'artifact_file_path': file['path']})}"
                )
                size = int(file.get("file_size") or 0)
                yield ForeignFile(file["path"], size, partial(self._http.file, address), local=False)

    def registered_models(self) -> Iterator[Document]:
        """As of any source."""
        for model in self._pages(
            "GET", "2.0/mlflow/registered-models/search", {"max_results": 200}, "registered_models"
        ):
            name = model["name"]
            literal = name.replace("'", "''")
            question = {"filter": f"name = '{literal}'", "max_results": 1000}
            versions = []
            for version in self._pages("GET", "2.0/mlflow/model-versions/search", question, "model_versions"):
                if version.get("current_stage") == DELETED_VERSION:
                    continue
                version["creation_time"] = version.get("creation_timestamp")
                version["last_updated_time"] = version.get("last_updated_timestamp")
                versions.append(version_document(version, _pairs(version.get("tags")), self.artifact_places))
            document = {
                "name": name,
                "description": model.get("description"),
                "created_ms": model.get("creation_timestamp"),
                "changed_ms": model.get("last_updated_timestamp"),
                "tags": model.get("tags") or [],
                "aliases": key_values(
                    {alias["alias"]: alias["version"] for alias in model.get("aliases") or ()}
                ),
                "versions": sorted(versions, key=lambda version: int(version["version"])),
            }
            yield {key: value for key, value in document.items() if value is not None}


def _pairs(items: Any) -> dict[str, str]:
    return {item["key"]: item.get("value") or "" for item in items or ()}


class _Requests:
    """Requests to a server, over a connection a thread."""

    def __init__(self, uri: str) -> None:
        self._address = urlsplit(uri)
        if not self._address.hostname:
            raise UserErrorException(f"{uri}: expected http://HOST:PORT, as MLFLOW_TRACKING_URI has it")
        self._uri = uri
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._all:
            connection.close()

    def json(self, method: str, path: str, fields: Mapping[str, Any]) -> Document:
        """One call, and its answer."""
        body = None
        if method == "GET":
            path = f"{path}?{urlencode(fields)}" if fields else path
        else:
            body = json.dumps(fields).encode()
        answer = self._answer(method, path, body)
        try:
            document = json.loads(answer.read())
        except (ValueError, OSError, http.client.HTTPException) as error:
            self._drop()
            raise ServiceException(
                f"{self._uri}{path}: the answer is no JSON ({error}); give the address of MLflow's server",
                502,
            ) from None
        if not isinstance(document, dict):
            raise ServiceException(
                f"{self._uri}{path}: the answer is no JSON object; give the address of MLflow's server", 502
            )
        return document

    def file(self, path: str) -> IO[bytes]:
        """The bytes of a file."""
        answer = self._answer("GET", path, None)
        kept: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # who asked closes it
        try:
            while piece := answer.read(_PIECE):
                kept.write(piece)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            kept.close()
            raise ServiceException(
                f"{self._uri}{path}: broken off ({error}); give the same command again: it resumes", 502
            ) from None
        kept.seek(0)
        return kept

    def _answer(self, method: str, path: str, body: bytes | None) -> http.client.HTTPResponse:
        for attempt in range(_TRIES):
            try:
                connection = self._connection()
                connection.request(method, f"{self._address.path.rstrip('/')}{path}", body, self._headers())
                answer = connection.getresponse()
                refusal = answer.read()[:2000] if answer.status >= 300 else b""
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if attempt == _TRIES - 1:
                    raise ServiceException(
                        f"{self._uri} does not answer ({error}); is MLflow's server there?", 502
                    ) from None
                time.sleep(0.2 * 2**attempt)
                continue
            if answer.status < 300:
                return answer
            said = refusal.decode("utf-8", "replace")
            try:
                said = str(json.loads(said).get("message", said))
            except (ValueError, AttributeError):
                pass
            if answer.status in (401, 403):
                raise AuthenticationException(
                    f"{self._uri}: {said}; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD"
                )
            if answer.status in (429, 503) and attempt < _TRIES - 1:
                time.sleep(2.0**attempt)
                continue
            raise ServiceException(
                f"{self._uri}{path.partition('?')[0]}: {answer.status} {said}; give the same command again: it resumes",
                answer.status,
            )
        raise AssertionError

    def _connection(self) -> http.client.HTTPConnection:
        held: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if held is None:
            kind = (
                http.client.HTTPSConnection if self._address.scheme == "https" else http.client.HTTPConnection
            )
            held = self._own.connection = kind(
                self._address.hostname or "", self._address.port, timeout=_TIMEOUT
            )
            self._all.append(held)
        return held

    def _drop(self) -> None:
        if held := getattr(self._own, "connection", None):
            held.close()
        self._own.connection = None

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "*/*"}
        user = os.environ.get("MLFLOW_TRACKING_USERNAME") or self._address.username
        password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or self._address.password or ""
        if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        elif user:
            headers["Authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        if workspace := os.environ.get("MLFLOW_WORKSPACE"):
            headers["X-MLFLOW-WORKSPACE"] = workspace
        return headers
