"""Where `SummaryWriter` records: a run, and event files if they are wanted."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.series import SeriesClass
from runstream_schemas.values.histograms import encode_histogram

from ..exceptions import AzureMLException, ServiceException
from ..spool.values import convert_step
from . import encoding
from .event_writer import EventFileWriter
from .kept_media import Content, keep_media
from .names import file_path
from .statistics import binned, curve_table

if TYPE_CHECKING:
    from ..core.run import Run

_log = logging.getLogger("runstream")


class RunDestination:
    """Records into a run. Steps of None are the next of a series; times of None are now.

    Files (of embeddings, layouts ...) go to the service at once; media are kept in the home until it has them.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._said: set[str] = set()

    def scalar(self, tag: str, value: Any, step: int | None, wall_time: float | None) -> None:
        """Record a number."""
        if wall_time is None:
            self._run.log(tag, value, "", step)
        else:
            self._run.log_array(tag, [value], None if step is None else [step], [wall_time])

    def text(self, tag: str, text: str, step: int | None, wall_time: float | None) -> None:
        """Record a text."""
        self._writer.text(tag, text, step, when=wall_time)

    def histogram(
        self, tag: str, buckets: Mapping[str, Any], step: int | None, wall_time: float | None
    ) -> None:
        """Record a histogram, as event files have it."""
        limits, counts = (
            np.asarray(buckets["bucket_limits"], float),
            np.asarray(buckets["bucket_counts"], float),
        )
        lefts = np.concatenate([[float(buckets["min"])], limits[:-1]])
        rows = np.stack([np.minimum(lefts, limits), np.minimum(limits, np.finfo(float).max), counts], axis=1)
        bins = binned(rows[np.cumsum(counts) > 0] if len(counts) else rows)
        bins.min, bins.max, bins.sum = float(buckets["min"]), float(buckets["max"]), float(buckets["sum"])
        self._writer.typed(SeriesClass.HISTOGRAM, tag, [encode_histogram(bins)], step, when=wall_time)

    def curve(self, tag: str, curve: NDArray[Any], step: int | None, wall_time: float | None) -> None:
        """Record a PR curve as rows of a table."""
        self._writer.log_table(tag, curve_table(curve, step or 0), when=wall_time)

    def medium(self, tag: str, content: bytes, step: int | None, wall_time: float | None) -> None:
        """Record an image, a sound or a mesh. The training continues when it cannot be kept."""
        try:
            keep_media(self._run._live(), tag, [Content(content)], step, wall_time)
        except OSError as error:
            self.say(f"medium {tag}", f"{tag} is not recorded: it cannot be kept in the home ({error})")

    def file_of(
        self, tag: str, content: bytes, ending: str, step: int | None, wall_time: float | None
    ) -> None:
        """Store a file of a tag."""
        when = time.time() if wall_time is None else wall_time
        self.file(file_path(tag, step or 0, when, ending), content)

    def array_file(self, tag: str, array: NDArray[Any], step: int | None, wall_time: float | None) -> None:
        """Store an array as a file of numpy."""
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        self.file_of(tag, stream.getvalue(), "0.npy", step, wall_time)

    def file(self, path: str, content: bytes) -> bool:
        """Store a file; whether it is. The training continues when it cannot be."""
        try:
            self._run.upload_file(path, io.BytesIO(content))
        except (AzureMLException, ServiceException) as error:
            self.say(f"file {path}", f"{path} was not stored ({error.message})")
            return False
        return True

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Record parameters; one that has another value already keeps it."""
        for name, value in values.items():
            try:
                self._run.log_params({name: value})
            except AzureMLException as error:
                self.say(f"parameter {name}", error.message)

    def say(self, what: str, message: str) -> None:
        """Say something, once."""
        if what not in self._said:
            self._said.add(what)
            _log.warning("SummaryWriter: %s", message)

    @property
    def _writer(self) -> Any:
        return self._run._live().writer


class FileDestination:
    """Records into event files: one, and one more for each series of `add_scalars`."""

    def __init__(self, directory: Path, new_file: Callable[[Path], EventFileWriter]) -> None:
        self._directory, self._new_file = directory, new_file
        self._main = new_file(directory)
        self._more: dict[str, EventFileWriter] = {}
        self._heads: dict[str, bytes] = {}

    def scalar(self, tag: str, value: Any, step: int | None, wall_time: float | None) -> None:
        """Add an old scalar, the quickest way."""
        head = self._heads.get(tag)
        if head is None:
            head = self._heads[tag] = encoding.scalar_head(tag)
        when = time.time() if wall_time is None else wall_time
        self._main.add(encoding.scalar_event(when, step or 0, head, float(value)))

    def values(self, values: Sequence[bytes], step: int | None, wall_time: float | None) -> None:
        """Add a summary of values."""
        self._add(self._main, encoding.summary_field(*values), step, wall_time)

    def apart(self, folder: str, values: Sequence[bytes], step: int | None, wall_time: float | None) -> None:
        """Add a summary to the event file of a folder below."""
        file = self._more.get(folder)
        if file is None:
            file = self._more[folder] = self._new_file(self._directory / folder)
        self._add(file, encoding.summary_field(*values), step, wall_time)

    def restart(self, step: int) -> None:
        """Make void what was written before of this step and later ones."""
        self._add(self._main, encoding.restart_field(), step, None)

    def flush(self) -> None:
        """Write what waits."""
        for file in self._files():
            file.flush()

    def close(self) -> None:
        """End the files; a later record opens them again."""
        for file in self._files():
            file.close()

    def _files(self) -> list[EventFileWriter]:
        return [self._main, *self._more.values()]

    @staticmethod
    def _add(file: EventFileWriter, field: bytes, step: int | None, wall_time: float | None) -> None:
        file.add(encoding.event(time.time() if wall_time is None else wall_time, step or 0, field))


def step_of(tag: str, step: Any) -> int | None:
    """A step as somebody gave it: an integer, a tensor of one, or None."""
    if step is None or type(step) is int:
        return step
    if hasattr(step, "item"):
        step = step.item()
    return convert_step(tag, step)
