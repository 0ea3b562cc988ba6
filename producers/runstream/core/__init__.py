"""Import root of migrated scripts: `azureml.core` with its root replaced."""

from __future__ import annotations

from .. import VERSION
from ..environment import Environment
from ..experiment import Experiment
from ..run import Run, get_run
from ..run_configuration import RunConfiguration
from ..script_run import ScriptRun
from ..script_run_config import ScriptRunConfig
from ..workspace import Workspace

__version__ = VERSION

__all__ = [
    "VERSION",
    "Environment",
    "Experiment",
    "Run",
    "RunConfiguration",
    "ScriptRun",
    "ScriptRunConfig",
    "Workspace",
    "__version__",
    "get_run",
]
