"""From what a script logs to what is recorded: numbers and texts by flat names, media that are kept, histograms, tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from runstream_schemas.series import SeriesClass
from runstream_schemas.values.media import MAX_CAPTION, Medium, encode_medium

from .. import media
from ..client import media_outbox
from ..core._run.media_contents import contents_of
from ..core.run import Run
from ..exceptions import UserErrorException
from .chart_specs import vega_lite_of
from .data_types import Figure, Histogram, Image, Media, Plotly, Table
from .json_values import MOST_ELEMENTS, as_array, config_value, is_array, list_value, plain
from .mapping import STEP_COLUMN, cell, histogram_text
from .plot import CustomChart

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Typed:
    """Values of a series that is no plain metric; `summary` is what the summary says of them; None: nothing."""

    cls: SeriesClass
    texts: list[str]
    summary: Any


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table, by column; `summary` is what the summary says of them."""

    columns: dict[str, list[Any]]
    summary: Any


@dataclass(frozen=True, slots=True)
class Listed:
    """A list, which is recorded as its JSON text; the summary has it as it is."""

    text: str
    summary: Any


Value = bool | int | float | str | Typed | Rows | Listed | None


def recorded(run: Run, data: Mapping[str, Any], step: int, prefix: Path = ()) -> Iterator[tuple[Path, Value]]:
    """What is recorded of a dictionary that is logged: paths and values.

    Args:
        run: keeps the bytes of media.
        data: what is logged.
        step: the step it is logged at.
        prefix: keys around it.

    Raises:
        TypeError: a value that W&B cannot log either.
        UserErrorException: a medium that is none.
    """
    for key, value in data.items():
        path = (*prefix, str(key))
        if isinstance(value, Mapping):
            yield from recorded(run, value, step, path)
        elif isinstance(value, CustomChart):
            yield from _chart(run, ".".join(path), value, step)
        else:
            made = value_of(run, ".".join(path), value, step)
            if isinstance(made, dict):
                yield from recorded(run, made, step, path)
            else:
                yield path, made


def value_of(run: Run, name: str, value: Any, step: int) -> Value | dict[str, Any]:
    """What is recorded of one value; a dictionary is one of further values."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value if value is None or type(value) in (bool, int, float, str) else _bare(value)
    if isinstance(value, Table) or hasattr(value, "iloc"):
        return _table(value if isinstance(value, Table) else Table(dataframe=value), step)
    if isinstance(value, Histogram):
        return _histogram(value)
    if isinstance(value, Media):
        return _media(run, name, [value])
    module = type(value).__module__
    if module.startswith(("matplotlib.", "plotly.")):
        return _media(run, name, [Plotly(value)])
    if isinstance(value, (list, tuple, range)):
        return _list(run, name, list(value))
    if isinstance(value, Enum):
        return value_of(run, name, value.value, step)
    value = plain(value)
    if is_array(value) and value.size > MOST_ELEMENTS:
        return _histogram(Histogram(value, num_bins=32))
    if isinstance(value, (list, Mapping, bool, int, float, str)):
        return dict(value) if isinstance(value, Mapping) else value_of(run, name, value, step)
    made = list_value(value)
    return made if isinstance(made, dict) else _listed(made)


def _bare(value: Any) -> bool | int | float | str:
    """A value of a class of its own as one of the class it is derived from, such as a `numpy.float64`."""
    if isinstance(value, Enum):
        return _bare(value.value) if isinstance(value.value, (bool, int, float, str)) else str(value)
    kind = next(kind for kind in (bool, int, float, str) if isinstance(value, kind))
    return kind(value)


def _list(run: Run, name: str, values: Sequence[Any]) -> Value:
    if values and all(isinstance(value, Media) for value in values):
        return _media(run, name, values)
    return _listed(list_value(values))


def _listed(values: Any) -> Listed:
    return Listed(json.dumps(values, ensure_ascii=False), values)


def _histogram(histogram: Histogram) -> Value:
    counts, edges = [int(count) for count in histogram.histogram], [float(edge) for edge in histogram.bins]
    summary = {"_type": "histogram", "values": counts, "bins": edges}
    try:
        return Typed(SeriesClass.HISTOGRAM, [histogram_text(counts, edges)], summary)
    except ValueError:
        # All values are equal, which the edges do not say: a bin around them.
        if len(edges) == 2 and edges[0] == edges[1]:
            return _histogram(Histogram(np_histogram=(counts, [edges[0] - 0.5, edges[0] + 0.5])))
        raise


def _table(table: Table, step: int) -> Rows:
    names = [str(name) for name in table.columns]
    rows = table.unlogged()
    summary = {"_type": "table-file", "ncols": len(names), "nrows": len(table.data)}
    if not rows or not names:
        return Rows({}, summary)
    if len(set(names)) != len(names) or not all(names):
        raise UserErrorException(f"Table: expected columns with names of their own, got {names!r:.200}")
    columns = {name: [_cell(row[place]) for row in rows] for place, name in enumerate(names)}
    return Rows(columns if STEP_COLUMN in columns else {STEP_COLUMN: [step] * len(rows), **columns}, summary)


def _chart(run: Run, name: str, chart: CustomChart, step: int) -> Iterator[tuple[Path, Value]]:
    """A chart is its table, at the top as W&B has it, and a figure. The table may have been logged by itself before."""
    rows = _table(Table(columns=chart.table.columns, data=chart.table.data), step)
    yield (chart.table_name(name),), rows
    if (figure := vega_lite_of(chart.spec, rows.columns)) is not None:
        yield (name,), replace(_media(run, name, [Figure(figure)]), summary=None)


def _cell(value: Any) -> Any:
    if isinstance(value, (Media, Histogram, Table)):
        return cell({"_type": value._type, "caption": getattr(value, "caption", None)})
    if isinstance(value, float):  # NaN is a value of a table, and none of a configuration
        return float(value)
    value = as_array(value)
    return cell(value.tolist() if is_array(value) else config_value(value))


def _media(run: Run, name: str, values: Sequence[Any]) -> Typed:
    """Keep the bytes of media in the home, at once: what the script does with them afterwards changes nothing."""
    texts, summary = [], []
    for place, value in enumerate(values):
        medium = value.medium()
        try:
            content = contents_of(name, medium, None)[0]
        except UserErrorException:
            if not isinstance(medium, (media.Object3D, media.Video)):
                raise
            content = contents_of(name, media.File(medium.data, medium.caption), None)[0]
        with content.open() as source:
            settings = run.experiment.workspace._settings
            sha256, size = media_outbox.keep(settings, run.id, source, content.content_type)
        caption = content.caption[:MAX_CAPTION] if content.caption else None
        described = Medium(
            content.type, content.content_type, size, sha256, place, caption, content.file_name
        )
        texts.append(encode_medium(described))
        summary.append({"_type": value._type, "sha256": sha256, "size": size, "caption": caption})
    several = {
        "_type": "images/separated" if isinstance(values[0], Image) else f"{values[0]._type}s",
        "count": len(values),
    }
    return Typed(SeriesClass.MEDIA, texts, summary[0] if len(values) == 1 else several)
