"""What a request says: its query parameters and its JSON body, checked and turned into values of their declared types."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request

from runstream_schemas import strict_json
from runstream_schemas.errors import QueryError

from ..runs.run_filter import ANY, KeyFilter, MetricFilter, RunFilter
from ..runs.search import search

T = TypeVar("T")

MAX_BODY_BYTES = 2 << 20
"""Longest JSON body."""
MOST_FILTERS = {"metric": 16, "tag": 64, "property": 64, "status": 64}
"""Filters of a kind in one list: each is a look into another table."""
MAX_SEARCH = 4000
"""Characters of a search."""
PARSED_ASIDE = 64 << 10
"""Bytes of a body from which it is parsed beside the event loop."""
MAX_IDS = 20_000
"""Most run ids of one request."""
MAX_WAIT = 30.0
"""Most seconds a read waits for the caller's own writes."""


# --- kinds of parameters ---------------------------------------------------------------------------------------------


def integer(text: str | None, name: str, default: int | None) -> int | None:
    """A whole number of 64 bits.

    Raises:
        QueryError: it is none.
    """
    if text is None or text == "":
        return default
    try:
        value = int(text)
    except ValueError:
        raise QueryError(f"{name}={text!r:.80}: expected a whole number") from None
    if not -(1 << 63) <= value < 1 << 63:
        raise QueryError(f"{name}={text!r:.80}: does not fit in 64 bits")
    return value


def number(text: str | None, name: str, default: float) -> float:
    """A number.

    Raises:
        QueryError: it is none.
    """
    if text is None or text == "":
        return default
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"{name}={text!r:.80}: expected a number") from None


def moment(text: str | None, name: str) -> datetime | None:
    """A time; one without a zone is UTC.

    Raises:
        QueryError: it is none.
    """
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(
            f"{name}={text!r:.80}: expected an ISO 8601 time, e.g. 2026-01-31T12:00:00Z"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def position(text: str | None, name: str, default: int | None) -> int | None:
    """A place on an axis, or how many of something: a whole number to which others can be added.

    Raises:
        QueryError: it is none.
    """
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise QueryError(f"{name}={text!r:.80}: expected a whole number") from None
    if not -(1 << 62) < value < 1 << 62:
        raise QueryError(f"{name}={text!r:.80}: too large; give a smaller one")
    return value


def byte_count(text: str | None, name: str, default: int) -> int:
    """A number of bytes.

    Raises:
        QueryError: it is none.
    """
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise QueryError(f"{name}={text!r:.80}: expected a number of bytes")
    return int(text)


Position = Annotated[int, position]
ByteCount = Annotated[int, byte_count]
Archived = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["0", "1", "all"]})]
Edge = Annotated[str, msgspec.Meta(extra_json_schema={"type": "number"})]
"""An end of a range of x: what it may be depends on the axis."""


class Parameter(NamedTuple):
    """A field of a type of parameters.

    Attributes:
        name: in the query.
        kind: its type, without None; of a list: that of its items.
        meta: what `Annotated` says of it.
        many: whether it may be repeated.
        needed: whether a request without it is refused.
    """

    field: str
    name: str
    kind: Any
    meta: tuple[Any, ...]
    many: bool
    needed: bool
    default: Any


def parameters_of(type_: type[msgspec.Struct]) -> tuple[Parameter, ...]:
    """What a type of parameters takes, in the order of its fields."""
    hints = get_type_hints(type_, include_extras=True)
    found = []
    for field in msgspec.structs.fields(type_):
        kind, meta = _plain_kind(hints[field.name])
        many = get_origin(kind) is list
        if many:
            kind, meta = _plain_kind(get_args(kind)[0])
        default = None if many or field.default is msgspec.NODEFAULT else field.default
        found.append(Parameter(field.name, field.encode_name, kind, meta, many, field.required, default))
    return tuple(found)


def _plain_kind(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without None and without what is said of it, and that."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    return (get_args(kind)[0], kind.__metadata__) if get_origin(kind) is Annotated else (kind, ())


def read(type_: type[T], parameters: Sequence[Parameter], query: ImmutableMultiDict[str, str]) -> T:
    """The parameters of a request; those that are not declared are passed over.

    Args:
        parameters: `parameters_of` the type.

    Raises:
        QueryError: one is missing, or does not fit.
    """
    values: dict[str, Any] = {}
    missing = []
    for parameter in parameters:
        name = parameter.name
        if parameter.many:
            texts = query.getlist(name)
            values[parameter.field] = (
                texts if parameter.kind is str else [_value(parameter, text) for text in texts]
            )
        else:
            values[parameter.field] = _value(parameter, query.get(name))
        if parameter.needed and not values[parameter.field]:
            missing.append(parameter)
    if missing:
        raise QueryError(_missing([one for one in parameters if one.needed]))
    return type_(**values)


def _value(parameter: Parameter, text: str | None) -> Any:
    kind, name, default = parameter.kind, parameter.name, parameter.default
    if kind is str:
        return text if default is None or text else default
    if kind is bool:
        return text == "1"
    if kind is int:
        convert: Callable[..., Any] = next(filter(callable, parameter.meta), integer)
        return convert(text, name, 0 if parameter.many else default)
    if kind is float:
        return number(text, name, default)
    if kind is datetime:
        return moment(text, name)
    if not text:
        return default
    if text not in get_args(kind):
        raise QueryError(f"{name}={text!r:.40}: expected one of {', '.join(get_args(kind))}")
    return text


def _missing(needed: list[Parameter]) -> str:
    if len(needed) == 1 and needed[0].many:
        return f"{needed[0].name}= is missing; name at least one {needed[0].name}"
    names = " and ".join(f"{one.name}=" for one in needed)
    return f"{names} {'is' if len(needed) == 1 else 'are'} needed{', each once or more' if needed[0].many else ''}"


# --- filters of lists of runs ----------------------------------------------------------------------------------------


class Filters(msgspec.Struct, kw_only=True):
    """Which runs a list has; docs/reference/api.md says what each takes."""

    workspace: str | None = None
    experiment: str | None = None
    status: list[str] = []
    run: list[str] = []
    tag: list[str] = []
    property: list[str] = []
    type: str | None = None
    target: str | None = None
    parent: str | None = None
    ancestor: str | None = None
    started_from: datetime | None = None
    started_to: datetime | None = None
    archived: Archived = "0"
    metric: list[str] = []
    q: str | None = None


class Wait(msgspec.Struct, kw_only=True):
    """The caller's own writes, which a read waits for."""

    wait: list[str] = []
    timeout: float = MAX_WAIT


def run_filter(asked: Filters) -> RunFilter:
    """The filters of a list of runs; see docs/reference/api.md.

    Raises:
        QueryError: one that cannot be understood.
    """
    for name, most in MOST_FILTERS.items():
        if (many := len(getattr(asked, name))) > most:
            raise QueryError(
                f"{name}= is there {many} times, the most is {most}; narrow the list in several steps"
            )
    if (long := len(asked.q or "")) > MAX_SEARCH:
        raise QueryError(f"q= has {long} characters, the most is {MAX_SEARCH}")
    wanted = RunFilter(
        workspace=asked.workspace,
        experiment=asked.experiment,
        run_ids=asked.run or None,
        status=asked.status,
        type=asked.type,
        target=asked.target,
        tags=[key_filter(text) for text in asked.tag],
        properties=[key_filter(text) for text in asked.property],
        parent=asked.parent,
        ancestor=asked.ancestor,
        started_from=asked.started_from,
        started_to=asked.started_to,
        archived={"0": False, "1": True, "all": None}.get(asked.archived, False),
        metrics=[metric_filter(text) for text in asked.metric],
    )
    wanted = search(asked.q or "", wanted)
    if (many := len(wanted.metrics)) > MOST_FILTERS["metric"]:
        raise QueryError(f"the list asks for {many} metrics, the most is {MOST_FILTERS['metric']}")
    return wanted


def key_filter(text: str) -> KeyFilter:
    """`key` has the key; `key=value` equals; `key=` alone cannot be told from an empty value and means that."""
    key, separator, value = text.partition("=")
    return (key, value if separator else ANY)


def metric_filter(text: str) -> MetricFilter:
    """`NAME:STAT<VALUE`, with any of < <= > >= = !=.

    Raises:
        QueryError: it has another shape.
    """
    for operator in ("<=", ">=", "!=", "<", ">", "="):
        left, found, value = text.rpartition(operator)
        name, _, stat = left.rpartition(":")
        if found and name:
            return MetricFilter(name, stat, operator, number(value, "metric", math.nan))
    raise QueryError(
        f"metric={text!r}: expected NAME:STAT followed by < <= > >= = or != and a number, e.g. loss:min<0.1"
    )


# --- JSON bodies -----------------------------------------------------------------------------------------------------

RunIds = Annotated[list[str], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_IDS})]


def check_run_ids(found: list[str]) -> list[str]:
    """The runs a bulk request names, each once.

    Raises:
        QueryError: none, or too many.
    """
    if not found:
        raise QueryError("runs: expected a list of run ids")
    if len(found) > MAX_IDS:
        raise QueryError(f"runs: {len(found)} run ids, the most is {MAX_IDS}; send several requests")
    return list(dict.fromkeys(found))


async def json_body(request: Request, most: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The request's JSON object.

    Args:
        most: bytes it may have.

    Raises:
        HTTPException: not sent as JSON (415), or too long (413).
        QueryError: no JSON object.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        # A page of another site can send text/plain without being asked for leave; it cannot send JSON.
        raise HTTPException(415, "send the body as application/json")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise HTTPException(413, f"the body has more than {most} bytes, the most; send several requests")
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
    wanted = parts[0]
    if get_origin(wanted) is list and wanted not in _WORDS:
        return f"a list of {_in_words(get_args(wanted)[0]).removeprefix('an object ')}"
    if wanted in _WORDS:
        return _WORDS[wanted] + (" or null" if wanted is str and NoneType in parts else "")
    return f"an object {{{', '.join(wanted.__struct_fields__)}}}"
