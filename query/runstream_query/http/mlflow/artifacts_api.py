"""Files through this server: sent, listed, fetched and deleted by MLflow's clients."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...mlflow import artifacts, runs
from ...mlflow.errors import MlflowError, invalid
from ...mlflow.places import safe_path
from ..bodies import Content
from ..context import server_of
from ..endpoint import BINARY, Endpoint, Reach, endpoint
from ..endpoints.sending import send_file
from ..tokens import Role
from .calls import MLFLOW, call, refused, scope_of, sent_of

_PLAIN: Final = frozenset({"mlmodel", "mlproject"})
_PLAIN_ENDINGS: Final = (
    ".cfg", ".conf", ".csv", ".ini", ".json", ".jsonnet", ".log", ".md", ".properties", ".py", ".r", ".toml", ".tsv",
    ".txt", ".yaml", ".yml",
)  # fmt: skip
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+").fullmatch
MOST_UPLOAD: Final = 10 << 20
"""Bytes of a file that a page sends."""
PROXY: Final = "/{api:mlflow_api}/2.0/mlflow-artifacts"


def media_type(path: str) -> str:
    """What a file is, by its name."""
    name = path.rpartition("/")[2]
    if name.lower() in _PLAIN or name.lower().endswith(_PLAIN_ENDINGS):
        return "text/plain"
    return mimetypes.guess_type(name)[0] or BINARY


def _answered(handler: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """The same, with MLflow's errors answered in its words."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except MlflowError as error:
            return refused(error.code, str(error))

    answered.__name__, answered.__doc__ = handler.__name__, handler.__doc__
    return answered


def declared(line: str, needs: Role, handler: Callable[..., Awaitable[Response]]) -> Endpoint:
    """Declare what answers a request by itself, with a file or in other than JSON."""
    summary = (handler.__doc__ or line).partition("\n")[0]
    return endpoint(line, needs, Reach.HANDLER, summary, answer=BINARY, dialect=MLFLOW)(_answered(handler))


def attachment(name: str) -> str:
    """The header `Content-Disposition` of a file to be kept under a name (RFC 6266), as MLflow's own server writes it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = "".join(letter for letter in plain if letter.isprintable()) or "download"
    if not _TOKEN(plain):
        quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
        plain = f'"{quoted}"'
    if name.isascii() and name.isprintable():
        return f"attachment; filename={plain}"
    return f"attachment; filename={plain}; filename*=UTF-8''{quote(name, safe='')}"


async def send(request: Request, file: artifacts.File) -> Response:
    """A file, as something to be kept and not shown."""
    kind = media_type(file.path)
    answer = await send_file(request, file.place, file.path, file.size, file.sha256, kind)
    answer.headers["Content-Type"] = (
        kind  # nothing is known of its letters, which Starlette would say to be UTF-8
    )
    answer.headers["Content-Disposition"] = attachment(file.path.rpartition("/")[2])
    return answer


async def fetch_proxied(request: Request) -> Response:
    """A file by its path."""
    scope = scope_of(request)
    return await send(request, await artifacts.find(scope, await artifacts.folder_of(scope, _path(request))))


async def delete_proxied(request: Request) -> Response:
    """Delete a file, or all below a folder."""
    scope = scope_of(request)
    await artifacts.delete(scope, await artifacts.folder_of(scope, _path(request)))
    return JSONResponse({})


@endpoint(
    f"PUT {PROXY}/artifacts/{{path:path}}",
    Role.WRITE,
    Reach.HANDLER,
    "Keep a file",
    answer=dict[str, Any],
    dialect=MLFLOW,
)
async def store_proxied(request: Request, body: Content) -> Response:
    scope = scope_of(request)
    try:
        folder = await artifacts.folder_of(scope, _path(request))
        size = await artifacts.store(scope, folder, body, request.headers.get("content-type"))
    except MlflowError as error:
        return refused(error.code, str(error))
    server_of(request).counters.uploaded_bytes += size
    return JSONResponse({})


def _path(request: Request) -> str:
    path: str = request.path_params["path"]
    return path


async def fetch_of_run(request: Request) -> Response:
    """A file of a run."""
    sent = await sent_of(request)
    path = safe_path(sent.text("path", needed=True))
    run_id, scope = sent.run_id(), scope_of(request)
    await runs.find(scope.pool, scope, run_id)
    return await send(request, await artifacts.find(scope, artifacts.Folder(run_id, path.strip("/"))))


@endpoint(
    "POST /ajax-api/2.0/mlflow/upload-artifact",
    Role.WRITE,
    Reach.HANDLER,
    "Keep a small file of a run",
    answer=dict[str, Any],
    dialect=MLFLOW,
)
async def upload(request: Request, body: Content) -> Response:
    try:
        run_id, path = request.query_params.get("run_uuid"), request.query_params.get("path")
        if not run_id:
            raise invalid("Request must specify run_uuid.")
        if not path:
            raise invalid("Request must specify path.")
        safe_path(path)
        if int(request.headers.get("content-length") or 0) > MOST_UPLOAD:
            raise invalid("Artifact size is too large. Max size is 10MB.")
        content = bytearray()
        async for piece in body:
            content += piece
            if len(content) > MOST_UPLOAD:
                raise invalid("Artifact size is too large. Max size is 10MB.")
        if not content:
            raise invalid("Request must specify data.")
        scope = scope_of(request)
        await runs.find(scope.pool, scope, run_id)

        async def whole() -> Content:
            yield bytes(content)

        await artifacts.store(
            scope, artifacts.Folder(run_id, path.strip("/")), whole(), request.headers.get("content-type")
        )
    except MlflowError as error:
        return refused(error.code, str(error))
    return JSONResponse({})


async def multipart(request: Request) -> Response:
    """Uploads in parts are not needed: a file of any size comes in one request, in bounded memory."""
    return refused("NOT_IMPLEMENTED", "Multipart upload is not supported for the current artifact repository")


ENDPOINTS = (
    call("GET artifacts/list", Role.READ, artifacts.list_of_run),
    call("GET artifacts", Role.READ, artifacts.list_proxied, of="mlflow-artifacts"),
    declared(f"GET {PROXY}/artifacts/{{path:path}}", Role.READ, fetch_proxied),
    store_proxied,
    declared(f"DELETE {PROXY}/artifacts/{{path:path}}", Role.ADMIN, delete_proxied),
    *(
        declared(f"POST {PROXY}/mpu/{step}/{{path:path}}", Role.WRITE, multipart)
        for step in ("create", "complete", "abort")
    ),
    declared(f"GET {PROXY}/presigned/{{path:path}}", Role.READ, multipart),
    declared("GET /get-artifact", Role.READ, fetch_of_run),
    upload,
)
