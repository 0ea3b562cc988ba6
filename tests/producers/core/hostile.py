"""Values no caller means to give, and what a caller may expect of a call with one of them."""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

from runstream.core import Run
from runstream.exceptions import ServiceException
from runstream_schemas.errors import RunstreamError


class Unspeakable:
    """Cannot be shown, compared, measured, counted or converted."""

    def _refuse(self, *arguments: Any) -> Any:
        raise LookupError("unspeakable")

    __str__ = __repr__ = __len__ = __iter__ = __float__ = __int__ = __index__ = __bool__ = _refuse
    __fspath__ = __hash__ = __eq__ = __format__ = _refuse  # type: ignore[assignment]


class Wilful(str):
    """A text with ideas of its own."""

    def __str__(self) -> str:
        raise LookupError("wilful")

    def __format__(self, spec: str) -> str:
        raise LookupError("wilful")

    encode = __repr__ = __str__  # type: ignore[assignment]


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def round_and_round() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def closed() -> io.BytesIO:
    stream = io.BytesIO()
    stream.close()
    return stream


def pipe() -> str:
    if not os.path.exists("pipe"):
        os.mkfifo("pipe")
    return "pipe"


def loop() -> str:
    if not os.path.islink("loop"):
        os.symlink("loop", "loop")
    return "loop"


HOSTILE: dict[str, Callable[[], Any]] = {
    "lone surrogate": lambda: "\ud83d",
    "escaped byte": lambda: "\udce9",
    "NUL": lambda: "a\0b",
    "empty text": lambda: "",
    "newlines": lambda: "\r\n\u2028\x1b[2J",
    "dots": lambda: "../../x",
    "bytes": lambda: b"\xe9",
    "unspeakable": Unspeakable,
    "wilful": lambda: Wilful("text"),
    "wide integer": lambda: 1 << 200,
    "NaN": lambda: float("nan"),
    "nested": nested,
    "round": round_and_round,
    "closed stream": closed,
    "pipe": pipe,
    "loop": loop,
    "class": lambda: int,
    "list of surrogates": lambda: ["\udce9"],
    "pairs of surrogates": lambda: {"\udce9": "\udce9"},
    "pairs of the unspeakable": lambda: {"a": Unspeakable()},
    "None": lambda: None,
}

EXPECTED = (RunstreamError, TypeError, OSError)
"""And ValueError, but for those of encodings: they say nothing of what was wrong."""


def arguments(function: Callable[..., Any]) -> Iterator[tuple[str, bool]]:
    """Names of the parameters, and whether each has to be given."""
    for parameter in inspect.signature(function).parameters.values():
        several = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if not several and parameter.name != "self" and not parameter.name.startswith("_"):
            yield parameter.name, parameter.default is parameter.empty


def refused(function: Callable[..., Any], given: dict[str, Any], what: str) -> bool:
    """Whether a call raised, what a caller can expect."""
    try:
        answer = function(**given)
        if inspect.isgenerator(answer):
            list(answer)
        if isinstance(answer, Run):
            answer.cancel()
    except ServiceException as error:
        if error.status_code is not None and error.status_code >= 500 and error.status_code != 503:
            raise AssertionError(ascii(f"{what}: {error}")) from error
        return True
    except EXPECTED:
        return True
    except LookupError as error:
        if error.args[0] not in (
            "unspeakable",
            "wilful",
        ):  # these are of the value itself, which is the caller's
            raise
        return True
    except ValueError as error:
        if isinstance(error, UnicodeError):
            raise AssertionError(what) from error
        return True
    return False
