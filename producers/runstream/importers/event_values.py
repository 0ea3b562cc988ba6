"""Where the values of event files go that are no scalars: texts, media, histograms, PR curves, parameters, layouts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass

from runstream_schemas.errors import LimitExceeded
from runstream_schemas.limits import MAX_NAME_BYTES
from runstream_schemas.series import SeriesClass
from runstream_schemas.values.histograms import encode_histogram
from runstream_schemas.values.media import MAX_CAPTION

from ..client.file_batch import upload_all
from ..client.http import ServiceClient
from ..exceptions import AzureMLException
from ..spool.live_runs import LiveRun
from ..spool.param_values import convert_params
from ..tensorboard import events
from ..tensorboard.events import Event, Value
from ..tensorboard.kept_media import Content, keep_media
from ..tensorboard.names import LAYOUT_FILE
from ..tensorboard.plugins import Parameters, decode_hparams, decode_layout
from ..tensorboard.statistics import PR_COLUMNS, binned, curve_table

Reserve = Callable[[SeriesClass, str, int], int]
"""Counts points of a series; tells how many of them are stored already."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a value.

    Attributes:
        plugin: that shows it.
        points: how many points it is.
        why: it is left out, and this is why; empty: it is not.
    """

    plugin: str
    points: int = 1
    why: str = ""


class ValueTaker:
    """Takes over values of one run.

    Attributes:
        ending: how the run ended, if the values say so: `complete` or `fail`.
    """

    def __init__(self, live: LiveRun, client: ServiceClient, reserve: Reserve) -> None:
        self.ending: str | None = None
        self._live, self._run_id, self._reserve = live, live.run_id, reserve
        self._client = client

    @staticmethod
    def is_setting(value: Value) -> bool:
        """Whether a value is about the whole run, and so no step of it."""
        return value.plugin in (events.HPARAMS, events.CUSTOM_SCALARS)

    def take(self, event: Event, value: Value, plugin: str) -> Taken:
        """Take over one value.

        Args:
            event: it is of.
            value: it.
            plugin: that shows its tag.
        """
        taking = {
            events.TEXT: self._text,
            events.IMAGES: self._images,
            events.AUDIO: self._audio,
            events.HISTOGRAMS: self._histogram,
            events.PR_CURVES: self._pr_curve,
            events.HPARAMS: self._hparams,
            events.CUSTOM_SCALARS: self._layout,
        }.get(plugin)
        if taking is None:
            return Taken(plugin, why=f"values of the plugin {plugin or '(none)'}")
        if not value.tag or len(value.tag.encode()) > MAX_NAME_BYTES:
            return Taken(plugin, why=f"{plugin}: a tag is empty, or longer than {MAX_NAME_BYTES} bytes")
        try:
            return taking(event, value)
        except (LimitExceeded, AzureMLException, ValueError) as error:
            return Taken(plugin, why=f"{plugin}: {getattr(error, 'message', error)}"[:300])

    def _text(self, event: Event, value: Value) -> Taken:
        if value.tensor is None or value.tensor.dtype != object:
            return Taken(events.TEXT, why="text: a value that is no text")
        cells = value.tensor.astype(object)
        if cells.size == 1:
            text = _decoded(cells.reshape(-1)[0])
        else:
            text = json.dumps(
                [[_decoded(cell) for cell in row] for row in cells.reshape(len(cells), -1)]
                if cells.ndim > 1
                else [_decoded(cell) for cell in cells],
                ensure_ascii=False,
            )
        if not self._reserve(SeriesClass.METRIC, value.tag, 1):
            self._live.writer.text(value.tag, text, event.step, when=event.wall_time)
        return Taken(events.TEXT)

    def _images(self, event: Event, value: Value) -> Taken:
        if value.picture is not None:
            contents = [value.picture.content]
        elif value.tensor is not None and value.tensor.dtype == object and value.tensor.size >= 2:
            contents = value.tensor.reshape(-1)[2:].tolist()  # behind width and height
        else:
            return Taken(events.IMAGES, why="images: a value that is no image")
        return self._media(event, value.tag, events.IMAGES, [Content(content) for content in contents])

    def _audio(self, event: Event, value: Value) -> Taken:
        if value.sound is not None:
            contents = [Content(value.sound.content)]
        elif value.tensor is not None and value.tensor.dtype == object and value.tensor.size:
            # Rows of a sound and its label, or sounds alone.
            rows = (
                value.tensor.reshape(len(value.tensor), -1).tolist()
                if value.tensor.ndim
                else [[value.tensor.item()]]
            )
            contents = [
                Content(row[0], _decoded(row[1])[:MAX_CAPTION] or None if row[1:] else None) for row in rows
            ]
        else:
            return Taken(events.AUDIO, why="audio: a value that is no sound")
        return self._media(event, value.tag, events.AUDIO, contents)

    def _media(self, event: Event, tag: str, plugin: str, contents: list[Content]) -> Taken:
        done = self._reserve(SeriesClass.MEDIA, tag, len(contents))
        keep_media(self._live, tag, contents, event.step, event.wall_time, done)
        return Taken(plugin, len(contents))

    def _histogram(self, event: Event, value: Value) -> Taken:
        rows = value.histogram if value.histogram is not None else value.tensor
        if rows is None or rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype.kind != "f":
            return Taken(events.HISTOGRAMS, why="histograms: a value that is no histogram")
        text = encode_histogram(binned(rows))
        if not self._reserve(SeriesClass.HISTOGRAM, value.tag, 1):
            self._live.writer.typed(
                SeriesClass.HISTOGRAM, value.tag, [text], event.step, when=event.wall_time
            )
        return Taken(events.HISTOGRAMS)

    def _upload(self, path: str, content: bytes) -> None:
        upload_all(self._client, self._run_id, [(path, io.BytesIO(content))], None)

    def _pr_curve(self, event: Event, value: Value) -> Taken:
        if value.tensor is None or value.tensor.ndim != 2 or len(value.tensor) != len(PR_COLUMNS):
            return Taken(events.PR_CURVES, why="pr_curves: a value that is no curve")
        n = value.tensor.shape[1]
        if n and not self._reserve(SeriesClass.TABLE, value.tag, n):
            self._live.writer.log_table(
                value.tag, curve_table(value.tensor, event.step), when=event.wall_time
            )
        return Taken(events.PR_CURVES)

    def _hparams(self, event: Event, value: Value) -> Taken:
        parameters: Parameters = decode_hparams(value.content)
        if parameters.values:
            texts = convert_params("hparams", parameters.values)
            self._live.writer.log_params(texts, overwrite=False, author="")
        if parameters.ending:
            self.ending = parameters.ending
        return Taken(events.HPARAMS, len(parameters.values))

    def _layout(self, event: Event, value: Value) -> Taken:
        if value.tensor is None or value.tensor.dtype != object or value.tensor.size != 1:
            return Taken(events.CUSTOM_SCALARS, why="custom_scalars: a value that is no layout")
        layout = decode_layout(value.tensor.reshape(-1)[0])
        self._upload(LAYOUT_FILE, json.dumps(layout, indent=1, ensure_ascii=False).encode())
        return Taken(events.CUSTOM_SCALARS)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace")
