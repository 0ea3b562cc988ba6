"""`azureml.core.compute` with its root replaced."""

from __future__ import annotations

from ..cloud_services import (
    AdlaCompute,
    AksCompute,
    BatchCompute,
    ComputeInstance,
    DatabricksCompute,
    DataFactoryCompute,
    DsvmCompute,
    HDInsightCompute,
    KubernetesCompute,
    KustoCompute,
    RemoteCompute,
    SynapseCompute,
)
from ..compute.provisioned import AmlCompute
from ..compute.target import AttachConfiguration, ComputeTarget, DaskCompute, LocalCompute

__all__ = [
    "AdlaCompute",
    "AksCompute",
    "AmlCompute",
    "AttachConfiguration",
    "BatchCompute",
    "ComputeInstance",
    "ComputeTarget",
    "DaskCompute",
    "DataFactoryCompute",
    "DatabricksCompute",
    "DsvmCompute",
    "HDInsightCompute",
    "KubernetesCompute",
    "KustoCompute",
    "LocalCompute",
    "RemoteCompute",
    "SynapseCompute",
]
