"""Files of runs and models, through the service."""

from __future__ import annotations

from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from mlflow.utils.rest_utils import MlflowHostCreds

from .connection import Connection


class ArtifactRepository(MlflowArtifactsRepository):
    """Files below an address `mlflow-artifacts:`, where the tracking URI is `runstream://`."""

    def __init__(self, artifact_uri: str, tracking_uri: str, registry_uri: str | None) -> None:
        self._connection = Connection(tracking_uri)
        super().__init__(artifact_uri, self._connection.host().host, registry_uri)

    @property
    def _host_creds(self) -> MlflowHostCreds:
        return MlflowHostCreds(host=self.artifact_uri, token=self._connection.host().token)
