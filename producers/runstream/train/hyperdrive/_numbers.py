"""What counts as a number among the arguments of HyperDrive."""

from __future__ import annotations

import math


def is_number(value: object) -> bool:
    """Whether it is an integer or a float that is finite."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def is_whole(value: object, least: int = 0, most: int | None = None) -> bool:
    """Whether it is an integer from `least` to `most`."""
    return isinstance(value, int) and value >= least and (most is None or value <= most)
