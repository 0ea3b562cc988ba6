"""Images, sounds and meshes as media series of a run: their bytes are kept in the home, as `Run.log_media` keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runstream_schemas.series import SeriesClass
from runstream_schemas.values.media import Medium, encode_medium

from ..client import media_outbox
from ..spool.live_runs import LiveRun

_HEADS = (
    (0, b"\x89PNG\r\n\x1a\n", "image", "image/png"), (0, b"\xff\xd8\xff", "image", "image/jpeg"),
    (0, b"GIF8", "image", "image/gif"), (0, b"BM", "image", "image/bmp"), (8, b"WEBP", "image", "image/webp"),
    (8, b"WAVE", "audio", "audio/wav"), (0, b"ID3", "audio", "audio/mpeg"), (0, b"\xff\xfb", "audio", "audio/mpeg"),
    (0, b"fLaC", "audio", "audio/flac"), (0, b"OggS", "audio", "audio/ogg"), (0, b"ply\n", "object3d", "model/ply"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of one medium, and a caption if it has one."""

    data: bytes
    caption: str | None = None


def keep_media(
    live: LiveRun,
    tag: str,
    contents: Sequence[Content],
    step: int | None,
    when: float | None,
    done: int = 0,
) -> None:
    """Record media of one step.

    Args:
        live: the run.
        tag: names the series.
        contents: what the media hold.
        step: the step of them all; None: the next one.
        when: seconds since the epoch; None: now.
        done: how many of them are recorded already.

    Raises:
        OSError: the home cannot be written.
    """
    texts = []
    for place, content in list(enumerate(contents))[done:]:
        kind, content_type = _kind(content.data)
        sha256, size = media_outbox.keep(live.settings, live.run_id, content.data, content_type)
        texts.append(encode_medium(Medium(kind, content_type, size, sha256, place, content.caption)))
    if texts:
        live.writer.typed(SeriesClass.MEDIA, tag, texts, step, when)


def _kind(data: bytes) -> tuple[str, str]:
    """What bytes are, by what they begin with."""
    for at, head, kind, content_type in _HEADS:
        if data[at : at + len(head)] == head:
            return kind, content_type
    return "file", "application/octet-stream"
