"""The process of a run's script or command: how it is started, and which environment variables it finds."""

from __future__ import annotations

import ctypes
import re
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from .job import RUN_FILE, Job

_PR_SET_PDEATHSIG = 1
_SECRET = re.compile(
    r"token|secret|passw(?:or)?d|passphrase|credential|(?:api|access|private|encryption|account)_?key",
    re.IGNORECASE,
)  # in names of variables
MASKED = "***"
"""Stands in a run's record for the value of a variable that holds a secret by its name."""


def start(
    words: Sequence[str],
    variables: Mapping[str, str],
    *,
    blocked: Collection[int] | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start it. It gets SIGTERM when the process that looks after its run dies: without a run it would continue unseen.

    Args:
        words: the command.
        variables: all its environment variables.
        blocked: signals it has blocked; None: those this thread has.
        **options: of `subprocess.Popen`.

    Raises:
        OSError: there is no such program, or it cannot be executed.
    """
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    return subprocess.Popen(words, env=variables, preexec_fn=prepare, **options)


def without_secrets(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Environment variables as everybody may read them who sees the run."""
    return {name: MASKED if _SECRET.search(name) else value for name, value in variables.items()}


def run_variables(job: Job, directory: Path, endpoint: str) -> dict[str, str]:
    """The environment variables by which a script finds its run, and what scripts of the reproduced API read.

    Args:
        job: what is run.
        directory: the directory of the run on this machine.
        endpoint: address of the service.
    """
    scope = (
        f"/subscriptions/{job.subscription_id}/resourceGroups/{job.resource_group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{job.workspace}"
    )
    return {
        "PYTHONUNBUFFERED": "1",
        "AZUREML_RUN_ID": job.run_id,
        "AZUREML_ARM_SUBSCRIPTION": job.subscription_id,
        "AZUREML_ARM_RESOURCEGROUP": job.resource_group,
        "AZUREML_ARM_WORKSPACE_NAME": job.workspace,
        "AZUREML_ARM_PROJECT_NAME": job.experiment,
        "AZUREML_RUN_TOKEN": "local",  # the service's own token goes by its file or RUNSTREAM_TOKEN
        "AZUREML_SERVICE_ENDPOINT": endpoint,
        "AZUREML_OUTPUT_DIRECTORY": "./outputs",
        "AZUREML_DATA_CONTAINER_ID": f"dcid.{job.run_id}",
        "AZUREML_WORKSPACE_SCOPE": scope,
        "AZUREML_EXPERIMENT_SCOPE": f"{scope}/experiments/{job.experiment}",
        "AZUREML_FRAMEWORK": job.framework,
        "AZUREML_COMMUNICATOR": job.communicator,
        "AZUREML_TARGET_TYPE": job.target_type,
        "AZUREML_LOGDIRECTORY_PATH": str(directory / "azureml-logs"),
        "AZUREML_CONTROLLOG_PATH": str(directory / "wrapper.log"),
        "AZUREML_NODE_COUNT": str(job.node_count),
        "AZUREML_PROCESS_NAME": "main",
        RUN_FILE: str(directory / "run.json"),
    }
