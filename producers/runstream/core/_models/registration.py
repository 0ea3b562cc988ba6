"""How files become a registered model: their content is sent once, then named in the registration."""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...client.files import folder_files
from ...client.http import ServiceClient
from ...client.reading import settle
from ...client.records import as_texts
from ...client.session import Session
from ...client.upload_sources import open_regular
from ...exceptions import ModelPathNotFoundException, ServiceException, WebserviceException
from .._run.files import RunFiles

_log = logging.getLogger("runstream")

PATH = "/api/v1/models"
"""Where the service keeps models."""


def register_files(
    session: Session,
    model_path: str | os.PathLike[str],
    name: str,
    child_paths: Sequence[str] | None,
    tags: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
    description: str | None,
    framework: str | None,
    framework_version: str | None,
) -> dict[str, Any]:
    """Register a file or folder of this machine; see `Model.register`. Returns the model's record."""
    path = Path(model_path)
    if path.is_file():
        pairs = [(path.name, path)]
    elif path.is_dir():
        chosen = None if child_paths is None else {f"{path.name}/{child}" for child in child_paths}
        left_out: list[str] = []
        pairs = [
            pair for pair in folder_files(path.name, path, left_out) if chosen is None or pair[0] in chosen
        ]
        if left_out:
            _log.warning("model %s: of %s these are left out: %s", name, path, "; ".join(left_out[:5]))
    else:
        pairs = []
    if not pairs:
        raise ModelPathNotFoundException(
            f"ModelPathNotFound: there is no file at {model_path}; give the path of a file or folder"
        )
    files = [{"path": file, "sha256": _send(session._client, source)} for file, source in pairs]
    return register(
        session, name, {"files": files}, tags, properties, description, framework, framework_version
    )


def register(
    session: Session,
    name: str,
    source: Mapping[str, Any],
    tags: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
    description: str | None,
    framework: str | None,
    framework_version: str | None,
) -> dict[str, Any]:
    """Register what `source` names (`files`, or `run_id` and `path`) as the next version of a model; returns its record.

    Raises:
        WebserviceException: the name cannot be used.
        ServiceException: a file is missing (status_code 404), or the service is away.
    """
    details = {"model_framework": framework, "model_framework_version": framework_version}
    document = {
        "name": name,
        "token": str(uuid.uuid4()),  # a request that is sent again after a broken connection registers once
        "tags": as_texts("tag", tags or {}),
        "properties": as_texts("property", properties or {}),
        "description": description,
        "details": {key: value for key, value in details.items() if value is not None},
        **source,
    }
    try:
        return session._send_json("POST", PATH, document)
    except ServiceException as error:
        if error.status_code != 400:
            raise
        raise WebserviceException(error.message) from error


def register_from_run(
    run: RunFiles,
    name: str,
    path: str,
    tags: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
    description: str | None,
    framework: str | None,
    framework_version: str | None,
) -> dict[str, Any]:
    """Register a file or folder of a run; see `Run.register_model`. Returns the model's record."""
    settle(run._client, run.id)  # the model keeps the run's experiment, which has to be known
    source = {"run_id": run.id, "path": path}
    try:
        return register(
            run._workspace,
            name,
            source,
            tags,
            properties,
            description,
            framework,
            framework_version,
        )
    except ServiceException as error:
        if error.status_code != 404:
            raise
        available = ", ".join(run.get_file_names()) or "none"
        raise ModelPathNotFoundException(
            f"ModelPathNotFound: run {run.id} has no file or folder {path}; upload it first. Its files: {available}"
        ) from error


def _send(client: ServiceClient, source: Path) -> str:
    with open_regular(source) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
        stream.seek(0)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        client.request("PUT", f"/api/v1/model-content/{digest}", body=stream, headers=headers)
    return digest
