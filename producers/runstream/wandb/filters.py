"""Filters and orders of `Api().runs`: those of MongoDB that W&B takes, applied to what is known of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Look = Callable[[str], Any]
"""The value of a key of a run, such as `config.lr`; None: it has none."""


def fits(filters: Mapping[str, Any] | None, look: Look) -> bool:
    """Whether a run passes.

    Raises:
        ValueError: an operator that is not known.
    """
    for key, wish in (filters or {}).items():
        if key == "$and":
            passes = all(fits(part, look) for part in wish)
        elif key == "$or":
            passes = any(fits(part, look) for part in wish)
        elif key == "$not":
            passes = not fits(wish, look)
        elif isinstance(wish, Mapping) and any(str(name).startswith("$") for name in wish):
            passes = all(_compare(str(name), look(key), operand) for name, operand in wish.items())
        else:
            passes = _equal(look(key), wish)
        if not passes:
            return False
    return True


def _equal(value: Any, wish: Any) -> bool:
    return (
        wish in value
        if isinstance(value, (list, tuple)) and not isinstance(wish, (list, tuple))
        else bool(value == wish)
    )


def _compare(operator: str, value: Any, wish: Any) -> bool:
    if operator == "$eq":
        return _equal(value, wish)
    if operator == "$ne":
        return not _equal(value, wish)
    if operator == "$in":
        return any(_equal(value, option) for option in wish)
    if operator == "$nin":
        return not any(_equal(value, option) for option in wish)
    if operator == "$exists":
        return (value is not None) == bool(wish)
    if operator == "$not":
        return not (fits({"": wish}, lambda _: value))
    if operator == "$regex":
        return isinstance(value, str) and re.search(wish, value) is not None
    ordered: dict[str, Callable[[Any, Any], bool]] = {
        "$gt": lambda left, right: left > right, "$gte": lambda left, right: left >= right,
        "$lt": lambda left, right: left < right, "$lte": lambda left, right: left <= right,
    }  # fmt: skip
    if operator not in ordered:
        raise ValueError(
            f"filter {operator!r:.80} is not known; use $and, $or, $not, $in, $exists, $regex or a comparison"
        )
    try:
        return value is not None and ordered[operator](value, wish)
    except TypeError:
        return False


def order_key(order: str) -> tuple[str, bool]:
    """The key of an order such as `-created_at` or `+summary_metrics.loss`, and whether the greatest comes first."""
    return order.lstrip("+-").removesuffix(".value"), order.startswith("-")
