"""How MLflow's clients ask and are answered: one declaration a call.

    get_run = call("GET runs/get", Role.READ, runs.get)

declares `GET /api/2.0/mlflow/runs/get`, which answers at `/ajax-api/...` as well. What a call does is a function of the
`mlflow` package, of the request's scope and fields; it is held to one workspace there.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.errors import ServiceError
from runstream_schemas.limits import check_name
from runstream_schemas.strict_json import loads

from ...mlflow.errors import CODES, STATUSES, MlflowError
from ...mlflow.scope import Document, Scope
from ...mlflow.sent import Sent
from ..access import grant_of
from ..bodies import json_text, sent_as_json
from ..context import server_of
from ..endpoint import Dialect, Endpoint, Reach, endpoint
from ..responses import answer
from ..tokens import Role

WORKSPACE_HEADER: Final = "x-mlflow-workspace"
DEFAULT_WORKSPACE: Final = "default"
MOST_BYTES: Final = 24 << 20
"""Bytes of a request: data sets come with their schemas and profiles."""

Call = Callable[[Scope, Sent], Awaitable[Document]]


class _Prefix(Convertor[str]):
    """The first part of a path: what MLflow's pages ask for begins with another word than what its clients do."""

    regex = "/?ajax-api|/?api"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("mlflow_api", _Prefix())


def failure(status: int, detail: str) -> Response:
    """What other parts of the server refuse, as MLflow's clients read it."""
    return refused(CODES.get(status, "INTERNAL_ERROR"), detail, status)


def refused(code: str, message: str, status: int | None = None) -> Response:
    """An error of that code."""
    document = {"error_code": code, "message": message}
    return Response(json.dumps(document), status or STATUSES[code], media_type="application/json")


MLFLOW: Final = Dialect("mlflow", failure)


def scope_of(request: Request) -> Scope:
    """What a request works with: the workspace of its token, or the one it names.

    Raises:
        MlflowError: its token is for another workspace than it names, or the name cannot be one.
    """
    server, grant = server_of(request), grant_of(request)
    if server.recorder is None:
        raise ServiceError("this server was started without a recorder, and takes no clients of MLflow")
    named = request.headers.get(WORKSPACE_HEADER, "").strip()
    if grant.workspace is not None and named not in ("", grant.workspace):
        raise MlflowError(
            "PERMISSION_DENIED",
            f"the token {grant.name!r} is for the workspace {grant.workspace!r} only, not for {named!r:.80}",
        )
    workspace = grant.workspace or named or DEFAULT_WORKSPACE
    check_name("workspace", workspace)
    return Scope(
        server.pool,
        server.store,
        server.query,
        server.recorder,
        workspace,
        only=grant.workspace,
        writes=grant.role >= Role.WRITE,
    )


async def sent_of(request: Request) -> Sent:
    """The fields of a request: of its query, or of the JSON object in its body.

    Raises:
        MlflowError: the body is no JSON object, or is not sent as one.
    """
    if request.method in ("GET", "HEAD") and request.query_params:
        names = list(dict.fromkeys(request.query_params.keys()))
        listed = {name: request.query_params.getlist(name) for name in names}
        return Sent({name: values[0] for name, values in listed.items()}, listed=listed)
    if not sent_as_json(request):
        if request.method in ("GET", "HEAD", "DELETE") and not request.headers.get("content-type"):
            return Sent({})
        raise MlflowError("BAD_REQUEST", "Bad Request. Content-Type must be one of ['application/json'].")
    body = bytes(await json_text(request, MOST_BYTES))
    if not body.strip():
        return Sent({})
    try:
        document = loads(body)
        if isinstance(document, str):  # clients of old encode it twice
            document = loads(document.encode())
    except ValueError as error:
        raise MlflowError("BAD_REQUEST", f"the body is no JSON; send an object ({error})") from None
    if document is None:
        return Sent({})
    if not isinstance(document, dict):
        raise MlflowError("BAD_REQUEST", "the body is no JSON object; send one")
    return Sent(document)


def call(
    line: str, needs: Role, does: Call, *, version: str = "2.0", of: str = "mlflow", status: int = 200
) -> Endpoint:
    """Declare a call.

    Args:
        line: method, and path below `/api/<version>/<of>/`.
        does: what it does.
        status: the HTTP status of success.
    """

    async def handler(request: Request) -> Response:
        try:
            sent = await sent_of(request)
            if request.path_params:
                named = {name: value for name, value in request.path_params.items() if name != "api"}
                sent = Sent({**sent.values, **named}, listed=sent.listed)
            document = await does(scope_of(request), sent)
        except MlflowError as error:
            return refused(error.code, str(error))
        if status == 204:
            return Response(status_code=204)
        said = answer(request, msgspec.json.encode(document), "application/json")
        said.status_code = status
        return said

    handler.__name__ = getattr(does, "__name__", "mlflow")
    method, path = line.split(" ")
    summary = (does.__doc__ or path).partition("\n")[0]
    declare = endpoint(
        f"{method} /{{api:mlflow_api}}/{version}/{of}/{path}",
        needs,
        Reach.HANDLER,
        summary,
        answer=dict[str, Any],
        dialect=MLFLOW,
    )
    return declare(handler)
