"""The search box's language: words and comparisons, all of which must hold.

ridge "two words"          in the name, id, experiment, description or a tag's value (any case)
status:running,failed      one of these statuses (any case)
experiment:NAME  type:NAME  target:NAME  parent:RUN_ID|none  run:ID,ID
tag:key  tag:key=value     has the tag (with that value); property: the same
tag:lr<=0.01               the tag is such a number; property: likewise
param:lr<=0.01             the parameter is such a number
param:opt=adam             it is that text, number or truth (also !=); param:opt has the parameter
loss<0.1  val/loss.min<=2  comparison (also =, !=) with a metric's last (default), min, max, mean, first or count
"epoch time".max>5         a name with spaces in quotes
since:7d  since:2026-01-31 started within that time, or since then; before: likewise
longer:1h  shorter:90s     took longer or shorter than that, or takes so long already
is:archived  is:any        archived runs only; archived ones too
-status:failed  -ridge     a minus in front: what follows must not hold
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from runstream_schemas.errors import QueryError
from runstream_schemas.runs.status import STATUSES

from ..queries import LABELS
from .run_filter import ANY, LabelFilter, MetricFilter, RunFilter
from .run_order import STATS

_PART = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_COMPARISON = re.compile(
    r'(?P<left>(?:"(?:[^"\\]|\\.)*"|[^"<>=!]|!(?!=))*)(?P<operator><=|>=|!=|==|<|>|=)(?P<value>.*)', re.DOTALL
)
_FIELD = re.compile(r"[A-Za-z_]+:(?!//)")
_AGO = re.compile(r"(\d+)([mhdw])")
_LABEL = re.compile(
    r'(?P<key>(?:"(?:[^"\\]|\\.)*"|[^"<>=!]|!(?!=))+)'
    r"(?P<operator><=|>=|!=|==|<|>|=)(?P<value>.*)",
    re.DOTALL,
)
_LENGTH = re.compile(r"(\d+(?:\.\d*)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_STATUS_BY_WORD = {name.lower(): name for name in STATUSES} | {"done": "Completed", "cancelled": "Canceled"}


def search(text: str, filters: RunFilter | None = None, *, now: datetime | None = None) -> RunFilter:
    """Narrow a filter by what was typed.

    Args:
        text: see the module.
        filters: what has to hold besides.
        now: what `since:7d` counts from; None: the present.

    Raises:
        QueryError: a part that cannot be understood, with what was expected.
    """
    result = filters or RunFilter()
    # What no text of Postgres can hold: NUL, and halves of surrogate pairs.
    text = text.replace("\0", " ").encode(errors="replace").decode()
    if '"' in _PART.sub("", text):
        raise QueryError(f'{text!r:.80}: a quote is not closed; within quotes a quote is written \\"')
    for part in _PART.findall(text):
        result = _narrow(result, part, now or datetime.now(UTC))
    return result


def _narrow(filters: RunFilter, part: str, now: datetime) -> RunFilter:
    if len(part) > 1 and part.startswith("-"):
        unwanted = _narrow(RunFilter(archived=None), part[1:], now)
        return replace(filters, without=[*filters.without, unwanted])
    if part.startswith('"') and _QUOTED.fullmatch(part):
        return replace(filters, words=[*filters.words, _plain(part)])
    key, colon, rest = part.partition(":")
    if colon and key in _FIELDS:
        if not rest:
            raise QueryError(
                f"{part!r:.80}: something is missing after the colon; write it there, or take the colon away"
            )
        if key in LABELS:
            return _label(filters, key, rest)
        changed: RunFilter = _FIELDS[key](filters, _plain(rest), now)
        return changed
    compared = _COMPARISON.fullmatch(part)
    if compared is not None:
        name, _, stat = compared["left"].rpartition(".")
        if stat not in STATS or not name:
            name, stat = compared["left"], "last"
        if not _plain(name):
            raise QueryError(f"{part!r:.80}: the name of a metric is missing before {compared['operator']}")
        try:
            value = float(compared["value"])
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise QueryError(
                f"{part!r:.80}: {compared['value']!r:.40} is no number; use quotes to look for it as a text"
            )
        metric = MetricFilter(_plain(name), stat, compared["operator"].replace("==", "="), value)
        return replace(filters, metrics=[*filters.metrics, metric])
    if _FIELD.match(part):
        raise QueryError(
            f"{part!r:.80}: there is no field {key}:; use one of {', '.join(_FIELDS)}, or quotes to look for it as a text"
        )
    return replace(filters, words=[*filters.words, _plain(part)])


def _plain(text: str) -> str:
    return _QUOTED.sub(lambda match: re.sub(r"\\(.)", r"\1", match[1]), text)


def _status(filters: RunFilter, value: str, now: datetime) -> RunFilter:
    names = []
    for word in value.split(","):
        name = _STATUS_BY_WORD.get(word.lower())
        if name is None:
            raise QueryError(f"status:{word:.40}: use one of {', '.join(STATUSES)}")
        names.append(name)
    return replace(filters, status=names)


def _label(filters: RunFilter, kind: str, text: str) -> RunFilter:
    match = _LABEL.fullmatch(text)
    key = _plain(match["key"] if match else text)
    operator = match["operator"] if match else ""
    value = _plain(match["value"]) if match else ""
    if kind == "tag" and operator in ("", "="):  # these have an index
        return replace(filters, tags=[*filters.tags, (key, value if operator else ANY)])
    if kind == "property" and operator in ("", "="):
        return replace(filters, properties=[*filters.properties, (key, value if operator else ANY)])
    compared: Any = value if operator else ANY
    if operator not in ("", "=", "!="):
        try:
            compared = float(value)
        except ValueError:
            raise QueryError(f"{kind}:{text!r:.80}: {value!r:.40} is no number; write one there") from None
        operator = operator.replace("==", "=")
    return replace(filters, labels=[*filters.labels, LabelFilter(kind, key, operator, compared)])


def _moment(value: str, now: datetime) -> datetime:
    if ago := _AGO.fullmatch(value):
        try:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            raise QueryError(f"{value!r:.40} is too long ago; give a later one") from None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise QueryError(f"{value!r:.40} is no time; use e.g. 30m, 12h, 7d, 2w or 2026-01-31") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _length(text: str) -> float:
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise QueryError(f"{text!r:.40} is no duration; use e.g. 90s, 30m, 2h, 1d")
    return float(match[1]) * _SECONDS[match[2]]


def _is(filters: RunFilter, value: str, now: datetime) -> RunFilter:
    states: dict[str, bool | None] = {"archived": True, "any": None, "active": False}
    if value not in states:
        raise QueryError(f"is:{value:.40}: use is:archived or is:any")
    return replace(filters, archived=states[value])


def _ids(text: str) -> Sequence[str]:
    return [part for part in text.split(",") if part]


_FIELDS: dict[str, Any] = {
    "status": _status,
    "experiment": lambda filters, value, now: replace(filters, experiment=value),
    "type": lambda filters, value, now: replace(filters, type=value),
    "target": lambda filters, value, now: replace(filters, target=value),
    "parent": lambda filters, value, now: replace(filters, parent=value),
    "run": lambda filters, value, now: replace(filters, run_ids=_ids(value)),
    **dict.fromkeys(LABELS),
    "longer": lambda filters, value, now: replace(filters, longer=_length(value)),
    "shorter": lambda filters, value, now: replace(filters, shorter=_length(value)),
    "since": lambda filters, value, now: replace(filters, started_from=_moment(value, now)),
    "before": lambda filters, value, now: replace(filters, started_to=_moment(value, now)),
    "is": _is,
}
