"""Classes of `azureml.core` that stand for machines and services in Azure; see `cloud`."""

from __future__ import annotations

from typing import Final

from ..cloud import CloudCall, CloudOnly

_COMPUTE: Final = (
    "submit to compute_target='local', or attach a target with ComputeTarget.attach, for instance "
    "LocalCompute.attach_configuration(concurrency=4) for a queue of its own"
)
_SERVING: Final = (
    "Model.download gets the files of a registered model; serve them with the tool of your choice"
)
_IMAGES: Final = (
    "Environment.from_pip_requirements and from_conda_specification make environments without images"
)
_NETWORK: Final = "RUNSTREAM_URL and RUNSTREAM_TOKEN say which server is used, and a reverse proxy guards it"


class _CloudCompute(CloudOnly, instead=_COMPUTE):
    """Base of machines that are rented in Azure."""

    attach_configuration = CloudCall(_COMPUTE)
    provisioning_configuration = CloudCall(_COMPUTE)


class AdlaCompute(_CloudCompute):
    """Azure Data Lake Analytics."""


class AksCompute(_CloudCompute):
    """Azure Kubernetes Service."""


class BatchCompute(_CloudCompute):
    """Azure Batch."""


class ComputeInstance(_CloudCompute):
    """A workstation in Azure."""

    supported_vmsizes = CloudCall(_COMPUTE)


class DatabricksCompute(_CloudCompute):
    """Azure Databricks."""


class DataFactoryCompute(_CloudCompute):
    """Azure Data Factory."""


class DsvmCompute(_CloudCompute):
    """A data science virtual machine."""


class HDInsightCompute(_CloudCompute):
    """Azure HDInsight."""


class KubernetesCompute(_CloudCompute):
    """A Kubernetes cluster that Azure manages."""


class KustoCompute(_CloudCompute):
    """Azure Data Explorer."""


class RemoteCompute(_CloudCompute):
    """A machine reached by SSH."""


class SynapseCompute(_CloudCompute):
    """Azure Synapse."""


class Webservice(CloudOnly, instead=_SERVING):
    """A model that answers requests in Azure."""

    deploy = CloudCall(_SERVING)
    deploy_from_image = CloudCall(_SERVING)
    deploy_from_model = CloudCall(_SERVING)
    list = CloudCall(_SERVING)


class AciWebservice(Webservice):
    """A web service in Azure Container Instances."""

    deploy_configuration = CloudCall(_SERVING)


class AksWebservice(Webservice):
    """A web service in Azure Kubernetes Service."""

    deploy_configuration = CloudCall(_SERVING)


class AksEndpoint(Webservice):
    """Several versions of a web service behind one address."""

    deploy_configuration = CloudCall(_SERVING)


class LocalWebservice(Webservice):
    """A web service in a container of this machine."""

    deploy_configuration = CloudCall(_SERVING)


class InferenceConfig(CloudOnly, instead=_SERVING):
    """How a model's web service loads it and answers."""


class Image(CloudOnly, instead=_IMAGES):
    """A container image in Azure's registry."""

    create = CloudCall(_IMAGES)
    list = CloudCall(_IMAGES)


class ContainerImage(Image):
    """A container image with a model in it."""

    image_configuration = CloudCall(_IMAGES)


class ContainerRegistry(CloudOnly, instead=_IMAGES):
    """Where images of an environment come from."""


class DockerBuildContext(CloudOnly, instead=_IMAGES):
    """A directory an image is built from."""

    from_local_directory = CloudCall(_IMAGES)


class PrivateEndPoint(CloudOnly, instead=_NETWORK):
    """A workspace's address in a private network."""


class PrivateEndPointConfig(CloudOnly, instead=_NETWORK):
    """What a private address is to be."""


class LinkedService(CloudOnly, instead=_COMPUTE):
    """A service of Azure that a workspace may use."""

    register = CloudCall(_COMPUTE)
    get = CloudCall(_COMPUTE)
    list = CloudCall(_COMPUTE)


class SynapseWorkspaceLinkedServiceConfiguration(CloudOnly, instead=_COMPUTE):
    """Which Synapse workspace to link."""
