"""What a series is: its class, its name, and the kinds of value a point can have."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class SeriesClass(IntEnum):
    """What a series holds; the numbers are stored and sent, so they never change meaning."""

    METRIC = 0
    TABLE = 1  # one column of a named table; a point's step is its row
    IMAGE = 2  # this and the following: text values naming an artifact
    CONFUSION_MATRIX = 3
    ACCURACY_TABLE = 4
    RESIDUALS = 5
    PREDICTIONS = 6
    HISTOGRAM = 7  # text values: `runstream_schemas.values.histograms`
    MEDIA = 8  # text values: `runstream_schemas.values.media`
    SYSTEM = 9  # what a machine was doing for a run; the column is the name of the machine
    FORMER = 10  # points of a metric that a rewind has cut off; the column is the number of their branch


APART = frozenset(
    {SeriesClass.TABLE, SeriesClass.HISTOGRAM, SeriesClass.MEDIA, SeriesClass.SYSTEM, SeriesClass.FORMER}
)
"""Those that do not lie in files of metrics, but of a kind of their own."""

FIRST_CLASSES = tuple(range(SeriesClass.HISTOGRAM))
"""Those that `Run.get_metrics` has; the others are read by calls of their own."""


class Kind(IntEnum):
    """Type of a value. Values are 64 bits wide but for TEXT; the numbers are stored and sent."""

    FLOAT = 0
    INT = 1
    BOOL = 2
    TEXT = 3
    NULL = 4


class SeriesKey(NamedTuple):
    """Identity of a series within a run. A tuple: batches of a hundred thousand series look each up.

    Attributes:
        cls: a `SeriesClass`.
        name: the user's name, kept byte for byte (any unicode, up to `limits.MAX_NAME_BYTES` of UTF-8).
        column: column of a table; the machine a system metric is of; the branch of a former point; empty for all others.
    """

    cls: int
    name: str
    column: str = ""
