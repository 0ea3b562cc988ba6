"""HTTP for what a workspace keeps beside runs: its facts, experiments, environments, models."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name, check_text

from ..not_there import NotThere, no_run
from ..runs import models, registry
from ..runs.models import Model
from ..runs.registry import Environment, Experiment, ExperimentChange, Workspace
from . import access
from .bodies import Content
from .context import server_of
from .endpoint import BINARY, Reach, endpoint
from .file_api import send_file
from .tokens import Role

MOST_TEXTS = 1000
"""Tags or properties of one change."""
MAX_BODY_BYTES = 8 << 20
"""Longest JSON body: a model may have many files."""

Texts = dict[str, str | None] | None


class InWorkspace(msgspec.Struct, kw_only=True):
    workspace: str = "default"


def _texts(name: str, texts: Texts) -> Mapping[str, str | None]:
    """Tags or properties, checked; none: an empty mapping."""
    texts = texts or {}
    if len(texts) > MOST_TEXTS:
        raise QueryError(f"{name}: {len(texts)} of them, the most is {MOST_TEXTS}; send several requests")
    for key, value in texts.items():
        check_name(f"name of {name}", key)
        check_text(f"value of {name} {key!r:.40}", value or "")
        if "\0" in key or "\0" in (value or ""):
            raise QueryError(f"{name} {key!r:.40}: the character NUL cannot be kept; remove it")
    return texts


def _needed(name: str, text: str) -> str:
    if not text:
        raise QueryError(f"{name} is missing; send it")
    return text


def _version(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise QueryError(f"version {text!r:.40}: expected a whole number")
    return int(text)


# --- workspaces ------------------------------------------------------------------------------------------------------


class WorkspacesQuery(msgspec.Struct, kw_only=True):
    name: str | None = None
    workspace: str | None = None


class Workspaces(TypedDict):
    """Workspaces that were created or hold something, by name."""

    workspaces: list[Workspace]


@endpoint("GET /api/v1/workspaces", Role.READ, Reach.WORKSPACE, "Workspaces")
async def workspaces(request: Request, asked: WorkspacesQuery) -> Workspaces:
    # A token of one workspace is narrowed to it by `workspace`; `name` is what was asked for.
    names = {name for name in (asked.name, asked.workspace) if name}
    listed = [] if len(names) > 1 else await registry.list_workspaces(server_of(request).pool, *names)
    return {"workspaces": listed}


class WorkspaceChanges(msgspec.Struct):
    tags: Texts | UnsetType = UNSET
    description: str | None = None


@endpoint(
    "PUT /api/v1/workspaces/{name:path}",
    Role.ADMIN,
    Reach.ALL,
    "Create or change a workspace",
    most=MAX_BODY_BYTES,
)
async def set_workspace(request: Request, name: str, body: WorkspaceChanges) -> Workspace:
    tags = None if body.tags is UNSET else _texts("tags", body.tags)
    return await registry.set_workspace(server_of(request).pool, name, tags, body.description)


@endpoint(
    "DELETE /api/v1/workspaces/{name:path}",
    Role.ADMIN,
    Reach.ALL,
    "Delete a workspace that holds no runs and no models",
)
async def delete_workspace(request: Request, name: str) -> None:
    await registry.delete_workspace(server_of(request).pool, name)


# --- experiments -----------------------------------------------------------------------------------------------------


class ExperimentsQuery(msgspec.Struct, kw_only=True):
    workspace: str | None = None


class Experiments(TypedDict):
    """Experiments."""

    experiments: list[Experiment]


@endpoint("GET /api/v1/experiments", Role.READ, Reach.WORKSPACE, "Experiments")
async def experiments(request: Request, asked: ExperimentsQuery) -> Experiments:
    return {"experiments": await registry.list_experiments(server_of(request).pool, asked.workspace)}


@endpoint(
    "PUT /api/v1/experiments/{name:path}", Role.WRITE, Reach.WORKSPACE, "Create an experiment if need be"
)
async def add_experiment(request: Request, name: str, asked: InWorkspace) -> Experiment:
    return await registry.add_experiment(server_of(request).pool, asked.workspace, name)


class ExperimentChanges(msgspec.Struct):
    tags: Texts = None
    remove_tags: list[str] | None = None
    archived: bool | None = None
    description: str | UnsetType | None = UNSET


@endpoint(
    "PATCH /api/v1/experiments/{name:path}",
    Role.WRITE,
    Reach.WORKSPACE,
    "Change an experiment",
    most=MAX_BODY_BYTES,
)
async def change_experiment(
    request: Request, name: str, asked: InWorkspace, body: ExperimentChanges
) -> Experiment:
    change = ExperimentChange(
        _texts("tags", body.tags),
        body.remove_tags or (),
        body.archived,
        body.description is not UNSET,
        None if body.description is UNSET else body.description,
    )
    return await registry.change_experiment(server_of(request).pool, asked.workspace, name, change)


@endpoint(
    "DELETE /api/v1/experiments/{name:path}", Role.ADMIN, Reach.WORKSPACE, "Delete an experiment without runs"
)
async def delete_experiment(request: Request, name: str, asked: InWorkspace) -> None:
    await registry.delete_experiment(server_of(request).pool, asked.workspace, name)


# --- environments ----------------------------------------------------------------------------------------------------


class EnvironmentsQuery(InWorkspace, kw_only=True):
    name: str | None = None
    version: str | None = None
    label: str | None = None
    latest: bool = False


class Environments(TypedDict):
    """Registered environments."""

    environments: list[Environment]


@endpoint("GET /api/v1/environments", Role.READ, Reach.WORKSPACE, "Registered environments")
async def environments(request: Request, asked: EnvironmentsQuery) -> Environments:
    listed = await registry.list_environments(
        server_of(request).pool,
        asked.workspace,
        name=asked.name,
        version=asked.version,
        label=asked.label,
        latest=asked.latest,
    )
    return {"environments": listed}


class NewEnvironment(msgspec.Struct):
    name: str
    document: dict[str, Any]
    version: str | None = None


@endpoint(
    "POST /api/v1/environments", Role.WRITE, Reach.WORKSPACE, "Register an environment", most=MAX_BODY_BYTES
)
async def register_environment(request: Request, asked: InWorkspace, body: NewEnvironment) -> Environment:
    return await registry.register_environment(
        server_of(request).pool, asked.workspace, _needed("name", body.name), body.version, body.document
    )


class Labels(msgspec.Struct):
    name: str
    version: str
    labels: list[str] | None = None


@endpoint(
    "PUT /api/v1/environment-labels",
    Role.WRITE,
    Reach.WORKSPACE,
    "Let labels point to a version",
    most=MAX_BODY_BYTES,
)
async def label_environment(request: Request, asked: InWorkspace, body: Labels) -> None:
    await registry.label_environment(
        server_of(request).pool,
        asked.workspace,
        _needed("name", body.name),
        _needed("version", body.version),
        body.labels or (),
    )


# --- models ----------------------------------------------------------------------------------------------------------


class ModelsQuery(InWorkspace, kw_only=True):
    name: str | None = None
    version: str | None = None
    run: str | None = None
    latest: bool = False


class Models(TypedDict):
    """Registered models, the newest first."""

    models: list[Model]


@endpoint("GET /api/v1/models", Role.READ, Reach.WORKSPACE, "Registered models")
async def list_models(request: Request, asked: ModelsQuery) -> Models:
    versions = await models.find(
        server_of(request).pool,
        asked.workspace,
        asked.name,
        _version(asked.version) if asked.version else None,
        run_id=asked.run,
        latest=asked.latest,
    )
    return {"models": versions}


class SentFile(msgspec.Struct):
    path: str
    sha256: str


class NewModel(msgspec.Struct):
    name: str
    token: str
    run_id: str | None = None
    path: str | None = None
    files: list[SentFile] | None = None
    description: str | None = None
    tags: Texts = None
    properties: Texts = None
    details: dict[str, Any] | None = None


@endpoint(
    "POST /api/v1/models",
    Role.WRITE,
    Reach.WORKSPACE,
    "Register a model under the next version of its name",
    most=MAX_BODY_BYTES,
)
async def register_model(request: Request, asked: InWorkspace, body: NewModel) -> Model:
    server = server_of(request)
    try:
        token = uuid.UUID(_needed("token", body.token))
    except ValueError:
        raise QueryError("token: expected a UUID") from None
    # Its files can be read by the model's name.
    if body.run_id and not await access.runs_there(request, [body.run_id]):
        raise no_run(body.run_id)
    return await models.register(
        server.pool,
        server.store,
        models.NewModel(
            workspace=asked.workspace,
            name=_needed("name", body.name),
            token=token,
            narrowed=access.grant_of(request).workspace is not None,
            run_id=body.run_id,
            path=body.path,
            files=[(file.path, file.sha256) for file in body.files or ()],
            description=body.description,
            tags=_texts("tags", body.tags),
            properties=_texts("properties", body.properties),
            details=body.details or {},
        ),
    )


class ModelChanges(msgspec.Struct):
    tags: Texts = None
    remove_tags: list[str] | None = None
    properties: Texts = None
    description: str | UnsetType | None = UNSET


@endpoint(
    "PATCH /api/v1/models/{name}/{version}",
    Role.WRITE,
    Reach.WORKSPACE,
    "Change a model",
    most=MAX_BODY_BYTES,
)
async def change_model(
    request: Request, name: str, version: str, asked: InWorkspace, body: ModelChanges
) -> Model:
    return await models.change(
        server_of(request).pool,
        asked.workspace,
        name,
        _version(version),
        set_tags=_texts("tags", body.tags),
        remove_tags=body.remove_tags or (),
        add_properties=_texts("properties", body.properties),
        describe=body.description is not UNSET,
        description=None if body.description is UNSET else body.description,
    )


@endpoint("DELETE /api/v1/models/{name}/{version}", Role.ADMIN, Reach.WORKSPACE, "Delete a model")
async def delete_model(request: Request, name: str, version: str, asked: InWorkspace) -> None:
    server = server_of(request)
    await models.delete(server.pool, server.store, asked.workspace, name, _version(version))


@endpoint(
    "GET /api/v1/models/{name}/{version}/files/{path:path}",
    Role.READ,
    Reach.WORKSPACE,
    "A file of a model",
    answer=BINARY,
    statuses=(200, 206),
)
async def model_file(request: Request, name: str, version: str, path: str, asked: InWorkspace) -> Response:
    number = _version(version)
    versions = await models.find(server_of(request).pool, asked.workspace, name, number)
    file = next(
        (entry for entry in (versions[0]["files"] if versions else ()) if entry["path"] == path), None
    )
    if file is None:
        raise NotThere(
            f"model {name!r:.80} of version {number} has no file {path!r:.80}"
            "; GET /api/v1/models lists those it has"
        )
    return await send_file(request, models.place(file["sha256"]), path, file["size"], file["sha256"])


class StoredContent(TypedDict):
    """Content that is stored now."""

    sha256: str
    size: int


@endpoint("PUT /api/v1/model-content/{sha256}", Role.WRITE, Reach.CONTENT, "Send content of a model")
async def save_content(request: Request, sha256: str, body: Content) -> StoredContent:
    server, digest = server_of(request), models.check_digest(sha256)
    size = await models.save(server.store, digest, body)
    if (workspace := access.grant_of(request).workspace) is not None:
        await server.pool.execute(models.SENT_CONTENT, digest, workspace)
    server.counters.uploaded_bytes += size
    return {"sha256": digest, "size": size}


ENDPOINTS = (
    workspaces, set_workspace, delete_workspace,
    experiments, add_experiment, change_experiment, delete_experiment,
    environments, register_environment, label_environment,
    list_models, register_model, change_model, delete_model, model_file, save_content,
)  # fmt: skip
