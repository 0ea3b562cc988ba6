"""What scripts of the original SDK may use that runstream does not have, and what to do instead: the one table of it.

Modules that are missing stand in `runstream.stand_in.missing`; classes and methods that are there only to refuse say so
themselves (`runstream.cloud`).
`runstream migrate` lists them where a script uses them; docs/reference/not-supported.md is written from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from runstream.cloud import CloudCall, CloudOnly
from runstream.stand_in.missing import MODULES, PIPELINES, ROOT, offered, remedy

COMMANDS: dict[str, str] = {
    "az ml computetarget": "ComputeTarget.attach in Python",
    "az ml model": "Model in Python",
    "az ml pipeline": PIPELINES,
    "az ml run monitor-tensorboard": "`runstream open`: the run page draws metrics live",
    "az ml run submit-pipeline": PIPELINES,
    "az ml": "the same command of `runstream`: `az ml run list` is `runstream run list`",
}
"""Commands in shell scripts; the longest that fits counts."""


CURATED = 'Environment.get(workspace, "AzureML-...")'
"""How scripts ask for the environments Azure keeps ready."""

_CURATED_INSTEAD = (
    "Azure's ready-made environments are not here: Environment.from_pip_requirements or from_conda_specification describes "
    "one; without any the script runs with the Python that submits it"
)


def curated(name: object) -> str | None:
    """What to do instead of an environment of Azure, asked for by its name; None for other names."""
    return _CURATED_INSTEAD if isinstance(name, str) and name.startswith("AzureML-") else None


def instead_of(module: str, name: str | None = None) -> str | None:
    """What to do instead of a module of the original, or of a name in it; None when runstream has it.

    What runstream has only to refuse it says itself.
    """
    if not offered(module):
        return remedy(module)
    if name is None or name == "*":
        return None
    below = module.removeprefix(ROOT).removeprefix(".")
    home = import_module(f"runstream.{below}" if below else "runstream")
    try:
        return _refused(getattr(home, name))
    except AttributeError:
        dotted = f"{module}.{name}"
        return None if offered(dotted) else MODULES.get(dotted) or "runstream has no such name"


def _refused(thing: object) -> str | None:
    if isinstance(thing, CloudCall):
        return thing.instead
    return thing._instead if isinstance(thing, type) and issubclass(thing, CloudOnly) else None


@cache
def refusals() -> dict[str, str]:
    """What can be imported and is refused when it is used: classes as `azureml.core.X`, methods as `X.method`."""
    remedies: dict[str, str] = {}
    for below, name, thing in _public():
        if instead := _refused(thing):
            if all(known.rpartition(".")[2] != name for known in remedies):
                remedies[f"{ROOT}.{below}.{name}"] = instead
        elif isinstance(thing, type):
            for method, value in vars(thing).items():
                if instead := _refused(getattr(value, "__func__", value)):
                    remedies[f"{thing.__name__}.{method}"] = instead
    return remedies


@cache
def working_methods() -> frozenset[str]:
    """Names of methods that some class has and does not refuse."""
    return frozenset(
        name
        for _, _, thing in _public()
        if isinstance(thing, type) and not _refused(thing)
        for name in dir(thing)
        if not _refused(getattr(thing, name, None))
    )


def _public() -> Iterator[tuple[str, str, object]]:
    """(module, name, object) of everything migrated scripts can import."""
    for below in _modules():
        home = import_module(f"runstream.{below}")
        for name in getattr(home, "__all__", [name for name in vars(home) if not name.startswith("_")]):
            yield below, name, getattr(home, name)


def _modules() -> Iterator[str]:
    for package in ("core", "data"):
        yield package
        modules = iter_modules(import_module(f"runstream.{package}").__path__)
        yield from sorted(f"{package}.{module.name}" for module in modules if not module.name.startswith("_"))


def table() -> dict[str, str]:
    """All of it, for people: what it is called, and what to do instead."""
    modules = {f"{module}.*": text for module, text in MODULES.items()}
    return {**modules, **refusals(), CURATED: _CURATED_INSTEAD, **COMMANDS}
