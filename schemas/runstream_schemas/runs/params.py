"""Parameters of runs: typed values that are written once.

On the way, a value is a JSON text, which says its type; beside what JSON has, `NaN`, `Infinity` and `-Infinity` stand for a
number by itself. Stored and shown it is a kind and a text: of kind `text` the text itself, of every other kind the JSON
text.

Several processes of a run may write one parameter. What holds is told by `fold`, of all that was written, in any order of
arrival: so a resend or a reordering changes nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, TypeAlias

from ..limits import INT_MAX, INT_MIN, MAX_NAME_BYTES, MAX_PARAM_BYTES
from ..strict_json import DECODER
from .record import ParamKind, ParamRecord

KINDS: tuple[ParamKind, ...] = ("float", "int", "bool", "text", "null", "json")
"""The database stores a kind by its place here."""

KEPT = 100
"""So many of a parameter's former and so many of its refused values are kept."""


class Origin(IntEnum):
    """Where a value comes from; a higher one takes the place of a lower one. The numbers are stored."""

    ARGUMENTS = 0  # of the script that was submitted
    SWEEP = 1
    LOGGED = 2
    OVERWRITTEN = 3


ParamOrigin: TypeAlias = Literal["arguments", "sweep", "logged", "overwritten"]

ORIGINS: tuple[ParamOrigin, ...] = ("arguments", "sweep", "logged", "overwritten")
"""Names of the origins, by their numbers."""


@dataclass(frozen=True, slots=True)
class ParamWrite:
    """One write of a parameter. `value` is its JSON text, `author` who overwrote it."""

    value: str
    origin: int
    time_us: int
    source: str
    seq: int
    author: str | None = None

    @property
    def age(self) -> tuple[int, str, int]:
        """What puts writes in one order."""
        return self.time_us, self.source, self.seq


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of a parameter's writes: the one that holds, those that held before it, those that were refused."""

    held: ParamWrite
    replaced: list[ParamWrite]
    refused: list[ParamWrite]


def encode(value: Any) -> str:
    """The JSON text of a value: None, a bool, an int, a float, a text, or lists and dictionaries of these.

    Raises:
        ValueError: a number within a list that is not finite.
    """
    nested = isinstance(value, (list, dict))
    return json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), sort_keys=nested, allow_nan=not nested
    )


def decode(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: no such text, or one that holds what a parameter cannot: an integer beyond 64 bits, half a surrogate
            pair, U+0000, or more than `limits.MAX_PARAM_BYTES`.
    """
    if len(text) > MAX_PARAM_BYTES or len(text.encode()) > MAX_PARAM_BYTES:
        raise ValueError(f"{len(text)} characters are too many")
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    try:
        value = DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    shown = json.dumps(value, ensure_ascii=False)
    shown.encode()
    if "\\u0000" in shown.replace("\\\\", ""):
        raise ValueError("it holds U+0000")
    return value


_CONSTANTS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def as_stored(value: str) -> tuple[int, str, float | None]:
    """The kind (its place in `KINDS`), text and number of a value, of its JSON text."""
    kind = kind_of(value)
    text = json.loads(value) if kind == "text" else value
    return KINDS.index(kind), text, number_of(text)


def from_stored(kind: ParamKind, text: str) -> str:
    """The JSON text of what is stored."""
    return encode(text) if kind == "text" else text


def value_of(record: ParamRecord) -> Any:
    """The value of a record, with its type."""
    return record["text"] if record["kind"] == "text" else json.loads(record["text"])


def kind_of(value: str) -> ParamKind:
    """The kind of a JSON text."""
    head = value[:1]
    if head == '"':
        return "text"
    if head in "[{":
        return "json"
    if value in ("true", "false"):
        return "bool"
    if value == "null":
        return "null"
    return "int" if _INT.fullmatch(value) else "float"


_INT = re.compile(r"-?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)


def number_of(text: str) -> float | None:
    """What a value with this text is compared and sorted by, as a number; None: by the text. Texts that are numbers count as
    numbers, as those of tags do."""
    if text in ("Infinity", "-Infinity"):
        return float(text)
    if len(text) >= 60 or not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def same(text: str, other: str) -> bool:
    """Whether two JSON texts are one value: numbers by their value, be they written as an int or a float."""
    if text == other:
        return True
    if {kind_of(text), kind_of(other)} <= {"int", "float"}:
        return bool(json.loads(text) == json.loads(other))
    return False


def fold(writes: Iterable[ParamWrite]) -> Folded:
    """What holds, whatever the order of `writes`, of which there is at least one.

    The first value that was logged holds, unless it was overwritten: then the last that was. A value that a run was given
    from outside, by a sweep or as an argument of its script, holds until one is logged. A logged value is refused if the
    parameter never had it.
    """
    ordered = sorted(writes, key=lambda write: write.age)
    logged = [write for write in ordered if write.origin >= Origin.LOGGED]
    if not logged:
        top = max(write.origin for write in ordered)
        return Folded(next(write for write in ordered if write.origin == top), [], [])
    held_once = [logged[0], *(write for write in logged[1:] if write.origin == Origin.OVERWRITTEN)]
    overwritten = [write for write in logged if write.origin == Origin.OVERWRITTEN]
    held = overwritten[-1] if overwritten else logged[0]
    replaced = [write for write in held_once if write is not held]
    refused: list[ParamWrite] = []
    for write in logged:
        if write.origin == Origin.LOGGED and not any(
            same(write.value, other.value) for other in (*held_once, *refused)
        ):
            refused.append(write)
    return Folded(held, replaced[:1] + replaced[1:][1 - KEPT :], refused[:KEPT])


# --- what a run is given from outside ----------------------------------------------------------------------------------

_OPTION = re.compile(r"--?[A-Za-z_]")
_ARGUMENT = re.compile(r"--?([A-Za-z_][^=]*)(?:=(.*))?", re.DOTALL)
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)


def given(details: Any, properties: Any) -> dict[str, tuple[Origin, str]]:
    """Origin and JSON text of the parameters that a run was created with.

    Args:
        details: the details of the run; the arguments of its script are in `runDefinition`.
        properties: the properties of the run; what a sweep gave it is in `sweep_parameters`.
    """
    values: dict[str, tuple[Origin, str]] = {}
    definition = details.get("runDefinition") if isinstance(details, dict) else None
    words = definition.get("arguments") if isinstance(definition, dict) else None
    if isinstance(words, list):
        values |= {name: (Origin.ARGUMENTS, value) for name, value in of_arguments(words).items()}
    if isinstance(properties, dict):
        swept = of_sweep(properties.get("sweep_parameters"))
        values |= {name: (Origin.SWEEP, value) for name, value in swept.items()}
    return values


def of_arguments(words: list[Any]) -> dict[str, str]:
    """JSON texts of a script's arguments that have a name: `--key value`, `--key=value`, or `--key` alone, which is true.

    A number is one as it is usually written; everything else is a text. The first one of a name counts.
    """
    texts = [word if isinstance(word, str) else json.dumps(word) for word in words]
    values: dict[str, str] = {}
    for text, following in zip(texts, [*texts, None][1:], strict=True):
        if not (named := _ARGUMENT.fullmatch(text)):
            continue
        if named[2] is not None:
            value = _of_word(named[2])
        elif following is None or _OPTION.match(following):
            value = "true"
        else:
            value = _of_word(following)
        _put(values, named[1], value)
    return values


def _of_word(word: str) -> str:
    if _WHOLE.fullmatch(word) and INT_MIN <= int(word) <= INT_MAX:
        return str(int(word))
    if not word.lstrip("+-").isdigit() and (number := number_of(word)) is not None:
        return encode(number)
    return encode(word)


def of_sweep(text: Any) -> dict[str, str]:
    """JSON texts of what a sweep gave a run, of its property."""
    try:
        swept = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    values: dict[str, str] = {}
    for name, value in swept.items() if isinstance(swept, Mapping) else ():
        try:
            _put(values, name, encode(value))
        except ValueError:  # a list with NaN
            _put(values, name, encode(str(value)))
    return values


def _put(values: dict[str, str], name: str, value: str) -> None:
    """Take a parameter, unless it cannot be one."""
    try:
        decode(value)
        if 0 < len(name.encode()) <= MAX_NAME_BYTES and "\0" not in name:
            values.setdefault(name, value)
    except ValueError:  # UnicodeEncodeError is one
        return
