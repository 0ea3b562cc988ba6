"""The run of a HyperDrive configuration, and what can be asked of its trials.

Source: `azureml.train.hyperdrive.run`.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ...client.addresses import quoted
from ...client.reading import settle
from ...client.records import TERMINAL
from ...compute.job import request_cancel
from ...core.experiment import Experiment
from ...core.run import Run
from ...sweep.trial import GOAL, Aim, Trial, stored_trials
from ._numbers import is_whole
from .exceptions import (
    HyperDriveConfigException,
    HyperDriveNotImplementedException,
    HyperDriveRehydrateException,
)
from .runconfig import HyperDriveConfig

__all__ = ["HyperDriveRun"]


class HyperDriveRun(Run):
    """A run of HyperDrive: its children are the trials. `Experiment.submit` starts one; `Run.get` gives stored ones.

    Args:
        experiment: the run's experiment.
        run_id: its id.
        hyperdrive_config: what it was submitted with; default: read from the run.

    Raises:
        HyperDriveConfigException: an id that is no text.
        ServiceException: the experiment has no such run (status_code 404), or the service is away.

    Source: `azureml.train.hyperdrive.HyperDriveRun`.
    """

    RUN_TYPE = "hyperdrive"
    _config: HyperDriveConfig | None = None

    def __init__(
        self,
        experiment: Experiment,
        run_id: str,
        hyperdrive_config: HyperDriveConfig | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(run_id, str):
            raise HyperDriveConfigException(
                f"HyperDriveRun: run_id: expected a text, got {type(run_id).__name__}", target="run_id"
            )
        super().__init__(experiment, run_id, **kwargs)
        self._config = hyperdrive_config

    @property
    def hyperdrive_config(self) -> HyperDriveConfig:
        """What it was submitted with.

        Raises:
            HyperDriveRehydrateException: the run was not made by HyperDrive.
        """
        if self._config is None:
            self._config = HyperDriveConfig._of_properties(
                self._id, self._stored_properties("generator_config")
            )
        return self._config

    def cancel(self) -> bool:  # type: ignore[override]
        """End the run as Canceled, with the trials at work.

        Returns:
            Whether it is canceled; False when it has ended otherwise.

        Raises:
            ServiceException: the service is away.
        """
        settle(self._client, self._id)
        if self.get_status() in TERMINAL:
            return self._record.status == "Canceled"
        self._client.request("POST", f"/api/v1/runs/{quoted(self._id)}/cancel")
        request_cancel(self._settings, self._id)  # its own process need not hear of it from the service
        self._refresh()
        return True

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """As `Run.wait_for_completion`; the end of a cancel is always waited for."""
        return super().wait_for_completion(show_output, True, raise_on_error)

    def get_best_run_by_primary_metric(
        self,
        include_failed: bool = True,
        include_canceled: bool = True,
        include_resume_from_runs: bool = True,
    ) -> Run | None:
        """The trial whose best value of the metric is the best; None while no trial has logged it.

        Args:
            include_failed: trials that failed count too.
            include_canceled: trials that were canceled count too, such as those a policy ended.
            include_resume_from_runs: accepted: a run that was resumed has all its trials itself.

        Raises:
            ServiceException: the service is away.
        """
        counted = {"Failed": include_failed, "Canceled": include_canceled}
        for child in self.get_children_sorted_by_primary_metric(discard_no_metric=True):
            if counted.get(child["status"], True):
                return Run.get(self.experiment.workspace, child["run_id"])
        return None

    def get_children_sorted_by_primary_metric(
        self, top: int = 0, reverse: bool = False, discard_no_metric: bool = False
    ) -> list[dict[str, Any]]:
        """The trials by their best value of the metric, the best first.

        Args:
            top: only so many; 0: all.
            reverse: the worst first.
            discard_no_metric: leave out trials without the metric, which come last otherwise.

        Returns:
            For each trial `run_id`, `hyperparameters` (as JSON), `best_primary_metric` and `status`.

        Raises:
            HyperDriveConfigException: a `top` that is no whole number of 0 or more.
            ServiceException: the service is away.
        """
        if not is_whole(top):
            raise HyperDriveConfigException(
                f"get_children_sorted_by_primary_metric: top {top!r:.80}: expected a whole number of 0 or more",
                target="top",
            )
        aim = self._aim()
        trials = self._trials(aim)
        measured = [
            (trial.value, trial) for trial in trials if trial.value is not None and trial.value == trial.value
        ]
        measured.sort(key=lambda pair: pair[0], reverse=aim.minimize == reverse)
        ordered = [trial for _, trial in measured]
        if not discard_no_metric:
            measured_ids = {trial.run_id for trial in ordered}
            ordered += [trial for trial in trials if trial.run_id not in measured_ids]
        children = [
            {
                "run_id": trial.run_id,
                "hyperparameters": json.dumps(trial.parameters, ensure_ascii=False),
                "best_primary_metric": trial.value,
                "status": trial.status,
            }
            for trial in ordered
        ]
        return children[:top] if top else children

    def get_hyperparameters(self) -> dict[str, str]:
        """The parameters of each trial: its id to a text of JSON.

        Raises:
            ServiceException: the service is away.
        """
        return {
            trial.run_id: json.dumps(trial.parameters, ensure_ascii=False)
            for trial in self._trials(self._aim())
        }

    def get_metrics(
        self,
        name: str | None = None,
        recursive: bool = False,
        run_type: str | None = None,
        populate: bool = False,
    ) -> dict[str, Any]:
        """What the trials logged: `{run id: {name: value}}`; trials without metrics are left out.

        Args:
            name: only this series.
            recursive: also of what is below the trials, and of this run, as `Run.get_metrics`.
            run_type: with `recursive`, only of this type.
            populate: images and other files with their content.

        Raises:
            ServiceException: the service is away.
        """
        metrics = super().get_metrics(name, True, run_type, populate)
        if recursive:
            return metrics
        trials = {child.id for child in self.get_children()}
        return {run_id: values for run_id, values in metrics.items() if run_id in trials}

    def get_diagnostics(self) -> NoReturn:
        """Not offered, as in the original.

        Raises:
            HyperDriveNotImplementedException: always.
        """
        raise HyperDriveNotImplementedException(
            "HyperDriveRun has no get_diagnostics(); use get_all_logs(), also of its children"
        )

    def fail(
        self,
        error_details: str | BaseException | None = None,
        error_code: str | None = None,
        _set_status: bool = True,
    ) -> NoReturn:
        """Not offered, as in the original.

        Raises:
            HyperDriveNotImplementedException: always.
        """
        raise HyperDriveNotImplementedException("HyperDriveRun cannot be told to fail(); use cancel()")

    def _aim(self) -> Aim:
        stored = self._stored_properties(GOAL).get(GOAL)
        if stored is None:
            raise HyperDriveRehydrateException(
                f"run {self._id} names no primary metric (property {GOAL!r}); give the id of a run of HyperDrive"
            )
        document = json.loads(stored)
        return Aim(document["name"], document["goal"], "best")

    def _trials(self, aim: Aim) -> list[Trial]:
        settle(self._client)  # children are written by other processes, some by this one
        return stored_trials(self, aim)

    def _stored_properties(self, name: str) -> dict[str, str | None]:
        return self.properties if name in self._record.properties else self.get_properties()
