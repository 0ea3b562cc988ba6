"""Which Python values can be parameters of a run, and as what; and which of them may be written, as they are written once.

Names of nested dictionaries, dataclasses and the like are joined with `.`. What follows is converted before anything is
recorded, so a refusal leaves nothing behind.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Set
from datetime import date, time
from enum import Enum
from types import SimpleNamespace
from typing import Any

from runstream_schemas.errors import brief
from runstream_schemas.limits import MAX_PARAM_BYTES, MAX_PARAMS
from runstream_schemas.runs import params

from ..exceptions import AzureMLException, LimitExceeded, UserErrorException
from .values import NotADictionary, check_name, convert, text_of

_MOST_LEVELS = 64
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def convert_params(call: str, values: Any) -> dict[str, str]:
    """Names and JSON texts of parameters.

    Args:
        call: the call, for errors.
        values: a dictionary, dataclass, namespace, or an object of OmegaConf or Pydantic; nested ones too.

    Raises:
        NotADictionary: something else.
        UserErrorException: a value that cannot be a parameter, or two that would have one name.
        LimitExceeded: a name or value that is too long, or is not valid unicode; too many.
    """
    top = _entries(call, values)
    if top is None:
        raise NotADictionary(
            f"{call}: expected a dictionary of names and values, a dataclass or a namespace, got "
            f"{type(values).__name__}: {brief(values)}"
        )
    texts: dict[str, str] = {}
    for name, value in _flat(call, "", top, 0):
        check_name(f"{call}: name of a parameter", name)
        if "\0" in name:
            raise LimitExceeded(f"{call}: the name {name[:40]!r} holds U+0000; remove it")
        if name in texts:
            raise UserErrorException(
                f"{call}: two values would be called {name!r:.80}: names of nested values are joined with '.', and keys "
                "that are no strings become them; rename one"
            )
        if len(texts) == MAX_PARAMS:
            raise LimitExceeded(
                f"{call}: more than {MAX_PARAMS:,} parameters; a run has that many at most, "
                "upload the rest as a file with upload_file()"
            )
        texts[name] = _encoded(f"{call}: parameter {name!r:.80}", value)
    return texts


def _flat(call: str, prefix: str, entries: Mapping[Any, Any], level: int) -> Iterator[tuple[str, Any]]:
    if level > _MOST_LEVELS:
        raise UserErrorException(
            f"{call}: {prefix[:40]!r}... is nested deeper than {_MOST_LEVELS} levels, or holds itself; flatten it"
        )
    for key, value in entries.items():
        name = f"{prefix}.{_key(call, key)}" if level else _key(call, key)
        inner = _entries(call, value)
        if inner:
            yield from _flat(call, name, inner, level + 1)
        else:
            yield name, value if inner is None else {}


def _key(call: str, key: Any) -> str:
    if isinstance(key, Enum) and not isinstance(key, str):
        return key.name
    return text_of(f"{call}: name of a parameter", key)


def _entries(call: str, value: Any) -> Mapping[Any, Any] | None:
    """What is in a value that holds others by name; None: it is none."""
    kind = type(value)
    if kind.__module__.partition(".")[0] == "omegaconf" and not isinstance(value, Enum):
        value = _of_omegaconf(call, value)
    if isinstance(value, Mapping):
        return value
    argparse = sys.modules.get("argparse")  # importing it takes longer than all of this module
    if isinstance(value, SimpleNamespace) or (argparse and isinstance(value, argparse.Namespace)):
        return vars(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name, None) for item in dataclasses.fields(value)}
    if hasattr(kind, "model_fields") and not isinstance(value, type):  # of Pydantic
        return {name: getattr(value, name, None) for name in kind.model_fields}
    return None


def _of_omegaconf(call: str, value: Any) -> Any:
    """A configuration of OmegaConf as dictionaries and lists, with what refers to others resolved; a value that is missing
    stays the text `???`."""
    try:
        return sys.modules["omegaconf"].OmegaConf.to_container(value, resolve=True)
    except ValueError as error:  # the errors of OmegaConf are some, and so is what it says of no container
        raise UserErrorException(
            f"{call}: a {type(value).__name__} of OmegaConf cannot be resolved ({error}); set what it refers to"
        ) from None


def _encoded(where: str, value: Any) -> str:
    try:
        text = params.encode(_plain(where, value, 0))
        params.decode(text)
    except LimitExceeded:
        raise
    except UnicodeEncodeError as error:
        raise LimitExceeded(
            f"{where}: text is not valid unicode ({error.reason}); remove lone surrogates"
        ) from None
    except (ValueError, RecursionError) as error:
        if "JSON compliant" in str(error):
            raise UserErrorException(
                f"{where}: NaN and infinity cannot be within a list; log them by themselves, or as texts"
            ) from None
        raise LimitExceeded(
            f"{where}: {brief(value)} cannot be held: {error}; the JSON text of a value has {MAX_PARAM_BYTES:,} bytes at "
            "most: upload it as a file with upload_file(), and log the file's name"
        ) from None
    return text


def _plain(where: str, value: Any, level: int) -> Any:
    """A value as JSON has it."""
    if level > _MOST_LEVELS:
        raise ValueError("it is nested too deeply, or holds itself")
    if isinstance(value, Enum):
        value = value.value if isinstance(value, (str, int)) else value.name
    if type(value).__module__.partition(".")[0] == "omegaconf":
        value = _of_omegaconf(where, value)
    if isinstance(value, str) and len(value) > MAX_PARAM_BYTES:
        raise ValueError(f"{len(value)} characters are too many")
    try:
        return convert(where, value, fallback=False)[1]
    except LimitExceeded:
        raise
    except AzureMLException:
        pass
    if hasattr(value, "tolist") and hasattr(value, "shape"):  # an array, a tensor
        size = getattr(value, "size", 0)
        if isinstance(size, int) and size > MAX_PARAM_BYTES // 2:
            raise ValueError(f"{size} elements are too many")
        value = value.tolist()
        return value if not isinstance(value, list) else _list(where, value, level)
    if isinstance(value, (list, tuple, range)):
        return _list(where, value, level)
    if isinstance(value, Set):
        return sorted(_list(where, value, level), key=params.encode)
    if (entries := _entries(where, value)) is not None:
        return {_key(where, key): _plain(where, item, level + 1) for key, item in entries.items()}
    return _described(where, value)


def _list(where: str, values: Any, level: int) -> list[Any]:
    if len(values) > MAX_PARAM_BYTES // 2:  # each takes two bytes at least
        raise ValueError(f"{len(values)} elements are too many")
    return [_plain(where, value, level + 1) for value in values]


def _described(where: str, value: Any) -> str:
    """What is no value of JSON, as a text that does not change from process to process."""
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if inspect.isclass(value) or inspect.isroutine(value):
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        return f"{module}.{name}" if module and name else brief(value)
    return _ADDRESS.sub("", text_of(where, value))


class WrittenParams:
    """The parameters that this process has written to a run.

    Args:
        run_id: the run, for errors.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._held: dict[str, str] = {}

    def take(self, texts: Mapping[str, str], *, overwrite: bool) -> dict[str, str]:
        """Take these JSON texts; returns those that are to be written.

        Raises:
            UserErrorException: one of them has another value already, and is not to be overwritten; then none is taken.
            LimitExceeded: the run would have too many; then none is taken.
        """
        new: dict[str, str] = {}
        for name, text in texts.items():
            held = self._held.get(name)
            if held is not None and params.same(held, text):
                continue
            if held is not None and not overwrite:
                raise UserErrorException(
                    f"parameter {name!r:.80} of run {self._run_id} is {brief(params.decode(held))}, and parameters are "
                    f"written once: {brief(params.decode(text))} is refused, and nothing of this call is recorded. "
                    "Remedy: use another name, a metric for what changes, or overwrite=True, which keeps the old value"
                )
            new[name] = text
        if len(self._held.keys() | new.keys()) > MAX_PARAMS:
            raise LimitExceeded(
                f"run {self._run_id} would have more than {MAX_PARAMS:,} parameters; "
                "upload the rest as a file with upload_file()"
            )
        self._held |= new
        return new
