"""HTTP for registered models, and for their files."""

from __future__ import annotations

import uuid
from typing import Any, TypedDict

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.errors import QueryError

from ...not_there import NotThere, no_run
from ...runs import models
from ...runs.models import Model
from .. import access
from ..bodies import Content
from ..context import server_of
from ..endpoint import BINARY, Reach, endpoint
from ..tokens import Role
from .registered import MAX_BODY_BYTES, InWorkspace, Texts, checked_texts, needed
from .sending import send_file


def _version(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise QueryError(f"version {text!r:.40}: expected a whole number")
    return int(text)


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
        token = uuid.UUID(needed("token", body.token))
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
            name=needed("name", body.name),
            token=token,
            narrowed=access.grant_of(request).workspace is not None,
            run_id=body.run_id,
            path=body.path,
            files=[(file.path, file.sha256) for file in body.files or ()],
            description=body.description,
            tags=checked_texts("tags", body.tags),
            properties=checked_texts("properties", body.properties),
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
        set_tags=checked_texts("tags", body.tags),
        remove_tags=body.remove_tags or (),
        add_properties=checked_texts("properties", body.properties),
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


ENDPOINTS = (list_models, register_model, change_model, delete_model, model_file, save_content)
