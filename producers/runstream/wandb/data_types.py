"""What can be logged beside numbers, under W&B's names and with its arguments."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from .. import media
from ..exceptions import UserErrorException
from .json_values import as_array


class Media:
    """Base of what is kept as a medium.

    Attributes:
        caption: a caption for people.
    """

    _type: ClassVar[str]

    def __init__(self, medium: Any, caption: Any = None) -> None:
        self._medium, self.caption = medium, None if caption is None else str(caption)
        medium.caption = self.caption

    def medium(self) -> Any:
        """The object of `runstream.media`."""
        return self._medium


class Image(Media):
    """A picture: a path, an array or tensor, a PIL image, or a figure of matplotlib.

    Args:
        data_or_path: it; arrays are (height, width[, channels]), tensors of torch (channels, height, width), with values up
            to 255, from 0 to 1 or from -1 to 1.
        mode: that of PIL; accepted, the shape tells it.
        caption: a caption for people.
        grouping, classes, boxes, masks, file_type, normalize: accepted; boxes and masks are not recorded.
    """

    _type = "image-file"

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Any = None,
        boxes: Any = None,
        masks: Any = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        data = data_or_path
        if isinstance(data, Image):
            caption, data = caption if caption is not None else data.caption, data._medium.data
        elif hasattr(data, "gcf"):  # the module pyplot
            data = data.gcf()
        elif not isinstance(data, (str, os.PathLike)):
            data = _pixels(data)
        super().__init__(media.Image(data), caption)


def _pixels(data: Any) -> Any:
    """An array of bytes, if it is an array or tensor, as W&B scales it."""
    of_torch = hasattr(data, "detach")
    data = as_array(data)
    if not (hasattr(data, "ndim") and hasattr(data, "dtype")):
        return data
    import numpy as np

    if data.ndim > 2:
        data = np.moveaxis(data, 0, -1) if of_torch and data.ndim == 3 else data
        data = data.squeeze()
    if not data.size:
        raise UserErrorException("Image: an array without values; give one with a height and a width")
    if data.min() < 0:
        data = (data - data.min()) / (np.ptp(data) or 1)
    if data.dtype != np.bool_ and data.max() <= 1.0:
        data = (data * 255).astype(np.int32)
    return (data * 255 if data.dtype == np.bool_ else data).clip(0, 255).astype(np.uint8)


class Audio(Media):
    """A sound: a path, or samples in an array with their rate."""

    _type = "audio-file"

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        if isinstance(data_or_path, (str, os.PathLike)):
            medium = media.Audio(data_or_path)
        else:
            if sample_rate is None:
                raise ValueError(
                    'Argument "sample_rate" is required when instantiating wandb.Audio with raw data.'
                )
            medium = media.Audio(as_array(data_or_path), rate=sample_rate)
        super().__init__(medium, caption)


class Video(Media):
    """A film: a path, a stream, or frames in an array (time, channels, height, width), which become a GIF by PIL."""

    _type = "video-file"

    def __init__(
        self, data_or_path: Any, caption: str | None = None, fps: int | None = None, format: str | None = None
    ) -> None:
        data = as_array(data_or_path)
        if hasattr(data, "read"):
            data = data.read()
        elif hasattr(data, "ndim"):
            data = _gif(data, fps or 4)
        super().__init__(media.Video(data), caption)


def _gif(frames: Any, fps: int) -> bytes:
    import numpy as np

    try:
        from PIL import Image as Pictures
    except ImportError:
        raise UserErrorException(
            "Video: frames in an array need Pillow: pip install pillow, or give a path"
        ) from None
    if frames.ndim == 5:
        frames = frames[0]
    if frames.ndim != 4:
        raise ValueError("Video must be atleast 4 dimensions: time, channels, height, width")
    frames = np.moveaxis(frames, 1, -1)
    if frames.dtype != np.uint8:
        frames = (frames * 255 if frames.max() <= 1 else frames).clip(0, 255).astype(np.uint8)
    if frames.shape[-1] == 1:
        frames = frames[..., 0]
    pictures = [Pictures.fromarray(frame) for frame in frames]
    stream = io.BytesIO()
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=1000 // fps, loop=0)
    return stream.getvalue()


class Html(Media):
    """A page: its text, the path of an `.html` file, or a stream of it."""

    _type = "html-file"

    def __init__(
        self, data: Any, inject: bool = True, data_is_not_path: bool = False, caption: str | None = None
    ) -> None:
        if hasattr(data, "read"):
            data = data.read()
        elif isinstance(data, os.PathLike) or (
            isinstance(data, str) and not data_is_not_path and data.endswith(".html") and os.path.isfile(data)
        ):
            data = Path(data)
        super().__init__(media.Html(data), caption)


class Object3D(Media):
    """A mesh or point cloud: a path, a stream, points in an array (n, 3 to 6), or a description as a dictionary."""

    _type = "object3D-file"

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> None:
        data = as_array(data_or_path)
        medium: Any
        if hasattr(data, "read"):
            text = data.read()
            medium = media.Object3D(text.encode() if isinstance(text, str) else text)
        elif isinstance(data, Mapping) or (hasattr(data, "shape") and data.shape[-1] not in (3, 6)):
            document = dict(data) if isinstance(data, Mapping) else data.tolist()
            medium = media.File(json.dumps(document, default=lambda array: array.tolist()).encode())
        else:
            medium = media.Object3D(data)
        super().__init__(medium, caption)


class Plotly(Media):
    """A figure of Plotly; one of matplotlib becomes a picture."""

    _type = "plotly-file"

    def __init__(self, val: Any) -> None:
        of_matplotlib = type(val).__module__.startswith("matplotlib.")
        super().__init__(media.Image(val) if of_matplotlib else media.Plotly(val))


class Figure(Media):
    """A figure of Vega-Lite, as `wandb.plot` makes it; W&B has no such type."""

    _type = "vega"

    def __init__(self, specification: Mapping[str, Any]) -> None:
        super().__init__(media.Vega(dict(specification)))


class Molecule(Media):
    """A molecule in a file, or a stream with its format."""

    _type = "molecule-file"

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> None:
        data = data_or_path.read() if hasattr(data_or_path, "read") else data_or_path
        super().__init__(
            media.File(data.encode() if hasattr(data_or_path, "read") and isinstance(data, str) else data),
            caption,
        )


class Histogram:
    """How values are distributed: counts and edges of bins.

    Args:
        sequence: the values.
        np_histogram: counts and edges instead, as `numpy.histogram` returns them.
        num_bins: bins of equal width, at most 512.
    """

    MAX_LENGTH = 512
    _type = "histogram"

    def __init__(self, sequence: Any = None, np_histogram: Any = None, num_bins: int = 64) -> None:
        if np_histogram:
            if len(np_histogram) != 2:
                raise ValueError(
                    "Expected np_histogram to be a tuple of (values, bin_edges) or sequence to be specified"
                )
            counts, edges = np_histogram
        else:
            import numpy as np

            values = (
                [as_array(value) for value in sequence] if isinstance(sequence, list) else as_array(sequence)
            )
            counts, edges = np.histogram(values, bins=num_bins)
        self.histogram: list[Any] = counts.tolist() if hasattr(counts, "tolist") else list(counts)
        self.bins: list[Any] = edges.tolist() if hasattr(edges, "tolist") else list(edges)
        if len(self.histogram) > self.MAX_LENGTH:
            raise ValueError(f"The maximum length of a histogram is {self.MAX_LENGTH}")
        if len(self.histogram) + 1 != len(self.bins):
            raise ValueError("len(bins) must be len(histogram) + 1")


class Table:
    """Rows under columns.

    Args:
        columns: their names; default `Input`, `Output`, `Expected`.
        data: rows, an array of two dimensions, or a frame of pandas.
        rows: older name of `data`.
        dataframe: a frame of pandas, with its columns.
        dtype, optional, allow_mixed_types: accepted; types are not checked.
        log_mode: `IMMUTABLE` (logged once), `MUTABLE` (each log adds all rows), `INCREMENTAL` (each log adds the new rows).
    """

    _type = "table-file"

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: Any = True,
        allow_mixed_types: bool = False,
        log_mode: str | None = "IMMUTABLE",
    ) -> None:
        if log_mode not in ("IMMUTABLE", "MUTABLE", "INCREMENTAL"):
            raise UserErrorException(
                f"Table: log_mode {log_mode!r:.80}: expected IMMUTABLE, MUTABLE or INCREMENTAL"
            )
        frame = dataframe if dataframe is not None else data if hasattr(data, "iloc") else None
        self.log_mode = log_mode
        self.columns: list[Any] = list(
            frame.columns if frame is not None else columns or ["Input", "Output", "Expected"]
        )
        self.data: list[list[Any]] = []
        self._logged_rows = 0
        if frame is not None:
            given = [[frame[name].values[row] for name in frame.columns] for row in range(len(frame))]
        else:
            given = data if data is not None else rows if rows is not None else []
        for row in given:
            self.add_data(*row)

    def add_data(self, *data: Any) -> None:
        """Add a row.

        Raises:
            ValueError: more or fewer values than columns.
        """
        if len(data) != len(self.columns):
            raise ValueError(
                f"This table expects {len(self.columns)} columns: {self.columns}, found {len(data)}"
            )
        self.data.append(list(data))

    def add_column(self, name: str, data: Sequence[Any], optional: bool = False) -> None:
        """Add a column of as many values as there are rows."""
        if self.data and len(data) != len(self.data):
            raise UserErrorException(
                f"Table: column {name!r:.80} has {len(data)} values for {len(self.data)} rows; give as many"
            )
        self.columns.append(name)
        self.data = [[*row, value] for row, value in zip(self.data or [[]] * len(data), data, strict=True)]

    def get_column(self, name: str, convert_to: str | None = None) -> Any:
        """The values of a column; as an array with `convert_to="numpy"`."""
        values = [row[self.columns.index(name)] for row in self.data]
        if convert_to != "numpy":
            return values
        import numpy as np

        return np.array(values)

    def get_index(self) -> list[int]:
        """The numbers of the rows."""
        return list(range(len(self.data)))

    def get_dataframe(self) -> Any:
        """A frame of pandas."""
        import pandas as pd

        return pd.DataFrame(self.data, columns=self.columns)

    def iterrows(self) -> Any:
        """Number and values of each row."""
        return iter(enumerate(self.data))

    def unlogged(self) -> list[list[Any]]:
        """The rows that are to be logged now; they count as logged from then on."""
        if self.log_mode == "MUTABLE":
            return list(self.data)
        rows = (
            self.data[self._logged_rows :] if self.log_mode == "INCREMENTAL" or not self._logged_rows else []
        )
        self._logged_rows = len(self.data)
        return rows
