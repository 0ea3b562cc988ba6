"""`azureml.core.webservice` with its root replaced."""

from __future__ import annotations

from ._cloud_services import AciWebservice, AksEndpoint, AksWebservice, LocalWebservice, Webservice

__all__ = ["AciWebservice", "AksEndpoint", "AksWebservice", "LocalWebservice", "Webservice"]
