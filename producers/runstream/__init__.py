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

__all__ = [
    "VERSION",
    "CondaDependencies",
    "Environment",
    "Experiment",
    "Run",
    "RunConfiguration",
    "ScriptRun",
    "ScriptRunConfig",
    "Workspace",
    "__version__",
    "get_run",
    "sql",
]

if TYPE_CHECKING:
    from .conda_dependencies import CondaDependencies
    from .environment import Environment
    from .experiment import Experiment
    from .query import sql
    from .run import Run, get_run
    from .run_configuration import RunConfiguration
    from .script_run import ScriptRun
    from .script_run_config import ScriptRunConfig
    from .workspace import Workspace

# `import runstream` loads nothing: a script that only reads __version__, or a command that never logs, pays nothing.
_HOMES = {
    "CondaDependencies": ".conda_dependencies",
    "Environment": ".environment",
    "Experiment": ".experiment",
    "Run": ".run",
    "RunConfiguration": ".run_configuration",
    "ScriptRun": ".script_run",
    "ScriptRunConfig": ".script_run_config",
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
