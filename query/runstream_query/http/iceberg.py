"""The REST interface of an Iceberg catalog, as far as it reads: engines find the tables of the workspaces by it.

Who may ask is decided as everywhere; a token of one workspace finds that namespace and no other. The files themselves an
engine reads from the store, with what it has of its own to get in there.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .. import iceberg
from .access import grant_of
from .context import server_of
from .endpoint import Dialect, Reach, endpoint
from .responses import answer
from .tokens import Role

SEPARATOR: Final = "\x1f"
"""What clients put between the parts of a namespace; in names of workspaces a part ends with a dot."""

_ERRORS: Final = {
    400: "BadRequestException",
    401: "NotAuthorizedException",
    403: "ForbiddenException",
    404: "NoSuchTableException",
    503: "ServiceUnavailableException",
}
_OF_NAMESPACE: Final = "there is no namespace"
_ENDPOINTS: Final = [
    "GET /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
]


def failure(status: int, detail: str) -> Response:
    """What went wrong, as clients of such a catalog read it."""
    kind = _ERRORS.get(status, HTTPStatus(status).phrase.replace(" ", "") + "Exception")
    if status == 404 and detail.startswith(_OF_NAMESPACE):
        kind = "NoSuchNamespaceException"
    error = {"message": detail, "type": kind, "code": status}
    return Response(json.dumps({"error": error}), status, media_type="application/json")


ICEBERG: Final = Dialect("iceberg", failure)


@endpoint(
    "GET /iceberg/v1/config",
    Role.READ,
    Reach.HANDLER,
    "What a client of the catalog has to know",
    dialect=ICEBERG,
)
async def config(request: Request) -> dict[str, Any]:
    properties = iceberg.store_properties(server_of(request).settings)
    return {"defaults": properties, "overrides": {}, "endpoints": _ENDPOINTS}


class NamespacesQuery(msgspec.Struct, kw_only=True):
    parent: str | None = None


@endpoint("GET /iceberg/v1/namespaces", Role.READ, Reach.HANDLER, "Workspaces", dialect=ICEBERG)
async def namespaces(request: Request, asked: NamespacesQuery) -> dict[str, Any]:
    if asked.parent:  # a workspace has none below it
        return {"namespaces": []}
    names = await iceberg.namespaces(server_of(request).pool, grant_of(request).workspace)
    return {"namespaces": [[name] for name in names]}


@endpoint(
    "GET /iceberg/v1/namespaces/{namespace:path}/tables",
    Role.READ,
    Reach.HANDLER,
    "Tables of a workspace",
    dialect=ICEBERG,
)
async def tables(request: Request, namespace: str) -> dict[str, Any]:
    workspace = await _workspace(request, namespace)
    names = await iceberg.tables(server_of(request).pool, workspace)
    return {"identifiers": [{"namespace": [workspace], "name": name} for name in names]}


@endpoint(
    "GET /iceberg/v1/namespaces/{namespace:path}/tables/{table}",
    Role.READ,
    Reach.HANDLER,
    "The metadata of a table",
    answer=dict[str, Any],
    dialect=ICEBERG,
)
async def load_table(request: Request, namespace: str, table: str) -> Response:
    server = server_of(request)
    workspace = await _workspace(request, namespace)
    address, metadata = await iceberg.load(server.pool, server.store, server.settings, workspace, table)
    properties = json.dumps(iceberg.store_properties(server.settings))
    document = (
        f'{{"metadata-location": {json.dumps(address)}, "metadata": {metadata}, "config": {properties}}}'
    )
    return answer(request, document.encode(), "application/json", {"Cache-Control": "no-store"})


@endpoint(
    "GET /iceberg/v1/namespaces/{namespace:path}",
    Role.READ,
    Reach.HANDLER,
    "A workspace, if it is there",
    dialect=ICEBERG,
)
async def namespace(request: Request, namespace: str) -> dict[str, Any]:
    return {"namespace": [await _workspace(request, namespace)], "properties": {}}


async def _workspace(request: Request, namespace: str) -> str:
    """The workspace of that name, if the token may know of it.

    Raises:
        NotThere: there is none.
    """
    workspace = namespace.replace(SEPARATOR, ".")
    await iceberg.check_namespace(server_of(request).pool, workspace, grant_of(request).workspace)
    return workspace


ICEBERG_ENDPOINTS: Final = (config, namespaces, tables, load_table, namespace)
"""Every endpoint for engines that ask for Iceberg tables; what lies below a namespace first."""
