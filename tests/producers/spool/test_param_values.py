"""Which values can be parameters, under which names, and which of them are refused."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import functools
import json
import math
import pathlib
import types
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import omegaconf
import pytest

from runstream.exceptions import AzureMLException, LimitExceeded, UserErrorException
from runstream.spool.param_values import WrittenParams, convert_params
from runstream.spool.values import NotADictionary


class Color(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    SMALL = 7


class Net(enum.StrEnum):
    DEEP = "deep"


@dataclasses.dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)


class Opaque:
    pass


class Wrong:
    def __str__(self) -> str:
        raise RuntimeError


class Tensor:
    """As torch has them."""

    shape = (2,)

    def tolist(self) -> list[float]:
        return [1.0, 2.0]


class Model:
    """As Pydantic has them."""

    model_fields: dict[str, Any] = {"width": int}

    def __init__(self) -> None:
        self.width = 5


def converted(values: Any) -> dict[str, str]:
    return convert_params("log_params", values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"), (1.0, "1.0"), (True, "true"), (None, "null"), ("a", '"a"'), ("", '""'), (-(2**63), str(-(2**63))),
        (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (1e-7, "1e-07"), ("日本", '"日本"'),
        (np.float32(0.5), "0.5"), (np.int64(5), "5"), (np.bool_(True), "true"), (np.str_("x"), '"x"'), (np.array(2), "2"),
        (np.arange(3), "[0,1,2]"), (np.zeros((2, 2)), "[[0.0,0.0],[0.0,0.0]]"), (Tensor(), "[1.0,2.0]"),
        ([1, (2.5, "x")], '[1,[2.5,"x"]]'), (range(3), "[0,1,2]"), ({3, 1}, "[1,3]"), ([], "[]"), ({}, "{}"),
        ([{"b": 1, "a": Color.RED}], '[{"a":"RED","b":1}]'), ([Optimizer(1)], '[{"betas":[0.9,0.999],"lr":1}]'),
        (Color.RED, '"RED"'), (Size.SMALL, "7"), (Net.DEEP, '"deep"'), (pathlib.Path("/a/b"), '"/a/b"'),
        (date(2026, 1, 2), '"2026-01-02"'), (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00+00:00"'),
        (Decimal("1.50"), '"1.50"'), (1 + 2j, '"(1+2j)"'), (json.dumps, '"json.dumps"'), (dict, '"builtins.dict"'),
        (functools.partial(print, 1), '"functools.partial(<built-in function print>, 1)"'), (b"x", "\"b'x'\""),
    ],
)  # fmt: skip
def test_values(value: Any, text: str) -> None:
    assert converted({"p": value}) == {"p": text}


def test_an_object_is_shown_without_its_address() -> None:
    assert converted({"p": Opaque()}) == converted({"p": Opaque()})


def test_what_is_nested_is_joined_with_dots() -> None:
    nested = {
        "opt": {"lr": 0.1, "deep": {"er": {1: "x"}}},
        "empty": {},
        "o": Optimizer(),
        "n": types.SimpleNamespace(a=1),
    }
    assert converted(nested) == {
        "opt.lr": "0.1", "opt.deep.er.1": '"x"', "empty": "{}", "o.lr": "0.1", "o.betas": "[0.9,0.999]", "n.a": "1",
    }  # fmt: skip
    assert converted({"a": 1, "a.b": 2, Color.RED: 3, None: 4, Net.DEEP: 5}) == {
        "a": "1",
        "a.b": "2",
        "RED": "3",
        "None": "4",
        "deep": "5",
    }
    assert converted(Optimizer()) == {"lr": "0.1", "betas": "[0.9,0.999]"}
    assert converted(Model()) == {"width": "5"}
    assert converted({}) == {}


def test_arguments() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--layers", nargs="*", type=int)
    parser.add_argument("--fast", action="store_true")
    args = parser.parse_args(["--data", "/tmp/x", "--layers", "1", "2"])
    assert converted(args) == {"lr": "0.1", "data": '"/tmp/x"', "layers": "[1,2]", "fast": "false"}


def test_omegaconf() -> None:
    config = omegaconf.OmegaConf.create(
        {
            "lr": 0.1,
            "opt": {"name": "adam", "lr": "${lr}", "betas": [0.9, 0.99]},
            "must": "???",
            "net": Color.RED,
        }
    )
    assert converted(config) == {
        "lr": "0.1", "opt.name": '"adam"', "opt.lr": "0.1", "opt.betas": "[0.9,0.99]", "must": '"???"', "net": '"RED"',
    }  # fmt: skip
    assert converted({"cfg": config.opt, "l": config.opt.betas})["cfg.name"] == '"adam"'
    with pytest.raises(UserErrorException, match="cannot be resolved"):
        converted(omegaconf.OmegaConf.create({"a": "${nowhere}"}))


def itself() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["a"] = made
    return made


def list_of_itself() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        (None, NotADictionary, "expected a dictionary"),
        ([("a", 1)], NotADictionary, "expected a dictionary"),
        ("a=1", NotADictionary, "expected a dictionary"),
        (Optimizer, NotADictionary, "expected a dictionary"),
        ({"a.b": 1, "a": {"b": 2}}, UserErrorException, "two values would be called 'a.b'"),
        ({1: "x", "1": "y"}, UserErrorException, "two values would be called '1'"),
        ({"": 1}, LimitExceeded, "is empty"),
        ({"a\0": 1}, LimitExceeded, r"U\+0000"),
        ({"\ud800": 1}, LimitExceeded, "surrogates"),
        ({"a" * 1025: 1}, LimitExceeded, "1024"),
        ({Wrong(): 1}, UserErrorException, "cannot be made a text"),
        ({"a": Wrong()}, UserErrorException, "cannot be made a text"),
        ({"a": "\ud800"}, LimitExceeded, "surrogates"),
        ({"a": ["\ud800"]}, LimitExceeded, "surrogates"),
        ({"a": "x\0"}, LimitExceeded, r"U\+0000"),
        ({"a": 2**63}, LimitExceeded, "64"),
        ({"a": [2**63]}, LimitExceeded, "64"),
        ({"a": [1, math.nan]}, UserErrorException, "within a list"),
        ({"a": [np.float64("inf")]}, UserErrorException, "within a list"),
        ({"a": "x" * (10 << 20)}, LimitExceeded, "upload_file"),
        ({"a": [0] * (10 << 20)}, LimitExceeded, "upload_file"),
        ({"a": np.zeros(10 << 20)}, LimitExceeded, "upload_file"),
        ({"a": "x" * 65_535}, LimitExceeded, "65,536"),
        (itself(), UserErrorException, "nested deeper than 64"),
        ({"a": list_of_itself()}, LimitExceeded, "nested too deeply"),
        ({str(i): i for i in range(10_001)}, LimitExceeded, "10,000"),
    ],
)
def test_refusals(values: Any, kind: type[AzureMLException], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        converted(values)
    assert isinstance(caught.value, AzureMLException)
    assert len(str(caught.value)) < 1000


def test_each_is_written_once() -> None:
    written = WrittenParams("run")
    assert written.take({"a": "1", "b": '"x"'}, overwrite=False) == {"a": "1", "b": '"x"'}
    assert written.take({"a": "1.0", "c": "2"}, overwrite=False) == {"c": "2"}
    with pytest.raises(UserErrorException, match=r"'b' of run run is 'x'.*'y' is refused.*overwrite=True"):
        written.take({"d": "1", "b": '"y"'}, overwrite=False)
    assert written.take({"d": "1"}, overwrite=False) == {"d": "1"}  # nothing of the refused call was taken
    assert written.take({"b": '"y"', "a": "1"}, overwrite=True) == {"b": '"y"'}
    assert written.take({"b": '"y"'}, overwrite=False) == {}
    with pytest.raises(LimitExceeded, match="10,000"):
        written.take({str(i): "0" for i in range(9_998)}, overwrite=False)
