"""Answers that are files: one of the store, whole or in part, or several as a zip."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...files import artifacts
from ...files.zip_stream import Member, zip_pieces
from ..context import server_of
from ..responses import problem

ZIP = "application/zip"

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


def send_zip(request: Request, members: Sequence[Member], name: str) -> Response:
    """Files of the store as a zip.

    Args:
        name: the name of the zip, without its suffix.
    """
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}.zip", **_AS_DATA}
    if request.method == "HEAD":
        return Response(b"", 200, headers, ZIP)
    pieces = zip_pieces(server_of(request).store, members)
    return StreamingResponse(pieces, 200, headers, ZIP)  # pulled in a thread, piece by piece
