"""Calls of `SummaryWriter` that scripts make now and then: figures, videos, sounds, meshes, embeddings, graphs, layouts."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..exceptions import UserErrorException
from . import encoding
from .destinations import FileDestination, RunDestination, step_of
from .names import LAYOUT_FILE
from .pictures import animated_png, as_array, png, to_pixels, video_frames, wav


class Extras:
    """The calls of `SummaryWriter` that are seldom used. What it records are media, or files of the run."""

    _to_run: RunDestination
    _to_files: FileDestination | None

    def add_figure(
        self,
        tag: str,
        figure: Any,
        global_step: Any = None,
        close: bool = True,
        walltime: float | None = None,
    ) -> None:
        """Record figures of matplotlib as images.

        Args:
            figure: one, or a list of them.
            close: them afterwards.
        """
        figures = figure if isinstance(figure, list) else [figure]
        for each in figures:
            stream = io.BytesIO()
            each.savefig(stream, format="png")
            content = stream.getvalue()
            width, height = struct.unpack(">II", content[16:24])
            self._image(tag, content, (height, width, 4), global_step, walltime)
        if close:
            from matplotlib import pyplot

            for each in figures:
                pyplot.close(each)

    def _image(
        self,
        tag: str,
        content: bytes,
        shape: tuple[int, int, int],
        global_step: Any,
        walltime: float | None,
    ) -> None:
        step = step_of(tag, global_step)
        self._to_run.medium(tag, content, step, walltime)
        if self._to_files is not None:
            self._to_files.values([encoding.image_value(tag, *shape, content)], step, walltime)

    def add_video(
        self,
        tag: str,
        vid_tensor: Any,
        global_step: Any = None,
        fps: float = 4,
        walltime: float | None = None,
    ) -> None:
        """Record videos as an animated PNG.

        Args:
            vid_tensor: a tensor of shape (batch, time, channels, height, width); a batch is shown side by side.
            fps: frames a second.
        """
        frames = video_frames(vid_tensor)
        height, width, channels = frames.shape[1:]
        self._image(tag, animated_png(frames, fps), (height, width, channels), global_step, walltime)

    def add_audio(
        self,
        tag: str,
        snd_tensor: Any,
        global_step: Any = None,
        sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:
        """Record a sound of one channel, with numbers from -1 to 1, as WAV."""
        step = step_of(tag, global_step)
        content, samples = wav(snd_tensor, sample_rate)
        self._to_run.medium(tag, content, step, walltime)
        if self._to_files is not None:
            value = encoding.audio_value(tag, sample_rate, 1, samples, content)
            self._to_files.values([value], step, walltime)

    def add_graph(
        self, model: Any, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True
    ) -> None:
        """Say that graphs of models are not stored. `Run.upload_file` keeps an exported model."""
        self._to_run.say(
            "graph", "add_graph: graphs are not stored; export the model and use Run.upload_file"
        )

    def add_onnx_graph(self, prototxt: Any) -> None:
        """Store an ONNX model as a file of the run; it is not drawn."""
        with open(prototxt, "rb") as stream:
            self._to_run.file_of("graph", stream.read(), "model.onnx", None, None)

    def add_embedding(
        self,
        mat: Any,
        metadata: Sequence[Any] | None = None,
        label_img: Any = None,
        global_step: Any = None,
        tag: str = "default",
        metadata_header: Sequence[str] | None = None,
    ) -> None:
        """Store points of many dimensions as files the embedding projector takes; event files have no part in it.

        Args:
            mat: a matrix of shape (points, dimensions).
            metadata: a label a point, or, with `metadata_header`, a list of them.
            label_img: an image a point, of shape (points, channels, height, width).

        Raises:
            UserErrorException: shapes that do not fit.
        """
        points, step = as_array(mat), step_of(tag, global_step)
        if points.ndim != 2 or (metadata is not None and len(metadata) != len(points)):
            raise UserErrorException(
                f"add_embedding: mat of shape {points.shape} and {len(metadata or ())} labels; expected (points, "
                "dimensions), and a label a point"
            )
        lines = ["\t".join(map(repr, row)) for row in points.astype(float).tolist()]
        self._store_lines(tag, lines, "tensors.tsv", step)
        if metadata is not None:
            labels = [list(label) if metadata_header else [label] for label in metadata]
            rows = [*([list(metadata_header)] if metadata_header else []), *labels]
            texts = [
                "\t".join(str(cell).replace("\t", " ").replace("\n", " ") for cell in row) for row in rows
            ]
            self._store_lines(tag, texts, "metadata.tsv", step)
        if label_img is not None:
            content = png(to_pixels(label_img, "NCHW"))
            self._to_run.file_of(f"embeddings/{tag}", content, "sprite.png", step, None)

    def _store_lines(self, tag: str, lines: Sequence[str], ending: str, step: int | None) -> None:
        content = "".join(f"{line}\n" for line in lines).encode()
        self._to_run.file_of(f"embeddings/{tag}", content, ending, step, None)

    def add_mesh(
        self,
        tag: str,
        vertices: Any,
        colors: Any = None,
        faces: Any = None,
        config_dict: Mapping[str, Any] | None = None,
        global_step: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Record meshes or clouds of points as 3-D objects (PLY); event files have no part in it.

        Args:
            vertices: an array of shape (batch, points, 3).
            colors: an array of shape (batch, points, 3), 0 to 255.
            faces: an array of shape (batch, triangles, 3): numbers of vertices.

        Raises:
            UserErrorException: shapes that do not fit.
        """
        points, step = as_array(vertices), step_of(tag, global_step)
        paint = None if colors is None else as_array(colors)
        triangles = None if faces is None else as_array(faces)
        parts = [part for part in (points, paint, triangles) if part is not None]
        if any(part.ndim != 3 or part.shape[2] != 3 or len(part) != len(points) for part in parts):
            raise UserErrorException(
                f"add_mesh({tag!r:.60}): arrays of shapes {[part.shape for part in parts]}; expected (batch, n, 3) each"
            )
        for place in range(len(points)):
            colors_here = None if paint is None else paint[place]
            content = _ply(points[place], colors_here, None if triangles is None else triangles[place])
            self._to_run.medium(tag, content, step, walltime)

    # --- layouts ---

    def add_custom_scalars(self, layout: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        """Store which metrics are to be shown in one chart.

        Args:
            layout: category to charts: name to `["Multiline", tags]`, or `["Margin", [value, lower, upper]]`.

        Raises:
            UserErrorException: a chart of another kind.
        """
        categories = [
            {
                "title": title,
                "chart": [_chart(name, chart) for name, chart in charts.items()],
                "closed": False,
            }
            for title, charts in layout.items()
        ]
        document = {"version": 0, "category": categories}
        self._to_run.file(LAYOUT_FILE, json.dumps(document, indent=1, ensure_ascii=False).encode())
        if self._to_files is not None:
            self._to_files.values([encoding.layout_value(document)], None, None)

    def add_custom_scalars_multilinechart(
        self, tags: Sequence[str], category: str = "default", title: str = "untitled"
    ) -> None:
        """Store that these metrics are to be shown in one chart."""
        self.add_custom_scalars({category: {title: ["Multiline", tags]}})

    def add_custom_scalars_marginchart(
        self, tags: Sequence[str], category: str = "default", title: str = "untitled"
    ) -> None:
        """Store that three metrics are to be shown as one with a margin: value, lower and upper end."""
        self.add_custom_scalars({category: {title: ["Margin", tags]}})


def _chart(title: str, chart: Sequence[Any]) -> dict[str, Any]:
    kind, tags = chart[0], list(chart[1])
    if kind == "Multiline":
        return {"title": title, "multiline": {"tag": tags}}
    if kind == "Margin" and len(tags) == 3:
        series = dict(zip(("value", "lower", "upper"), tags, strict=True))
        return {"title": title, "margin": {"series": [series]}}
    raise UserErrorException(
        f"add_custom_scalars: chart {title!r:.60}: expected ['Multiline', tags] or ['Margin', [value, lower, upper]]"
    )


def _ply(points: Any, colors: Any, faces: Any) -> bytes:
    """A mesh in the text form of PLY."""
    head = ["ply", "format ascii 1.0", f"element vertex {len(points)}"]
    head += [f"property float {axis}" for axis in "xyz"]
    rows = [" ".join(map(repr, row)) for row in points.astype(float).tolist()]
    if colors is not None:
        head += [f"property uchar {name}" for name in ("red", "green", "blue")]
        paint = np.clip(colors, 0, 255).astype(int).tolist()
        rows = [f"{row} {' '.join(map(str, numbers))}" for row, numbers in zip(rows, paint, strict=True)]
    if faces is not None:
        head += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        rows += [f"3 {' '.join(map(str, numbers))}" for numbers in faces.astype(int).tolist()]
    return "\n".join([*head, "end_header", *rows, ""]).encode()
