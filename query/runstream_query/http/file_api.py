"""Routes of files: those of runs, and snapshots of source folders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NotRequired, TypedDict
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from runstream_schemas.errors import QueryError, StoreError
from runstream_schemas.source_snapshot import SourceFile

from ..files import artifacts, code_snapshots, growing_files, partial_uploads
from ..files.zip_stream import Member, zip_pieces
from ..json_values import utc
from ..not_there import NotThere
from .access import grant_of
from .bodies import Content
from .context import server_of
from .endpoint import BINARY, Reach, endpoint
from .parameters import ByteCount
from .responses import problem
from .tokens import Role

ZIP = "application/zip"


# --- files of runs ---------------------------------------------------------------------------------------------------


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
    return _send_zip(request, members, run_id)


# --- snapshots -------------------------------------------------------------------------------------------------------


class SnapshotFile(TypedDict):
    """A file of a snapshot."""

    path: str
    size: int
    sha256: str
    executable: NotRequired[bool]


class SnapshotFiles(TypedDict):
    """The files of a snapshot."""

    files: list[SnapshotFile]


class SnapshotDetails(SnapshotFiles):
    """A snapshot of a source folder."""

    id: str
    size: int
    created_utc: str


class SnapshotId(TypedDict):
    """The id of a snapshot."""

    id: str


@endpoint("GET /api/v1/snapshots/{id}", Role.READ, Reach.ALL, "A snapshot's files")
async def snapshot(request: Request, id: str) -> SnapshotDetails:
    stored = await code_snapshots.find(server_of(request).pool, id)
    if stored is None:
        raise _no_snapshot(id)
    return {
        "id": stored.id,
        "size": stored.size,
        "created_utc": utc(stored.created),
        "files": [_source_file(file) for file in stored.files],
    }


@endpoint(
    "PUT /api/v1/snapshots/{id}",
    Role.WRITE,
    Reach.ALL,
    "Store a snapshot whose contents are there",
    most=code_snapshots.MAX_LIST_BYTES,
    parse=code_snapshots.parse_files,
    answer=SnapshotId,
    statuses=(201, 200),
)
async def store_snapshot(request: Request, id: str, body: code_snapshots.SourceFiles) -> Response:
    new, missing = await code_snapshots.add(server_of(request).pool, id, body.files)
    if missing:
        detail = f"{len(missing)} contents are not stored yet; PUT them to /api/v1/blobs and repeat"
        return problem(409, "Conflict", detail, None, missing=missing)
    stored: SnapshotId = {"id": id}
    return JSONResponse(stored, 201 if new else 200)


def _source_file(file: SourceFile) -> SnapshotFile:
    return {"path": file.path, "size": file.size, "sha256": file.sha256, "executable": file.executable}


@endpoint(
    "GET /api/v1/snapshots/{id}/files/{path:path}",
    Role.READ,
    Reach.ALL,
    "A file of a snapshot",
    answer=BINARY,
    statuses=(200, 206),
)
async def snapshot_file(request: Request, id: str, path: str) -> Response:
    file = await code_snapshots.find_file(server_of(request).pool, id, path)
    if file is None:
        raise NotThere(
            f"snapshot {id!r:.80} has no file {path!r:.200}; GET /api/v1/snapshots/<id> lists those it has"
        )
    where = code_snapshots.blob_path(file.sha256)
    return await send_file(request, where, file.path, file.size, file.sha256)


@endpoint("GET /api/v1/snapshots/{id}/zip", Role.READ, Reach.ALL, "A snapshot as a zip", answer=ZIP)
async def snapshot_zip(request: Request, id: str) -> Response:
    stored = await code_snapshots.find(server_of(request).pool, id)
    if stored is None:
        raise _no_snapshot(id)
    members = [
        Member(file.path, code_snapshots.blob_path(file.sha256), file.size, file.executable)
        for file in stored.files
    ]
    return _send_zip(request, members, id)


def _no_snapshot(snapshot_id: str) -> NotThere:
    return NotThere(
        f"no snapshot {snapshot_id!r:.80}; it may still be on its way from where the run was started"
    )


class Blob(TypedDict):
    """The digest of a stored content."""

    sha256: str


@endpoint(
    "PUT /api/v1/blobs/{sha256}",
    Role.WRITE,
    Reach.CONTENT,
    "Store a content under its SHA-256",
    answer=Blob,
    statuses=(201, 200),
)
async def store_blob(request: Request, sha256: str, body: Content) -> Response:
    server = server_of(request)
    new = await code_snapshots.add_blob(server.pool, server.store, sha256, body)
    stored: Blob = {"sha256": sha256}
    # Whether somebody else has the same content is nothing a token of one workspace is told.
    new = new or grant_of(request).workspace is not None
    return JSONResponse(stored, 201 if new else 200)


# --- sending ---------------------------------------------------------------------------------------------------------

_AS_DATA = {
    # What somebody uploaded is data: never a page of this origin.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox",
}


async def send_file(
    request: Request, where: str, path: str, size: int, sha256: str, content_type: str | None = None
) -> Response:
    """A file of the store, or the part that was asked for.

    Args:
        where: its path in the store.
        path: its name to people.
        size: bytes.
        sha256: digest of its bytes, in hexadecimal: its ETag.
        content_type: None: unknown.

    Raises:
        StoreError: the store has no such file, or cannot be read.
    """
    tag = f'"{sha256}"'
    headers = {"ETag": tag, "Accept-Ranges": "bytes", "Content-Disposition": "attachment", **_AS_DATA}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    asked_range = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
    try:
        part = artifacts.byte_range(asked_range, size)
    except ValueError:
        detail = f"{path} has {size} bytes, {asked_range} lies outside; ask for some of those"
        return problem(416, "Range Not Satisfiable", detail, {"Content-Range": f"bytes */{size}"})
    start, end = part or (0, size)
    headers["Content-Length"] = str(end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    media_type = content_type or "application/octet-stream"
    status = 200 if part is None else 206
    if request.method == "HEAD" or start == end:
        return Response(b"", status, headers, media_type)
    pieces = artifacts.read_place(server_of(request).store, where, start, end)
    first = await anext(pieces)  # a missing file is told by the status, not by a broken connection

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return StreamingResponse(body(), status, headers, media_type)


def _send_zip(request: Request, members: Sequence[Member], name: str) -> Response:
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}.zip", **_AS_DATA}
    if request.method == "HEAD":
        return Response(b"", 200, headers, "application/zip")
    pieces = zip_pieces(server_of(request).store, members)
    return StreamingResponse(pieces, 200, headers, "application/zip")  # pulled in a thread, piece by piece


ENDPOINTS = (
    list_files, run_file, store_file, append, files_zip, upload,
    snapshot, store_snapshot, snapshot_file, snapshot_zip, store_blob,
)  # fmt: skip
