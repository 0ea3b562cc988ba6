"""`azureml.core.linked_service` with its root replaced."""

from __future__ import annotations

from ._cloud_services import LinkedService, SynapseWorkspaceLinkedServiceConfiguration

__all__ = ["LinkedService", "SynapseWorkspaceLinkedServiceConfiguration"]
