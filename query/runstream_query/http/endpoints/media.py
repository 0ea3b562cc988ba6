"""HTTP for media: those of a series, and their bytes on their way in. Out they go as any file of a run (`files`)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TypedDict

import msgpack
import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from runstream_schemas.errors import QueryError
from runstream_schemas.series import SeriesClass
from runstream_schemas.values.histograms import thinned
from runstream_schemas.values.media import SUFFIXES

from ...files.media_contents import save_media
from ...points.vectors import Series
from ..access import grant_of
from ..bodies import Content
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..parameters import Edge, Position, position
from ..responses import problem
from ..tokens import Role
from .typed_series import answer_of_series, check_most, records_of

MOST_STEPS = 2000
"""Steps in one answer."""

MAX_BODY = 16 << 20
"""Bytes of contents in one request; larger ones go as files, in pieces."""


class MediaQuery(msgspec.Struct, kw_only=True):
    name: str
    most: Position = 500
    start: Edge | None = msgspec.field(default=None, name="from")
    stop: Edge | None = msgspec.field(default=None, name="to")


class MediumRecord(TypedDict):
    """A logged medium: `place` counts those of one step, `path` is that of its bytes among the run's files (which may still
    be on their way), `time` in microseconds."""

    step: int
    time: int
    type: str
    content_type: str
    size: int
    sha256: str
    place: int
    caption: str | None
    file_name: str | None
    path: str


class MediaList(TypedDict):
    """Media over steps; `total`: of all that were logged."""

    total: int
    media: list[MediumRecord]


@endpoint(
    "GET /api/v1/runs/{run_id}/media",
    Role.READ,
    Reach.RUN,
    "Media of a series, thinned over steps",
    answer=MediaList,
)
async def media(request: Request, run_id: str, asked: MediaQuery) -> Response:
    check_most(asked.most, MOST_STEPS)
    start, stop = position(asked.start, "from", None), position(asked.stop, "to", None)
    return await answer_of_series(
        request,
        run_id,
        asked.name,
        SeriesClass.MEDIA,
        lambda series: _document(series, asked.most, start, stop),
    )


def _document(series: Series, most: int, start: int | None, stop: int | None) -> MediaList:
    within = np.ones(len(series), dtype=bool)
    if start is not None:
        within &= series.steps >= start
    if stop is not None:
        within &= series.steps <= stop
    steps = np.unique(series.steps[within])
    shown = steps[np.array(thinned(steps.tolist(), most), dtype=np.int64)]
    chosen = np.flatnonzero(within & np.isin(series.steps, shown))
    records: list[MediumRecord] = list(records_of(series, chosen, "media"))  # type: ignore[arg-type]
    records.sort(key=lambda record: record["step"])
    return {"total": len(series), "media": records}


class StoredMedia(TypedDict):
    """Where the contents are now, among the run's files."""

    paths: list[str]


@endpoint(
    "POST /api/v1/runs/{run_id}/media",
    Role.WRITE,
    Reach.RUN_TO_COME,
    "Store contents of media under their digests",
    answer=StoredMedia,
)
async def store_media(request: Request, run_id: str, body: Content) -> Response:
    server = server_of(request)
    packed = bytearray()
    async for piece in body:
        packed += piece
        if len(packed) > MAX_BODY:
            return problem(
                413, "Content Too Large", f"at most {MAX_BODY:,} bytes; PUT larger contents as files"
            )
    contents = await asyncio.to_thread(lambda: list(_unpacked(bytes(packed))))
    stored = await save_media(server.pool, server.store, run_id, contents, grant_of(request).workspace)
    server.counters.uploaded_bytes += sum(len(content) for _, content in contents)
    answer: StoredMedia = {"paths": [artifact.path for artifact in stored]}
    return JSONResponse(answer)


def _unpacked(body: bytes) -> Iterator[tuple[str, bytes]]:
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(body), 1))
    unpacker.feed(body)
    try:
        while unpacker.tell() < len(body):
            content_type, content = unpacker.unpack()
            if content_type not in SUFFIXES or not isinstance(content, bytes):
                raise ValueError(f"{content_type!r:.80}")
            yield content_type, content
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise QueryError(
            f"expected a sequence of [content type, bytes] in msgpack ({type(error).__name__}: {error})"
        ) from None


ENDPOINTS = (media, store_media)
