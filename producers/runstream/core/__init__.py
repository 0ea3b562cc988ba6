"""Import root of migrated scripts: `azureml.core` with its root replaced."""

from __future__ import annotations

from .. import VERSION
from ..experiment import Experiment
from ..run import Run, get_run
from ..workspace import Workspace

__version__ = VERSION

__all__ = ["VERSION", "Experiment", "Run", "Workspace", "__version__", "get_run"]
