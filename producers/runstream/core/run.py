"""Runs: what is recorded under one id, from its start to its end, and what can be asked about it later."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..client.arguments import path_argument
from ..client.reading import fetch_record
from ..client.records import (
    RunRecord,
    as_texts,
)
from ..consoles import capture
from ..exceptions import ServiceException
from ..lazy import attributes
from ..spool.live_runs import open_live
from ._run.artifact_metrics import ArtifactMetrics
from ._run.branching import Branching
from ._run.children import Children
from ._run.code_snapshot import RunSnapshots
from ._run.display_names import make_display_name
from ._run.forking import checked_origin
from ._run.handle import text_or_none
from ._run.lifecycle import Lifecycle
from ._run.plotting import Plotting
from ._run.starting import (
    absolute,
    checked_run_id,
    creation,
    make_folders,
    origin,
    output_folders,
    submit_options,
    wake_service,
)
from ._run_lookup import RunLookup, rehydrated
from ._submission.submitters import submitter_of
from .experiment import Experiment
from .workspace import Workspace

if TYPE_CHECKING:
    from .model import Model
    from .script_run_config import ScriptRunConfig

__all__ = ["Run", "ScriptRun", "_OfflineRun", "_SubmittedRun", "get_run"]

_log = logging.getLogger("runstream")

if TYPE_CHECKING:
    from ._run.offline_run import _OfflineRun
    from ._submitted_run import _SubmittedRun
    from .script_run import ScriptRun
else:
    # The last two are runs themselves.
    __getattr__, __dir__ = attributes(
        __name__,
        {
            "_OfflineRun": "runstream.core._run.offline_run",
            "_SubmittedRun": "runstream.core._submitted_run",
            "ScriptRun": "runstream.core.script_run",
        },
    )

_RunType = TypeVar("_RunType", bound="Run")


class Run(Children["Run"], ArtifactMetrics, Plotting, Branching, RunLookup, RunSnapshots, Lifecycle):
    """A run. `Experiment.start_logging` and `child_run` start new ones; the constructor fetches an existing one.

    Recording (`log`, `tag`, `complete` ...) never waits for a service and never fails because one is away. Reading
    (`get_metrics`, `get_status` ...) asks the service, after it has stored what this process recorded.

    Args:
        experiment: the run's experiment.
        run_id: its id.
        outputs: directories collected when the run ends; None for none.

    Raises:
        ServiceException: the experiment has no such run (status_code 404), or the service is away.

    Source: `azureml.core.Run`.
    """

    _parent: Run | None = None

    def __init__(self, experiment: Experiment, run_id: str, outputs: Any = None, **kwargs: Any) -> None:
        del kwargs
        client = experiment.workspace._client
        record = fetch_record(client, run_id)
        if record.experiment != experiment.name:
            raise ServiceException(
                f"experiment {experiment.name} has no run {run_id}; experiment.get_runs() lists those it has",
                404,
            )
        self._experiment = experiment
        self._become(experiment.workspace, record, output_folders(outputs, default=[]))

    @classmethod
    def _of(cls: type[_RunType], experiment: Experiment, record: RunRecord) -> _RunType:
        run = cls.__new__(cls)
        run._experiment = experiment
        run._become(experiment.workspace, record, [])
        return run

    @classmethod
    def _start(
        cls: type[_RunType],
        experiment: Experiment,
        *,
        name: str | None = None,
        run_id: str | None = None,
        outputs: Any = None,
        snapshot_directory: str | None = None,
        tags: Mapping[str, Any] | None = None,
        display_name: str | None = None,
        description: str | None = None,
        parent: Run | None = None,
        fork_from: Any = None,
    ) -> _RunType:
        """Create and start a run: two records in the spool, and a nudge to the service that it should come up."""
        # Whatever is wrong with an argument is found before anything is recorded: no run of half a start is left behind.
        given: Any = run_id
        unnamed = given is None or (isinstance(given, str) and not given)
        forked = checked_origin(experiment.workspace, fork_from, None if unnamed else checked_run_id(given))
        run_id = str(uuid.uuid4()) if unnamed else checked_run_id(given)
        folders = output_folders(outputs, default=[] if parent else ["./outputs"])
        source = None
        if snapshot_directory is not None:
            source = Path(absolute(str(path_argument("snapshot_directory", snapshot_directory))))
        record = RunRecord(
            run_id=run_id,
            experiment=experiment.name,
            workspace=experiment.workspace.name,
            status="Running",
            parent_run_id=parent._id if parent else None,
            root_run_id=(parent._record.root_run_id or parent._id) if parent else run_id,
            name=text_or_none("name", name) or f"run_{run_id}",
            display_name=text_or_none("display_name", display_name) or make_display_name(),
            description=text_or_none("description", description),
            target=(parent._record.target if parent else None) or "local",
            tags=as_texts("tag", tags or {}),
            details=origin(snapshot_directory),
        )
        run = cls._of(experiment, record)
        run._outputs = folders
        make_folders(run_id, folders)
        settings = experiment.workspace._settings
        live = open_live(settings, run_id, owner=True)
        run._attach(live)
        run._started_here = True
        live.start(creation(record))
        capture.start(settings, run_id, parent._id if parent else None)
        for key, value in record.tags.items():
            live.writer.tag(key, value)
        if forked is not None:
            record.properties.update(forked.write(live))
        wake_service(settings)
        if source is not None:
            run._snapshot_later(source, live)
        return run

    @property
    def experiment(self) -> Experiment:
        """Its experiment."""
        return self._experiment

    @property
    def parent(self) -> Run | None:
        """The run this one is a child of, or None.

        Raises:
            ServiceException: it was not started here and the service is away.
        """
        if self._parent is None and self._record.parent_run_id:
            self._parent = Run.get(self._experiment.workspace, self._record.parent_run_id)
        return self._parent

    # --- children ---

    def _start_child(
        self,
        name: str,
        *,
        display_name: str | None = None,
        run_id: str | None = None,
        outputs: Any = None,
        tags: Mapping[str, Any] | None = None,
    ) -> Run:
        child = Run._start(
            self._experiment,
            name=name,
            display_name=display_name,
            run_id=run_id,
            outputs=outputs,
            tags=tags,
            parent=self,
        )
        child._parent = self
        return child

    def _of_record(self, record: RunRecord) -> Run:
        run: Run = rehydrated(self._experiment, record)
        return run

    @overload
    def submit_child(
        self, config: ScriptRunConfig, tags: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> ScriptRun: ...

    @overload
    def submit_child(self, config: Any, tags: Mapping[str, Any] | None = None, **kwargs: Any) -> Any: ...

    def submit_child(self, config: Any, tags: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """Submit a script as a run below this one; as `Experiment.submit`."""
        from .script_run import ScriptRun

        if (submitter := submitter_of(config)) is not None:
            return submitter(self._experiment, config, tags, submit_options(kwargs), parent=self)
        return ScriptRun._submit(self._experiment, config, tags, submit_options(kwargs), parent=self)

    def register_model(
        self,
        model_name: str,
        model_path: str | None = None,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        description: str | None = None,
        datasets: Any = None,
        sample_input_dataset: Any = None,
        sample_output_dataset: Any = None,
        resource_configuration: Any = None,
        **kwargs: Any,
    ) -> Model:
        """Register a file or folder of this run as the next version of a model.

        Args:
            model_name: letters, digits, `-`, `.` and `_`, at most 255, the first a letter or digit.
            model_path: the file or folder among the run's files; default: `model_name`.

        Raises:
            ModelPathNotFoundException: the run has no such file; the message lists those it has.
            WebserviceException: the name is not of that form.
            ServiceException: the service is away.
        """
        from ._models.registration import register_from_run
        from .model import Model

        record = register_from_run(
            self,
            model_name,
            model_path or model_name,
            tags,
            properties,
            description,
            model_framework,
            model_framework_version,
        )
        return Model._of(self._experiment.workspace, record)

    def __str__(self) -> str:
        return (
            f"Run(Experiment: {self._experiment.name},\nId: {self._id},\nType: {self._record.type},\n"
            f"Status: {self._record.status})"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ._html_reprs import one_row, page_or_none

        record = self._record
        cells = {
            "Experiment": record.experiment or "",
            "Id": self._id,
            "Type": record.type,
            "Status": record.status,
        }
        page = page_or_none(self._client.address, self.get_portal_url)
        return one_row(cells, {"Details Page": ("Link to the run", page)})

    def __reduce__(self) -> tuple[Any, ...]:
        # For joblib and multiprocessing: the other process opens a writer of its own on the same run.
        return _reopen, (type(self), self._experiment.workspace, self._experiment.name, self._record)


def get_run(experiment: Experiment, run_id: str, rehydrate: bool = True, clean_up: bool = True) -> Run:
    """A run of an experiment by its id.

    Raises:
        ServiceException: the experiment has no such run (status_code 404), or the service is away.
    """
    run = Run(experiment, run_id)
    typed: Run = rehydrated(experiment, run._record) if rehydrate else run
    return typed


def _reopen(kind: type[_RunType], workspace: Workspace, experiment: str, record: RunRecord) -> _RunType:
    return kind._of(Experiment._of(workspace, experiment), record)
