"""Values as the history and the summary of W&B have them: trees of keys, and points that are to become arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from runstream_schemas.limits import TIME_MAX_US, TIME_MIN_US

INTERNAL = frozenset({"_step", "_timestamp", "_runtime", "_wandb"})
"""Keys that are W&B's own."""

_MOST_EXACT = 1 << 53

Point = tuple[int, float, Any]
"""Step, time in seconds since the epoch, value."""


def put_at(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set the value at a path, over whatever is in its way."""
    for key in path[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    tree[path[-1]] = value


def remove_at(tree: dict[str, Any], path: tuple[str, ...]) -> None:
    """Remove the value at a path, if there is one."""
    for key in path[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            return
        tree = inner
    tree.pop(path[-1], None)


def scalars_of(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The scalars of a summary by flat names; media and the like are none."""
    values: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if not prefix and key in INTERNAL:
            continue
        if isinstance(value, dict):
            if not isinstance(value.get("_type"), str):
                values += scalars_of(value, f"{prefix}{key}.")
        elif value is not None:
            values.append((prefix + key, value))
    return values


def alike(points: list[Point]) -> list[list[Point]]:
    """Points in as few arrays as keep their values: integers among floats are floats where that changes none of them."""
    kinds = {type(value) for _, _, value in points}
    big = int in kinds and any(type(value) is int and abs(value) > _MOST_EXACT for _, _, value in points)
    if len(kinds) == 1 or (kinds == {int, float} and not big):
        return [points]
    parts: list[list[Point]] = []
    for point in points:
        if not parts or type(parts[-1][-1][2]) is not type(point[2]):
            parts.append([])
        parts[-1].append(point)
    return parts


def as_array(values: tuple[Any, ...]) -> Any:
    """Values of one kind as an array; integers beyond 64 bits become floats."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.array(values, np.bool_)
    if kinds == {int} and all(-(1 << 63) <= value < 1 << 63 for value in values):
        return np.array(values, np.int64)
    return np.array(values, np.float64)


def bounded(when: float) -> float:
    """A time within the years 1 to 9999."""
    return min(max(when, TIME_MIN_US / 1e6), TIME_MAX_US / 1e6) if when == when else 0.0
