"""Runs of other tools that are read as a whole, and not followed: what a reader of one gives, and who takes it over."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.series import SeriesClass

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one series, in order of logging; a series may come in several of them, one after the other.

    Attributes:
        name: the series.
        steps: their steps.
        times: microseconds since the epoch; None: not known, and the run's start is written.
        values: numbers, or a list of texts.
    """

    name: str
    steps: NDArray[np.int64]
    times: NDArray[np.int64] | None
    values: NDArray[Any] | list[str]

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a series that is no metric holds at one step.

    Attributes:
        cls: media or histograms.
        name: the series.
        step: the step.
        time: microseconds since the epoch.
        count: how many there are.
        read: gives the one of a place: the text of a histogram, or one of `runstream.media`; it is called for those
            only that are not here. A ValueError, or an error of ours, says why one cannot be taken over.
    """

    cls: SeriesClass
    name: str
    step: int
    time: int
    count: int
    read: Callable[[int], Any]


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A file of a run.

    Attributes:
        path: its name among the run's files.
        size: bytes.
        open: gives its bytes, from the beginning; they can be read again.
        local: it lies on this machine, and is compared byte for byte with what is stored; else by its size.
    """

    path: str
    size: int
    open: Callable[[], IO[bytes]]
    local: bool = True

    def sha256(self) -> str:
        """The digest of its bytes, as hexadecimal digits."""
        digest = hashlib.sha256()
        with self.open() as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()


def no_points() -> Iterator[Points]:
    """Nothing."""
    return iter(())


def nothing_shown() -> Iterator[Shown]:
    """Nothing."""
    return iter(())


def no_files() -> Iterator[ForeignFile]:
    """Nothing."""
    return iter(())


@dataclass(slots=True)
class ForeignRun:
    """A run as another tool has it.

    Attributes:
        run_id: its id there, which it keeps where it can.
        experiment: the name of its experiment.
        name: what it is called.
        started, ended: seconds since the epoch; ended None: it has not.
        ending: `complete`, `fail`, `cancel`; None: it has not ended.
        parent: the id of the run above it, as it is there.
        description: what is said about it.
        params: its parameters.
        tags: its tags.
        properties: further facts, none of which changes.
        points: reads its series: all parts of a name one after the other, numbers and texts alike.
        shown: reads its media and histograms: all steps of a name one after the other.
        files: reads its files.
        archived: it is put away there.
        left_out: reason to number of what cannot be taken over; reading adds to it.
    """

    run_id: str
    experiment: str
    name: str
    started: float
    ended: float | None = None
    ending: str | None = None
    parent: str | None = None
    description: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str | None] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    points: Callable[[], Iterator[Points]] = no_points
    shown: Callable[[], Iterator[Shown]] = nothing_shown
    files: Callable[[], Iterator[ForeignFile]] = no_files
    archived: bool = False
    left_out: Counter[str] = field(default_factory=Counter)


class ForeignStore(Protocol):
    """What is taken over.

    Attributes:
        tool: the tool's name.
        place: where it is, for reports.
    """

    tool: str
    place: str

    def total(self) -> int:
        """How many values there are, as far as that is known without reading them."""

    def runs(self) -> Iterator[ForeignRun]:
        """The runs, those above others first."""

    def close(self) -> None:
        """Give back what it holds open."""
