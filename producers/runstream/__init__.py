"""runstream: experiment tracking whose `Run.log` costs less than a microsecond and loses nothing.

>>> from runstream import Workspace, Experiment
>>> run = Experiment(Workspace.from_config(), "ridge").start_logging()
>>> run.log("mse", 0.3)
>>> run.complete()
"""

from __future__ import annotations

import os as _os

from .lazy import TYPE_CHECKING, attributes
from .version import VERSION, __version__

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
    "media",
    "provide_azureml",
    "query",
    "sql",
]

for _name in ("RUNSTREAM_HOME", "RUNSTREAM_SPOOL", "RUNSTREAM_STORE"):
    # Made absolute before the program changes its directory, as Hydra does before it calls anybody; for children too.
    # Settings does so with these and the others when it reads them.
    if (_given := _os.environ.get(_name)) and "://" not in _given and not _os.path.isabs(_given):
        try:
            _os.environ[_name] = _os.path.abspath(_os.path.expanduser(_given))
        except FileNotFoundError:  # the working directory was deleted; Settings says so
            pass

if TYPE_CHECKING:
    from . import media, query
    from .core.compute import ComputeTarget
    from .core.conda_dependencies import CondaDependencies
    from .core.dataset import Dataset
    from .core.environment import Environment
    from .core.experiment import Experiment
    from .core.keyvault import Keyvault
    from .core.model import Model
    from .core.run import Run, get_run
    from .core.runconfig import RunConfiguration
    from .core.script_run import ScriptRun
    from .core.script_run_config import ScriptRunConfig
    from .core.workspace import Workspace
    from .data._datastore import Datastore
    from .query import sql
    from .stand_in.finder import provide_azureml
else:
    # `import runstream` loads nothing: a script that only reads __version__, or a command that never logs, pays nothing.
    __getattr__, __dir__ = attributes(
        __name__,
        {
            "ComputeTarget": "runstream.core.compute",
            "CondaDependencies": "runstream.core.conda_dependencies",
            "Dataset": "runstream.core.dataset",
            "Datastore": "runstream.data._datastore",
            "Environment": "runstream.core.environment",
            "Experiment": "runstream.core.experiment",
            "Keyvault": "runstream.core.keyvault",
            "Model": "runstream.core.model",
            "Run": "runstream.core.run",
            "RunConfiguration": "runstream.core.runconfig",
            "ScriptRun": "runstream.core.script_run",
            "ScriptRunConfig": "runstream.core.script_run_config",
            "Workspace": "runstream.core.workspace",
            # Scripts write `import runstream` and then `runstream.core.VERSION`.
            "core": "runstream.core",
            "data": "runstream.data",
            "exceptions": "runstream.exceptions",
            "sweep": "runstream.sweep",
            "tensorboard": "runstream.tensorboard",
            "train": "runstream.train",
            "wandb": "runstream.wandb",
            "widgets": "runstream.widgets",
            "get_run": "runstream.core.run",
            "media": "runstream.media",
            "provide_azureml": "runstream.stand_in.finder",
            "query": "runstream.query",
            "sql": "runstream.query",
        },
    )
