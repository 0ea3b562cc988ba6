"""A logged picture, sound, page ...: what the series says of it. Its bytes are a file of the run, named by their digest.

The text that travels is JSON::

    {"type": "image", "content_type": "image/png", "size": 20480, "sha256": "9f86...", "place": 0, "caption": "epoch 3"}

`place` counts what was logged in one call, at one step. `caption` and `file_name` are left out when there are none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from ..errors import CorruptEvent
from ..source_snapshot import is_digest

MEDIA_TYPES: Final = ("image", "audio", "video", "html", "text", "object3d", "plotly", "vega", "file")
"""What a logged medium can be."""

SUFFIXES: Final = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/bmp": ".bmp", "image/webp": ".webp",
    "image/tiff": ".tif", "image/svg+xml": ".svg", "audio/wav": ".wav", "audio/mpeg": ".mp3", "audio/ogg": ".oga",
    "audio/flac": ".flac", "audio/mp4": ".m4a", "video/mp4": ".mp4", "video/webm": ".webm", "video/ogg": ".ogv",
    "video/x-msvideo": ".avi", "text/html": ".html", "text/plain": ".txt", "model/gltf-binary": ".glb",
    "model/gltf+json": ".gltf", "model/obj": ".obj", "model/ply": ".ply", "model/stl": ".stl",
    "application/vnd.plotly.v1+json": ".plotly.json", "application/vnd.vega.v5+json": ".vega.json",
    "application/octet-stream": ".bin",
}  # fmt: skip
"""The content types of media, and how the names of their files end."""

FOLDER: Final = "media"
"""Where they lie among the run's files."""

MAX_CAPTION: Final = 4096
"""Most characters of a caption."""


@dataclass(slots=True)
class Medium:
    """One medium of a series.

    Attributes:
        type: one of `MEDIA_TYPES`.
        content_type: one of `SUFFIXES`.
        size: bytes.
        sha256: of the bytes, in hexadecimal.
        place: among what was logged with it.
        caption: a caption for people.
        file_name: what the file was called where it was logged.
    """

    type: str
    content_type: str
    size: int
    sha256: str
    place: int = 0
    caption: str | None = None
    file_name: str | None = None

    @property
    def path(self) -> str:
        """Its path among the run's files: the same bytes are stored once."""
        return media_path(self.sha256, self.content_type)


def media_path(sha256: str, content_type: str) -> str:
    """Where among a run's files bytes of this digest lie."""
    return f"{FOLDER}/{sha256[:2]}/{sha256}{SUFFIXES[content_type]}"


def content_type_of(path: str) -> str:
    """The content type of a file that `media_path` named."""
    ends = sorted(SUFFIXES.items(), key=lambda item: -len(item[1]))
    return next((type_ for type_, end in ends if path.endswith(end)), "application/octet-stream")


def encode_medium(medium: Medium) -> str:
    """The text of a medium."""
    document = {name: getattr(medium, name) for name in ("type", "content_type", "size", "sha256", "place")}
    document |= {
        name: value for name in ("caption", "file_name") if (value := getattr(medium, name)) is not None
    }
    return json.dumps(document, ensure_ascii=False)


def decode_medium(text: str) -> Medium:
    """Read what `encode_medium` made.

    Raises:
        CorruptEvent: it is no medium.
    """
    try:
        document = json.loads(text)
        medium = Medium(
            document["type"],
            document["content_type"],
            int(document["size"]),
            document["sha256"],
            int(document.get("place", 0)),
            document.get("caption"),
            document.get("file_name"),
        )
        texts = (medium.caption, medium.file_name)
        if (
            medium.type not in MEDIA_TYPES
            or medium.content_type not in SUFFIXES
            or not is_digest(medium.sha256)
            or not 0 <= medium.size < 1 << 63
            or not 0 <= medium.place < 1 << 31
            or not all(text is None or type(text) is str for text in texts)
            or len(medium.caption or "") > MAX_CAPTION
            or len(medium.file_name or "") > MAX_CAPTION
        ):
            raise ValueError("its type, size, digest, place or texts cannot be")
        return medium
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptEvent(f"{text[:80]!r} is no medium ({type(error).__name__}: {error})") from None
