"""Takes over what MLflow has recorded: its server, its store of files or its database, whole, with ids and times kept."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from ..client.addresses import quoted
from ..client.http import ServiceClient
from ..core.workspace import Workspace
from ..exceptions import AzureMLException, ServiceException, UserErrorException
from .foreign_runs import ForeignFile, Points
from .mlflow_database import SCHEME, MlflowDatabase
from .mlflow_files import MlflowFiles
from .mlflow_records import Document, LoggedModel, MlflowStore, metric_value
from .mlflow_server import MlflowServer
from .runs import RunReport
from .taking_over import TakingOver, raise_unless_refused

_TOGETHER = 200
_MOST_POINTS = 1000
_REGISTRY = "models and what is of no run"


def open_source(uri: str, artifacts: Path | None = None) -> MlflowStore:
    """What MLflow has somewhere.

    Args:
        uri: a folder, `sqlite:///PATH`, or the address of a server.
        artifacts: a folder with a copy of what the artifact root holds, for the first two.

    Raises:
        UserErrorException: nothing of MLflow's is there, or it can only be read through its server.
    """
    if artifacts is not None and not artifacts.is_dir():
        raise UserErrorException(
            f"--artifacts {artifacts}: there is no such folder; give the one that holds the artifacts"
        )
    if uri.startswith(SCHEME):
        return MlflowDatabase(uri, artifacts)
    if uri.startswith(("http://", "https://")):
        return MlflowServer(uri)
    path = Path(uri.removeprefix("file://"))
    if "://" in uri and not uri.startswith("file://"):
        raise UserErrorException(
            f"{uri}: only databases of SQLite are read as they are; start `mlflow server --backend-store-uri {uri}`, and "
            "name its address"
        )
    if path.is_file():
        return MlflowDatabase(f"{SCHEME}{path}", artifacts)
    if not path.is_dir():
        raise UserErrorException(
            f"{uri}: there is no such folder; name mlruns, sqlite:///PATH or http://HOST:PORT"
        )
    return MlflowFiles(path, artifacts)


class MlflowImport:
    """Takes over a store of MLflow.

    Args:
        workspace: everything goes to.
        source: it comes from.
        experiment: the runs' experiment; default: the one each has there.

    Raises:
        ServiceException: the service is away.
    """

    def __init__(self, workspace: Workspace, source: MlflowStore, experiment: str | None = None) -> None:
        self._client: ServiceClient = workspace._client
        self._workspace, self._source, self._experiment = workspace.name, source, experiment
        self._runs = TakingOver(workspace, source, experiment, self._late)

    def once(self) -> Iterator[RunReport]:
        """Take over what there is now: what became of each run, and last of what is no run."""
        with closing(self._source), self._runs.alone():
            yield from self._runs.once()
            yield self._rest()

    def _late(self, run_id: str, points: Points) -> None:
        """Add points that are not the latest ones: the server then knows which one is, for MLflow's clients."""
        for first in range(0, len(points), _MOST_POINTS):
            cut = slice(first, first + _MOST_POINTS)
            assert points.times is not None
            assert not isinstance(points.values, list)
            columns = (
                points.values[cut].tolist(),
                points.steps[cut].tolist(),
                (points.times[cut] // 1000).tolist(),
            )
            metrics = [
                {"key": points.name, "value": metric_value(value), "step": step, "timestamp": time}
                for value, step, time in zip(*columns, strict=True)
            ]
            self._client.request(
                "POST",
                "/api/2.0/mlflow/runs/log-batch",
                body=json.dumps({"run_id": run_id, "metrics": metrics}).encode(),
                headers={**self._headers(), "Content-Type": "application/json"},
            )

    def _rest(self) -> RunReport:
        source = self._source
        taken: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        self._runs.settled()
        if self._experiment is None:
            for some in _in_parts(source.experiments()):
                self._post("experiments", {"experiments": some})
        for some in _in_parts(source.inputs()):
            runs = [
                {**document, "run_id": self._runs.ids[document["run_id"]]}
                for document in some
                if document["run_id"] in self._runs.ids
            ]
            self._post("inputs", {"runs": runs})
        for model in source.logged_models():
            self._logged_model(model, taken, left_out)
        for document in source.registered_models():
            self._registered_model(document, taken, left_out)
        left_out += source.left_out
        changed = taken.total() > 0
        return RunReport(
            source.place,
            "",
            _REGISTRY,
            "continued" if changed else "unchanged",
            dict(+taken),
            dict(+left_out),
        )

    def _logged_model(self, model: LoggedModel, taken: Counter[str], left_out: Counter[str]) -> None:
        document = model.document
        model_id, run_id = document["model_id"], document.get("source_run_id")
        if run_id:
            document["source_run_id"] = self._runs.ids.get(run_id, run_id)
        if self._experiment is not None:
            document["experiment"] = self._experiment
        try:
            place = self._post("logged-models", {"models": [document]})["places"][model_id]
            below = place.partition(":")[2].strip("/")
            for file in model.files():
                taken["files of models"] += self._proxied(f"{below}/{file.path}", file)
        except (OSError, AzureMLException, ServiceException) as error:
            raise_unless_refused(error)
            left_out[f"logged models: {model_id}: {getattr(error, 'message', error)}"[:300]] += 1
        left_out += model.left_out

    def _proxied(self, path: str, file: ForeignFile) -> int:
        """Store a file of a logged model; how many that were."""
        address = f"/api/2.0/mlflow-artifacts/artifacts/{quoted(path)}"
        folder, _, name = path.rpartition("/")
        listed = self._client.request(
            "GET",
            "/api/2.0/mlflow-artifacts/artifacts",
            [("path", folder)],
            headers=self._headers(),
            fresh=False,
        ).json()
        held = next((each for each in listed.get("files", []) if each["path"] == name), None)
        if held is not None and int(held.get("file_size") or 0) == file.size and self._same(address, file):
            return 0
        with file.open() as stream:
            headers = {
                **self._headers(),
                "Content-Length": str(file.size),
                "Content-Type": "application/octet-stream",
            }
            self._client.request("PUT", address, body=stream, headers=headers)
        return 1

    def _same(self, address: str, file: ForeignFile) -> bool:
        if not file.local:
            return True
        stored = self._client.request("GET", address, headers=self._headers(), fresh=False).body
        return file.sha256() == hashlib.sha256(stored).hexdigest()

    def _registered_model(self, document: Document, taken: Counter[str], left_out: Counter[str]) -> None:
        versions = document.pop("versions")
        aliases = document.pop("aliases")
        for version in versions:
            version["run_id"] = self._runs.ids.get(version["run_id"], version["run_id"])
        # One a request: the files of a version are read and stored again.
        parts: list[Document] = [{"versions": [version]} for version in versions] or [{"versions": []}]
        for part in parts:
            try:
                answer = self._post("registered-model", {**document, **part, "aliases": aliases})
            except (AzureMLException, ServiceException) as error:
                raise_unless_refused(error)
                left_out[f"registered model {document['name']}: {error.message}"[:300]] += 1
                continue
            taken["versions of models"] += answer["new"]
            left_out.update(answer["left_out"])

    def _post(self, what: str, document: Document) -> Any:
        return self._client.request(
            "POST",
            f"/api/2.0/mlflow-import/{what}",
            body=json.dumps(document).encode(),
            headers={**self._headers(), "Content-Type": "application/json"},
        ).json()

    def _headers(self) -> dict[str, str]:
        return {"X-MLFLOW-WORKSPACE": self._workspace}


def _in_parts(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while some := list(islice(documents, _TOGETHER)):
        yield some
