"""What a request says in its query: texts that are checked and become values of the declared types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from starlette.datastructures import ImmutableMultiDict

from runstream_schemas.errors import QueryError

T = TypeVar("T")


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
Edge = Annotated[str, msgspec.Meta(extra_json_schema={"type": "number"})]
"""An end of a range of x: what it may be depends on the axis."""


class Parameter(NamedTuple):
    """A field of a type of parameters.

    Attributes:
        name: the name in the query.
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
    parameters = []
    for field in msgspec.structs.fields(type_):
        kind, meta = _plain_kind(hints[field.name])
        many = get_origin(kind) is list
        if many:
            kind, meta = _plain_kind(get_args(kind)[0])
        default = None if many or field.default is msgspec.NODEFAULT else field.default
        parameters.append(Parameter(field.name, field.encode_name, kind, meta, many, field.required, default))
    return tuple(parameters)


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
        raise QueryError(_missing([parameter for parameter in parameters if parameter.needed]))
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
    names = " and ".join(f"{parameter.name}=" for parameter in needed)
    return f"{names} {'is' if len(needed) == 1 else 'are'} needed{', each once or more' if needed[0].many else ''}"
