"""HTTP for snapshots of source folders, and for the contents of their files."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from runstream_schemas.source_snapshot import SourceFile

from ...files import code_snapshots
from ...files.zip_stream import Member
from ...json_values import utc
from ...not_there import NotThere
from ..access import grant_of
from ..bodies import Content
from ..context import server_of
from ..endpoint import BINARY, Reach, endpoint
from ..responses import problem
from ..tokens import Role
from .sending import ZIP, send_file, send_zip


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
    return send_zip(request, members, id)


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


ENDPOINTS = (snapshot, store_snapshot, snapshot_file, snapshot_zip, store_blob)
