"""Runs found again: by id, in lists, around the script that asks; each as an object of the class its type stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..client.reading import fetch_record, settle
from ..client.records import (
    SCRIPT_RUN,
    Filter,
    Moment,
    RunRecord,
    Statuses,
    check_filters,
    fits,
    list_records,
    run_params,
)
from .experiment import Experiment
from .workspace import Workspace

if TYPE_CHECKING:
    from .compute import ComputeTarget
    from .run import Run

RunFactory = Callable[[Experiment, RunRecord], "Run"]
_factories: dict[str, RunFactory] = {}  # by type of the run, see `RunLookup.add_type_provider`


class RunLookup:
    """The calls of `Run` that lead to runs there are."""

    @staticmethod
    def add_type_provider(runtype: str, run_factory: RunFactory) -> None:
        """Have runs of a type, wherever they are looked up in this process, be objects of a class of yours.

        Args:
            runtype: the type.
            run_factory: called with the experiment and the run's record, returns a `Run`.

        Raises:
            TypeError: it cannot be called.
        """
        if not callable(run_factory):
            raise TypeError(
                f"run_factory: expected a function (experiment, record), got {type(run_factory).__name__}"
            )
        _factories[runtype] = run_factory

    @classmethod
    def get_context(
        cls, allow_offline: bool = True, used_for_context_manager: bool = False, **kwargs: Any
    ) -> Any:
        """The run this script was submitted as; the same object at every call.

        Args:
            allow_offline: outside of any run return a new offline run, which prints what it is told. It is no `Run`, and
                its id begins with `OfflineRun`.
            used_for_context_manager: accepted.

        Raises:
            RunEnvironmentException: outside of any run, with `allow_offline=False`.
        """
        from ._submitted_run import context_run

        return context_run(allow_offline)

    @classmethod
    def get_submitted_run(cls, **kwargs: Any) -> Any:
        """Deprecated: `get_context(allow_offline=False)`."""
        return cls.get_context(allow_offline=False)

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> Run:
        """A run by its id, whatever its experiment.

        Raises:
            ServiceException: there is none (status_code 404), or the service is away.
        """
        record = fetch_record(workspace._client, run_id)
        run: Run = rehydrated(Experiment._of(workspace, record.experiment or ""), record)
        return run

    @staticmethod
    def list(
        experiment: Experiment,
        type: str | None = None,
        tags: Filter = None,
        properties: Filter = None,
        status: Statuses = None,
        include_children: bool = False,
        _rehydrate_runs: bool = True,
        *,
        started_from: Moment = None,
        started_to: Moment = None,
    ) -> Iterator[Run]:
        """An experiment's runs, newest start first, fetched in pages as they are asked for.

        Args:
            experiment: the experiment.
            type: only of this type, or with it as property `azureml.runsource`.
            tags: a tag's name, or a dictionary of names and values that must all match.
            properties: the same for properties.
            status: only in this status, or in one of these.
            include_children: also runs that have a parent.
            started_from: started at this time or later: a datetime or ISO 8601 text; one without a zone is UTC.
            started_to: started before this time.

        Raises:
            ValueError: a filter of another type, or an unknown status (at the call).
            ServiceException: a time that cannot be read (status_code 400), or the service is away (when iterating).
        """
        check_filters(tags, properties, status)
        filters = run_params(tags, properties, type, status, started_from, started_to)

        def runs() -> Iterator[Run]:
            workspace = experiment.workspace
            settle(workspace._client)
            params = [("workspace", workspace.name), ("experiment", experiment.name)]
            if not include_children:
                params.append(("parent", "none"))
            for record in list_records(workspace._client, [*params, *filters]):
                if fits(record, tags, properties, type, status):
                    yield rehydrated(experiment, record)

        return runs()

    @staticmethod
    def list_by_compute(
        compute: ComputeTarget,
        type: str | None = None,
        tags: Filter = None,
        properties: Filter = None,
        status: str | None = None,
    ) -> Iterator[RunRecord]:
        """The records of runs that are queued or at work at a compute target; as `ComputeTarget.get_active_runs`."""
        return compute.get_active_runs(type, tags, properties, status)


def rehydrated(experiment: Experiment, record: RunRecord) -> Any:
    """The run of a record, as an object of the class its type stands for."""
    if record.type is not None and record.type in _factories:
        return _factories[record.type](experiment, record)
    if record.type == SCRIPT_RUN:
        from .script_run import ScriptRun

        return ScriptRun._of(experiment, record)
    from .run import Run

    return Run._of(experiment, record)
