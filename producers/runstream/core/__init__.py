"""Import root of migrated scripts: `azureml.core` with its root replaced."""

from __future__ import annotations

from ..lazy import TYPE_CHECKING, attributes
from ..version import VERSION

__version__ = VERSION

__all__ = [
    "VERSION",
    "ComputeTarget",
    "ContainerRegistry",
    "Dataset",
    "Datastore",
    "Environment",
    "Experiment",
    "Image",
    "Keyvault",
    "LinkedService",
    "Model",
    "PrivateEndPoint",
    "PrivateEndPointConfig",
    "Run",
    "RunConfiguration",
    "ScriptRun",
    "ScriptRunConfig",
    "SynapseWorkspaceLinkedServiceConfiguration",
    "Webservice",
    "Workspace",
    "__version__",
    "get_run",
]

if TYPE_CHECKING:
    from ..data._datastore import Datastore
    from ._cloud_services import (
        ContainerRegistry,
        Image,
        LinkedService,
        PrivateEndPoint,
        PrivateEndPointConfig,
        SynapseWorkspaceLinkedServiceConfiguration,
        Webservice,
    )
    from .compute import ComputeTarget
    from .dataset import Dataset
    from .environment import Environment
    from .experiment import Experiment
    from .keyvault import Keyvault
    from .model import Model
    from .run import Run, get_run
    from .runconfig import RunConfiguration
    from .script_run import ScriptRun
    from .script_run_config import ScriptRunConfig
    from .workspace import Workspace
else:
    _CLOUD = "runstream.core._cloud_services"
    __getattr__, __dir__ = attributes(
        __name__,
        {
            "ComputeTarget": "runstream.core.compute",
            "ContainerRegistry": _CLOUD,
            "Dataset": "runstream.core.dataset",
            "Datastore": "runstream.data._datastore",
            "Environment": "runstream.core.environment",
            "Experiment": "runstream.core.experiment",
            "Image": _CLOUD,
            "Keyvault": "runstream.core.keyvault",
            "LinkedService": _CLOUD,
            "Model": "runstream.core.model",
            "PrivateEndPoint": _CLOUD,
            "PrivateEndPointConfig": _CLOUD,
            "Run": "runstream.core.run",
            "RunConfiguration": "runstream.core.runconfig",
            "ScriptRun": "runstream.core.script_run",
            "ScriptRunConfig": "runstream.core.script_run_config",
            "SynapseWorkspaceLinkedServiceConfiguration": _CLOUD,
            "Webservice": _CLOUD,
            "Workspace": "runstream.core.workspace",
            "get_run": "runstream.core.run",
        },
    )
