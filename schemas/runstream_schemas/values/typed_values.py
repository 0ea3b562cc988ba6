"""Series whose values are more than a scalar: they travel as texts, and have columns of their own in files.

So a histogram goes the way of any point (spool, events, hot tier), in order and exactly once; what differs is the table
it is written to, and how it is read back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from ..errors import CorruptEvent
from ..parquet.arrow import SCHEMAS
from ..series import SeriesClass, SeriesKey
from .histograms import Histogram, decode_histogram, encode_histogram
from .media import Medium, decode_medium, encode_medium


@dataclass(frozen=True, slots=True)
class TypedKind:
    """A kind of file for the values of one class of series.

    Attributes:
        cls: the class.
        names: the names of the columns behind `time`.
        columns: those columns, of texts.
        texts: those texts, of a table that has the columns.
    """

    cls: SeriesClass
    names: tuple[str, ...]
    columns: Callable[[Sequence[str]], list[pa.Array]]
    texts: Callable[[pa.Table], list[str]]


_HISTOGRAM: Final = tuple(Histogram.__dataclass_fields__)


def _histogram_columns(texts: Sequence[str]) -> list[pa.Array]:
    return _columns("histograms", _HISTOGRAM, texts, decode_histogram)


def _histogram_texts(table: pa.Table) -> list[str]:
    return _texts(table, _HISTOGRAM, lambda values: encode_histogram(Histogram(**values)))


def _columns(
    kind: str, names: Sequence[str], texts: Sequence[str], decode: Callable[[str], Any]
) -> list[pa.Array]:
    """The columns `names`, and `text` of what cannot be decoded: nothing that was logged is lost."""
    decoded: list[Any] = []
    odd: list[str | None] = []
    for text in texts:
        try:
            decoded.append(decode(text))
            odd.append(None)
        except CorruptEvent:
            decoded.append(None)
            odd.append(text)
    schema = SCHEMAS[kind]
    return [
        *(
            pa.array([getattr(value, name, None) for value in decoded], schema.field(name).type)
            for name in names
        ),
        pa.array(odd, schema.field("text").type),
    ]


def _texts(table: pa.Table, names: Sequence[str], encode: Callable[[dict[str, Any]], str]) -> list[str]:
    columns = [table.column(name).to_pylist() for name in names]
    return [
        encode(dict(zip(names, values, strict=True))) if odd is None else odd
        for odd, *values in zip(table.column("text").to_pylist(), *columns, strict=True)
    ]


_MEDIUM: Final = (*Medium.__dataclass_fields__, "path")


def _media_columns(texts: Sequence[str]) -> list[pa.Array]:
    return _columns("media", _MEDIUM, texts, decode_medium)


def _media_texts(table: pa.Table) -> list[str]:
    return _texts(table, _MEDIUM[:-1], lambda values: encode_medium(Medium(**values)))


TYPED: Final = {
    "histograms": TypedKind(
        SeriesClass.HISTOGRAM, (*_HISTOGRAM, "text"), _histogram_columns, _histogram_texts
    ),
    "media": TypedKind(SeriesClass.MEDIA, (*_MEDIUM, "text"), _media_columns, _media_texts),
}
"""By kind of file."""

TYPED_CLASSES: Final = {int(typed.cls): kind for kind, typed in TYPED.items()}
"""The kind of file of each class that has one."""


RARE_CLASSES: Final = {
    **TYPED_CLASSES,
    int(SeriesClass.SYSTEM): "system",
    int(SeriesClass.FORMER): "former",
}
"""Classes that few runs have, with their kind of file: none is begun where no run has any."""


_WITH_COLUMN: Final = {
    "tables": ("column", SeriesClass.TABLE),
    "system": ("node", SeriesClass.SYSTEM),
    "former": ("branch", SeriesClass.FORMER),
}


def second_key(kind: str) -> str:
    """The column of a kind of file that, beside run and name, tells its series apart."""
    return _WITH_COLUMN[kind][0] if kind in _WITH_COLUMN else "cls"


def series_key(kind: str, name: str, second: Any) -> SeriesKey:
    """The series of a row.

    Args:
        kind: the kind of file.
        second: what stands in the column `second_key`.
    """
    if kind in _WITH_COLUMN:
        return SeriesKey(_WITH_COLUMN[kind][1], name, second)
    return SeriesKey(second, name)


def kind_of_class(cls: int) -> str:
    """The kind of file in which a class of series lies."""
    return "tables" if cls == SeriesClass.TABLE else RARE_CLASSES.get(cls, "metrics")
