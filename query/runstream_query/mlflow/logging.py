"""Logging metrics, parameters and tags: one request is one transaction, and what was answered is stored.

A client that got no answer sends its request again, and to clients two equal points are one. So a point is written only if
it is not there: the latest one of each series is known, and tells of every later point that it is new. Points that are not
later are looked for in the history, which is read before the transaction; whether anybody wrote meanwhile is told by
the number of the next slot.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from runstream_schemas.limits import MAX_PARAM_BYTES, TIME_MAX_US
from runstream_schemas.runs.params import KINDS, from_stored, same
from runstream_schemas.runs.recording import NewPoints, Place

from . import runs
from .errors import MlflowError, invalid
from .logged_models import add_metrics
from .names import MOST_KEY, MOST_PARAM, check_key, check_length, inside, wrong_value
from .run_documents import GREATEST, param_value, shown_param
from .scope import Document, Scope
from .sent import Sent

MOST_POINTS, MOST_LABELS, MOST_IN_ALL = 1000, 100, 1000
"""Points, and tags or parameters, of one request: what MLflow's own server takes, and clients send at most."""
MOST_BYTES: Final = 1_000_000
_TRIES: Final = 20

_LATEST: Final = """
select w.series_id, m.last_step, m.last_time, m.last, l.step, l.time_us, l.value
from unnest($2::int8[]) w (series_id)
left join summaries m on m.run_key = $1 and m.series_id = w.series_id and m.kind <= 2
left join latest_points l on l.run_key = $1 and l.series_id = w.series_id
"""
_SET_LATEST: Final = """
insert into latest_points (run_key, series_id, step, time_us, value)
select $1, * from unnest($2::int8[], $3::int8[], $4::int8[], $5::float8[])
on conflict (run_key, series_id) do update set step = excluded.step, time_us = excluded.time_us, value = excluded.value
"""
_FORGET_LATEST: Final = "delete from latest_points where run_key = $1 and series_id = any($2::int8[])"
_PARAMS: Final = "select name, kind, text from params where run_key = $1 and name = any($2::text[])"


class Point(NamedTuple):
    """A point of a metric, in the order in which points are later than others; `rank` is its value as a number."""

    step: int
    time_us: int
    rank: float
    is_nan: bool


@dataclass(frozen=True, slots=True)
class _Latest:
    """The latest point of a series that is stored, and whether it has a row of its own."""

    point: Point | None
    apart: bool


@dataclass(frozen=True, slots=True)
class _History:
    """Points of some series as they were stored when the next slot was `next`."""

    next: int
    points: Mapping[str, frozenset[Point]]


class _LookAgain(Exception):
    """Points have to be looked for in the history of these series."""

    def __init__(self, next_: int, names: Sequence[str]) -> None:
        self.next, self.names = next_, names


async def log_metric(scope: Scope, sent: Sent) -> Document:
    """runs/log-metric."""
    run_id = sent.run_id()
    sent.text("key", needed=True)
    points = {sent.text("key"): [_point(sent, "")]}
    await _log(scope, run_id, points, {}, {}, [sent])
    return {}


async def log_parameter(scope: Scope, sent: Sent) -> Document:
    """runs/log-parameter."""
    run_id, key = sent.run_id(), sent.text("key", needed=True)
    await _log(scope, run_id, {}, _checked_params([sent]) if key else {}, {}, [])
    return {}


async def log_batch(scope: Scope, sent: Sent) -> Document:
    """runs/log-batch."""
    run_id = sent.text("run_id", needed=True)
    plain = _plain_points(sent.values.get("metrics"))
    params, tags = sent.items("params"), sent.items("tags")
    if plain is not None and not params and not tags:
        await _log(scope, run_id, plain, {}, {}, [])
        return {}
    metrics = sent.items("metrics")
    for item in metrics:
        item.text("key", needed=True)
        if not item.has("value"):
            raise item.absent("value")
        if not item.has("timestamp"):
            raise item.absent("timestamp")
    for item in (*params, *tags):
        item.text("key", needed=True)
    _check_many(metrics, params, tags)
    points: dict[str, list[Point]] = {}
    for item in metrics:
        points.setdefault(item.text("key"), []).append(_point(item, item.path))
    labels = runs.checked_tags({tag.text("key"): tag.text("value") for tag in tags}, "tags")
    await _log(scope, run_id, points, _checked_params(params), labels, metrics)
    return {}


def _plain_points(metrics: Any) -> dict[str, list[Point]] | None:
    """The points of a batch in which each is as most are: a name, a finite number, a time and a step, and nothing to be
    refused. None: one is not, and all are looked at field by field, which takes three times as long.
    """
    if type(metrics) is not list or not 0 < len(metrics) <= MOST_POINTS:
        return None
    points: dict[str, list[Point]] = {}
    for item in metrics:
        try:
            key, value, time, step = item["key"], item["value"], item["timestamp"], item["step"]
        except (KeyError, TypeError):
            return None
        if (
            len(item) != 4
            or type(value) not in (float, int)
            or type(time) is not int
            or type(step) is not int
        ):
            return None
        of_key = points.get(key) if type(key) is str else None
        if of_key is None:
            if type(key) is not str or not 0 < len(key) <= MOST_KEY:
                return None
            try:
                check_key(key)
            except MlflowError:
                return None
            of_key = points[key] = []
        if not 0 <= time <= TIME_MAX_US // 1000 or not -GREATEST < value < GREATEST:
            return None
        of_key.append(Point(step, time * 1000, float(value), False))
    return points


def _check_many(metrics: Sequence[Sent], params: Sequence[Sent], tags: Sequence[Sent]) -> None:
    counts = (
        ("metrics", MOST_POINTS, len(metrics)),
        ("params", MOST_LABELS, len(params)),
        ("tags", MOST_LABELS, len(tags)),
        ("metrics, params, and tags", MOST_IN_ALL, len(metrics) + len(params) + len(tags)),
    )
    for what, most, count in counts:
        if count > most:
            raise invalid(
                f"A batch logging request can contain at most {most} {what}. Got {count} {what}. Please split up {what} "
                "across multiple requests and try again."
            )


def _point(sent: Sent, path: str) -> Point:
    """The point a request or a part of it says.

    Raises:
        MlflowError: it cannot be one.
    """
    key, value = sent.text("key"), sent.number("value")
    time_ms, step = sent.integer("timestamp", needed=True), sent.integer("step")
    check_key(key, inside(path, "name"))
    check_length("Metric name", key, MOST_KEY)
    if not 0 <= time_ms <= TIME_MAX_US // 1000:
        raise invalid(
            wrong_value(
                inside(path, "timestamp"),
                time_ms,
                f"metric '{key}' (value={value}). Timestamp must be a nonnegative long (64-bit integer) ",
            )
        )
    return _ranked(step, time_ms * 1000, value)


def _ranked(step: int, time_us: int, value: float) -> Point:
    if math.isnan(value):
        return Point(step, time_us, 0.0, True)
    return Point(step, time_us, max(-GREATEST, min(value, GREATEST)), False)


def _value(point: Point) -> float:
    if point.is_nan:
        return math.nan
    return math.copysign(math.inf, point.rank) if abs(point.rank) == GREATEST else point.rank


def _checked_params(params: Sequence[Sent]) -> dict[str, str]:
    """Parameters that can be stored; values that are too long are cut, as MLflow's own server does.

    Raises:
        MlflowError: a key that cannot be one, or that comes twice.
    """
    checked: dict[str, str] = {}
    twice = []
    for param in params:
        key, value = param.text("key", needed=True), param.text("value")
        check_key(key, inside(param.path, "key"))
        check_length("Param key", key, MOST_KEY)
        if key in checked:
            twice.append(key)
        checked[key] = value[:MOST_PARAM]
        if len(checked[key].encode()) > MAX_PARAM_BYTES - 2:
            raise invalid(f"'Param value' of '{key}' exceeds the maximum of {MAX_PARAM_BYTES} bytes")
    if twice:
        raise invalid(
            f"Duplicate parameter keys have been submitted: {twice}. Please ensure the request contains only one param "
            "value per param key."
        )
    return checked


# --- one transaction ---------------------------------------------------------------------------------------------------


async def _log(
    scope: Scope,
    run_id: str,
    points: Mapping[str, Sequence[Point]],
    params: Mapping[str, str],
    tags: Mapping[str, str],
    metrics: Sequence[Sent],
) -> None:
    series_ids = await scope.recorder.series_ids(list(points)) if points else {}
    history = _History(-1, {})
    for _ in range(_TRIES):
        try:
            async with scope.pool.acquire() as connection, connection.transaction():
                place = await scope.recorder.hold_place(connection, run_id) if points else None
                row = await runs.active(connection, scope, run_id, lock=True)
                if params:
                    await _add_params(scope, connection, row["key"], run_id, params)
                if place is not None:
                    await _add_points(scope, connection, row, place, points, series_ids, history)
                    await add_metrics(connection, scope, row["id"], run_id, metrics)
                if tags:
                    await runs.set_tags(connection, run_id, tags)
            return
        except _LookAgain as again:
            history = await _read_history(scope, run_id, again)
    raise MlflowError("TEMPORARILY_UNAVAILABLE", f"others keep writing run {run_id}; try again")


async def _add_points(
    scope: Scope,
    connection: Any,
    row: Any,
    place: Place,
    points: Mapping[str, Sequence[Point]],
    series_ids: Mapping[str, int],
    history: _History,
) -> None:
    """Write the points that are not there, each series from its earliest to its latest."""
    run_key, packed = row["key"], row["packing"] is not None
    latest = await _latest(connection, run_key, series_ids)
    new: dict[str, list[Point]] = {}
    unsure = []
    for name, asked in points.items():
        held = latest[name].point
        ordered = sorted(set(asked))
        later = [point for point in ordered if held is None or point > held]
        others = [point for point in ordered if held is not None and point < held]
        if others and (history.next != place.next or name not in history.points):
            unsure.append(name)
        elif fresh := [*(point for point in others if point not in history.points[name]), *later]:
            new[name] = fresh
    if unsure:
        raise _LookAgain(place.next, unsure)
    if not new:
        return
    await scope.recorder.add_points(
        connection, run_key, row["run_id"], place, _columns(new), series_ids, packed
    )
    await _note_latest(connection, run_key, latest, new, series_ids)


async def _latest(connection: Any, run_key: int, series_ids: Mapping[str, int]) -> dict[str, _Latest]:
    names = {id_: name for name, id_ in series_ids.items()}
    latest: dict[str, _Latest] = {}
    for row in await connection.fetch(_LATEST, run_key, list(names)):
        series_id, last_step, last_time, last, step, time_us, value = row
        point = None
        if last_time is not None:
            point = _ranked(last_step or 0, last_time, last)
        if step is not None:
            apart = _ranked(step, time_us, value)
            point = apart if point is None else max(point, apart)
        latest[names[series_id]] = _Latest(point, step is not None)
    return latest


async def _note_latest(
    connection: Any,
    run_key: int,
    before: Mapping[str, _Latest],
    new: Mapping[str, Sequence[Point]],
    series_ids: Mapping[str, int],
) -> None:
    """Give the latest point a row where it is not the last one that was logged, and only there."""
    apart: list[tuple[int, Point]] = []
    forgotten = []
    for name, points in new.items():
        held = before[name]
        if held.point is not None and held.point > points[-1]:
            apart.append((series_ids[name], held.point))
        elif held.apart:
            forgotten.append(series_ids[name])
    if forgotten:
        await connection.execute(_FORGET_LATEST, run_key, forgotten)
    if apart:
        await connection.execute(
            _SET_LATEST,
            run_key,
            [series_id for series_id, _ in apart],
            [point.step for _, point in apart],
            [point.time_us for _, point in apart],
            [_value(point) for _, point in apart],
        )


def _columns(new: Mapping[str, Sequence[Point]]) -> NewPoints:
    counts = [len(points) for points in new.values()]
    flat = [point for points in new.values() for point in points]
    return NewPoints(
        list(new),
        np.repeat(np.arange(len(new), dtype=np.int64), counts),
        np.array([point.step for point in flat], dtype=np.int64),
        np.array([point.time_us for point in flat], dtype=np.int64),
        np.array([_value(point) for point in flat], dtype=np.float64),
    )


async def _read_history(scope: Scope, run_id: str, asked: _LookAgain) -> _History:
    vectors = await scope.query.vectors([run_id], names=asked.names, cls=(0,))
    points: dict[str, set[Point]] = {name: set() for name in asked.names}
    for series in vectors.series:
        columns = zip(series.steps.tolist(), series.times.tolist(), series.floats().tolist(), strict=True)
        points[series.name].update(_ranked(*column) for column in columns)
    return _History(asked.next, {name: frozenset(held) for name, held in points.items()})


async def _add_params(
    scope: Scope, connection: Any, run_key: int, run_id: str, params: Mapping[str, str]
) -> None:
    """Write parameters that are not there; those that are must have these values.

    Raises:
        MlflowError: one has another value.
    """
    new = dict(params)
    changed: list[dict[str, str]] = []
    for name, kind, text in await connection.fetch(_PARAMS, run_key, list(params)):
        value = new.pop(name)
        held = shown_param(kind, text)
        if held != value and not same(from_stored(KINDS[kind], text), _as_number(value)):
            changed.append({"key": name, "old_value": held, "new_value": value})
    if changed and len(params) == 1:
        first = changed[0]
        raise invalid(
            f"Changing param values is not allowed. Param with key='{first['key']}' was already logged with "
            f"value='{first['old_value']}' for run ID='{run_id}'. Attempted logging new value '{first['new_value']}'."
        )
    if changed:
        raise invalid(
            f"Changing param values is not allowed. Params were already logged='{changed}' for run ID='{run_id}'."
        )
    if new:
        await scope.recorder.add_params(
            connection, run_key, {name: param_value(value) for name, value in new.items()}
        )


def _as_number(value: str) -> str:
    """The JSON text of a number a client sent as a text; else of the text."""
    try:
        number = json.loads(value)
    except (ValueError, RecursionError):
        return param_value(value)
    return value if isinstance(number, (int, float)) and not isinstance(number, bool) else param_value(value)
