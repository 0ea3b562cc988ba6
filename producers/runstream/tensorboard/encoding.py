"""Records of event files, as TensorBoard reads them: what `SummaryWriter` writes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import events
from .wire import put_bytes, put_double, put_float, put_int, put_varint

_TENSOR_TYPES = {"f4": 1, "f8": 2, "i4": 3, "u1": 4, "i8": 9}
_STRING = 7
_SCALAR, _TENSOR, _BLOB = 1, 2, 3
_CLASSES = {
    events.SCALARS: _SCALAR,
    events.TEXT: _TENSOR,
    events.HISTOGRAMS: _TENSOR,
    events.PR_CURVES: _TENSOR,
    events.CUSTOM_SCALARS: _TENSOR,
    events.IMAGES: _BLOB,
    events.AUDIO: _BLOB,
    events.MESH: _BLOB,
}


def event(wall_time: float, step: int, field: bytes) -> bytes:
    """A record: its time, its step, and a field of an event."""
    return put_double(1, wall_time) + (put_int(2, step) if step else b"") + field


def version_field() -> bytes:
    """The field of the first record of a file."""
    return put_bytes(3, "brain.Event:2")


def restart_field() -> bytes:
    """The field that makes void what was written before of this step and later ones."""
    return put_bytes(7, put_int(1, events.START))


def summary_field(*values: bytes) -> bytes:
    """The field of a summary of values."""
    return put_bytes(5, b"".join(put_bytes(1, value) for value in values))


def scalar_value(tag: str, number: float) -> bytes:
    """An old scalar: a float of 32 bits."""
    return put_bytes(1, tag) + put_float(2, number)


def tensor_value(tag: str, plugin: str, tensor: bytes, content: bytes = b"", description: str = "") -> bytes:
    """A value of a plugin: a tensor, and what the plugin keeps beside it."""
    metadata = put_bytes(1, put_bytes(1, plugin) + (put_bytes(2, content) if content else b""))
    if description:
        metadata += put_bytes(3, description)
    if plugin in _CLASSES:
        metadata += put_int(4, _CLASSES[plugin])
    return put_bytes(1, tag) + (put_bytes(8, tensor) if tensor else b"") + put_bytes(9, metadata)


def double_event(wall_time: float, step: int, head: bytes, number: float) -> bytes:
    """A record of a scalar of 64 bits, put together from `double_head`."""
    return event(wall_time, step, head + _DOUBLE.pack(number))


def double_head(tag: str) -> bytes:
    """What lies between step and number in the records of a scalar of 64 bits: the tensor comes last, in it the number."""
    metadata = put_bytes(1, put_bytes(1, events.SCALARS)) + put_int(4, _SCALAR)
    tensor = numbers_tensor(np.zeros((), np.float64))
    return summary_field(put_bytes(1, tag) + put_bytes(9, metadata) + put_bytes(8, tensor))[: -_DOUBLE.size]


def numbers_tensor(array: NDArray[Any]) -> bytes:
    """A tensor of numbers; of types TensorBoard does not show as doubles."""
    code = array.dtype.str[1:]
    if code not in _TENSOR_TYPES:
        array, code = array.astype(np.float64), "f8"
    little = np.ascontiguousarray(array, dtype=f"<{code}" if code != "u1" else "u1")
    return put_int(1, _TENSOR_TYPES[code]) + _shape(array.shape) + put_bytes(4, little.tobytes())


def texts_tensor(texts: Sequence[bytes], shape: Sequence[int]) -> bytes:
    """A tensor of byte strings."""
    return put_int(1, _STRING) + _shape(shape) + b"".join(put_bytes(8, text) for text in texts)


def _shape(shape: Sequence[int]) -> bytes:
    return put_bytes(2, b"".join(put_bytes(2, put_int(1, length)) for length in shape))


def image_value(tag: str, height: int, width: int, channels: int, content: bytes) -> bytes:
    """An encoded image."""
    image = put_int(1, height) + put_int(2, width) + put_int(3, channels) + put_bytes(4, content)
    return put_bytes(1, tag) + put_bytes(4, image)


def audio_value(tag: str, rate: int, channels: int, frames: int, content: bytes) -> bytes:
    """A sound, encoded as WAV."""
    audio = put_float(1, rate) + put_int(2, channels) + put_int(3, frames) + put_bytes(4, content)
    return put_bytes(1, tag) + put_bytes(6, audio + put_bytes(5, "audio/wav"))


def histogram_value(tag: str, histogram: Mapping[str, Any]) -> bytes:
    """A histogram: `min`, `max`, `num`, `sum`, `sum_squares`, and right edges and counts of its buckets."""
    message = b"".join(
        put_double(number, float(histogram[name]))
        for number, name in enumerate(("min", "max", "num", "sum", "sum_squares"), 1)
    )
    for number, name in ((6, "bucket_limits"), (7, "bucket_counts")):
        message += put_bytes(number, np.asarray(histogram[name], dtype="<f8").tobytes())
    return put_bytes(1, tag) + put_bytes(5, message)


def text_value(tag: str, text: str) -> bytes:
    """A text (Markdown)."""
    return tensor_value(tag, events.TEXT, texts_tensor([text.encode()], [1]))


def pr_curve_value(tag: str, curve: NDArray[Any], thresholds: int) -> bytes:
    """A PR curve: six rows, see `importers.event_values.PR_COLUMNS`."""
    content = put_int(2, thresholds)
    return tensor_value(tag, events.PR_CURVES, numbers_tensor(curve.astype(np.float32)), content)


def layout_value(layout: Mapping[str, Any]) -> bytes:
    """A layout of custom scalars, as `plugins.decode_layout` gives it."""
    message = b""
    for category in layout["category"]:
        inner = put_bytes(1, category["title"])
        for chart in category["chart"]:
            shown = put_bytes(1, chart["title"])
            if "multiline" in chart:
                shown += put_bytes(2, b"".join(put_bytes(1, tag) for tag in chart["multiline"]["tag"]))
            for series in chart.get("margin", {}).get("series", ()):
                parts = zip((1, 2, 3), (series["value"], series["lower"], series["upper"]), strict=True)
                shown += put_bytes(3, put_bytes(1, b"".join(put_bytes(n, tag) for n, tag in parts)))
            inner += put_bytes(2, shown)
        message += put_bytes(2, inner)
    return tensor_value("custom_scalars__config__", events.CUSTOM_SCALARS, texts_tensor([message], []), b"")


def hparams_values(
    values: Mapping[str, Any], metrics: Sequence[str], domains: Mapping[str, Sequence[Any]]
) -> list[bytes]:
    """The three values of the plugin hparams: experiment, start and end of a session."""
    experiment = b"".join(_hparam_info(name, value, domains.get(name)) for name, value in values.items())
    experiment += b"".join(put_bytes(5, put_bytes(1, put_bytes(2, tag))) for tag in metrics)
    start = b"".join(
        put_bytes(1, put_bytes(1, name) + put_bytes(2, protobuf_value(value)))
        for name, value in values.items()
    )
    contents = {
        "_hparams_/experiment": put_bytes(2, experiment),
        "_hparams_/session_start_info": put_bytes(3, start),
        "_hparams_/session_end_info": put_bytes(4, put_int(1, 1)),
    }
    null = numbers_tensor(np.zeros(0, np.float32))
    return [tensor_value(tag, events.HPARAMS, null, content) for tag, content in contents.items()]


def _hparam_info(name: str, value: Any, domain: Sequence[Any] | None) -> bytes:
    kind = 2 if isinstance(value, bool) else 1 if isinstance(value, str) else 3
    info = put_bytes(1, name) + put_int(4, kind)
    if domain:
        values = b"".join(put_bytes(1, protobuf_value(choice)) for choice in domain)
        info += put_bytes(5, values)
    return put_bytes(4, info)


def protobuf_value(value: Any) -> bytes:
    """A `google.protobuf.Value`."""
    if value is None:
        return put_int(1, 0)
    if isinstance(value, bool):
        return put_int(4, int(value))
    if isinstance(value, (int, float)):
        return put_double(2, float(value))
    return put_bytes(3, str(value))


def scalar_event(wall_time: float, step: int, head: bytes, number: float) -> bytes:
    """A record of an old scalar, put together from `scalar_head`; the quickest way."""
    if not step:
        return b"\x09" + _TIME.pack(wall_time) + head + _NUMBER.pack(number)
    return b"".join((b"\x09", _TIME.pack(wall_time), b"\x10", put_varint(step), head, _NUMBER.pack(number)))


def scalar_head(tag: str) -> bytes:
    """What lies between step and number in the records of an old scalar."""
    return summary_field(scalar_value(tag, 0.0))[:-4]


_TIME, _NUMBER = struct.Struct("<d"), struct.Struct("<f")
_DOUBLE = struct.Struct("<d")
