"""Arrays as what a browser shows: images as PNG, videos as animated PNG, sounds as WAV; tensors of any library as arrays."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exceptions import UserErrorException

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels to PNG's colour type
_COLUMNS = 8  # of a grid of images


def as_array(value: Any) -> NDArray[Any]:
    """An array of what is given: an array, a list, a tensor of torch, TensorFlow, JAX or another library.

    Raises:
        UserErrorException: it holds something else than numbers, truth values or texts.
    """
    if hasattr(value, "detach"):  # torch: with a gradient, on a GPU, in a type numpy does not know
        value = value.detach()
        value = value.cpu() if hasattr(value, "cpu") else value
        try:
            value = value.numpy()
        except TypeError:
            value = value.float().numpy()
    elif hasattr(value, "numpy") and not isinstance(value, np.ndarray):
        value = value.numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UserErrorException(
            f"{type(value).__name__} is no array ({error}); pass an array, a tensor or a picture"
        ) from None
    if array.dtype.kind not in "fiubUS":
        raise UserErrorException(
            f"an array of the type {array.dtype} holds no numbers; pass an array or tensor of numbers"
        )
    return array


def to_pixels(image: Any, dataformats: str) -> NDArray[np.uint8]:
    """Pixels, of shape (height, width, channels); several images become a grid.

    Args:
        image: numbers from 0 to 1, or of the type uint8 from 0 to 255.
        dataformats: what each dimension is, of the letters N, C, H and W.

    Raises:
        UserErrorException: dimensions that do not fit the letters, or channels that are no image.
    """
    array = as_array(image)
    letters = dataformats.upper()
    if len(letters) != array.ndim or sorted(letters) not in (
        sorted("HW"),
        sorted("CHW"),
        sorted("NCHW"),
        sorted("NHW"),
    ):
        raise UserErrorException(
            f"an array of shape {array.shape} does not fit dataformats={dataformats!r}: expected a letter of N, C, H and W "
            "for each dimension"
        )
    if "C" not in letters:
        array, letters = array[..., None], letters + "C"
    if "N" in letters:
        array = _grid(array.transpose([letters.index(letter) for letter in "NHWC"]))
    else:
        array = array.transpose([letters.index(letter) for letter in "HWC"])
    if not array.size or not 1 <= array.shape[2] <= 4:
        raise UserErrorException(f"an array of shape {np.shape(image)} is no image; expected 1 to 4 channels")
    return _bytes_of(array)


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    scaled: NDArray[np.float64] = np.nan_to_num(array.astype(np.float64) * 255.0)
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _grid(images: NDArray[Any]) -> NDArray[Any]:
    n, height, width, channels = images.shape
    columns = min(n, _COLUMNS)
    rows = -(-n // max(columns, 1))
    if channels == 1:
        images, channels = images.repeat(3, axis=3), 3
    grid = np.zeros((rows * height, columns * width, channels), dtype=images.dtype)
    for place, image in enumerate(images):
        top, left = place // columns * height, place % columns * width
        grid[top : top + height, left : left + width] = image
    return grid


def with_boxes(pixels: NDArray[np.uint8], boxes: Any) -> NDArray[np.uint8]:
    """An image with the outlines of boxes in red.

    Args:
        pixels: the pixels of an image.
        boxes: an array of shape (n, 4): left, top, right and bottom of each, in pixels.
    """
    drawn = pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels.copy()
    height, width = drawn.shape[:2]
    red = np.array([255, 0, 0, 255][: drawn.shape[2]], dtype=np.uint8)
    for left, top, right, bottom in (
        np.nan_to_num(as_array(boxes)).reshape(-1, 4).round().astype(int).tolist()
    ):
        left, right = (min(max(x, 0), width - 1) for x in sorted((left, right)))
        top, bottom = (min(max(y, 0), height - 1) for y in sorted((top, bottom)))
        drawn[[top, bottom], left : right + 1] = red
        drawn[top : bottom + 1, [left, right]] = red
    return drawn


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels as PNG."""
    return _SIGNATURE + _head(pixels) + _chunk(b"IDAT", zlib.compress(_lines(pixels))) + _chunk(b"IEND", b"")


def animated_png(frames: NDArray[np.uint8], per_second: float) -> bytes:
    """Frames of shape (time, height, width, channels) as an animated PNG, which repeats for ever."""
    height, width = frames.shape[1:3]
    parts = [_SIGNATURE, _head(frames[0]), _chunk(b"acTL", struct.pack(">II", len(frames), 0))]
    delay = (1000, max(1, min(round(1000 * per_second), 65535)))
    sequence = 0
    for place, pixels in enumerate(frames):
        control = struct.pack(">IIIIIHHBB", sequence, width, height, 0, 0, *delay, 0, 0)
        parts.append(_chunk(b"fcTL", control))
        sequence += 1
        data = zlib.compress(_lines(pixels))
        if place == 0:
            parts.append(_chunk(b"IDAT", data))
        else:
            parts.append(_chunk(b"fdAT", struct.pack(">I", sequence) + data))
            sequence += 1
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _head(pixels: NDArray[np.uint8]) -> bytes:
    height, width, channels = pixels.shape
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0))


def _lines(pixels: NDArray[np.uint8]) -> bytes:
    """Rows, each behind the number of its filter: none."""
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    return np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def video_frames(video: Any) -> NDArray[np.uint8]:
    """Frames of videos of shape (batch, time, channels, height, width): those of a batch side by side.

    Raises:
        UserErrorException: another shape.
    """
    array = as_array(video)
    if array.ndim != 5 or not array.size or not 1 <= array.shape[2] <= 4:
        raise UserErrorException(
            f"a video of shape {array.shape}: expected (batch, time, channels, height, width)"
        )
    array = _bytes_of(array).transpose(1, 0, 3, 4, 2)  # time, batch, height, width, channels
    return np.stack([_grid(frame) for frame in array])


def wav(sound: Any, rate: int) -> tuple[bytes, int]:
    """A sound of one channel, with numbers from -1 to 1, as WAV of 16 bits; and how many samples it has."""
    array = np.nan_to_num(as_array(sound).astype(np.float64).squeeze())
    if array.ndim > 1:
        raise UserErrorException(f"a sound of shape {array.shape}: expected one dimension, a single channel")
    samples = (np.clip(array.reshape(-1), -1.0, 1.0) * 32767.0).astype("<i2")
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(rate))
        file.writeframes(samples.tobytes())
    return stream.getvalue(), len(samples)
