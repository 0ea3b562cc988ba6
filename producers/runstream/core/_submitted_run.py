"""The run a submitted script belongs to, as found by `Run.get_context()` in the script's environment variables."""

from __future__ import annotations

import atexit
import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from runstream_schemas.settings import Settings

from ..client.reading import settle
from ..client.records import SCRIPT_RUN, RunRecord
from ..compute.job import RUN_FILE
from ..exceptions import RunEnvironmentException, ServiceException
from ._run.lifecycle import error_body
from ._run.offline_run import _OfflineRun
from .experiment import Experiment
from .run import Run
from .workspace import Workspace

REQUIRED = (
    "AZUREML_RUN_ID",
    "AZUREML_ARM_SUBSCRIPTION",
    "AZUREML_ARM_RESOURCEGROUP",
    "AZUREML_ARM_WORKSPACE_NAME",
    "AZUREML_ARM_PROJECT_NAME",
    "AZUREML_RUN_TOKEN",
    "AZUREML_SERVICE_ENDPOINT",
)
"""Environment variables without which a script runs outside of any run."""

_FLUSH_SECONDS = 20.0  # at the end of the script, so that whoever waits for the run reads all of its metrics

_log = logging.getLogger("runstream")
_current: dict[str, _SubmittedRun] = {}


class _SubmittedRun(Run):
    """A submitted run seen from its own script. What becomes of it, the script's outcome decides, not its calls."""

    def complete(self, _set_status: bool = True) -> None:
        """Wait until the service has stored everything. The run completes when the script does."""
        self._flush_quietly()

    def fail(
        self,
        error_details: str | BaseException | None = None,
        error_code: str | None = None,
        _set_status: bool = True,
    ) -> None:
        """Record an error. The run's status stays as it is until the script ends.

        Raises:
            TypeError: details of another type than text or an exception.
        """
        body = error_body(error_details, error_code)
        self._live().writer.status("error", {"error": body})
        self._record.error = body

    def cancel(self) -> None:
        """Warn: a script cannot cancel itself."""
        _log.warning(
            "run %s: cancel() has no effect inside the run's own script; end the script, or cancel the run from outside",
            self._id,
        )

    def __enter__(self) -> _SubmittedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self._flush_quietly()
        return False

    @property
    def input_datasets(self) -> dict[str, Any]:
        """Datasets among the script's arguments, by name: themselves in mode `direct`, else the path of their files."""
        from ..data._inputs import input_datasets

        return input_datasets()

    @property
    def output_datasets(self) -> dict[str, Any]:
        """Data sets the run was asked for: there are none."""
        return {}

    def _flush_quietly(self) -> None:
        try:
            settle(self._client, self._id, _FLUSH_SECONDS)
        except ServiceException as error:
            _log.warning("run %s: %s", self._id, error.message)


def context_run(allow_offline: bool) -> _SubmittedRun | _OfflineRun:
    """The run of this process's environment variables, the same object every time; else a new offline run.

    Raises:
        RunEnvironmentException: there is none, and `allow_offline` is False.
    """
    missing = [name for name in REQUIRED if not os.environ.get(name)]
    if missing:
        if allow_offline:
            return _OfflineRun()
        raise RunEnvironmentException(
            "Could not load a submitted run, if outside of an execution context, use experiment.start_logging to "
            f"initialize a run (environment variables that are not set: {', '.join(missing)})"
        )
    run_id = os.environ["AZUREML_RUN_ID"]
    run = _current.get(run_id)
    if run is None:
        run = _current[run_id] = _load(run_id)
    return run


def _load(run_id: str) -> _SubmittedRun:
    environ = os.environ
    workspace = Workspace(
        environ["AZUREML_ARM_SUBSCRIPTION"],
        environ["AZUREML_ARM_RESOURCEGROUP"],
        environ["AZUREML_ARM_WORKSPACE_NAME"],
        _settings=Settings.load(),
    )
    name = environ["AZUREML_ARM_PROJECT_NAME"]
    record = RunRecord(
        run_id=run_id,
        experiment=name,
        workspace=workspace.name,
        status="Running",
        root_run_id=run_id,
        type=SCRIPT_RUN,
    )
    if file := environ.get(RUN_FILE):
        try:
            record = RunRecord.from_json(json.loads(Path(file).read_text(encoding="utf-8")))
            record.status = "Running"
        except (OSError, ValueError, TypeError) as error:
            _log.warning(
                "%s=%s cannot be read (%s); the run's tags are not known here", RUN_FILE, file, error
            )
    experiment = Experiment._of(workspace, name)
    run = _SubmittedRun._of(experiment, record)
    atexit.register(_settle_all, run)
    return run


def _settle_all(run: _SubmittedRun) -> None:
    """Children of the run may have been logged to as well."""
    try:
        settle(run._client, None, _FLUSH_SECONDS)
    except ServiceException as error:
        _log.warning("run %s: %s", run.id, error.message)
