"""Artifacts of a project: stored with the runs that logged them, and looked up again by name and version or alias."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..client import files
from ..client.addresses import quoted
from ..client.http import ServiceClient
from ..client.outbox import wait_delivered
from ..client.reading import settle
from ..client.records import list_records
from ..core.run import Run
from ..exceptions import AzureMLException, ServiceException
from .artifact import Artifact, Stored, folder_of
from .errors import CommError
from .mapping import ARTIFACT_PROPERTY, artifact_folder
from .run_files import store

USED_PROPERTY = "wandb.used_artifact."
"""Property of a run that has used an artifact: this, name and version; its value is the artifact's digest."""

_log = logging.getLogger("runstream")


Aliases = dict[str, list[str]]
"""What a run has logged: aliases by folder."""


def log(run: Run, artifact: Artifact, aliases: Sequence[str] | None, logged: Aliases) -> Artifact:
    """Store an artifact with a run. The same contents under the same name are one version, with the aliases of both."""
    digest = artifact.digest
    folder = folder_of(artifact, digest)
    artifact.aliases = list(
        dict.fromkeys([*logged.get(folder, ()), *artifact.aliases, *(aliases or ()), "latest"])
    )
    logged[folder] = artifact.aliases
    for entry in artifact.files():
        if entry.local is not None:
            store(run, f"{folder}/{entry.path}", entry.local)
    store(run, f"{folder}.json", json.dumps(artifact.document(digest), indent=1, ensure_ascii=False).encode())
    run._live().writer.add_property(f"{ARTIFACT_PROPERTY}{artifact.collection_name}", "logged")
    client = run.experiment.workspace._client
    artifact._became(Stored(client, run.id, folder), digest, "")
    if artifact.type == "model":
        _register(run, artifact.collection_name, folder, artifact.aliases)
    return artifact


def _register(run: Run, name: str, folder: str, aliases: Sequence[str]) -> None:
    """Have a model of artifacts be one of the workspace's models, too."""
    try:
        run.register_model(name, folder, tags={"aliases": ",".join(aliases)})
    except (AzureMLException, ServiceException) as error:
        _log.warning("run %s: model %s is stored, and not registered: %s", run.id, name, error.message)


def link(run: Run, artifact: Artifact, target: str, aliases: Sequence[str] | None, logged: Aliases) -> None:
    """Register an artifact as a model of the workspace, under the last part of a target's name."""
    if artifact.is_draft():
        log(run, artifact, aliases, logged)
    assert artifact._stored is not None
    _register(run, target.rsplit("/", 1)[-1].partition(":")[0], artifact._stored.folder, aliases or ())


@dataclass(slots=True)
class _Version:
    run_id: str
    digest: str
    document: dict[str, Any]
    time: str
    paths: list[str] = field(default_factory=list)


def find(client: ServiceClient, workspace: str, experiment: str, name: str) -> Artifact:
    """An artifact by `NAME`, `NAME:ALIAS` or `NAME:vN`; versions count from 0, in the order of logging.

    Raises:
        CommError: there is none.
        ServiceException: the service is away.
    """
    base, _, wish = name.rsplit("/", 1)[-1].partition(":")
    wish = wish or "latest"
    settle(client)
    versions = _versions(client, workspace, experiment, base)
    fitting = [
        number
        for number, version in enumerate(versions)
        if wish in (f"v{number}", version.digest)
        or (wish != "latest" and wish in version.document.get("aliases", ()))
    ]
    if wish == "latest" and versions:
        fitting = [len(versions) - 1]
    if not fitting:
        known = (
            f"expected v0 to v{len(versions) - 1}"
            if versions
            else f"experiment {experiment} has no artifact of that name; `run.log_artifact` makes one"
        )
        raise CommError(f"artifact '{name}' not found; {known}")
    number = fitting[-1]
    version = versions[number]
    document = version.document
    artifact = Artifact(
        base,
        document.get("type", ""),
        document.get("description"),
        json.loads(document.get("metadata") or "{}"),
    )
    artifact.aliases = list(document.get("aliases", ()))
    artifact._of_files(version.paths, document.get("references", {}))
    folder = artifact_folder(base, version.digest)
    artifact._became(
        Stored(client, version.run_id, folder), document.get("digest", version.digest), f"v{number}"
    )
    return artifact


def _versions(client: ServiceClient, workspace: str, experiment: str, base: str) -> list[_Version]:
    """The versions of an artifact, the oldest first; the same contents of several runs are one version."""
    question = [
        ("workspace", workspace), ("experiment", experiment), ("archived", "all"),
        ("property", f"{ARTIFACT_PROPERTY}{base}"),
    ]  # fmt: skip
    versions: dict[str, _Version] = {}
    stored: list[_Version] = []
    for record in list_records(client, question):
        wait_delivered(client, record.run_id)
        below: dict[str, _Version] = {}
        listed = sorted(
            files.list_files(client, record.run_id), key=lambda file: not str(file["path"]).endswith(".json")
        )
        for file in listed:
            parts = str(file["path"]).split("/", 3)
            if parts[:2] != ["artifacts", base] or len(parts) < 3:
                continue
            if len(parts) == 3 and parts[2].endswith(".json"):
                digest = parts[2].removesuffix(".json")
                answer = client.request(
                    "GET", f"/api/v1/runs/{quoted(record.run_id)}/files/{quoted(str(file['path']))}"
                )
                below[digest] = _Version(
                    record.run_id, digest, json.loads(answer.body), str(file["created_utc"])
                )
            elif len(parts) == 4 and parts[2] in below:
                below[parts[2]].paths.append(parts[3])
        stored += below.values()
    for version in sorted(stored, key=lambda version: version.time):
        versions.setdefault(version.digest, version)
    return list(versions.values())


def note_use(run: Run, artifact: Artifact) -> None:
    """Note in a run that it uses an artifact."""
    run._live().writer.add_property(f"{USED_PROPERTY}{artifact.name}", artifact.digest)


def artifact_of(given: Any, name: str | None, kind: str | None, default_name: str) -> Artifact:
    """An artifact as somebody gave it: itself, a file, a directory, or the address of something elsewhere."""
    if isinstance(given, Artifact):
        return given
    artifact = Artifact(name or default_name, kind or "unspecified")
    text = os.fspath(given)
    if "://" in text:
        artifact.add_reference(text)
    elif Path(text).is_dir():
        artifact.add_dir(text)
    else:
        artifact.add_file(text)
    return artifact
