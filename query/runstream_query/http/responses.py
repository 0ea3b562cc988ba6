"""Answers of the HTTP API: JSON, msgpack and Arrow, compressed where the client says so; errors as problem+json."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import msgpack
import msgspec
import numpy as np
import pyarrow as pa
import zstandard
from starlette.requests import Request
from starlette.responses import Response

from runstream_schemas.series import Kind

from ..json_values import json_value, python_values
from ..points.vectors import Series, Vectors

CHART = "application/vnd.runstream.chart"
ARROW = "application/vnd.apache.arrow.stream"
MSGPACK = "application/msgpack"


class Column(TypedDict):
    """A column of a table."""

    name: str
    type: str


class Table(TypedDict):
    """A table as JSON has it."""

    columns: list[Column]
    rows: list[list[Any]]


class Problem(TypedDict):
    """What went wrong (RFC 9457); without `type`: about:blank."""

    type: NotRequired[str]
    title: str
    status: int
    detail: str


_COMPRESSED_FROM = 4096  # bytes; below, a packet more or less does not matter


class ProblemAnswer(Response):
    """The answer to what went wrong.

    Attributes:
        detail: what is said of it.
        beside: headers it has besides.
    """

    def __init__(self, content: str, status: int, headers: Mapping[str, str] | None, detail: str) -> None:
        super().__init__(content, status, dict(headers or {}), "application/problem+json")
        self.detail, self.beside = detail, dict(headers or {})


def problem(
    status: int, title: str, detail: str, headers: Mapping[str, str] | None = None, **more: object
) -> ProblemAnswer:
    """An error (RFC 9457); `more`: what a program needs to know of it."""
    body: Problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return ProblemAnswer(json.dumps({**body, **more}), status, headers, detail)


def answer(
    request: Request, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """A whole document, compressed if the client accepts that."""
    accepted = {
        name.strip(): parameters.strip()
        for name, _, parameters in (
            part.partition(";") for part in request.headers.get("accept-encoding", "").split(",")
        )
    }
    sent = {**(headers or {}), "Vary": "Accept, Accept-Encoding"}
    if len(body) >= _COMPRESSED_FROM:
        for name in ("zstd", "gzip"):
            if name in accepted and accepted[name] not in ("q=0", "q=0.0"):
                body = zstandard.compress(body, 3) if name == "zstd" else gzip.compress(body, 1)
                sent["Content-Encoding"] = name
                break
    return Response(body, 200, sent, media_type)


def json_answer(request: Request, document: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON document."""
    return answer(request, msgspec.json.encode(document), "application/json", headers)


def wants_arrow(request: Request) -> bool:
    """Whether the client asked for Arrow and not JSON."""
    return ARROW in request.headers.get("accept", "")


def table_answer(request: Request, table: pa.Table, headers: Mapping[str, str] | None = None) -> Response:
    """A table, as an Arrow stream or as JSON `{"columns": [{"name", "type"}], "rows": [[...]]}`."""
    if wants_arrow(request):
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return answer(request, sink.getvalue(), ARROW, headers)
    columns = [python_values(column) for column in table.columns]
    document: Table = {
        "columns": [{"name": item.name, "type": str(item.type)} for item in table.schema],
        "rows": [[json_value(value) for value in row] for row in zip(*columns, strict=True)],
    }
    return json_answer(request, document, headers)


def pack_vectors(vectors: Vectors) -> bytes:
    """Vectors as msgpack: numbers as little-endian bytes, so that a client reads them without a loop."""
    runs = [
        {"run_id": run_id, "series": [_series(item) for item in series]}
        for run_id, series in vectors.by_run().items()
    ]
    packed: bytes = msgpack.packb({"runs": runs})
    return packed


def _series(series: Series) -> dict[str, Any]:
    kind = series.kind
    values: Any = (
        _little(series.to_numpy(), "<f8" if kind == Kind.FLOAT else "<i8")
        if kind in (Kind.FLOAT, Kind.INT)
        else None
    )
    return {
        "cls": series.key.cls,
        "name": series.key.name,
        "column": series.key.column,
        "kind": -1 if kind is None else int(kind),
        "values": series.python_values() if values is None else values,
        "steps": _little(series.steps, "<i8"),
        "times": _little(series.times, "<i8"),
    }


def _little(array: np.ndarray[Any, Any], dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()
