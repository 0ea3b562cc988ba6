"""runstream: experiment tracking whose `Run.log` costs less than a microsecond and loses nothing.

>>> from runstream import Workspace, Experiment
>>> run = Experiment(Workspace.from_config(), "ridge").start_logging()
>>> run.log("mse", 0.3)
>>> run.complete()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
VERSION = "1.61.0"
"""Version of the API that is reproduced; scripts compare it."""

__all__ = ["VERSION", "Experiment", "Run", "Workspace", "__version__", "get_run", "sql"]

if TYPE_CHECKING:
    from .experiment import Experiment
    from .query import sql
    from .run import Run, get_run
    from .workspace import Workspace

# `import runstream` loads nothing: a script that only reads __version__, or a command that never logs, pays nothing.
_HOMES = {
    "Experiment": ".experiment",
    "Run": ".run",
    "Workspace": ".workspace",
    "get_run": ".run",
    "sql": ".query",
    "query": ".query",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(home, __name__)
    value = module if name == home[1:] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
