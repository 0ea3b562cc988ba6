"""The HTTP API as an OpenAPI 3.1 document, and the page that shows it. A test holds it to the routes and the answers."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..points.exports import FORMATS
from .responses import ARROW, MSGPACK

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}
NUMBER: Final[Schema] = {"type": "number"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT}
OBJECT: Final[Schema] = {"type": "object"}
TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
TAGS: Final[Schema] = {"type": "object", "additionalProperties": TEXT_OR_NULL}
TIME: Final[Schema] = {"type": ["string", "null"], "description": "ISO 8601, UTC with Z"}
STATISTIC: Final[Schema] = {
    "type": ["number", "string", "null"],
    "description": "or NaN, Infinity, -Infinity",
}
RUN_IDS: Final[Schema] = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 20_000}


def _object(needed: str = "", /, **properties: Schema) -> Schema:
    """An object; `needed`: the names that have to be there."""
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": needed.split()} if needed else schema


def _list(name: str, item: Schema) -> Schema:
    return _object(name, **{name: {"type": "array", "items": item}})


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": _object(
        "title status detail", type=TEXT, title=TEXT, status=WHOLE, detail=TEXT
    ),
    "Summary": _object(
        "count", cls=WHOLE, kind=WHOLE, count=WHOLE, first=STATISTIC, last=STATISTIC, min=STATISTIC, max=STATISTIC,
        mean=STATISTIC, last_step={"type": ["integer", "null"]}, last_time=WHOLE, text=TEXT_OR_NULL,
    ),
    "Run": _object(
        "run_id status created_utc warnings details tags properties dropped gaps settled",
        run_id=TEXT, number={"type": ["integer", "null"]}, experiment=TEXT_OR_NULL, workspace=TEXT_OR_NULL,
        parent_run_id=TEXT_OR_NULL, root_run_id=TEXT_OR_NULL, name=TEXT_OR_NULL, display_name=TEXT_OR_NULL,
        description=TEXT_OR_NULL, type=TEXT_OR_NULL, target=TEXT_OR_NULL, status=TEXT, created_utc=TIME,
        start_time_utc=TIME, end_time_utc=TIME, last_seen_utc=TIME, archived_utc=TIME,
        error={"type": ["object", "null"]}, warnings={"type": "array"}, details=OBJECT, tags=TAGS, properties=TAGS,
        dropped=WHOLE, gaps=WHOLE, settled=BOOLEAN,
        summaries={"type": "object", "additionalProperties": _ref("Summary")},
    ),
    "RunChanges": {
        **_object(
            display_name=TEXT_OR_NULL, description=TEXT_OR_NULL, archived={"type": ["boolean", "null"]},
            tags=_object(set=TAGS, remove=TEXTS),
        ),
        "additionalProperties": False, "minProperties": 1,
    },
    "Experiment": _object(
        "id name workspace tags runs", id=WHOLE, name=TEXT, workspace=TEXT, description=TEXT_OR_NULL, created_utc=TIME,
        archived_utc=TIME, tags=TAGS, runs=WHOLE,
    ),
    "Table": _object(
        "columns rows", columns={"type": "array", "items": _object("name type", name=TEXT, type=TEXT)},
        rows={"type": "array", "items": {"type": "array"}},
    ),
    "File": _object("path size sha256", path=TEXT, size=WHOLE, sha256=TEXT, created_utc=TIME, captured=BOOLEAN),
    "View": _object("id page", id=TEXT, page=TEXT, name=TEXT_OR_NULL, created_utc=TIME, changed_utc=TIME, bytes=WHOLE),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        parameters: words `name`, `name:type` (text, int, number, flag, or a|b for one of these), `!` behind it: needed,
            `*`: repeatable.
        body: schema of the JSON body, or a media type.
        answer: schema of the JSON answer, or a media type, or None: nothing.
        statuses: of success; the first is the usual one.
    """

    method: str
    path: str
    summary: str
    parameters: str = ""
    body: Schema | str | None = None
    answer: Schema | str | None = None
    statuses: Sequence[int] = (200,)
    also: Sequence[str] = ()


FILTERS: Final = (
    "workspace experiment status* run* tag* property* type target parent ancestor started_from started_to "
    "archived:0|1|all metric* q"
)
WAIT: Final = "wait* timeout:number"
BINARY: Final = "application/octet-stream"
FORMAT: Final = f"format:{'|'.join(FORMATS)}"
_RUN, _EXPERIMENT, _FILE, _VIEW, _TABLE = (
    _ref(name) for name in ("Run", "Experiment", "File", "View", "Table")
)
_DELETED = _object("deleted", deleted=TEXTS, missing=TEXTS)
_STATUSES = _object("statuses", statuses={"type": "object", "additionalProperties": TEXT})
_CHART_POINTS = _object(
    "run_id name bucket points steps times values", run_id=TEXT, name=TEXT, bucket=WHOLE, points=WHOLE,
    steps={"type": "array", "items": WHOLE}, times={"type": "array", "items": WHOLE},
    values={"type": "array", "items": STATISTIC}, x={"type": "array", "items": STATISTIC},
)  # fmt: skip
_REGISTERED = _object("name version", name=TEXT, version=TEXT)
_MODEL = _object("name version", name=TEXT, version=WHOLE, files={"type": "array", "items": OBJECT})
_COUNTS = _object(statuses={"type": "object", "additionalProperties": WHOLE}, newest_utc=TIME)
_TOKEN = _object("name role token", name=TEXT, role=TEXT, workspace=TEXT_OR_NULL, token=TEXT)
_SUMMARY_OF_SERIES = _object("name column count", name=TEXT, column=TEXT, count=WHOLE)

OPERATIONS: Final = (
    Operation("GET", "/healthz", "The process lives", answer="text/plain"),
    Operation("GET", "/readyz", "The database answers", answer="text/plain"),
    Operation("GET", "/metrics", "Counters for Prometheus", answer="text/plain"),
    Operation(
        "GET", "/api/v1/runs", "A page of the runs that pass all filters",
        f"{FILTERS} order limit:int after summaries:flag summary* summary_common:int count:flag",
        answer=_object(
            "runs next", runs={"type": "array", "items": _RUN}, next=TEXT_OR_NULL,
            count={"type": "object", "additionalProperties": WHOLE}, metrics=TEXTS,
        ),
    ),
    Operation(
        "PATCH", "/api/v1/runs", "Change many runs",
        body=_object("runs changes", runs=RUN_IDS, changes=_ref("RunChanges")),
        answer=_object("changed missing", changed=TEXTS, missing=TEXTS),
    ),
    Operation(
        "POST", "/api/v1/runs/cancel", "Ask many runs to stop", body=_object("runs", runs=RUN_IDS, descendants=BOOLEAN),
        answer=_STATUSES,
    ),
    Operation(
        "POST", "/api/v1/runs/delete", "Delete many runs with their descendants, or tell what that would delete",
        body=_object("runs", runs=RUN_IDS, force=BOOLEAN, dry_run=BOOLEAN), answer=OBJECT,
    ),
    Operation("GET", "/api/v1/runs/{run_id}", "One run", f"summaries:flag {WAIT}", answer=_RUN),
    Operation("PATCH", "/api/v1/runs/{run_id}", "Change a run", body=_ref("RunChanges"), answer=_RUN),
    Operation("DELETE", "/api/v1/runs/{run_id}", "Delete a run with its descendants", "force:flag", answer=_DELETED),
    Operation("POST", "/api/v1/runs/{run_id}/cancel", "Ask a run to stop", answer=_STATUSES),
    Operation(
        "GET", "/api/v1/runs/{run_id}/series", "Summaries of all series of a run",
        answer=_list("series", _SUMMARY_OF_SERIES),
    ),
    Operation(
        "GET", "/api/v1/runs/{run_id}/values", "Every value of one series, of any kind", "name! cls:int",
        answer=_list("points", _object("step time", step=WHOLE, time=WHOLE)),
    ),
    Operation(
        "GET", "/api/v1/runs/{run_id}/tables/{name}", "Rows of a table", "offset:int limit:int",
        answer={**SCHEMAS["Table"], "required": ["columns", "rows", "total"]},
    ),
    Operation(
        "GET", "/api/v1/metrics", "Whole vectors of runs",
        f"run!* name* cls:int* recursive:flag type from_step:int from_time:int {WAIT}", answer=MSGPACK,
    ),
    Operation(
        "GET", "/api/v1/series", "One series, downsampled for a chart",
        f"run! name! width:int from:int to:int x {WAIT}", answer=_CHART_POINTS, also=(ARROW,),
    ),
    Operation(
        "GET", "/api/v1/charts", "Metrics of one or many runs, downsampled over a range of steps or times",
        "run!* name!* x width:int from:number to:number smooth:number", answer="application/vnd.runstream.chart",
        also=(ARROW, "application/json"),
    ),
    Operation(
        "GET", "/api/v1/metric-names", "Names of metrics, the most used first", "q experiment workspace run* limit:int",
        answer=_list("names", _object("name runs text", name=TEXT, runs=WHOLE, text=BOOLEAN)),
    ),
    Operation(
        "GET", "/api/v1/child-counts", "How many children runs have", "run*",
        answer=_object("children", children={"type": "object", "additionalProperties": WHOLE}),
    ),
    Operation(
        "GET", "/api/v1/experiment-counts", "Runs of experiments by status", "workspace",
        answer=_object("experiments", experiments={"type": "object", "additionalProperties": _COUNTS}),
    ),
    Operation(
        "GET", "/api/v1/target-counts", "Runs of compute targets by status", "workspace",
        answer=_object("targets", targets={"type": "object", "additionalProperties": _COUNTS}),
    ),
    Operation(
        "POST", "/api/v1/sql", "Read the views by SQL", body=_object("query", query=TEXT), answer=_TABLE, also=(ARROW,)
    ),
    Operation(
        "GET", "/api/v1/export/runs", "All runs that pass, as a file", f"{FILTERS} order column* {FORMAT}",
        answer="text/csv", also=(FORMATS["parquet"],),
    ),
    Operation(
        "GET", "/api/v1/export/points", "Every point of metrics, as a file", f"run!* name* {FORMAT}",
        answer="text/csv", also=(FORMATS["parquet"],),
    ),
    Operation(
        "GET", "/api/v1/export/table", "A table of a run, as a file", f"run! name! {FORMAT}", answer="text/csv",
        also=(FORMATS["parquet"],),
    ),
    Operation("GET", "/api/v1/runs/{run_id}/files", "Files of a run", answer=_list("files", _FILE)),
    Operation(
        "GET", "/api/v1/runs/{run_id}/files/{path}", "A file of a run, or ranges of it", answer=BINARY, statuses=(200, 206)
    ),
    Operation(
        "PUT", "/api/v1/runs/{run_id}/files/{path}", "Store a file", "captured:flag upload size:int", body=BINARY,
        answer=_FILE, statuses=(201, 200),
    ),
    Operation(
        "POST", "/api/v1/runs/{run_id}/files/{path}", "Append to a file", "append_at:int", body=BINARY, answer=_FILE
    ),
    Operation("GET", "/api/v1/runs/{run_id}/zip", "A run's files as a zip", "prefix", answer="application/zip"),
    Operation(
        "PATCH", "/api/v1/uploads/{sha256}", "Go on with an upload", "offset:int", body=BINARY,
        answer=_object("offset", offset=WHOLE),
    ),
    Operation(
        "GET", "/api/v1/snapshots/{id}", "A snapshot's files",
        answer=_object("id files", id=TEXT, size=WHOLE, created_utc=TIME, files={"type": "array", "items": OBJECT}),
    ),
    Operation(
        "PUT", "/api/v1/snapshots/{id}", "Store a snapshot whose contents are there",
        body=_list("files", _object("path size sha256", path=TEXT, size=WHOLE, sha256=TEXT, executable=BOOLEAN)),
        answer=_object("id", id=TEXT), statuses=(201, 200),
    ),
    Operation("GET", "/api/v1/snapshots/{id}/files/{path}", "A file of a snapshot", answer=BINARY, statuses=(200, 206)),
    Operation("GET", "/api/v1/snapshots/{id}/zip", "A snapshot as a zip", answer="application/zip"),
    Operation(
        "PUT", "/api/v1/blobs/{sha256}", "Store a content under its SHA-256", body=BINARY, answer=OBJECT, statuses=(201, 200)
    ),
    Operation("GET", "/api/v1/views", "Saved views", "page", answer=_list("views", _VIEW)),
    Operation(
        "POST", "/api/v1/views", "Keep a view", body=_object("page state", page=TEXT, name=TEXT_OR_NULL, state=OBJECT),
        answer=_VIEW, statuses=(201, 200),
    ),
    Operation("GET", "/api/v1/views/{view_id}", "A saved view with its state", answer=_VIEW),
    Operation(
        "PATCH", "/api/v1/views/{view_id}", "Change a saved view", body=_object(name=TEXT_OR_NULL, state=OBJECT),
        answer=_VIEW,
    ),
    Operation("DELETE", "/api/v1/views/{view_id}", "Forget a saved view", statuses=(204,)),
    Operation("GET", "/api/v1/experiments", "Experiments", "workspace", answer=_list("experiments", _EXPERIMENT)),
    Operation(
        "PUT", "/api/v1/experiments/{name}", "Create an experiment if need be", "workspace", answer=_EXPERIMENT
    ),
    Operation(
        "PATCH", "/api/v1/experiments/{name}", "Change an experiment", "workspace",
        body=_object(tags=TAGS, remove_tags=TEXTS, archived={"type": ["boolean", "null"]}, description=TEXT_OR_NULL),
        answer=_EXPERIMENT,
    ),
    Operation("DELETE", "/api/v1/experiments/{name}", "Delete an experiment without runs", "workspace", statuses=(204,)),
    Operation(
        "GET", "/api/v1/workspaces", "Workspaces", "name",
        answer=_list("workspaces", _object("name tags", name=TEXT, tags=TAGS)),
    ),
    Operation(
        "PUT", "/api/v1/workspaces/{name}", "Create or change a workspace",
        body=_object(tags=TAGS, description=TEXT_OR_NULL), answer=_object("name", name=TEXT),
    ),
    Operation("DELETE", "/api/v1/workspaces/{name}", "Delete a workspace that holds no runs and no models", statuses=(204,)),
    Operation(
        "GET", "/api/v1/environments", "Registered environments", "workspace name version label latest:flag",
        answer=_list("environments", _REGISTERED),
    ),
    Operation(
        "POST", "/api/v1/environments", "Register an environment", "workspace",
        body=_object("name document", name=TEXT, version=TEXT_OR_NULL, document=OBJECT), answer=_REGISTERED,
    ),
    Operation(
        "PUT", "/api/v1/environment-labels", "Let labels point to a version", "workspace",
        body=_object("name version labels", name=TEXT, version=TEXT, labels=TEXTS), statuses=(204,),
    ),
    Operation(
        "GET", "/api/v1/models", "Registered models", "workspace name version:int run latest:flag",
        answer=_list("models", _MODEL),
    ),
    Operation(
        "POST", "/api/v1/models", "Register a model under the next version of its name", "workspace",
        body=_object(
            "name token", name=TEXT, token={"type": "string", "format": "uuid"}, run_id=TEXT_OR_NULL, path=TEXT_OR_NULL,
            files={"type": "array", "items": _object("path sha256", path=TEXT, sha256=TEXT)}, description=TEXT_OR_NULL,
            tags=TAGS, properties=TAGS, details=OBJECT,
        ),
        answer=_MODEL,
    ),
    Operation(
        "PATCH", "/api/v1/models/{name}/{version}", "Change a model", "workspace",
        body=_object(tags=TAGS, remove_tags=TEXTS, properties=TAGS, description=TEXT_OR_NULL), answer=_MODEL,
    ),
    Operation("DELETE", "/api/v1/models/{name}/{version}", "Delete a model", "workspace", statuses=(204,)),
    Operation(
        "GET", "/api/v1/models/{name}/{version}/files/{path}", "A file of a model", "workspace", answer=BINARY,
        statuses=(200, 206),
    ),
    Operation(
        "PUT", "/api/v1/model-content/{sha256}", "Send content of a model", body=BINARY,
        answer=_object("sha256 size", sha256=TEXT, size=WHOLE),
    ),
    Operation(
        "GET", "/api/v1/stored", "Wait until one's own writes are stored", WAIT, answer=_object("stored", stored=BOOLEAN)
    ),
    Operation("GET", "/api/v1/events", "Changes as server-sent events", "run* after", answer="text/event-stream"),
    Operation(
        "GET", "/api/v1/access", "What the caller's token allows",
        answer=_object(
            "name role workspace", name=TEXT, role={**TEXT, "enum": ["read", "write", "admin"]}, workspace=TEXT_OR_NULL
        ),
    ),
    Operation(
        "GET", "/api/v1/tokens", "Tokens that were given out",
        answer=_list("tokens", _object("name role", name=TEXT, role=TEXT)),
    ),
    Operation(
        "POST", "/api/v1/tokens", "Give a token out",
        body=_object("name role", name=TEXT, role=TEXT, workspace=TEXT_OR_NULL, days=NUMBER), answer=_TOKEN, statuses=(201,),
    ),
    Operation(
        "POST", "/api/v1/tokens/{name}", "Give a token a new secret", body=_object(keep_minutes=NUMBER), answer=_TOKEN
    ),
    Operation("DELETE", "/api/v1/tokens/{name}", "Revoke a token", statuses=(204,)),
    Operation("GET", "/api/v1/openapi.json", "This document", answer=OBJECT),
)  # fmt: skip


@cache
def document() -> Schema:
    """The OpenAPI document."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "runstream", "version": "1",
            "description": "Runs, their points, files and everything around them. See docs/reference/api.md.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }  # fmt: skip


def _operation(operation: Operation) -> Schema:
    parts = [part.strip("{}") for part in operation.path.split("/") if part.startswith("{")]
    described: Schema = {
        "summary": operation.summary,
        "tags": [operation.path.removeprefix("/api/v1").split("/")[1]],
        "parameters": [
            *(
                {"name": part, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}
                for part in parts
            ),
            *map(_parameter, operation.parameters.split()),
        ],
        "responses": {
            **{str(status): _answer(operation) for status in operation.statuses},
            "default": {
                "description": "What went wrong (RFC 9457)",
                "content": {"application/problem+json": {"schema": _ref("Problem")}},
            },
        },
    }
    if operation.body is not None:
        media, schema = (
            (operation.body, {}) if isinstance(operation.body, str) else ("application/json", operation.body)
        )
        described["requestBody"] = {"required": True, "content": {media: {"schema": schema}}}
    return described


def _parameter(word: str) -> Schema:
    name, _, kind = word.partition(":")
    marks = "".join(mark for mark in "!*" if mark in word)
    name, kind = name.rstrip("!*"), kind.rstrip("!*")
    schema: Schema
    if "|" in kind:
        schema = {**TEXT, "enum": kind.split("|")}
    else:
        schema = {"": TEXT, "int": WHOLE, "number": NUMBER, "flag": {**TEXT, "enum": ["0", "1"]}}[kind]
    if "*" in marks:
        schema = {"type": "array", "items": schema}
    return {"name": name, "in": "query", "required": "!" in marks, "schema": schema}


def _answer(operation: Operation) -> Schema:
    if operation.answer is None:
        return {"description": "Done"}
    media, schema = (
        (operation.answer, {})
        if isinstance(operation.answer, str)
        else ("application/json", operation.answer)
    )
    content = {media: {"schema": schema}, **{other: {} for other in operation.also}}
    return {"description": operation.summary, "content": content}


# --- served ----------------------------------------------------------------------------------------------------------

_STYLE = """body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
code{font-size:14px}summary{cursor:pointer;padding:.3rem 0}h2{margin-top:2rem;font-size:1.1rem}pre{overflow:auto}
b{display:inline-block;min-width:4.5rem}table{border-collapse:collapse}td{padding:.1rem 1rem .1rem 0;vertical-align:top}"""


@cache
def page() -> str:
    """The document as a page that needs nothing from elsewhere and no script."""
    groups: dict[str, list[str]] = {}
    for operation in OPERATIONS:
        described = _operation(operation)
        groups.setdefault(described["tags"][0], []).append(_section(operation, described))
    body = "".join(f"<h2>{html.escape(name)}</h2>{''.join(sections)}" for name, sections in groups.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>runstream: HTTP API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style><h1>HTTP API</h1>'
        '<p>Send the token as <code>Authorization: Bearer …</code>. As OpenAPI: <a href="/api/v1/openapi.json">'
        f"/api/v1/openapi.json</a>.</p>{body}</html>"
    )


def _section(operation: Operation, described: Schema) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(one['name'])}</code><td>{html.escape(_kind(one['schema']))}"
        f"<td>{'needed' if one['required'] else ''}"
        for one in described["parameters"]
    )
    body = operation.body
    sent = "" if body is None else f"<p>Body: {_shown(body)}</p>"
    answered = "" if operation.answer is None else f"<p>Answer: {_shown(operation.answer)}</p>"
    return (
        f"<details><summary><b>{operation.method}</b><code>{html.escape(operation.path)}</code><br>"
        f"{html.escape(operation.summary)}</summary><table>{rows}</table>{sent}{answered}</details>"
    )


def _kind(schema: Schema) -> str:
    if schema["type"] == "array":
        return f"{_kind(schema['items'])}, repeatable"
    return " or ".join(schema.get("enum", [schema["type"]]))


def _shown(what: Schema | str) -> str:
    if isinstance(what, str):
        return f"<code>{html.escape(what)}</code>"
    return f"<pre><code>{html.escape(json.dumps(what, indent=1))}</code></pre>"


async def _document(request: Request) -> Response:
    return Response(json.dumps(document()), 200, {"Cache-Control": "no-cache"}, "application/json")


async def _page(request: Request) -> Response:
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    }
    return Response(page(), 200, headers, "text/html; charset=utf-8")


def described_paths() -> Iterable[tuple[str, str]]:
    """Method and path of every operation."""
    return ((operation.method, operation.path) for operation in OPERATIONS)


def routes() -> list[Route]:
    """Where the document and its page are."""
    return [Route("/api/v1/openapi.json", _document), Route("/docs", _page)]
