"""The REST interface of MLflow 3: what its clients ask, answered of the same runs as everything else."""

from __future__ import annotations

from typing import Final

from ..endpoint import Endpoint
from . import artifacts_api, models_api, server_api, tracking_api, workspaces_api

MLFLOW_ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *server_api.ENDPOINTS,
    *tracking_api.ENDPOINTS,
    *artifacts_api.ENDPOINTS,
    *models_api.ENDPOINTS,
    *workspaces_api.ENDPOINTS,
    *server_api.REST,
)
"""Every endpoint for MLflow's clients."""
