"""The HTTP API as an OpenAPI 3.1 document, and the page that shows it: all of it read from the endpoints' declarations."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Final, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from . import browser_access, pages
from .endpoint import OURS, Door, Endpoint, Reach, endpoint
from .endpoints import (
    alerts,
    charts,
    counts,
    edits,
    exports,
    files,
    health,
    histograms,
    importance,
    live,
    media,
    models,
    notes,
    points,
    registry,
    runs,
    snapshots,
    sql,
    system_metrics,
    tokens,
    views,
)
from .iceberg import ICEBERG_ENDPOINTS
from .mlflow import MLFLOW_ENDPOINTS
from .parameters import Parameter
from .responses import Problem
from .tokens import Role

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
_REFERENCE: Final = "#/components/schemas/{name}"
_REACHES: Final = {
    Reach.WORKSPACE: "A token of one workspace gets what is in that one.",
    Reach.RUN: "A token of one workspace finds runs of that one.",
    Reach.RUN_TO_COME: "A token of one workspace may name runs of that one, and such as nobody knows yet.",
    Reach.RUNS: "A token of one workspace has to name runs; those of others it does not find.",
    Reach.HANDLER: "A token of one workspace gets what is of that one.",
    Reach.CONTENT: "What a token of one workspace sends is kept apart until a run or a model of that one names it.",
    Reach.ALL: "A token of one workspace is refused.",
}


@endpoint("GET /api/v1/openapi.json", Role.READ, Reach.ALL, "This document", answer=dict[str, Any])
async def openapi(request: Request) -> Response:
    return Response(json.dumps(document()), 200, {"Cache-Control": "no-cache"}, "application/json")


@endpoint("GET /docs", Door.PAGE, Reach.ALL, OURS)
async def docs(request: Request) -> Response:
    """The document as a page."""
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    }
    return Response(page(), 200, headers, "text/html; charset=utf-8")


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *health.ENDPOINTS,
    *runs.ENDPOINTS,
    *points.ENDPOINTS,
    *sql.ENDPOINTS,
    *edits.ENDPOINTS,
    *views.ENDPOINTS,
    *notes.ENDPOINTS,
    *charts.ENDPOINTS,
    *counts.ENDPOINTS,
    *importance.ENDPOINTS,
    *exports.ENDPOINTS,
    *files.ENDPOINTS,
    *snapshots.ENDPOINTS,
    *histograms.ENDPOINTS,
    *registry.ENDPOINTS,
    *models.ENDPOINTS,
    *live.ENDPOINTS,
    *media.ENDPOINTS,
    *system_metrics.ENDPOINTS,
    *alerts.ENDPOINTS,
    *tokens.ENDPOINTS,
    *browser_access.ENDPOINTS,
    openapi,
    docs,
    *MLFLOW_ENDPOINTS,
    *ICEBERG_ENDPOINTS,
    *pages.ENDPOINTS,
)
"""Every endpoint of a server."""


def described() -> list[Endpoint]:
    """The endpoints that others may build on."""
    return [route for route in ENDPOINTS if route.summary != OURS and route.dialect is None]


# --- the document ----------------------------------------------------------------------------------------------------


@cache
def document() -> Schema:
    """The OpenAPI document."""
    return _document(described())


def pages_document() -> Schema:
    """The same with the endpoints between our own pages and our own server, for the types of the pages."""
    return _document(
        [
            route
            for route in ENDPOINTS
            if route.dialect is None
            and (route.summary != OURS or route.method != "GET" or route.answer is not None)
        ]
    )


def _document(endpoints: Sequence[Endpoint]) -> Schema:
    schemas, components = _schemas(endpoints)
    paths: dict[str, Schema] = {}
    for route in endpoints:
        paths.setdefault(route.path_format, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "runstream",
            "version": "1",
            "description": "Runs, their points, files and everything around them. See docs/reference/api.md.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _schemas(endpoints: Sequence[Endpoint]) -> tuple[dict[Any, Schema], dict[str, Schema]]:
    """The schema of each type of a body or an answer, and the components these refer to."""
    types = {
        kind: None
        for route in endpoints
        for said in (route.body, route.answer)
        for kind in one_of(said)
        if not isinstance(kind, str)
    } | {Problem: None}
    made, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    for kind in types:
        if isinstance(kind, type) and is_dataclass(kind):
            # Its defaults are for those who make one. In an answer everything is there but what is null without being asked.
            _require_all(components[kind.__name__], but={"summaries", "params"})
    return dict(zip(types, made, strict=True)), components


def _require_all(schema: Schema, but: set[str]) -> None:
    schema["required"] = [name for name in schema["properties"] if name not in but]
    for part in schema["properties"].values():
        part.pop("default", None)


def _operation(route: Endpoint, schemas: dict[Any, Schema]) -> Schema:
    described: Schema = {
        "summary": route.summary,
        "description": who(route),
        "tags": [route.path.removeprefix("/api/v1").split("/")[1]],
        "parameters": [
            *(
                {"name": part, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}
                for part in route.param_convertors
            ),
            *map(_parameter, route.parameters),
        ],
        "responses": {
            **{str(status): _answer(route, schemas) for status in route.statuses},
            "default": {
                "description": "What went wrong (RFC 9457)",
                "content": {"application/problem+json": {"schema": schemas[Problem]}},
            },
        },
    }
    if isinstance(route.needs, Door):
        described["security"] = []
    if route.body is not None:
        described["requestBody"] = {
            "required": route.body_needed,
            "content": dict([_content(route.body, schemas)]),
        }
    return described


def who(route: Endpoint) -> str:
    """Who may use an endpoint, in words."""
    if isinstance(route.needs, Door):
        return "Needs no token."
    return f"Needs a token of the role {route.needs.name.lower()}. {_REACHES[route.reach]}"


def _parameter(parameter: Parameter) -> Schema:
    schema: Schema = {**TEXT, "enum": ["0", "1"]}
    if parameter.kind is not bool:
        schema = msgspec.json.schema(parameter.kind)
        schema = {**TEXT, **schema} if "enum" in schema else schema
        for meta in parameter.meta:
            schema |= getattr(meta, "extra_json_schema", None) or {}
    if parameter.many:
        schema = {"type": "array", "items": schema}
    return {"name": parameter.name, "in": "query", "required": parameter.needed, "schema": schema}


def one_of(kind: Any) -> tuple[Any, ...]:
    """The types a body or an answer may have; none where there is nothing."""
    return get_args(kind) if isinstance(kind, UnionType) else () if kind is None else (kind,)


def _content(kind: Any, schemas: dict[Any, Schema]) -> tuple[str, Schema]:
    """The media type of a body or an answer, and what is in it."""
    if isinstance(kind, str):
        return kind, {"schema": {}}
    said = [schemas[type_] for type_ in one_of(kind)]
    return "application/json", {"schema": said[0] if len(said) == 1 else {"anyOf": said}}


def _answer(route: Endpoint, schemas: dict[Any, Schema]) -> Schema:
    if route.answer is None:
        return {"description": "Done"}
    content = dict([_content(route.answer, schemas)])
    return {
        "description": route.summary,
        "content": {**content, **{other: {} for other in route.also}},
    }


# --- as a page -------------------------------------------------------------------------------------------------------

_STYLE = """body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
code{font-size:14px}summary{cursor:pointer;padding:.3rem 0}h2{margin-top:2rem;font-size:1.1rem}pre{overflow:auto}
b{display:inline-block;min-width:4.5rem}table{border-collapse:collapse}td{padding:.1rem 1rem .1rem 0;vertical-align:top}"""


@cache
def page() -> str:
    """The document as a page that needs nothing from elsewhere and no script."""
    groups: dict[str, list[str]] = {}
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_section(method.upper(), path, operation))
    body = "".join(f"<h2>{html.escape(name)}</h2>{''.join(sections)}" for name, sections in groups.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>runstream: HTTP API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style><h1>HTTP API</h1>'
        '<p>Send the token as <code>Authorization: Bearer …</code>. As OpenAPI: <a href="/api/v1/openapi.json">'
        f"/api/v1/openapi.json</a>.</p>{body}</html>"
    )


def _section(method: str, path: str, operation: Schema) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(parameter['name'])}</code><td>{html.escape(_kind(parameter['schema']))}"
        f"<td>{'needed' if parameter['required'] else ''}"
        for parameter in operation["parameters"]
    )
    sent = _shown("Body", operation.get("requestBody", {}))
    answered = _shown("Answer", next(iter(operation["responses"].values())))
    return (
        f"<details><summary><b>{method}</b><code>{html.escape(path)}</code><br>"
        f"{html.escape(operation['summary'])}</summary><p>{html.escape(operation['description'])}</p>"
        f"<table>{rows}</table>{sent}{answered}</details>"
    )


def _kind(schema: Schema) -> str:
    if schema["type"] == "array":
        return f"{_kind(schema['items'])}, repeatable"
    return " or ".join(schema.get("enum", [schema["type"]]))


def _shown(what: str, part: Schema) -> str:
    shown = ""
    for media_type, said in part.get("content", {}).items():
        shown += f"<p>{what}: <code>{html.escape(media_type)}</code></p>"
        if schema := said.get("schema"):
            shown += f"<pre><code>{html.escape(json.dumps(_resolved(schema), indent=1))}</code></pre>"
    return shown


def _resolved(schema: Schema) -> Schema:
    """A schema, or the component it refers to."""
    if "anyOf" in schema:
        return {"anyOf": [_resolved(choice) for choice in schema["anyOf"]]}
    if "$ref" not in schema:
        return schema
    component: Schema = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return component
