"""What a request brings in its body: a JSON object that is checked and becomes a value of the declared type, or bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from runstream_schemas import strict_json
from runstream_schemas.errors import QueryError

T = TypeVar("T")

Content: TypeAlias = AsyncIterator[bytes]
"""A body that is no JSON, piece by piece as it comes."""
MAX_BODY_BYTES = 2 << 20
"""Longest JSON body."""
PARSED_ASIDE = 64 << 10
"""Bytes of a body from which it is parsed beside the event loop."""
MAX_IDS = 20_000
"""Most run ids of one request."""

RunIds = Annotated[list[str], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_IDS})]


def check_run_ids(run_ids: list[str]) -> list[str]:
    """The runs a bulk request names, each once.

    Raises:
        QueryError: none, or too many.
    """
    if not run_ids:
        raise QueryError("runs: expected a list of run ids")
    if len(run_ids) > MAX_IDS:
        raise QueryError(f"runs: {len(run_ids)} run ids, the most is {MAX_IDS}; send several requests")
    return list(dict.fromkeys(run_ids))


def sent_as_json(request: Request) -> bool:
    """Whether a request says that its body is JSON.

    A page of another site can send text/plain without being asked for leave; it cannot send JSON.
    """
    return request.headers.get("content-type", "").partition(";")[0].strip() == "application/json"


async def json_text(request: Request, most: int) -> bytearray:
    """The text of a JSON body.

    Args:
        most: bytes it may have.

    Raises:
        HTTPException: not sent as JSON (415), or too long (413).
    """
    if not sent_as_json(request):
        raise HTTPException(415, "send the body as application/json")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise HTTPException(
                413,
                f"the body has more than {most} bytes, the most; send a shorter one, or several requests",
            )
    return body


async def json_body(request: Request, most: int) -> dict[str, Any]:
    """The request's JSON object.

    Args:
        most: bytes it may have.

    Raises:
        HTTPException: not sent as JSON (415), or too long (413).
        QueryError: no JSON object.
    """
    body = await json_text(request, most)
    try:
        document = (
            strict_json.loads(body)
            if len(body) < PARSED_ASIDE
            else await asyncio.to_thread(strict_json.loads, body)
        )
    except ValueError as error:
        raise QueryError(f"the body is no JSON: {error}; send an object") from None
    if not isinstance(document, dict):
        raise QueryError("the body is no JSON object; send one")
    return document


_PLACE = re.compile(r" - at `\$\.?(?P<name>[\w.]*)(?P<inside>\[.*)?`$")
"""How msgspec ends what it says of an object that is not as declared."""
_FIELD = re.compile(r"(missing required|contains unknown) field `(.*)`", re.DOTALL)
_WORDS: dict[Any, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list[str]: "a list of texts",
    dict[str, Any]: "an object",
    dict[str, str | None]: "an object of texts and nulls",
}


def typed(document: dict[str, Any], type_: type[T]) -> T:
    """A JSON object as its declared type.

    Raises:
        QueryError: a value of another kind than declared, one that is missing, or one that may not be there.
    """
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        said = str(error)
    place = _PLACE.search(said)
    name, inside = (place["name"], place["inside"]) if place else ("", None)
    kind: Any = type_
    for part in filter(None, name.split(".")):
        kind = get_type_hints(_declared(kind)).get(part, kind)
    field = _FIELD.search(said[: place.start()] if place else said)
    if field is None or inside:
        raise QueryError(f"{name}: expected {_in_words(kind)}")
    if field[1] == "missing required":
        raise QueryError(f"{field[2]} is missing; send it")
    known = ", ".join(sorted(_declared(kind).__struct_fields__))
    raise QueryError(f"{name or 'the body'} has {field[2]!r:.80}; it may have {known}")


def _parts(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the type itself; without what is said of them."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(get_args(part)[0] if get_origin(part) is Annotated else part for part in parts)


def _declared(kind: Any) -> Any:
    """The structure a type is, or may be."""
    return next((part for part in _parts(kind) if hasattr(part, "__struct_fields__")), kind)


def _in_words(kind: Any) -> str:
    parts = _parts(kind)
    first = parts[0]
    if get_origin(first) is list and first not in _WORDS:
        return f"a list of {_in_words(get_args(first)[0]).removeprefix('an object ')}"
    if first in _WORDS:
        return _WORDS[first] + (" or null" if first in (str, int) and NoneType in parts else "")
    if get_origin(first) is Literal:
        return f"one of {', '.join(map(str, get_args(first)))}" + (" or null" if NoneType in parts else "")
    return f"an object {{{', '.join(first.__struct_fields__)}}}"
