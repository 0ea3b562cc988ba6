"""The wire format of protocol buffers, as far as event files use it: varints, fixed numbers and length-delimited fields.

Written by hand, because neither `protobuf` nor `tensorboard` is a dependency: a message is read field by field, and what is
unknown is passed over, as the format asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from runstream_schemas.errors import RunstreamError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types. The groups of old (3 and 4) are passed over by no reader of today, and refused here."""

_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")
_MASK = (1 << 64) - 1

Field = tuple[int, int | bytes]
"""Number of a field and its value: a varint as an unsigned integer, everything else as its bytes."""


class WireError(RunstreamError):
    """Bytes that are no message."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, unsigned, and where the next field begins.

    Raises:
        WireError: it does not end, or is longer than ten bytes.
    """
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise WireError(f"a number at byte {at} has no end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, at
        shift += 7
    raise WireError(f"a number before byte {at} is longer than ten bytes")


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in order.

    Raises:
        WireError: the bytes are no message.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at)
        kind = key & 7
        value: int | bytes
        if kind == VARINT:
            value, at = varint(data, at)
        else:
            if kind == BYTES:
                size, at = varint(data, at)
            elif kind == FIXED64:
                size = 8
            elif kind == FIXED32:
                size = 4
            else:
                raise WireError(f"a field at byte {at} has the unknown wire type {kind}")
            if at + size > end:
                raise WireError(f"a field at byte {at} is longer than its message")
            value = data[at : at + size]
            at += size
        if not key >> 3:
            raise WireError(f"a field before byte {at} has the number 0")
        yield key >> 3, value


def as_bytes(value: int | bytes) -> bytes:
    """The value of a length-delimited or fixed field.

    Raises:
        WireError: it is a varint.
    """
    if isinstance(value, int):
        raise WireError("a number where a text, a message or bytes are expected")
    return value


def as_int(value: int | bytes) -> int:
    """The value of a signed integer field (int32, int64, enum, bool).

    Raises:
        WireError: it is no varint.
    """
    if not isinstance(value, int):
        raise WireError("bytes where a number is expected")
    return value - (1 << 64) if value >> 63 else value


def as_double(value: int | bytes) -> float:
    """The value of a field of type double.

    Raises:
        WireError: it is of another width.
    """
    if isinstance(value, int) or len(value) != 8:
        raise WireError("a field of another width where a double is expected")
    number: float = _DOUBLE.unpack(value)[0]
    return number


def as_float(value: int | bytes) -> float:
    """The value of a field of type float.

    Raises:
        WireError: it is of another width.
    """
    if isinstance(value, int) or len(value) != 4:
        raise WireError("a field of another width where a float is expected")
    number: float = _FLOAT.unpack(value)[0]
    return number


def as_text(value: int | bytes) -> str:
    """The value of a string field; what is not UTF-8 in it is replaced."""
    return as_bytes(value).decode("utf-8", "replace")


def put_varint(value: int) -> bytes:
    """An integer, signed or not, as a varint."""
    value &= _MASK
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def put_int(number: int, value: int) -> bytes:
    """A field of an integer type."""
    return put_varint(number << 3 | VARINT) + put_varint(value)


def put_bytes(number: int, value: bytes | str) -> bytes:
    """A field of bytes, a text or a message."""
    if isinstance(value, str):
        value = value.encode()
    return put_varint(number << 3 | BYTES) + put_varint(len(value)) + value


def put_double(number: int, value: float) -> bytes:
    """A field of type double."""
    return put_varint(number << 3 | FIXED64) + _DOUBLE.pack(value)


def put_float(number: int, value: float) -> bytes:
    """A field of type float."""
    return put_varint(number << 3 | FIXED32) + _FLOAT.pack(value)
