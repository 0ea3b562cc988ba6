"""From what a script logs to the bytes of a file and what they are; looked at before they are taken."""

from __future__ import annotations

import contextlib
import io
import json
import os
import wave
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from runstream_schemas.errors import brief
from runstream_schemas.values.media import MAX_CAPTION

from ... import media
from ...client.upload_sources import open_regular, opened, path_of
from ...exceptions import AzureMLException, UserErrorException
from .pictures import png_of

MOST = 1000
"""Media in one call."""

MAX_DOCUMENT = 64 << 20
"""Most bytes of what has to be parsed to be looked at: figures, glTF."""

_HEAD = 512
_OWN: Final = {
    media.Image: "image", media.Audio: "audio", media.Video: "video", media.Html: "html", media.Text: "text",
    media.Object3D: "object3d", media.Plotly: "plotly", media.Vega: "vega", media.File: "file",
}  # fmt: skip
_BY_SUFFIX: Final = {
    ".html": media.Html, ".htm": media.Html, ".txt": media.Text, ".md": media.Text, ".log": media.Text,
    ".glb": media.Object3D, ".gltf": media.Object3D, ".obj": media.Object3D, ".ply": media.Object3D, ".stl": media.Object3D,
}  # fmt: skip


@dataclass(slots=True)
class Content:
    """A medium that is ready to be kept.

    Attributes:
        type: one of `runstream_schemas.values.media.MEDIA_TYPES`.
        content_type: the content type of its bytes.
        source: the bytes, or a file or stream that has them.
        caption, file_name: as those of `runstream_schemas.values.media.Medium`.
    """

    type: str
    content_type: str
    source: Any
    caption: str | None = None
    file_name: str | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[bytes | IO[bytes]]:
        """The bytes, or a stream of them."""
        if isinstance(self.source, bytes):
            yield self.source
            return
        with opened(self.source) as stream:
            yield stream


def contents_of(name: str, given: Any, caption: str | None) -> list[Content]:
    """The media of one call.

    Args:
        name: the name of the series, for errors.
        given: one medium, or a list of them; see `Run.log_media`.
        caption: the caption of all that have none of their own.

    Raises:
        UserErrorException: what is no medium, broken, or too much at once.
    """
    several = list(given) if isinstance(given, (list, tuple)) else [given]
    if not 1 <= len(several) <= MOST:
        raise UserErrorException(
            f"log_media({brief(name)}): {len(several)} media; expected 1 to {MOST} in one call"
        )
    contents = []
    for number, medium in enumerate(several):
        where = f"log_media({brief(name)})" + (f", number {number}" if len(several) > 1 else "")
        content = _content(where, medium)
        own = content.caption if content.caption is not None else caption
        if own is not None and (type(own) is not str or len(own) > MAX_CAPTION or "\0" in own):
            raise UserErrorException(
                f"{where}: a caption is a text, of which the most is {MAX_CAPTION} characters"
            )
        content.caption = own
        contents.append(content)
    return contents


def _content(where: str, given: Any) -> Content:
    own = given if type(given) in _OWN else _guess(where, given)
    kind = _OWN[type(own)]
    if kind in ("html", "text") and isinstance(own.data, str):
        try:
            content = Content(kind, _TEXTS[kind], own.data.encode())
        except UnicodeEncodeError as error:
            raise UserErrorException(
                f"{where}: the text is not valid unicode ({error.reason}); remove lone surrogates"
            ) from None
    elif kind in ("plotly", "vega"):
        content = Content(kind, _FIGURES[kind], _figure(where, kind, own.data))
    elif isinstance(own.data, (str, os.PathLike)):
        path = path_of(where, own.data)
        with open_regular(path) as stream:
            content = Content(kind, _looked_at(where, kind, stream), path, None, path.name)
    elif isinstance(own.data, (bytes, bytearray, memoryview)):
        data = bytes(own.data)
        content = Content(kind, _looked_at(where, kind, io.BytesIO(data)), data)
    elif kind == "file" and hasattr(own.data, "read"):
        content = Content(kind, "application/octet-stream", own.data)
    else:
        content = _in_memory(where, kind, own)
    content.caption = own.caption
    return content


def _guess(where: str, given: Any) -> Any:
    """What somebody means who logs a plain object."""
    package = type(given).__module__.partition(".")[0]
    if package == "plotly":
        return media.Plotly(given)
    if package == "altair" or (isinstance(given, Mapping) and "$schema" in given):
        return media.Vega(given)
    if isinstance(given, Mapping) and "data" in given:
        return media.Plotly(given)
    if isinstance(given, (str, os.PathLike)):
        path = path_of(where, given)
        by_name = _BY_SUFFIX.get(path.suffix.lower())
        if by_name is not None:
            return by_name(path)
        with open_regular(path) as stream:
            return _by_head(stream.read(_HEAD))(path)
    if isinstance(given, (bytes, bytearray, memoryview)):
        return _by_head(bytes(given[:_HEAD]))(given)
    if hasattr(given, "savefig") or hasattr(given, "save") or hasattr(given, "__array__"):
        return media.Image(given)
    raise UserErrorException(
        f"{where}: {type(given).__name__} is no medium; pass a path, bytes, an array, a figure, or one of runstream.media"
    )


def _by_head(head: bytes) -> Callable[[Any], Any]:
    for kind in (media.Image, media.Audio, media.Video, media.Object3D):
        if _sniffed(_OWN[kind], head) is not None:
            return kind
    return media.File


_TEXTS: Final = {"html": "text/html", "text": "text/plain"}
_FIGURES: Final = {"plotly": "application/vnd.plotly.v1+json", "vega": "application/vnd.vega.v5+json"}
_SIGNATURES: Final[dict[str, list[tuple[int, bytes, str]]]] = {
    "image": [
        (0, b"\x89PNG\r\n\x1a\n", "image/png"), (0, b"\xff\xd8\xff", "image/jpeg"), (0, b"GIF87a", "image/gif"),
        (0, b"GIF89a", "image/gif"), (0, b"BM", "image/bmp"), (8, b"WEBP", "image/webp"), (0, b"II*\0", "image/tiff"),
        (0, b"MM\0*", "image/tiff"),
    ],
    "audio": [
        (8, b"WAVE", "audio/wav"), (0, b"ID3", "audio/mpeg"), (0, b"\xff\xfb", "audio/mpeg"), (0, b"\xff\xf3", "audio/mpeg"),
        (0, b"\xff\xf2", "audio/mpeg"), (0, b"fLaC", "audio/flac"), (0, b"OggS", "audio/ogg"), (4, b"ftypM4A", "audio/mp4"),
    ],
    "video": [
        (4, b"ftyp", "video/mp4"), (0, b"\x1aE\xdf\xa3", "video/webm"), (0, b"OggS", "video/ogg"),
        (8, b"AVI ", "video/x-msvideo"), (0, b"GIF89a", "image/gif"),
    ],
    "object3d": [(0, b"glTF", "model/gltf-binary"), (0, b"ply\n", "model/ply"), (0, b"ply\r\n", "model/ply")],
}  # fmt: skip
_EXPECTED: Final = {
    "image": "a png, jpeg, gif, bmp, tiff, webp or svg picture",
    "audio": "a wav, mp3, ogg, flac or m4a sound",
    "video": "an mp4, webm, ogg or avi film, or a moving gif",
    "object3d": "a glb, gltf, obj, ply or stl object",
}


def _sniffed(kind: str, head: bytes) -> str | None:
    for at, signature, content_type in _SIGNATURES.get(kind, ()):
        if head[at : at + len(signature)] == signature and (at != 8 or head[:4] == b"RIFF"):
            return content_type
    return None


def _looked_at(where: str, kind: str, stream: IO[bytes]) -> str:
    """The content type of a file, by what it begins with and not by its name.

    Raises:
        UserErrorException: it is not of that kind, or breaks off.
    """
    if kind == "file":
        return "application/octet-stream"
    if kind in _TEXTS:
        try:
            stream.read(_HEAD).decode("utf-8", "strict")
        except UnicodeDecodeError as error:
            if error.start < _HEAD - 4:
                raise UserErrorException(
                    f"{where}: the file is no text in UTF-8 ({error.reason}); convert it, or log it as a File"
                ) from None
        return _TEXTS[kind]
    head = stream.read(_HEAD)
    content_type = _sniffed(kind, head)
    if content_type is None:
        content_type = (
            _svg(where, head, stream)
            if kind == "image"
            else _model(where, head, stream)
            if kind == "object3d"
            else None
        )
    if content_type is None:
        raise UserErrorException(
            f"{where}: {brief(head[:16])} ... is not {_EXPECTED[kind]}; anything else can be logged as a File"
        )
    end = stream.seek(0, io.SEEK_END)
    if content_type == "image/png":
        stream.seek(max(end - 12, 0))
        if stream.read(12)[4:8] != b"IEND":
            raise UserErrorException(f"{where}: the png breaks off; was it still being written?")
    elif content_type == "model/gltf-binary":
        if len(head) < 20 or int.from_bytes(head[8:12], "little") != end or head[16:20] != b"JSON":
            raise UserErrorException(f"{where}: the glb is damaged, or breaks off; export it again")
        stream.seek(20)
        _gltf(where, stream.read(min(int.from_bytes(head[12:16], "little"), MAX_DOCUMENT)))
    elif head[:4] == b"RIFF" and content_type in ("audio/wav", "image/webp", "video/x-msvideo"):
        said = int.from_bytes(head[4:8], "little")
        if said + 8 > end + 1 and said != 0xFFFFFFFF:  # some leave the length to be filled in later
            raise UserErrorException(
                f"{where}: the file breaks off: {end} of {said + 8} bytes; log it when it is whole"
            )
    return content_type


def _svg(where: str, head: bytes, stream: IO[bytes]) -> str | None:
    """SVG is shown as a picture, in which browsers run no script; it is never served as a page."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return "image/svg+xml" if start[:4] == b"<svg" or (start[:1] == b"<" and b"<svg" in head) else None


def _model(where: str, head: bytes, stream: IO[bytes]) -> str | None:
    start = head.lstrip()
    if start[:1] == b"{":
        stream.seek(0)
        _gltf(where, stream.read(MAX_DOCUMENT + 1))
        return "model/gltf+json"
    end = stream.seek(0, io.SEEK_END)
    if start[:5] == b"solid" or (len(head) >= 84 and end == 84 + 50 * int.from_bytes(head[80:84], "little")):
        return "model/stl"
    lines = [line.split() for line in head.splitlines()]
    if any(line and line[0] in (b"v", b"o", b"mtllib") for line in lines) and all(
        not line or line[0][:1] == b"#" or line[0].isalpha() for line in lines[:-1]
    ):
        return "model/obj"
    return None


def _gltf(where: str, document: bytes) -> None:
    """See that a glTF is one, and asks for nothing from elsewhere: whoever looks at it would fetch that.

    Raises:
        UserErrorException: it is none, or does.
    """
    try:
        model = json.loads(document)
        version = model["asset"]["version"]
        uris = [
            entry["uri"] for part in ("buffers", "images") for entry in model.get(part, []) if "uri" in entry
        ]
        outside = [uri for uri in uris if not str(uri).startswith("data:")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserErrorException(
            f"{where}: this is no glTF ({type(error).__name__}: {error!s:.100}); log it as a File, or export it again"
        ) from None
    if outside or not isinstance(version, str):
        raise UserErrorException(
            f"{where}: the glTF asks for other files ({brief(outside[:1])}); pack it into one .glb"
        )


def _figure(where: str, kind: str, data: Any) -> bytes:
    try:
        if isinstance(data, str):
            document = json.loads(data)
        elif hasattr(data, "to_json"):
            document = json.loads(data.to_json())
        elif hasattr(data, "to_dict"):
            document = data.to_dict()
        else:
            document = data
        text = json.dumps(document, default=_listed, allow_nan=False)
    except UserErrorException:
        raise
    except Exception as error:  # of a library's own figure
        raise UserErrorException(
            f"{where}: {type(data).__name__} is no {kind} figure ({type(error).__name__}: {error!s:.200});"
            " expected a figure, its dictionary or JSON"
        ) from None
    needed = (
        ("data",)
        if kind == "plotly"
        else ("$schema", "mark", "marks", "layer", "concat", "hconcat", "vconcat")
    )
    if not isinstance(document, Mapping) or not any(key in document for key in needed):
        raise UserErrorException(
            f"{where}: the figure has none of {', '.join(needed)}; it is no {kind} figure"
        )
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > MAX_DOCUMENT:
        raise UserErrorException(f"{where}: a figure of {len(encoded):,} bytes; the most is {MAX_DOCUMENT:,}")
    return encoded


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in a figure")


def _in_memory(where: str, kind: str, own: Any) -> Content:
    data = own.data
    if hasattr(data, "detach"):  # a tensor
        data = data.detach().cpu().numpy()
    try:
        if kind == "image":
            return Content(kind, "image/png", png_of(data, "data"))
        if kind == "audio" and hasattr(data, "__array__"):
            return Content(kind, "audio/wav", _wav(where, data, own.rate))
        if kind == "object3d" and hasattr(data, "__array__"):
            return Content(kind, "model/ply", _ply(where, data))
    except AzureMLException:
        raise
    except Exception as error:  # of an object of somebody else's
        raise UserErrorException(
            f"{where}: {type(own.data).__name__} cannot be saved ({error!s:.200}); pass a path or bytes"
        ) from None
    raise UserErrorException(f"{where}: {type(own.data).__name__} is no {kind}; pass a path or bytes")


def _wav(where: str, data: Any, rate: int) -> bytes:
    import numpy as np

    samples = np.asarray(data)
    if samples.ndim not in (1, 2) or not samples.size or samples.dtype.kind not in "fiu":
        raise UserErrorException(
            f"{where}: samples of shape {samples.shape} and type {samples.dtype} are no sound; expected (frames[, channels])"
        )
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    if not 1 <= channels <= 16 or type(rate) is not int or not 1 <= rate <= 1_000_000:
        raise UserErrorException(
            f"{where}: {channels} channels at rate={rate!r:.40}; expected (frames[, channels])"
        )
    if samples.dtype.kind == "f":
        samples = np.nan_to_num(np.clip(samples, -1.0, 1.0)) * 32767.0
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(samples, -32768, 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _ply(where: str, data: Any) -> bytes:
    import numpy as np

    points = np.asarray(data)
    if points.ndim != 2 or points.shape[1] not in (3, 6) or points.dtype.kind not in "fiu":
        raise UserErrorException(
            f"{where}: points of shape {points.shape}; expected (n, 3), or (n, 6) with colours"
        )
    fields: list[tuple[str, str]] = [(axis, "<f4") for axis in "xyz"]
    kinds = ["float"] * 3
    if points.shape[1] == 6:
        fields += [(colour, "u1") for colour in ("red", "green", "blue")]
        kinds += ["uchar"] * 3
    rows = np.zeros(len(points), dtype=fields)
    for place, (field, kind) in enumerate(fields):
        column = np.nan_to_num(points[:, place])
        rows[field] = np.clip(column, 0, 255).astype(np.uint8) if kind == "u1" else column
    properties = "".join(f"property {kind} {field}\n" for kind, (field, _) in zip(kinds, fields, strict=True))
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{properties}end_header\n"
    return head.encode() + rows.tobytes()
