"""HTTP for what a workspace keeps beside runs: its facts, experiments' changes, environments, models."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name, check_text

from ..json_values import from_json, iso
from ..runs import models, registry
from ..runs.registry import ExperimentChange, NotThere
from . import access
from .context import server_of
from .file_api import send_file
from .parameters import json_body
from .responses import json_answer

MOST_TEXTS = 1000
"""Tags or properties of one change."""
MAX_BODY_BYTES = 8 << 20
"""Longest JSON body: a model may have many files."""


async def _body(request: Request) -> dict[str, Any]:
    return await json_body(request, most=MAX_BODY_BYTES)


def _texts(document: dict[str, Any], name: str) -> dict[str, str | None]:
    found = document.get(name) or {}
    if not isinstance(found, dict) or not all(isinstance(one, (str, type(None))) for one in found.values()):
        raise QueryError(f"{name}: expected an object of texts and nulls")
    if len(found) > MOST_TEXTS:
        raise QueryError(f"{name}: {len(found)} of them, the most is {MOST_TEXTS}; send several requests")
    for key, value in found.items():
        check_name(f"name of {name}", key)
        check_text(f"value of {name} {key!r:.40}", value or "")
        if "\0" in key or "\0" in (value or ""):
            raise QueryError(f"{name} {key!r:.40}: the character NUL cannot be kept; remove it")
    return found


def _list(document: dict[str, Any], name: str) -> list[str]:
    found = document.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise QueryError(f"{name}: expected a list of texts")
    return found


def _text(document: dict[str, Any], name: str) -> str | None:
    found = document.get(name)
    if found is None or isinstance(found, str):
        return found
    raise QueryError(f"{name}: expected a text")


def _needed(document: dict[str, Any], name: str) -> str:
    found = _text(document, name)
    if not found:
        raise QueryError(f"{name} is missing")
    return found


def _workspace(request: Request) -> str:
    return request.query_params.get("workspace") or "default"


def _version(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise QueryError(f"version {text!r:.40}: expected a whole number")
    return int(text)


# --- workspaces and experiments ---


async def _workspaces(request: Request) -> Response:
    # A token of one workspace is narrowed to it by `workspace`; `name` is what was asked for.
    asked = {one for key in ("name", "workspace") if (one := request.query_params.get(key))}
    found = [] if len(asked) > 1 else await registry.list_workspaces(server_of(request).pool, *asked)
    return json_answer(request, {"workspaces": found})


async def _workspace_of_name(request: Request) -> Response:
    if request.method == "DELETE":
        await registry.delete_workspace(server_of(request).pool, request.path_params["name"])
        return Response(status_code=204)
    document = await _body(request)
    tags = _texts(document, "tags") if "tags" in document else None
    record = await registry.set_workspace(
        server_of(request).pool, request.path_params["name"], tags, _text(document, "description")
    )
    return json_answer(request, record)


async def _experiment(request: Request) -> Response:
    pool, name = server_of(request).pool, request.path_params["name"]
    if request.method == "DELETE":
        await registry.delete_experiment(pool, _workspace(request), name)
        return Response(status_code=204)
    document = await _body(request)
    archived = document.get("archived")
    if not isinstance(archived, (bool, type(None))):
        raise QueryError("archived: expected true or false")
    change = ExperimentChange(
        _texts(document, "tags"),
        _list(document, "remove_tags"),
        archived,
        "description" in document,
        _text(document, "description"),
    )
    row = await registry.change_experiment(pool, _workspace(request), name, change)
    return json_answer(request, experiment_record(row))


def experiment_record(row: Any) -> dict[str, Any]:
    """An experiment as the HTTP API shows it."""
    return {
        "id": row["id"],
        "name": row["name"],
        "workspace": row["workspace"],
        "description": row["description"],
        "created_utc": iso(row["created_at"]),
        "archived_utc": iso(row["archived_at"]),
        "tags": from_json(row["tags"]) or {},
        "runs": row["runs"],
    }


# --- environments ---


async def _environments(request: Request) -> Response:
    pool, parameters = server_of(request).pool, request.query_params
    if request.method == "POST":
        document = await _body(request)
        content = document.get("document")
        if not isinstance(content, dict):
            raise QueryError("document: expected an object")
        record = await registry.register_environment(
            pool, _workspace(request), _needed(document, "name"), _text(document, "version"), content
        )
        return json_answer(request, record)
    found = await registry.list_environments(
        pool,
        _workspace(request),
        name=parameters.get("name"),
        version=parameters.get("version"),
        label=parameters.get("label"),
        latest=parameters.get("latest") == "1",
    )
    return json_answer(request, {"environments": found})


async def _label(request: Request) -> Response:
    document = await _body(request)
    await registry.label_environment(
        server_of(request).pool,
        _workspace(request),
        _needed(document, "name"),
        _needed(document, "version"),
        _list(document, "labels"),
    )
    return Response(status_code=204)


# --- models ---


async def _models(request: Request) -> Response:
    server, parameters = server_of(request), request.query_params
    if request.method == "POST":
        document = await _body(request)
        try:
            token = uuid.UUID(_needed(document, "token"))
        except ValueError:
            raise QueryError("token: expected a UUID") from None
        files = document.get("files") or []
        try:
            pairs = [(str(one["path"]), str(one["sha256"])) for one in files]
        except (TypeError, KeyError):
            raise QueryError("files: expected a list of {path, sha256}") from None
        details = document.get("details") or {}
        if not isinstance(details, dict):
            raise QueryError("details: expected an object")
        run_id = _text(document, "run_id")
        # Its files can be read by the model's name.
        if run_id and not await access.check_runs(request, [run_id]):
            raise NotThere(f"no run {run_id!r:.80}")
        record = await models.register(
            server.pool,
            server.store,
            models.NewModel(
                workspace=_workspace(request),
                name=_needed(document, "name"),
                token=token,
                narrowed=access.grant_of(request).workspace is not None,
                run_id=run_id,
                path=_text(document, "path"),
                files=pairs,
                description=_text(document, "description"),
                tags=_texts(document, "tags"),
                properties=_texts(document, "properties"),
                details=details,
            ),
        )
        return json_answer(request, record)
    version = parameters.get("version")
    found = await models.find(
        server.pool,
        _workspace(request),
        parameters.get("name"),
        _version(version) if version else None,
        run_id=parameters.get("run"),
        latest=parameters.get("latest") == "1",
    )
    return json_answer(request, {"models": found})


async def _model(request: Request) -> Response:
    server, name = server_of(request), request.path_params["name"]
    workspace, version = _workspace(request), _version(request.path_params["version"])
    if request.method == "DELETE":
        await models.delete(server.pool, server.store, workspace, name, version)
        return Response(status_code=204)
    document = await _body(request)
    record = await models.change(
        server.pool,
        workspace,
        name,
        version,
        set_tags=_texts(document, "tags"),
        remove_tags=_list(document, "remove_tags"),
        add_properties=_texts(document, "properties"),
        describe="description" in document,
        description=_text(document, "description"),
    )
    return json_answer(request, record)


async def _model_file(request: Request) -> Response:
    server, path = server_of(request), request.path_params["path"]
    name, version = request.path_params["name"], _version(request.path_params["version"])
    found = await models.find(server.pool, _workspace(request), name, version)
    file = next((one for one in (found[0]["files"] if found else ()) if one["path"] == path), None)
    if file is None:
        raise NotThere(f"model {name!r:.80} of version {version} has no file {path!r:.80}")
    return await send_file(request, models.place(file["sha256"]), path, file["size"], file["sha256"])


async def _content(request: Request) -> Response:
    server, digest = server_of(request), models.check_digest(request.path_params["sha256"])
    size = await models.save(server.store, digest, request.stream())
    if (workspace := access.grant_of(request).workspace) is not None:
        await server.pool.execute(models.SENT_CONTENT, digest, workspace)
    server.counters.uploaded_bytes += size
    return json_answer(request, {"sha256": digest, "size": size})


def routes() -> list[Route]:
    """The registry's endpoints."""
    return [
        Route("/api/v1/workspaces", _workspaces),
        Route("/api/v1/workspaces/{name:path}", _workspace_of_name, methods=["PUT", "DELETE"]),
        Route("/api/v1/experiments/{name:path}", _experiment, methods=["PATCH", "DELETE"]),
        Route("/api/v1/environments", _environments, methods=["GET", "POST"]),
        Route("/api/v1/environment-labels", _label, methods=["PUT"]),
        Route("/api/v1/models", _models, methods=["GET", "POST"]),
        Route("/api/v1/models/{name}/{version}", _model, methods=["PATCH", "DELETE"]),
        Route("/api/v1/models/{name}/{version}/files/{path:path}", _model_file),
        Route("/api/v1/model-content/{sha256}", _content, methods=["PUT"]),
    ]
