"""The package against the table of the reproduced API, surface.toml: a call that was right there is right here."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from runstream import exceptions
from runstream.exceptions import UserErrorException

TABLE: dict[str, Any] = tomllib.loads((Path(__file__).parent / "surface.toml").read_text(encoding="utf-8"))
CLASSES = {name: rows for name, rows in TABLE.items() if name.startswith("runstream.")}


def named(path: str) -> Any:
    """What a dotted path stands for: a module's name, or a name of that."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError:
        return getattr(named(module), name)


def calls() -> Iterator[tuple[str, str, bool]]:
    """(path, parameters, whether it is called on the class) of every function in the table."""
    for path, rows in CLASSES.items():
        for name, row in rows.items():
            if name == "static":
                yield from ((f"{path}.{method}", parameters, True) for method, parameters in row.items())
            elif isinstance(row, str):
                yield path if name == path.rpartition(".")[2] else f"{path}.{name}", row, False
    yield from ((path, row, True) for path, row in TABLE["functions"].items())


@pytest.mark.parametrize("module", TABLE["modules"])
def test_modules_have_their_names(module: str) -> None:
    loaded = import_module(module)
    assert [name for name in TABLE["modules"][module] if not hasattr(loaded, name)] == []
    private = {name for name in TABLE["modules"][module] if name.startswith("_")}
    assert set(TABLE["modules"][module]) - private <= {*loaded.__all__, "__version__"}
    assert set(loaded.__all__) <= set(dir(loaded))


@pytest.mark.parametrize(("path", "parameters", "static"), list(calls()), ids=lambda value: str(value)[:60])
def test_a_call_that_was_right_stays_right(path: str, parameters: str, static: bool) -> None:
    function = named(path)
    have = list(inspect.signature(function).parameters.values())
    if not static and not inspect.isclass(function):
        have = have[1:]  # self
    elif static and inspect.isclass(owner := named(path.rpartition(".")[0])):
        assert isinstance(inspect.getattr_static(owner, path.rpartition(".")[2]), (staticmethod, classmethod))
    signature = ast.parse(f"def f({parameters}): ...").body[0]
    assert isinstance(signature, ast.FunctionDef)
    arguments = signature.args
    defaults = [inspect.Parameter.empty] * (len(arguments.args) - len(arguments.defaults))
    defaults += [ast.literal_eval(value) for value in arguments.defaults]
    positional = [parameter for parameter in have if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert [parameter.name for parameter in positional[: len(arguments.args)]] == [
        argument.arg for argument in arguments.args
    ]
    for parameter, default in zip(positional, defaults, strict=False):
        if default is not inspect.Parameter.empty:
            assert plain(parameter.default) == default, parameter.name
    keywords = {parameter.name: parameter for parameter in have if parameter.kind is parameter.KEYWORD_ONLY}
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        assert value is not None
        assert keywords.pop(argument.arg).default == ast.literal_eval(value)
    ours = [*positional[len(arguments.args) :], *keywords.values()]
    assert [parameter.name for parameter in ours if parameter.default is inspect.Parameter.empty] == []
    if arguments.kwarg is not None:
        assert any(parameter.kind is parameter.VAR_KEYWORD for parameter in have)


def plain(default: Any) -> Any:
    """A default as the table can write it: a dataclass's factory stands for what it makes."""
    if type(default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        return []
    return default


@pytest.mark.parametrize(
    ("path", "name", "settable"),
    [
        (path, name, name in rows.get("settable", ()))
        for path, rows in CLASSES.items()
        for name in rows.get("readable", ())
    ],
)
def test_attributes_can_be_read(path: str, name: str, settable: bool) -> None:
    member = inspect.getattr_static(named(path), name)
    assert isinstance(member, property)
    assert (member.fset is not None) >= settable


@pytest.mark.parametrize("path", TABLE["cloud"]["classes"])
def test_classes_of_azure_refuse_with_a_remedy(path: str) -> None:
    kind = named(path)
    with pytest.raises(UserErrorException, match=f"^UserErrorException:\n\tMessage: {kind.__name__} is a"):
        kind("some", argument=1)


@pytest.mark.parametrize("path", TABLE["cloud"]["calls"])
def test_calls_of_azure_refuse_with_a_remedy(path: str) -> None:
    with pytest.raises(UserErrorException) as refused:
        named(path)("some", argument=1)
    assert refused.value.message.startswith(".".join(path.split(".")[-2:]) + " is a service of Azure")
    assert len(refused.value.message.partition(": ")[2]) > 20


def test_tree_of_exceptions() -> None:
    base = exceptions.AzureMLException
    others = [name for name in TABLE["modules"]["runstream.exceptions"] if name != "ServiceException"]
    assert [name for name in others if not issubclass(getattr(exceptions, name), base)] == []
    assert issubclass(exceptions.AuthenticationException, exceptions.UserErrorException)
    assert not issubclass(exceptions.ServiceException, base)


def test_versions_are_texts_scripts_compare() -> None:
    core = import_module("runstream.core")
    assert core.VERSION == core.__version__ == "1.61.0"


def test_importing_the_packages_loads_none_of_their_modules() -> None:
    code = (
        "import sys, runstream, runstream.core, runstream.data\n"
        "print(*sorted(name for name in sys.modules if name.startswith('runstream')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == [
        "runstream",
        "runstream.core",
        "runstream.data",
        "runstream.lazy",
        "runstream.version",
    ]
