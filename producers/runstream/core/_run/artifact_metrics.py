"""Metrics that are files: images, confusion matrices and the like. The file is uploaded, its address is logged."""

from __future__ import annotations

import io
import itertools
import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from runstream_schemas.errors import brief
from runstream_schemas.series import SeriesClass
from runstream_schemas.values.media import Medium, encode_medium

from ...client import media_outbox
from ...client.upload_sources import open_regular, path_of
from ...exceptions import AzureMLAggregatedException, AzureMLException, UserErrorException
from ...spool.values import check_name, convert_step
from .files import RunFiles
from .media_contents import contents_of
from .pictures import png_of
from .recording import Recording

_log = logging.getLogger("runstream")

_number = itertools.count(1)

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")


class ArtifactMetrics(Recording, RunFiles):
    """The part of `Run` that logs images and JSON metrics. Unlike other metrics they need the service at the call."""

    def log_image(self, name: str, path: Any = None, plot: Any = None, description: str = "") -> None:
        """Log an image.

        Args:
            name: the name of the metric.
            path: an image file (png, jpeg, gif, bmp, tiff, webp), kept under its own path, or beside it when another image
                has that; or what `plot` takes.
            plot: a matplotlib figure or module, a PIL image, or a numpy array (height, width[, 1, 3 or 4]); kept as PNG.
            description: what it is, as of `log`.

        Raises:
            AzureMLException: both or neither of path and plot, a file that is no image, or another type.
            FileNotFoundError: there is no such file.
            ServiceException: the service is away.
        """
        if (path is None) == (plot is None):
            raise AzureMLException("log_image takes either path or plot, and exactly one of them")
        check_name("image name", name)  # before its file is stored
        if isinstance(path, (str, os.PathLike)):
            file = path_of("path", path)
            with open_regular(file) as stream:
                head = stream.read(16)
            if not (head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")):
                raise AzureMLException(
                    f"Argument [path] is malformed: {file} is no png, jpeg, gif, bmp, tiff or webp image"
                    "; convert it first"
                )
            try:
                stored = self.upload_file(file.as_posix(), file)
            except AzureMLAggregatedException:
                # A script that writes each epoch's picture to one file logs several pictures.
                stored = self.upload_file(_unique(file.with_suffix("").as_posix(), file.suffix), file)
        else:
            content = png_of(plot if path is None else path, "plot" if path is None else "path")
            stored = self.upload_file(_unique(name, ".png"), io.BytesIO(content))
        self._log_artifact(SeriesClass.IMAGE, name, next(iter(stored.artifacts)), description)

    def log_media(
        self,
        name: str,
        data: Any,
        step: int | None = None,
        *,
        caption: str | None = None,
        description: str = "",
    ) -> None:
        """Log pictures, sounds, films, pages, figures, 3-D objects or files, one or several at one step.

        It returns when the bytes are kept in the home: whoever delivers them needs the service, the call does not. The same
        bytes are stored once a run. With the disk full there is a warning, and the training continues.

        Args:
            name: the name of the series.
            data: one of `runstream.media`, a path, bytes, a matplotlib figure (kept as a picture), PIL image, array
                (picture), figure of Plotly or Altair; or a list of up to 1,000 of these.
            step: place in the series; default: one more than the last.
            caption: the caption of all that have none of their own.
            description: what the series is, as of `log`.

        Raises:
            UserErrorException: what is no medium or broken, or a step that is no integer. Nothing is logged then.
            FileNotFoundError: there is no such file.
            LimitExceeded: a name or step that cannot be held.
        """
        check_name("media name", name)
        number = None if step is None else convert_step(name, step)
        contents = contents_of(name, data, caption)
        writer = self._live().writer
        texts = []
        try:
            for place, content in enumerate(contents):
                with content.open() as source:
                    sha256, size = media_outbox.keep(self._settings, self._id, source, content.content_type)
                medium = Medium(
                    content.type,
                    content.content_type,
                    size,
                    sha256,
                    place,
                    content.caption,
                    content.file_name,
                )
                texts.append(encode_medium(medium))
        except OSError as error:
            _log.warning(
                "run %s: %r is not logged: it cannot be kept in the home (%s)", self._id, name, error
            )
            writer.count_dropped(len(contents))
            return
        writer.typed(SeriesClass.MEDIA, name, texts, number)
        writer.describe(name, description)

    def log_confusion_matrix(self, name: str, value: Mapping[str, Any] | str, description: str = "") -> None:
        """Log a confusion matrix.

        Args:
            name: the name of the metric, and path of its file among the run's.
            value: `{"schema_type": "confusion_matrix", "schema_version", "data": {"class_labels", "matrix"}}`, or
                that as JSON text; kept as it is.
            description: what it is, as of `log`.

        Raises:
            UserErrorException: text that is not JSON.
            AzureMLException: neither text nor a dictionary; or the name is taken by another file.
            ServiceException: the service is away.
        """
        self._log_json(SeriesClass.CONFUSION_MATRIX, name, value, description)

    def log_accuracy_table(self, name: str, value: Mapping[str, Any] | str, description: str = "") -> None:
        """Log an accuracy table (`probability_tables`, `percentile_tables` ...); as `log_confusion_matrix`."""
        self._log_json(SeriesClass.ACCURACY_TABLE, name, value, description)

    def log_residuals(self, name: str, value: Mapping[str, Any] | str, description: str = "") -> None:
        """Log a histogram of residuals (`bin_edges`, `bin_counts`); as `log_confusion_matrix`."""
        self._log_json(SeriesClass.RESIDUALS, name, value, description)

    def log_predictions(self, name: str, value: Mapping[str, Any] | str, description: str = "") -> None:
        """Log binned predictions (`bin_averages`, `bin_errors`, `bin_counts`, `bin_edges`); as `log_confusion_matrix`."""
        self._log_json(SeriesClass.PREDICTIONS, name, value, description)

    def _log_json(self, kind: SeriesClass, name: str, value: Any, description: str) -> None:
        stored = self.upload_file(name, io.BytesIO(_json(value)))
        self._log_artifact(kind, name, next(iter(stored.artifacts)), description)

    def _log_artifact(self, kind: SeriesClass, name: str, path: str, description: str) -> None:
        writer = self._live().writer
        writer.artifact(kind, name, f"aml://artifactId/ExperimentRun/dcid.{self._id}/{path}")
        writer.describe(name, description)


def _json(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError as error:
            raise UserErrorException(f"Invalid JSON provided: {error}; mend it") from None
        return value.encode()
    if not isinstance(value, Mapping):
        raise AzureMLException(
            f"Value of type {type(value).__name__} is not supported; pass a dictionary or JSON text"
        )
    try:
        return json.dumps(value, default=_plain).encode()
    except (RecursionError, ValueError) as error:  # nested too deep, or holding itself
        raise UserErrorException(f"the value cannot be written as JSON: {error}; convert it first") from None


def _plain(value: Any) -> Any:
    """Numpy's arrays and scalars as JSON can hold them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise AzureMLException(
        f"Value of type {type(value).__name__} is not supported in a JSON metric: {brief(value)}; "
        "convert it to a text or number"
    )


def _unique(name: str, suffix: str) -> str:
    """A name no other image has: the seconds alone would not tell two of one second apart."""
    return f"{name}_{int(time.time())}_{os.getpid()}_{next(_number)}{suffix}"
