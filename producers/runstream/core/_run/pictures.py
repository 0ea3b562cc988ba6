"""Pictures in memory as files."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from ...exceptions import AzureMLException


def png_of(image: Any, argument: str) -> bytes:
    """A picture in memory as PNG.

    Args:
        image: matplotlib figure or module, PIL image, or array (height, width[, 1 to 4]); floats are taken as 0 to 1.
        argument: what it was given as, for errors.

    Raises:
        AzureMLException: none of these.
    """
    buffer = io.BytesIO()
    if hasattr(image, "savefig"):
        image.savefig(buffer, format="png")
    elif hasattr(image, "save"):
        image.save(buffer, format="PNG")
    elif hasattr(image, "__array__"):
        return _encode_png(image, argument)
    else:
        raise AzureMLException(
            f"Argument [{argument}] is of invalid type {type(image).__name__}: expected a matplotlib figure, a PIL image "
            "or a numpy array"
        )
    return buffer.getvalue()


def _encode_png(image: Any, argument: str) -> bytes:
    """An array as PNG: grey, grey and alpha, RGB or RGBA. Floats are taken as 0 to 1."""
    import numpy as np

    pixels = np.asarray(image)
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(np.clip(pixels, 0.0, 1.0)) * 255.0 + 0.5
    if pixels.dtype == bool:
        pixels = pixels * 255
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or not pixels.size or pixels.dtype.kind not in "iuf":
        raise AzureMLException(
            f"Argument [{argument}] is malformed: an array of shape {np.shape(image)} and type {pixels.dtype} is no image; "
            "expected numbers of shape (height, width) or (height, width, 1 to 4)"
        )
    height, width, channels = pixels.shape
    rows = np.clip(pixels, 0, 255).astype(np.uint8).reshape(height, width * channels)
    lines = np.hstack(
        [np.zeros((height, 1), np.uint8), rows]
    ).tobytes()  # each line begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
