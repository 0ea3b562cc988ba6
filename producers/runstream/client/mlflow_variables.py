"""What MLflow's client has to be told to record at a service: its own environment variables."""

from __future__ import annotations

import json
from collections.abc import MutableMapping

from .addresses import Address

TRACKING_URI = "MLFLOW_TRACKING_URI"
_PARENT = "mlflow.parentRunId"


def add_mlflow(
    variables: MutableMapping[str, str],
    address: Address,
    workspace: str,
    *,
    experiment: str = "",
    parent_run_id: str = "",
) -> None:
    """Lead MLflow's client to a service, by environment variables of the process it is in. One that leads elsewhere stays.

    Args:
        workspace: where its runs are.
        experiment: the experiment of runs for which a script names none; '': MLflow's default.
        parent_run_id: the run its runs are children of; '': of none.
    """
    if variables.setdefault(TRACKING_URI, address.url) != address.url:
        return
    given = {
        "MLFLOW_TRACKING_TOKEN": address.token,
        "MLFLOW_WORKSPACE": workspace,
        "MLFLOW_EXPERIMENT_NAME": "" if variables.get("MLFLOW_EXPERIMENT_ID") else experiment,
        "MLFLOW_RUN_CONTEXT": json.dumps({_PARENT: parent_run_id}) if parent_run_id else "",
    }
    for name, value in given.items():
        if value:
            variables.setdefault(name, value)
