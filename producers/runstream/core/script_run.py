"""Runs of scripts that were submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .experiment import Experiment
from .run import Run

__all__ = ["ScriptRun"]


class ScriptRun(Run):
    """A run of a script, executed by a process of its own.

    `Experiment.submit` and `Run.submit_child` start one; lists and `Run.get` give one for every run of this type.

    Args:
        experiment: the run's experiment.
        run_id: its id.
        directory: accepted: the run's directory is found by its id.
        _run_config: accepted: `get_environment` and `get_details` have it.

    Raises:
        ServiceException: the experiment has no such run (status_code 404), or the service is away.

    Source: `azureml.core.ScriptRun`.
    """

    def __init__(
        self,
        experiment: Experiment,
        run_id: str,
        directory: Any = None,
        _run_config: Any = None,
        **kwargs: Any,
    ) -> None:
        del directory, _run_config
        super().__init__(experiment, run_id, **kwargs)

    @classmethod
    def _submit(
        cls,
        experiment: Experiment,
        config: Any,
        tags: Mapping[str, Any] | None,
        run_id: str | None,
        parent: Run | None = None,
    ) -> ScriptRun:
        """Submit a script; see `Experiment.submit`."""
        from ._submission.submit import submit

        record, live = submit(
            experiment.workspace, experiment.name, config, tags, parent=parent, run_id=run_id
        )
        run = cls._of(experiment, record)
        run._parent = parent
        run._attach(live)
        run._started_here = True
        return run
