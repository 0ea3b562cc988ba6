"""Routes of files: those of runs, and snapshots of source folders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from runstream_schemas.errors import QueryError, StoreError
from runstream_schemas.source_snapshot import SourceFile

from ..files import artifacts, growing_files, partial_uploads, source_snapshots
from ..files.zip_stream import Member, zip_pieces
from ..json_values import iso
from .access import grant_of
from .context import Server, server_of
from .responses import json_answer, problem


def routes() -> list[Route]:
    """The routes of this module."""
    return [
        Route("/api/v1/runs/{run_id}/files", _files),
        Route("/api/v1/runs/{run_id}/files/{path:path}", _file, methods=["GET", "PUT", "POST"]),
        Route("/api/v1/runs/{run_id}/zip", _files_zip),
        Route("/api/v1/uploads/{sha256}", _upload, methods=["PATCH"]),
        Route("/api/v1/snapshots/{id}", _snapshot, methods=["GET", "PUT"]),
        Route("/api/v1/snapshots/{id}/files/{path:path}", _snapshot_file),
        Route("/api/v1/snapshots/{id}/zip", _snapshot_zip),
        Route("/api/v1/blobs/{sha256}", _blob, methods=["PUT"]),
    ]


# --- files of runs ---------------------------------------------------------------------------------------------------


async def _files(request: Request) -> Response:
    found = await artifacts.list_artifacts(server_of(request).pool, request.path_params["run_id"])
    return json_answer(request, {"files": [artifact.record() for artifact in found]})


async def _file(request: Request) -> Response:
    server = server_of(request)
    run_id, path = request.path_params["run_id"], request.path_params["path"]
    if request.method == "PUT":
        return await _put(request, server, run_id, path)
    if request.method == "POST":
        return await _append(request, server, run_id, path)
    found = await artifacts.find(server.pool, run_id, artifacts.check_path(path))
    if found is None:
        return problem(404, "Not Found", f"run {run_id!r} has no file {path!r}")
    return await send_file(
        request, artifacts.place(run_id, found.path), found.path, found.size, found.sha256, found.content_type
    )


async def _put(request: Request, server: Server, run_id: str, path: str) -> Response:
    workspace = grant_of(request).workspace
    content_type, captured = request.headers.get("content-type"), request.query_params.get("captured") == "1"
    if sha256 := request.query_params.get("upload"):
        root = partial_uploads.uploads_root(server.store, server.settings)
        directory = partial_uploads.uploads_of(root, grant_of(request).id)
        size = _bytes(request, "size")
        try:
            artifact, new = await partial_uploads.save_uploaded(
                server.pool,
                server.store,
                directory,
                run_id,
                path,
                sha256,
                size,
                content_type,
                captured,
                workspace,
            )
        except partial_uploads.OtherOffset as error:
            return _conflict(error, offset=error.offset)
    else:
        content = request.stream()
        try:
            artifact, new = await artifacts.save(
                server.pool, server.store, run_id, path, content, content_type, captured, workspace
            )
        except StoreError:
            await _drain(content)
            raise
        server.counters.uploaded_bytes += artifact.size if new else 0
    return JSONResponse(
        {"path": artifact.path, "size": artifact.size, "sha256": artifact.sha256}, 201 if new else 200
    )


async def _upload(request: Request) -> Response:
    server = server_of(request)
    sha256, offset, content = request.path_params["sha256"], _bytes(request, "offset"), request.stream()
    root, token = partial_uploads.uploads_root(server.store, server.settings), grant_of(request).id
    try:
        arrived = await partial_uploads.add_piece(
            root, token, sha256, offset, content, server.settings.upload_quota
        )
    except partial_uploads.OtherOffset as error:
        await _drain(content)
        return _conflict(error, offset=error.offset)
    except partial_uploads.TooMuchUnfinished as error:
        await _drain(content)
        return problem(413, "Content Too Large", str(error))
    except StoreError:
        await _drain(content)
        raise
    server.counters.uploaded_bytes += arrived - offset
    return JSONResponse({"offset": arrived})


async def _drain(content: AsyncIterator[bytes]) -> None:
    """Take the rest of a body, within reason: a client that is still sending might not see the answer otherwise."""
    left = partial_uploads.MAX_PIECE
    async for piece in content:
        left -= len(piece)
        if left < 0:
            return


def _conflict(error: QueryError, **more: int) -> Response:
    document = {"title": "Conflict", "status": 409, "detail": str(error), **more}
    return JSONResponse(document, 409, media_type="application/problem+json")


async def _append(request: Request, server: Server, run_id: str, path: str) -> Response:
    offset = _bytes(request, "append_at")
    piece = bytearray()
    async for part in request.stream():
        piece += part
        growing_files.check_piece(path, len(piece))
    try:
        artifact = await growing_files.append(
            server.pool,
            server.store,
            run_id,
            path,
            offset,
            bytes(piece),
            request.headers.get("content-type"),
            grant_of(request).workspace,
        )
    except growing_files.OtherSize as error:
        return _conflict(error, size=error.size)
    server.counters.uploaded_bytes += len(piece)
    return JSONResponse(artifact.record())


async def _files_zip(request: Request) -> Response:
    server = server_of(request)
    run_id = request.path_params["run_id"]
    prefix = request.query_params.get("prefix", "")
    below = artifacts.check_path(prefix) + "/" if prefix else ""
    found = [one for one in await artifacts.list_artifacts(server.pool, run_id) if one.path.startswith(below)]
    if not found:
        return problem(404, "Not Found", f"run {run_id!r} has no files below {prefix!r}")
    members = [
        Member(one.path, artifacts.place(run_id, one.path), one.size, modified=one.created) for one in found
    ]
    return _send_zip(request, members, run_id)


def _bytes(request: Request, name: str) -> int:
    text = request.query_params.get(name) or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise QueryError(f"{name}={text!r:.80}: expected a number of bytes")
    return int(text)


# --- snapshots -------------------------------------------------------------------------------------------------------


async def _snapshot(request: Request) -> Response:
    server = server_of(request)
    wanted = request.path_params["id"]
    if request.method == "PUT":
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > source_snapshots.MAX_LIST_BYTES:
                return problem(413, "Content Too Large", "the list of files is too long for a snapshot")
        new, missing = await source_snapshots.add(
            server.pool, wanted, await asyncio.to_thread(source_snapshots.parse_files, bytes(body))
        )
        if missing:
            document = {
                "title": "Conflict", "status": 409, "missing": missing,
                "detail": f"{len(missing)} contents are not stored yet; PUT them to /api/v1/blobs and repeat",
            }  # fmt: skip
            return JSONResponse(document, 409, media_type="application/problem+json")
        return JSONResponse({"id": wanted}, 201 if new else 200)
    snapshot = await source_snapshots.find(server.pool, wanted)
    if snapshot is None:
        return _no_snapshot(wanted)
    document = {
        "id": snapshot.id,
        "size": snapshot.size,
        "created_utc": iso(snapshot.created),
        "files": [_source_file(file) for file in snapshot.files],
    }
    return json_answer(request, document)


def _source_file(file: SourceFile) -> dict[str, object]:
    return {"path": file.path, "size": file.size, "sha256": file.sha256, "executable": file.executable}


async def _snapshot_file(request: Request) -> Response:
    wanted, path = request.path_params["id"], request.path_params["path"]
    file = await source_snapshots.find_file(server_of(request).pool, wanted, path)
    if file is None:
        return problem(404, "Not Found", f"snapshot {wanted!r:.80} has no file {path!r:.200}")
    where = source_snapshots.blob_path(file.sha256)
    return await send_file(request, where, file.path, file.size, file.sha256)


async def _snapshot_zip(request: Request) -> Response:
    wanted = request.path_params["id"]
    snapshot = await source_snapshots.find(server_of(request).pool, wanted)
    if snapshot is None:
        return _no_snapshot(wanted)
    members = [
        Member(file.path, source_snapshots.blob_path(file.sha256), file.size, file.executable)
        for file in snapshot.files
    ]
    return _send_zip(request, members, wanted)


def _no_snapshot(wanted: str) -> Response:
    return problem(
        404,
        "Not Found",
        f"no snapshot {wanted!r:.80}; it may still be on its way from where the run was started",
    )


async def _blob(request: Request) -> Response:
    server = server_of(request)
    sha256 = request.path_params["sha256"]
    new = await source_snapshots.add_blob(server.pool, server.store, sha256, request.stream())
    return JSONResponse({"sha256": sha256}, 201 if new else 200)


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
    wanted = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
    try:
        part = artifacts.byte_range(wanted, size)
    except ValueError:
        detail = f"{path} has {size} bytes, {wanted} lies outside"
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
