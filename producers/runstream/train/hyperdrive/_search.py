"""Submitting a configuration of HyperDrive: its run is a submitted one, whose script drives the sweep."""

from __future__ import annotations

import pickle
import shlex
import sys
import uuid
from collections.abc import Mapping
from typing import Any

from ...client.reading import fetch_record
from ...client.records import RunRecord
from ...core._submission.submit import checked, submit, submit_again
from ...core.experiment import Experiment
from ...core.run import Run
from ...core.script_run_config import ScriptRunConfig
from ...exceptions import ServiceException
from ...sweep.search import search_of
from ...sweep.trial import Aim
from ...workspace_type import Workspace
from .exceptions import HyperDriveConfigException
from .run import HyperDriveRun
from .runconfig import HyperDriveConfig

CONFIG_FILE = "hyperdrive.pickle"
"""The configuration, in the directory of its run, which is its owner's alone."""

_MODULE = "runstream.train.hyperdrive._driver"


def search(
    experiment: Experiment,
    config: HyperDriveConfig,
    tags: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    *,
    parent: Run | None = None,
) -> HyperDriveRun:
    """Submit a configuration; returns when its run is queued. That of a run that has ended resumes it.

    Args:
        experiment: the experiment of the run.
        config: what varies, and how.
        tags: first tags.
        run_id: id of the run; default: `custom_run_id` of the configuration, else a new one.
        parent: the run it is a child of.

    Raises:
        HyperDriveConfigException: the configuration of a stored run, which does not name its script.
        UserErrorException: the sampling needs Optuna, or a run of that id has not ended.
        AzureMLException: as `Experiment.submit`.
        ServiceException: there is no such compute target (status_code 400).
    """
    script = config.run_config
    if script is None:
        raise HyperDriveConfigException(
            "HyperDriveConfig: the configuration of a stored run names no script; make one with a run_config",
            target="run_config",
        )
    workspace = experiment.workspace
    checked(workspace, script)  # whatever is wrong with it is found here, not by each trial
    search_of(config._sampling.METHOD, config._sampling.space(), _aim_of(config), 0)
    files = {CONFIG_FILE: pickle.dumps(config)}
    run_id = run_id or config._custom_run_id
    if run_id is not None and (record := _stored(workspace, run_id)) is not None:
        live = submit_again(workspace, record, files)
        record.status = "Queued"
    else:
        python = shlex.quote(sys.executable or "python3")
        driver = ScriptRunConfig(
            script.source_directory,
            command=f"exec {python} -P -m {_MODULE}",
            max_run_duration_seconds=int(config._max_duration_minutes * 60) or 1,
        )
        record, live = submit(
            workspace,
            experiment.name,
            driver,
            tags,
            parent=parent,
            run_id=run_id or f"HD_{uuid.uuid4()}",
            properties=config._properties(),
            kind=HyperDriveRun.RUN_TYPE,
            files=files,
        )
    run = HyperDriveRun._of(experiment, record)
    run._config, run._parent = config, parent
    run._attach(live)
    run._started_here = True
    return run


def _aim_of(config: HyperDriveConfig) -> Aim:
    goal = config._primary_metric_config
    return Aim(goal["name"], "minimize" if goal["goal"] == "minimize" else "maximize", "best")


def _stored(workspace: Workspace, run_id: str) -> RunRecord | None:
    try:
        return fetch_record(workspace._client, run_id)
    except ServiceException as error:
        if error.status_code == 404:
            return None
        raise
