"""Helper module of train.py."""

from __future__ import annotations


def evenly_spaced(count: int, most: float) -> list[float]:
    """`count` numbers from 0 up to, and without, `most`."""
    return [most * place / count for place in range(count)]
