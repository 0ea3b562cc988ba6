"""What can be logged beside numbers: pictures, sounds, films, pages, figures, 3-D objects, any file.

    >>> run.log_media("samples", [runstream.media.Image(array, caption="a cat"), "other.png"], step=3)
    >>> run.log_media("speech", runstream.media.Audio(samples, rate=16_000))

Each is looked at before it is taken: what is no picture, or breaks off, is an error of the call and not of a page later.
Nothing heavy is imported; matplotlib, PIL, plotly and altair are known by what they have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Audio", "File", "Html", "Image", "Object3D", "Plotly", "Text", "Vega", "Video"]


@dataclass(slots=True)
class Image:
    """A picture.

    Attributes:
        data: path or bytes of a png, jpeg, gif, bmp, tiff, webp or svg file; a matplotlib figure, a PIL image, or an array
            (height, width[, 1 to 4]) of numbers up to 255, floats from 0 to 1.
        caption: a caption for people.
    """

    data: Any
    caption: str | None = None


@dataclass(slots=True)
class Audio:
    """A sound.

    Attributes:
        data: path or bytes of a wav, mp3, ogg, flac or m4a file; or samples in an array (frames[, channels]): floats from -1
            to 1, or 16-bit integers.
        caption: a caption for people.
        rate: frames a second of an array.
    """

    data: Any
    caption: str | None = None
    rate: int = 44_100


@dataclass(slots=True)
class Video:
    """A film: path or bytes of an mp4, webm, ogg or avi file, or a moving gif."""

    data: Any
    caption: str | None = None


@dataclass(slots=True)
class Html:
    """A page: its text, or the path (a `pathlib.Path`) of its file. It is shown without its scripts."""

    data: Any
    caption: str | None = None


@dataclass(slots=True)
class Text:
    """A text, or the path (a `pathlib.Path`) of its file."""

    data: Any
    caption: str | None = None


@dataclass(slots=True)
class Object3D:
    """A mesh or point cloud.

    Attributes:
        data: path or bytes of a glb, gltf (with everything inside), obj, ply or stl file; or points in an array (n, 3), with
            colours up to 255 (n, 6).
        caption: a caption for people.
    """

    data: Any
    caption: str | None = None


@dataclass(slots=True)
class Plotly:
    """A figure of Plotly, its dictionary, or its JSON text."""

    data: Any
    caption: str | None = None


@dataclass(slots=True)
class Vega:
    """A chart of Altair, or a Vega or Vega-Lite specification as a dictionary or JSON text."""

    data: Any
    caption: str | None = None


@dataclass(slots=True)
class File:
    """Any file: path, bytes, or an open stream of bytes."""

    data: Any
    caption: str | None = None
