"""HTTP for the files of runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypedDict

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from runstream_schemas.errors import QueryError, StoreError

from ...files import artifacts, growing_files, partial_uploads
from ...files.zip_stream import Member
from ...json_values import utc
from ...not_there import NotThere
from ..access import grant_of
from ..bodies import Content
from ..context import server_of
from ..endpoint import BINARY, Reach, endpoint
from ..parameters import ByteCount
from ..responses import problem
from ..tokens import Role
from .sending import ZIP, send_file, send_zip


class StoredFile(TypedDict):
    """A file that is stored now."""

    path: str
    size: int
    sha256: str


class RunFile(StoredFile):
    """A file of a run; `captured`: it was collected by itself."""

    created_utc: str
    captured: bool


class RunFiles(TypedDict):
    """Files of a run."""

    files: list[RunFile]


def _record(artifact: artifacts.Artifact) -> RunFile:
    return {
        "path": artifact.path,
        "size": artifact.size,
        "sha256": artifact.sha256,
        "created_utc": utc(artifact.created),
        "captured": artifact.captured,
    }


@endpoint("GET /api/v1/runs/{run_id}/files", Role.READ, Reach.RUN, "Files of a run")
async def list_files(request: Request, run_id: str) -> RunFiles:
    files = await artifacts.list_artifacts(server_of(request).pool, run_id)
    return {"files": [_record(artifact) for artifact in files]}


@endpoint(
    "GET /api/v1/runs/{run_id}/files/{path:path}",
    Role.READ,
    Reach.RUN,
    "A file of a run, or ranges of it",
    answer=BINARY,
    statuses=(200, 206),
)
async def run_file(request: Request, run_id: str, path: str) -> Response:
    file = await artifacts.find(server_of(request).pool, run_id, artifacts.check_path(path))
    if file is None:
        raise NotThere(f"run {run_id!r} has no file {path!r}; GET /api/v1/runs/<id>/files lists those it has")
    return await send_file(
        request, artifacts.place(run_id, file.path), file.path, file.size, file.sha256, file.content_type
    )


class StoreQuery(msgspec.Struct, kw_only=True):
    captured: bool = False
    upload: str | None = None
    size: ByteCount = 0


@endpoint(
    "PUT /api/v1/runs/{run_id}/files/{path:path}",
    Role.WRITE,
    Reach.RUN_TO_COME,
    "Store a file",
    answer=StoredFile,
    statuses=(201, 200),
)
async def store_file(request: Request, run_id: str, path: str, asked: StoreQuery, body: Content) -> Response:
    server, workspace = server_of(request), grant_of(request).workspace
    content_type = request.headers.get("content-type")
    if asked.upload:
        root = partial_uploads.uploads_root(server.store, server.settings)
        directory = partial_uploads.uploads_of(root, grant_of(request).id)
        try:
            artifact, new = await partial_uploads.save_uploaded(
                server.pool,
                server.store,
                directory,
                run_id,
                path,
                asked.upload,
                asked.size,
                content_type,
                asked.captured,
                workspace,
            )
        except partial_uploads.OtherOffset as error:
            return _conflict(error, offset=error.offset)
    else:
        try:
            artifact, new = await artifacts.save(
                server.pool, server.store, run_id, path, body, content_type, asked.captured, workspace
            )
        except StoreError:
            await _drain(body)
            raise
        server.counters.uploaded_bytes += artifact.size if new else 0
    stored: StoredFile = {"path": artifact.path, "size": artifact.size, "sha256": artifact.sha256}
    return JSONResponse(stored, 201 if new else 200)


class UploadQuery(msgspec.Struct, kw_only=True):
    offset: ByteCount = 0


class Arrived(TypedDict):
    """How far an upload has come."""

    offset: int


@endpoint("PATCH /api/v1/uploads/{sha256}", Role.WRITE, Reach.CONTENT, "Resume an upload", answer=Arrived)
async def upload(request: Request, sha256: str, asked: UploadQuery, body: Content) -> Response:
    server, offset = server_of(request), asked.offset
    root, token = partial_uploads.uploads_root(server.store, server.settings), grant_of(request).id
    try:
        arrived = await partial_uploads.add_piece(
            root, token, sha256, offset, body, server.settings.upload_quota
        )
    except partial_uploads.OtherOffset as error:
        await _drain(body)
        return _conflict(error, offset=error.offset)
    except partial_uploads.TooMuchUnfinished as error:
        await _drain(body)
        return problem(413, "Content Too Large", str(error))
    except StoreError:
        await _drain(body)
        raise
    server.counters.uploaded_bytes += arrived - offset
    so_far: Arrived = {"offset": arrived}
    return JSONResponse(so_far)


async def _drain(content: AsyncIterator[bytes]) -> None:
    """Take the rest of a body, within reason: a client that is still sending might not see the answer otherwise."""
    left = partial_uploads.MAX_PIECE
    async for piece in content:
        left -= len(piece)
        if left < 0:
            return


def _conflict(error: QueryError, **more: int) -> Response:
    return problem(409, "Conflict", str(error), None, **more)


class AppendQuery(msgspec.Struct, kw_only=True):
    append_at: ByteCount = 0


@endpoint(
    "POST /api/v1/runs/{run_id}/files/{path:path}",
    Role.WRITE,
    Reach.RUN_TO_COME,
    "Append to a file",
    answer=RunFile,
)
async def append(request: Request, run_id: str, path: str, asked: AppendQuery, body: Content) -> Response:
    server = server_of(request)
    piece = bytearray()
    async for part in body:
        piece += part
        growing_files.check_piece(path, len(piece))
    try:
        artifact = await growing_files.append(
            server.pool,
            server.store,
            run_id,
            path,
            asked.append_at,
            bytes(piece),
            request.headers.get("content-type"),
            grant_of(request).workspace,
        )
    except growing_files.OtherSize as error:
        return _conflict(error, size=error.size)
    server.counters.uploaded_bytes += len(piece)
    return JSONResponse(_record(artifact))


class ZipQuery(msgspec.Struct, kw_only=True):
    prefix: str = ""


@endpoint("GET /api/v1/runs/{run_id}/zip", Role.READ, Reach.RUN, "A run's files as a zip", answer=ZIP)
async def files_zip(request: Request, run_id: str, asked: ZipQuery) -> Response:
    server, prefix = server_of(request), asked.prefix
    below = artifacts.check_path(prefix) + "/" if prefix else ""
    files = [
        file for file in await artifacts.list_artifacts(server.pool, run_id) if file.path.startswith(below)
    ]
    if not files:
        raise NotThere(
            f"run {run_id!r} has no files below {prefix!r}; `runstream run files` lists those of a run"
        )
    members = [
        Member(file.path, artifacts.place(run_id, file.path), file.size, modified=file.created)
        for file in files
    ]
    return send_zip(request, members, run_id)


ENDPOINTS = (list_files, run_file, store_file, append, files_zip, upload)
