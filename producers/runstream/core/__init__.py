"""Import root of migrated scripts: `azureml.core` with its root replaced."""

from __future__ import annotations

from .. import VERSION
from ..lazy import TYPE_CHECKING, attributes

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
    from ..cloud_services import (
        ContainerRegistry,
        Image,
        LinkedService,
        PrivateEndPoint,
        PrivateEndPointConfig,
        SynapseWorkspaceLinkedServiceConfiguration,
        Webservice,
    )
    from ..compute.target import ComputeTarget
    from ..dataset import Dataset
    from ..datastore import Datastore
    from ..environment import Environment
    from ..experiment import Experiment
    from ..keyvault import Keyvault
    from ..model import Model
    from ..run import Run, get_run
    from ..run_configuration import RunConfiguration
    from ..script_run import ScriptRun
    from ..script_run_config import ScriptRunConfig
    from ..workspace import Workspace
else:
    _CLOUD = "runstream.cloud_services"
    __getattr__, __dir__ = attributes(
        __name__,
        {
            "ComputeTarget": "runstream.compute.target",
            "ContainerRegistry": _CLOUD,
            "Dataset": "runstream.dataset",
            "Datastore": "runstream.datastore",
            "Environment": "runstream.environment",
            "Experiment": "runstream.experiment",
            "Image": _CLOUD,
            "Keyvault": "runstream.keyvault",
            "LinkedService": _CLOUD,
            "Model": "runstream.model",
            "PrivateEndPoint": _CLOUD,
            "PrivateEndPointConfig": _CLOUD,
            "Run": "runstream.run",
            "RunConfiguration": "runstream.run_configuration",
            "ScriptRun": "runstream.script_run",
            "ScriptRunConfig": "runstream.script_run_config",
            "SynapseWorkspaceLinkedServiceConfiguration": _CLOUD,
            "Webservice": _CLOUD,
            "Workspace": "runstream.workspace",
            "get_run": "runstream.run",
        },
    )
