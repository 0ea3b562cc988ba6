"""runstream: experiment tracking whose `Run.log` costs less than a microsecond and loses nothing.

>>> from runstream import Workspace, Experiment
>>> run = Experiment(Workspace.from_config(), "ridge").start_logging()
>>> run.log("mse", 0.3)
>>> run.complete()
"""

from __future__ import annotations

from .lazy import TYPE_CHECKING, attributes

__version__ = "0.1.0"
VERSION = "1.61.0"
"""Version of the API that is reproduced; scripts compare it."""

__all__ = [
    "VERSION",
    "ComputeTarget",
    "CondaDependencies",
    "Dataset",
    "Datastore",
    "Environment",
    "Experiment",
    "Keyvault",
    "Model",
    "Run",
    "RunConfiguration",
    "ScriptRun",
    "ScriptRunConfig",
    "Workspace",
    "__version__",
    "get_run",
    "query",
    "sql",
]

if TYPE_CHECKING:
    from . import query
    from .compute.target import ComputeTarget
    from .conda_dependencies import CondaDependencies
    from .dataset import Dataset
    from .datastore import Datastore
    from .environment import Environment
    from .experiment import Experiment
    from .keyvault import Keyvault
    from .model import Model
    from .query import sql
    from .run import Run, get_run
    from .run_configuration import RunConfiguration
    from .script_run import ScriptRun
    from .script_run_config import ScriptRunConfig
    from .workspace import Workspace
else:
    # `import runstream` loads nothing: a script that only reads __version__, or a command that never logs, pays nothing.
    __getattr__, __dir__ = attributes(
        __name__,
        {
            "ComputeTarget": "runstream.compute.target",
            "CondaDependencies": "runstream.conda_dependencies",
            "Dataset": "runstream.dataset",
            "Datastore": "runstream.datastore",
            "Environment": "runstream.environment",
            "Experiment": "runstream.experiment",
            "Keyvault": "runstream.keyvault",
            "Model": "runstream.model",
            "Run": "runstream.run",
            "RunConfiguration": "runstream.run_configuration",
            "ScriptRun": "runstream.script_run",
            "ScriptRunConfig": "runstream.script_run_config",
            "Workspace": "runstream.workspace",
            # Scripts write `import runstream` and then `runstream.core.VERSION`.
            "core": "runstream.core",
            "data": "runstream.data",
            "exceptions": "runstream.exceptions",
            "sweep": "runstream.sweep",
            "train": "runstream.train",
            "widgets": "runstream.widgets",
            "get_run": "runstream.run",
            "query": "runstream.query",
            "sql": "runstream.query",
        },
    )
