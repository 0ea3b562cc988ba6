"""Answers `import azureml...` with runstream's modules: themselves, under a second name.

So `isinstance` holds, whichever name a class was imported by, and a pickle names the module under `runstream`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import MutableMapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from .missing import ROOT, offered, remedy

DIRECTORY = str(Path(__file__).absolute().parent / "on_path")
"""On the path of a Python that has runstream, it makes `azureml` importable there. Its place is the last."""

_CORE = f"{ROOT}.core"
_installing = threading.Lock()


def provide_azureml() -> bool:
    """Make `azureml` and the modules below it importable in this process, where azureml-core is not installed.

    `azureml.core.run` is then the very module `runstream.core.run`. Processes that multiprocessing and joblib start have it
    too. Modules that runstream does not have raise `ModuleNotFoundError`, which says what to do instead. Called again it
    changes nothing.

    Returns:
        Whether `azureml.core` is runstream's; False where azureml-core is installed, which stays what it is.
    """
    install()
    spec = find_spec(_CORE)
    return spec is not None and (isinstance(spec.loader, _AliasLoader) or _provided(sys.modules.get(_CORE)))


def install() -> None:
    """What `provide_azureml` does; it imports nothing of runstream's yet."""
    with _installing:
        if not any(map(_is_ours, sys.meta_path)):
            # In front: PathFinder would find the files of `azureml.core`, which is `runstream.core`, and load them again.
            sys.meta_path.insert(0, _Finder())
        if DIRECTORY not in sys.path:
            sys.path.append(DIRECTORY)  # what multiprocessing and joblib hand on


def add_to_path(variables: MutableMapping[str, str]) -> None:
    """Make `azureml` importable in a process to start, and those it starts, by its environment variables.

    The directory comes last on PYTHONPATH, and is looked at when a process imports `azureml`: nothing runs at its start.
    """
    given = variables.get("PYTHONPATH", "")
    if DIRECTORY not in given.split(os.pathsep):
        variables["PYTHONPATH"] = f"{given}{os.pathsep}{DIRECTORY}" if given else DIRECTORY


class _Finder(MetaPathFinder):
    """See `provide_azureml`."""

    provides_azureml = True

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module of the original: that of azureml-core where there is one, else an alias."""
        if name != ROOT and not name.startswith(f"{ROOT}."):
            return None
        parent = name.rpartition(".")[0]
        if not parent or not _provided(sys.modules.get(parent)):
            if spec := _elsewhere(name, path):
                return spec
            if parent and _elsewhere(_CORE, getattr(sys.modules.get(ROOT), "__path__", None)):
                return None  # azureml-core is installed, and has no such module
        if name == ROOT:
            return spec_from_loader(name, _RootLoader(), is_package=True)
        if offered(name):
            return spec_from_loader(name, _AliasLoader())
        # An import is told what to do; `importlib.util.find_spec` asks only whether there is one. Of a part of runstream
        # that has no counterpart the search would continue, and find its file.
        importing = sys._getframe(2).f_code.co_name == "_find_and_load_unlocked"
        if importing or (path and _elsewhere(name, path)):
            raise ModuleNotFoundError(
                f"No module named {name!r}: runstream answers for azureml here; {remedy(name)}", name=name
            )
        return None


class _RootLoader(Loader):
    """Makes the package `azureml`, which holds nothing but what is imported below it."""

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""
        module.__doc__ = "Stands in for azureml-core: what is below are runstream's modules."


class _AliasLoader(Loader):
    """Gives runstream's own module."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself, imported if need be.

        Not a new one that gives way when it is executed: another thread that imports it meanwhile would keep that.
        """
        module = import_module(f"runstream.{spec.name.removeprefix(f'{ROOT}.')}")
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back, which the import system has just overwritten."""
        module.__spec__ = self._spec


def _is_ours(finder: object) -> bool:
    # Not by its class: this module may have been loaded anew since.
    return getattr(finder, "provides_azureml", False) is True


def _provided(module: ModuleType | None) -> bool:
    """Whether a module under the original's name is from here."""
    spec = getattr(module, "__spec__", None)
    return spec is not None and (spec.name.startswith("runstream.") or isinstance(spec.loader, _RootLoader))


def _elsewhere(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """What the rest of the import system knows of a module."""
    for finder in list(sys.meta_path):
        if _is_ours(finder) or not hasattr(finder, "find_spec"):
            continue
        where = path
        if path is None and finder is PathFinder:
            where = [entry for entry in sys.path if entry != DIRECTORY]
        if spec := finder.find_spec(name, where):
            return spec
    return None
