"""What becomes of Python's values as W&B converts them: arrays, tensors, enumerations, dates and all else to JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date
from enum import Enum
from typing import Any

MOST_ELEMENTS = 32
"""An array of more becomes a histogram when it is logged."""


def as_array(value: Any) -> Any:
    """A tensor of torch, TensorFlow or JAX as an array of numpy; everything else as it is."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        return value.detach().cpu().numpy()
    module = type(value).__module__
    if module.startswith("tensorflow.") and hasattr(value, "numpy"):
        return value.numpy()
    if module.startswith(("jax", "jaxlib")) and hasattr(value, "__array__"):
        import numpy as np

        return np.asarray(value)
    return value


def is_array(value: Any) -> bool:
    """Whether it is an array of numpy; nothing is imported to tell."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def plain(value: Any) -> Any:
    """A value as something that JSON has, but for arrays of more than 32 elements; what it does not know it returns.

    Args:
        value: anything but a dictionary or sequence, whose contents are looked at one by one.
    """
    value = as_array(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    if is_array(value):
        if value.size == 1:
            return value.reshape(-1)[0].item()
        return value.tolist() if value.size <= MOST_ELEMENTS else value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, slice):
        return {"slice_start": value.start, "slice_step": value.step, "slice_stop": value.stop}
    if callable(value):
        name = getattr(value, "__qualname__", None)
        return f"{value.__module__}.{name}" if name and hasattr(value, "__module__") else str(value)
    return value


def config_value(value: Any) -> Any:
    """A value of the config, as W&B keeps it; what JSON does not know becomes a text."""
    if isinstance(value, Mapping):
        return {str(key): config_value(inner) for key, inner in value.items()}
    if isinstance(value, Enum):
        return value.name
    value = plain(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, Mapping):
        return config_value(value)
    if isinstance(value, Sequence):
        return [config_value(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return config_value(asdict(value))
    return str(value)


def list_value(value: Any) -> Any:
    """What is within a list that is logged. Whole floats are integers there, as W&B's service writes them.

    Raises:
        TypeError: JSON has no such value.
    """
    if isinstance(value, Mapping):
        return {str(key): list_value(inner) for key, inner in value.items()}
    if isinstance(value, Enum):
        value = value.value
    value = plain(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else float(value)
    if isinstance(value, Mapping):
        return list_value(value)
    if is_array(value):
        return value.tolist()
    if isinstance(value, Sequence):
        return [list_value(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return list_value(asdict(value))
    raise TypeError(
        f"Object of type {type(value).__name__} is not JSON serializable; log a number, text or W&B object"
    )
