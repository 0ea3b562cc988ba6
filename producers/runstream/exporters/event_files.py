"""A run as TensorBoard's event files."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from runstream_schemas.series import Kind, SeriesClass
from runstream_schemas.values.histograms import Histogram
from runstream_schemas.values.media import FOLDER

from ..client.logged_media import LoggedMedium, logged_media
from ..client.metrics import Series, logged_histograms
from ..tensorboard import encoding, events
from ..tensorboard.event_writer import EventFileWriter
from ..tensorboard.names import LAYOUT_FILE
from .run_contents import RunContents

_QUEUE = 10_000
_SHOWN_IMAGES = {"image/png", "image/jpeg", "image/gif", "image/bmp"}


def write_event_files(run: RunContents, folder: Path) -> None:
    """Write one event file; numbers as doubles, so that none is rounded.

    Tables, files and media that TensorBoard does not show are counted in `run.left_out`.
    """
    writer = EventFileWriter(folder, max_queue=_QUEUE)
    try:
        for record in _records(run):
            writer.add(record)
    finally:
        writer.close()
    run.left_out["tables"] = len(run.names(SeriesClass.TABLE))
    run.left_out["files"] = sum(not file["path"].startswith(f"{FOLDER}/") for file in run.files)
    run.left_out += Counter()  # without what counts 0


def _records(run: RunContents) -> Iterator[bytes]:
    yield from _settings(run)
    for (series,) in run.series(SeriesClass.METRIC):
        yield from _metric(run, series)
    for (series,) in run.series(SeriesClass.HISTOGRAM):
        for histogram in logged_histograms(series):
            value = encoding.tensor_value(series.name, events.HISTOGRAMS, _buckets(histogram))
            yield _event(histogram.time, histogram.step, value)
    for (series,) in run.series(SeriesClass.MEDIA):
        yield from _media(run, series)


def _event(time_us: int, step: int, value: bytes) -> bytes:
    return encoding.event(time_us / 1e6, step, encoding.summary_field(value))


def _settings(run: RunContents) -> Iterator[bytes]:
    """Parameters, and the layout of charts, which are about the whole run."""
    start = _seconds(run.record.start_time_utc or run.record.created_utc)
    if run.params:
        values = {name: _scalar(value) for name, value in run.params.items()}
        for value in encoding.hparams_values(values, run.names(SeriesClass.METRIC), {}):
            yield encoding.event(start, 0, encoding.summary_field(value))
    layout = run.read_file(LAYOUT_FILE)
    if layout is not None:
        yield encoding.event(start, 0, encoding.summary_field(encoding.layout_value(json.loads(layout))))


def _scalar(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _seconds(time: str | None) -> float:
    from datetime import datetime

    return datetime.fromisoformat(time).timestamp() if time else 0.0


def _metric(run: RunContents, series: Series) -> Iterator[bytes]:
    head = encoding.double_head(series.name)
    for step, time, value in zip(series.steps, series.times, series.values, strict=True):
        if value is None:
            run.left_out["missing values (None)"] += 1
        elif isinstance(value, str):
            yield _event(time, step, encoding.text_value(series.name, value))
        elif series.kind == Kind.INT and abs(value) > 1 << 53:
            run.left_out["whole numbers beyond 2^53"] += 1
        else:
            yield encoding.double_event(time / 1e6, step, head, float(value))


def _buckets(histogram: Histogram) -> bytes:
    """Left edge, right edge and count of each bin."""
    edges = np.asarray(histogram.edges, dtype=np.float64)
    rows = np.stack([edges[:-1], edges[1:], np.asarray(histogram.counts, dtype=np.float64)], axis=1)
    return encoding.numbers_tensor(rows.reshape(-1, 3))


def _media(run: RunContents, series: Series) -> Iterator[bytes]:
    for medium in logged_media(run.client, run.run_id, series):
        value = _medium(run, series.name, medium)
        if value is not None:
            yield _event(medium.time, medium.step, value)


def _medium(run: RunContents, tag: str, medium: LoggedMedium) -> bytes | None:
    if medium.content_type not in _SHOWN_IMAGES and medium.content_type != "audio/wav":
        run.left_out[f"media ({medium.content_type})"] += 1
        return None
    content = run.read_file(medium.path)
    if content is None:
        run.left_out["media whose bytes are not stored"] += 1
        return None
    if medium.type == "audio":
        rate, channels, frames = _wav_facts(content)
        return encoding.audio_value(tag, rate, channels, frames, content)
    width, height = _picture_size(content)
    return encoding.image_value(tag, height, width, 3, content)


def _picture_size(content: bytes) -> tuple[int, int]:
    """Width and height of a picture; 0 where they do not stand at its beginning. TensorBoard shows it by its bytes."""
    if content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return width, height
    if content.startswith(b"GIF8") and len(content) >= 10:
        width, height = struct.unpack("<HH", content[6:10])
        return width, height
    return 0, 0


def _wav_facts(content: bytes) -> tuple[int, int, int]:
    """Frames a second, channels, and frames of a sound."""
    import io
    import wave

    try:
        with wave.open(io.BytesIO(content)) as sound:
            return sound.getframerate(), sound.getnchannels(), sound.getnframes()
    except (wave.Error, EOFError):  # floats, say: the player knows them
        return 0, 0, 0
