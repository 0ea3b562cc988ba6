"""What the records of an event file say: scalars, tensors, images, sounds, histograms and what plugins keep.

Old summaries (`simple_value`, `image`, `histo` ...) and new ones (a tensor, with the plugin's name beside it) come out
alike: a `Value` says which plugin shows it. `scalars` has the quick way for what most records are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import wire
from .wire import WireError, as_bytes, as_double, as_float, as_int, as_text, fields

SCALARS, TEXT, IMAGES, AUDIO, HISTOGRAMS = "scalars", "text", "images", "audio", "histograms"
HPARAMS, PR_CURVES, CUSTOM_SCALARS, MESH, GRAPHS = "hparams", "pr_curves", "custom_scalars", "mesh", "graphs"

START = 1
"""Status of a session's log that says a writer starts (again)."""

# Numbers of the fields whose values are kept.
_WALL_TIME, _STEP, _FILE_VERSION, _GRAPH, _SUMMARY, _SESSION_LOG, _META_GRAPH = 1, 2, 3, 4, 5, 7, 9

_TYPES: dict[int, str] = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip
_STRING, _BFLOAT16 = 7, 14
_INTEGERS = {7, 10, 11, 13, 16, 17}  # fields of a tensor whose numbers are varints
_MOST_ELEMENTS = 1 << 26


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image (mostly PNG) as an old summary has it."""

    width: int
    height: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Sound:
    """An encoded sound (mostly WAV) as an old summary has it."""

    sample_rate: float
    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a summary.

    Attributes:
        tag: byte for byte.
        plugin: what shows it; empty when the summary does not say.
        content: what the plugin keeps beside it.
        number: the number of an old scalar.
        tensor: the tensor of a new summary: numbers, or an object array of bytes.
        picture, sound: the content of an old summary of that kind.
        histogram: rows of left edge, right edge and count, of an old summary or a new one.
    """

    tag: str
    plugin: str = ""
    content: bytes = b""
    number: float | None = None
    tensor: NDArray[Any] | None = None
    picture: Picture | None = None
    sound: Sound | None = None
    histogram: NDArray[np.float64] | None = None


@dataclass(slots=True)
class Event:
    """One record.

    Attributes:
        wall_time: seconds since the epoch.
        step: 0 when the record has none.
        file_version: the version of the first record of a file, e.g. `brain.Event:2`.
        values: the values of a summary.
        has_summary: whether there is one, be it empty.
        restart: a writer says that it starts, so that what it wrote before of this step and later ones no longer holds.
        graph: whether it holds a graph.
        damage: what of it could not be read.
    """

    wall_time: float = 0.0
    step: int = 0
    file_version: str = ""
    values: list[Value] = field(default_factory=list)
    has_summary: bool = False
    restart: bool = False
    graph: bool = False
    damage: str = ""


def decode_event(record: bytes) -> Event:
    """Read one record. A value that cannot be read is left out, and `damage` says so.

    Raises:
        WireError: the record is no event.
    """
    event = Event()
    for number, value in fields(record):
        if number == _WALL_TIME:
            event.wall_time = as_double(value)
        elif number == _STEP:
            event.step = as_int(value)
        elif number == _FILE_VERSION:
            event.file_version = as_text(value)
        elif number == _SUMMARY:
            event.has_summary = True
            _decode_summary(as_bytes(value), event)
        elif number == _SESSION_LOG:
            event.restart = any(n == 1 and v == START for n, v in fields(as_bytes(value)))
        elif number in (_GRAPH, _META_GRAPH):
            event.graph = True
    return event


def _decode_summary(data: bytes, event: Event) -> None:
    for number, value in fields(data):
        if number == 1:
            try:
                event.values.append(_decode_value(as_bytes(value)))
            except (WireError, ValueError, OverflowError) as error:
                event.damage = str(error)


def _decode_value(data: bytes) -> Value:
    tag, plugin, content = "", "", b""
    number: float | None = None
    tensor: NDArray[Any] | None = None
    picture: Picture | None = None
    sound: Sound | None = None
    histogram: NDArray[np.float64] | None = None
    implied = ""
    for at, value in fields(data):
        if at == 1:
            tag = _tag(as_bytes(value))
        elif at == 2:
            number, implied = as_float(value), SCALARS
        elif at == 4:
            picture, implied = _decode_picture(as_bytes(value)), IMAGES
        elif at == 5:
            histogram, implied = _decode_histogram(as_bytes(value)), HISTOGRAMS
        elif at == 6:
            sound, implied = _decode_sound(as_bytes(value)), AUDIO
        elif at == 8:
            tensor = decode_tensor(as_bytes(value))
        elif at == 9:
            plugin, content = _decode_metadata(as_bytes(value))
    return Value(tag, plugin or implied, content, number, tensor, picture, sound, histogram)


def _tag(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise WireError(f"the tag {data[:40]!r} is not UTF-8") from None


def _decode_metadata(data: bytes) -> tuple[str, bytes]:
    plugin, content = "", b""
    for number, value in fields(data):
        if number == 1:
            for inner, part in fields(as_bytes(value)):
                if inner == 1:
                    plugin = as_text(part)
                elif inner == 2:
                    content = as_bytes(part)
    return plugin, content


def _decode_picture(data: bytes) -> Picture:
    parts = dict(fields(data))
    return Picture(as_int(parts.get(2, 0)), as_int(parts.get(1, 0)), as_bytes(parts.get(4, b"")))


def _decode_sound(data: bytes) -> Sound:
    parts = dict(fields(data))
    rate = as_float(parts[1]) if 1 in parts else 0.0
    return Sound(rate, as_bytes(parts.get(4, b"")), as_text(parts.get(5, b"audio/wav")))


def _decode_histogram(data: bytes) -> NDArray[np.float64]:
    """Rows of left edge, right edge and count, as TensorBoard makes them of an old histogram: its buckets have right edges
    only, so the outermost ones are those of the values."""
    numbers: dict[int, list[float]] = {1: [], 2: [], 6: [], 7: []}
    for number, value in fields(data):
        if number in numbers:
            numbers[number].extend(_doubles(as_bytes(value)))
    low, high = (numbers[1] or [0.0])[-1], (numbers[2] or [0.0])[-1]
    limits, counts = np.array(numbers[6]), np.array(numbers[7])
    if len(limits) != len(counts):
        raise WireError(f"a histogram of {len(limits)} edges and {len(counts)} counts")
    filled = np.flatnonzero(counts)
    if not len(filled):
        return np.zeros((0, 3))
    first, last = int(filled[0]), int(filled[-1])
    rights = limits[first : last + 1].copy()
    lefts = np.concatenate([[low], rights[:-1]])
    rights[-1] = high
    return np.stack([lefts, rights, counts[first : last + 1]], axis=1)


def _doubles(data: bytes) -> list[float]:
    if len(data) % 8:
        raise WireError("a list of doubles that ends within one")
    numbers: list[float] = np.frombuffer(data, "<f8").tolist()
    return numbers


# --- tensors ---


def decode_tensor(data: bytes) -> NDArray[Any]:
    """A tensor: numbers of its type (bfloat16 as float32), or an object array of bytes.

    Raises:
        WireError: a type that is neither, or more or fewer elements than its shape has.
    """
    kind, content = 0, b""
    shape: tuple[int, ...] = ()
    listed: list[Any] = []
    for number, value in fields(data):
        if number == 1:
            kind = as_int(value)
        elif number == 2:
            shape = _decode_shape(as_bytes(value))
        elif number == 4:
            content = as_bytes(value)
        elif number == 8:
            listed.append(as_bytes(value))
        elif number in (5, 6):
            listed.extend(np.frombuffer(as_bytes(value), "<f4" if number == 5 else "<f8").tolist())
        elif number in _INTEGERS:
            listed.extend(_integers(value))
    size = math.prod(shape)
    if size > _MOST_ELEMENTS or any(length < 0 for length in shape):
        raise WireError(f"a tensor of the shape {shape}")
    if kind == _STRING:
        return _filled(listed, size, b"", "O").reshape(shape)
    if kind == _BFLOAT16:
        halves = np.frombuffer(content, "<u2") if content else _filled(listed, size, 0, "u4").astype("<u2")
        return (halves.astype("<u4") << 16).view("<f4").reshape(_fitting(halves, shape))
    if kind not in _TYPES:
        raise WireError(f"a tensor of the type {kind}, which is neither numbers nor texts")
    if content:
        array = np.frombuffer(content, _TYPES[kind])
    elif _TYPES[kind] == "<f2":
        array = _filled(listed, size, 0, "u4").astype("<u2").view("<f2")
    else:
        array = _filled(listed, size, 0, _TYPES[kind])
    return array.reshape(_fitting(array, shape))


def _fitting(array: NDArray[Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    if array.size != math.prod(shape):
        raise WireError(f"a tensor of {array.size} numbers and the shape {shape}")
    return shape


def _filled(listed: list[Any], size: int, empty: Any, kind: str) -> NDArray[Any]:
    """The elements that are listed; the last one stands for those that are not."""
    if len(listed) > size:
        raise WireError(f"a tensor of {len(listed)} elements where its shape has {size}")
    last = listed[-1] if listed else empty
    array = np.empty(size, dtype=kind)
    array[: len(listed)] = listed
    array[len(listed) :] = last
    return array


def _integers(value: int | bytes) -> list[int]:
    if isinstance(value, int):
        return [as_int(value)]
    numbers, at = [], 0
    while at < len(value):
        number, at = wire.varint(value, at)
        numbers.append(as_int(number))
    return numbers


def _decode_shape(data: bytes) -> tuple[int, ...]:
    return tuple(
        as_int(dict(fields(as_bytes(dimension))).get(1, 0))
        for number, dimension in fields(data)
        if number == 2
    )
