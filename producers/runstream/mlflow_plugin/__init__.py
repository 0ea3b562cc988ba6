"""MLflow's client at a service of runstream, with the tracking URI `runstream://`: what is logged goes through the spool.

>>> import mlflow
>>> mlflow.set_tracking_uri("runstream://")

MLflow finds these functions by the entry points of the distribution, and loads them whenever it is imported: what they need
is imported when they are called.
"""

from __future__ import annotations

from typing import Any

SCHEME = "runstream"


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """What MLflow's client tracks runs with (entry point `mlflow.tracking_store`)."""
    from .tracking import TrackingStore

    return TrackingStore(store_uri)


def registry_store(store_uri: str, tracking_uri: str | None = None) -> Any:
    """What it registers models with (entry point `mlflow.model_registry_store`)."""
    from mlflow.store.model_registry.rest_store import RestStore

    from .connection import Connection

    return RestStore(Connection(store_uri).host)


def workspace_store(workspace_uri: str) -> Any:
    """What it lists and makes workspaces with (entry point `mlflow.workspace_provider`)."""
    from mlflow.store.workspace.rest_store import RestWorkspaceStore

    from .connection import Connection

    return RestWorkspaceStore(Connection(workspace_uri).host)


def artifact_repository(artifact_uri: str, *uris: str | None, **named: str | None) -> Any:
    """What it stores files with below `mlflow-artifacts:` (entry point `mlflow.artifact_repository`): MLflow's own, where
    the tracking URI is another than `runstream://`.

    Args:
        uris, named: `tracking_uri` and `registry_uri`, where the version of MLflow has them; its own gets what was given.
    """
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
    from mlflow.tracking import get_tracking_uri

    uri = (uris[0] if uris else named.get("tracking_uri")) or get_tracking_uri()
    if not uri.startswith(f"{SCHEME}:"):
        return MlflowArtifactsRepository(artifact_uri, *uris, **named)
    from .artifacts import ArtifactRepository

    registry_uri = uris[1] if len(uris) > 1 else named.get("registry_uri")
    return ArtifactRepository(artifact_uri, uri, registry_uri)
