"""Media, histograms and tables as W&B logs them: a description among the history, the bytes in files of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runstream_schemas.limits import MAX_NAME_BYTES
from runstream_schemas.values.media import MAX_CAPTION, Medium, encode_medium

from .. import media
from ..client import media_outbox
from ..client.files import inside
from ..core._run.media_contents import MAX_DOCUMENT, Content, contents_of
from ..exceptions import UserErrorException
from ..spool.live_runs import LiveRun
from ..wandb.mapping import STEP_COLUMN, cell, histogram_text

_KINDS: Mapping[str, Any] = {
    "image-file": media.Image, "audio-file": media.Audio, "video-file": media.Video, "html-file": media.Html,
    "object3D-file": media.Object3D, "plotly-file": media.Plotly, "bokeh-file": media.File, "molecule-file": media.File,
}  # fmt: skip
_LISTS = {
    "images/separated": ("image-file", "filenames"), "images": ("image-file", "filenames"), "audio": ("audio-file", "audio"),
    "videos": ("video-file", "videos"), "html": ("html-file", "html"), "object3D": ("object3D-file", "objects"),
    "plotly": ("plotly-file", "plotly"), "bokeh": ("bokeh-file", "bokeh"), "molecule": ("molecule-file", "molecule"),
}  # fmt: skip
_MAX_TABLE = 512 << 20


class NotTaken(Exception):
    """A value that is not taken over; why is its text."""


@dataclass(frozen=True, slots=True)
class FileOf:
    """A medium in a file: what it is, where it lies below the run's files, and its caption."""

    kind: str
    path: str
    caption: str | None


def is_media(value: Mapping[str, Any]) -> bool:
    """Whether a value of the history describes media."""
    return value.get("_type") in _KINDS or value.get("_type") in _LISTS


def media_of(value: Mapping[str, Any]) -> list[FileOf]:
    """The media that a value of the history describes.

    Raises:
        NotTaken: it is not as W&B writes it.
    """
    kind = str(value["_type"])
    if kind in _KINDS:
        return [_file(kind, value, None)]
    kind, key = _LISTS[kind]
    entries, captions = value.get(key), value.get("captions")
    if not isinstance(entries, list):
        raise NotTaken(f"media: {key} of {value['_type']} are missing")
    told = captions if isinstance(captions, list) and len(captions) == len(entries) else [None] * len(entries)
    return [_file(kind, entry, caption) for entry, caption in zip(entries, told, strict=True)]


def _file(kind: str, entry: Any, caption: Any) -> FileOf:
    if isinstance(entry, dict):
        entry, caption = entry.get("path"), entry.get("caption", caption)
    if not isinstance(entry, str):
        raise NotTaken("media: a value without the path of its file")
    return FileOf(kind, entry, caption[:MAX_CAPTION] if isinstance(caption, str) and caption else None)


def keep(live: LiveRun, name: str, files: Path, described: FileOf, place: int) -> str:
    """Keep the bytes of a medium, and return its text.

    Args:
        name: the name of the series, for errors.
        files: the directory of the run's files.
        described: the medium.
        place: among those of its step.

    Raises:
        NotTaken: the file is not there, or outside the directory.
        OSError: it cannot be read, or the home cannot be written.
    """
    path = file_in(files, described.path)
    content = _content(name, path, described)
    return kept(live, content, place, described.caption, path.name[:MAX_CAPTION])


def kept(live: LiveRun, content: Content, place: int, caption: str | None, file: str | None) -> str:
    """Keep the bytes of a medium, and return its text.

    Args:
        place: among those of its step.
        file: the name of the file it comes from.

    Raises:
        OSError: it cannot be read, or the home cannot be written.
    """
    with content.open() as source:
        sha256, size = media_outbox.keep(live.settings, live.run_id, source, content.content_type)
    return encode_medium(Medium(content.type, content.content_type, size, sha256, place, caption, file))


def _content(name: str, path: Path, described: FileOf) -> Content:
    """What a file is; one that is not what it is said to be is kept as any file."""
    try:
        if described.kind == "object3D-file" and path.name.endswith(".pts.json"):
            points = np.asarray(_document(path, MAX_DOCUMENT), dtype=np.float64)
            return contents_of(name, media.Object3D(points), None)[0]
        if described.kind == "plotly-file":
            return contents_of(name, media.Plotly(_document(path, MAX_DOCUMENT)), None)[0]
        return contents_of(name, _KINDS[described.kind](path), None)[0]
    except (UserErrorException, NotTaken, ValueError, TypeError):
        return contents_of(name, media.File(path), None)[0]


def file_in(files: Path, name: str) -> Path:
    """A file below the directory of the run's files.

    Raises:
        NotTaken: it is not there, or its name leads out of the directory.
    """
    try:
        path = inside(files, name)
    except UserErrorException:
        raise NotTaken("media: the name of a file leads out of the run's directory") from None
    if not path.is_file():
        raise NotTaken("media: files that are not in the run's directory")
    return path


def histogram_of(value: Mapping[str, Any]) -> str:
    """The text of a histogram of W&B: counts, and edges or first edge and width.

    Raises:
        NotTaken: it is none.
    """
    try:
        counts = [int(count) for count in value["values"]]
        packed = value.get("packedBins")
        if packed is not None:
            low, width = float(packed["min"]), float(packed["size"])
            edges = [low + width * place for place in range(len(counts) + 1)]
        else:
            edges = [float(edge) for edge in value["bins"]]
        return histogram_text(counts, edges)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise NotTaken(f"histograms: {error}") from None


def table_of(files: Path, value: Mapping[str, Any], step: int) -> dict[str, list[Any]]:
    """The columns of a table, and the step it was logged at as one more; cells that are no scalars are JSON texts.

    Raises:
        NotTaken: its file is missing, too large, or no table.
        OSError: it cannot be read.
    """
    document = _document(file_in(files, str(value.get("path"))), _MAX_TABLE)
    try:
        names = [str(name) for name in document["columns"]]
        rows = [list(row) for row in document["data"]]
        if any(len(row) != len(names) for row in rows) or len(set(names)) != len(names):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise NotTaken("tables: a file that is no table") from None
    if any(not name or len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES for name in names):
        raise NotTaken(f"tables: a column without a name, or with one of more than {MAX_NAME_BYTES} bytes")
    if not rows or not names:
        return {}
    columns = {name: [cell(row[place]) for row in rows] for place, name in enumerate(names)}
    return columns if STEP_COLUMN in columns else {STEP_COLUMN: [step] * len(rows), **columns}


def _document(path: Path, most: int) -> Any:
    if path.stat().st_size > most:
        raise NotTaken(f"{path.suffix.lstrip('.')} files of more than {most >> 20} MiB")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise NotTaken("files that should be JSON and are not") from None
