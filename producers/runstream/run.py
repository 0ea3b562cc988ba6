"""Runs: what is recorded under one id, from its start to its end, and what can be asked about it later."""

from __future__ import annotations

import builtins
import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from runstream_schemas.settings import Settings

from . import files
from .client import ServiceClient, quoted
from .display_names import make_display_name
from .exceptions import ActivityFailedException, AzureMLException, ServiceException, UserErrorException
from .experiment import Experiment
from .live_runs import ENDINGS, LiveRun, failure_of, open_live, unconfirmed
from .metrics import ArtifactMetric, Metrics, Series, shape_metrics
from .output_capture import OutputCapture
from .reading import fetch_metrics, fetch_record, settle
from .record import TERMINAL, Filter, RunRecord, check_filter, fits, list_records, run_params
from .recording import Recording, as_texts
from .run_files import RunFiles
from .starting import creation, origin, output_folders, wake_service
from .workspace import Workspace

_log = logging.getLogger("runstream")
_RunType = TypeVar("_RunType", bound="Run")
_ARTIFACT_TYPES = ("image", "confusion_matrix", "accuracy_table", "residuals", "predictions")
_MOST_CHILDREN = 100


class Run(Recording, RunFiles):
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

    def __init__(self, experiment: Experiment, run_id: str, outputs: Any = None, **kwargs: Any) -> None:
        del kwargs
        client = experiment.workspace._client
        record = fetch_record(client, run_id)
        if record.experiment != experiment.name:
            raise ServiceException(f"experiment {experiment.name} has no run {run_id}", 404)
        self._become(experiment, record, output_folders(outputs, default=[]))

    def _become(self, experiment: Experiment, record: RunRecord, outputs: builtins.list[str]) -> None:
        self._experiment, self._record, self._outputs = experiment, record, outputs
        self._id = record.run_id
        self._where = Path.cwd()
        self._live_run: LiveRun | None = None
        self._started_here = False
        self._parent: Run | None = None
        self._capture: OutputCapture | None = None

    @classmethod
    def _of(cls: type[_RunType], experiment: Experiment, record: RunRecord) -> _RunType:
        run = cls.__new__(cls)
        run._become(experiment, record, [])
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
    ) -> _RunType:
        """Create and start a run: two records in the spool, and a nudge to the service that it should come up."""
        run_id = _checked(run_id) if run_id else str(uuid.uuid4())
        record = RunRecord(
            run_id,
            experiment.name,
            experiment.workspace.name,
            status="Running",
            parent_run_id=parent._id if parent else None,
            root_run_id=(parent._record.root_run_id or parent._id) if parent else run_id,
            name=name or f"run_{run_id}",
            display_name=display_name or make_display_name(),
            description=description,
            target=(parent._record.target if parent else None) or "local",
            tags=as_texts("tag", tags or {}),
            details=origin(snapshot_directory),
        )
        run = cls._of(experiment, record)
        run._outputs = output_folders(outputs, default=[] if parent else ["./outputs"])
        for folder in run._outputs:
            Path(folder).mkdir(parents=True, exist_ok=True)
        settings = experiment.workspace._settings
        live = open_live(settings, run_id, owner=True)
        run._attach(live)
        run._started_here = True
        live.start(creation(record))
        for key, value in record.tags.items():
            live.writer.tag(key, value)
        wake_service(settings)
        return run

    def _attach(self, live: LiveRun) -> None:
        self._live_run = live
        # The instance's own `log` hides the method: a point then costs one call, not two.
        self.__dict__["log"] = live.writer.log

    def _live(self) -> LiveRun:
        if self._live_run is None:
            self._attach(open_live(self._settings, self._id))
        assert self._live_run is not None
        return self._live_run

    @property
    def _settings(self) -> Settings:
        return self._experiment.workspace._settings

    @property
    def _client(self) -> ServiceClient:
        return self._experiment.workspace._client

    # --- what it is ---

    @property
    def id(self) -> str:
        """The run's id."""
        return self._id

    @property
    def experiment(self) -> Experiment:
        """Its experiment."""
        return self._experiment

    @property
    def number(self) -> int | None:
        """Its number within the experiment, counting from 1 in the order of creation."""
        if self._record.number is None:
            self._refresh()
        return self._record.number

    @property
    def name(self) -> str | None:
        """Its name; `run_<id>` if it was given none."""
        return self._record.name

    @property
    def display_name(self) -> str | None:
        """Its name for people; may be set."""
        return self._record.display_name

    @display_name.setter
    def display_name(self, value: str | None) -> None:
        self._live().writer.set_field("display_name", value)
        self._record.display_name = value

    @property
    def description(self) -> str | None:
        """Free text, Markdown; may be set."""
        return self._record.description

    @description.setter
    def description(self, value: str | None) -> None:
        self._live().writer.set_field("description", value)
        self._record.description = value

    @property
    def type(self) -> str | None:
        """Kind of the run: None for interactive ones, `azureml.scriptrun` for submitted ones."""
        return self._record.type

    @property
    def status(self) -> str:
        """Its status as last heard of; this process's own changes are in it. `get_status` asks."""
        return self._record.status

    @property
    def tags(self) -> dict[str, str | None]:
        """Its tags as last heard of."""
        return dict(self._record.tags)

    @property
    def properties(self) -> dict[str, str | None]:
        """Its properties as last heard of."""
        return dict(self._record.properties)

    @property
    def parent(self) -> Run | None:
        """The run this one is a child of, or None.

        Raises:
            ServiceException: it was not started here and the service is away.
        """
        if self._parent is None and self._record.parent_run_id:
            self._parent = Run.get(self._experiment.workspace, self._record.parent_run_id)
        return self._parent

    # --- its life ---

    def start(self) -> None:
        """Set the run Running; one that has ended is opened again."""
        live = open_live(self._settings, self._id, owner=True)
        self._attach(live)
        live.start()
        self._record.status = "Running"

    def complete(self, _set_status: bool = True) -> None:
        """End the run as Completed. Its output folders are stored first; if they cannot be, it completes with a warning.

        Completing twice changes nothing; completing a failed or canceled run is ignored, with a warning.

        Args:
            _set_status: False does everything but the change of status.
        """
        self._store_outputs()
        if _set_status:
            self._end("complete")

    def fail(
        self,
        error_details: str | BaseException | None = None,
        error_code: str | None = None,
        _set_status: bool = True,
    ) -> None:
        """End the run as Failed, also when it had ended otherwise.

        Args:
            error_details: what happened: text, or an exception.
            error_code: default `UserError`.
            _set_status: False records the error but does not change the status.

        Raises:
            TypeError: details of another type; nothing is changed.
        """
        if isinstance(error_details, BaseException):
            body = failure_of(error_details)
        elif error_details is None:
            body = {}
        elif isinstance(error_details, str):
            body = {"message": error_details}
        else:
            raise TypeError(
                f"error_details: expected text or an exception, got {type(error_details).__name__}"
            )
        body["code"] = error_code or "UserError"
        live = self._live()
        live.writer.status("error", {"error": body})
        self._record.error = body
        self._store_outputs()
        if _set_status:
            self._end("fail")

    def cancel(self) -> None:
        """End the run as Canceled. A run that has ended otherwise stays as it is, with a warning."""
        self._end("cancel")
        self._store_outputs()

    def _end(self, kind: str) -> None:
        wanted = ENDINGS[kind]
        if self._record.status in TERMINAL and kind != "fail":
            if self._record.status != wanted:
                _log.warning("run %s is %s already; %s() is ignored", self._id, self._record.status, kind)
            return
        if self._record.status == wanted == "Failed":
            return
        self._live().end(kind)
        self._record.status = wanted

    def _store_outputs(self) -> None:
        try:
            files.capture(self._client, self._id, self._outputs, self._where)
        except (ServiceException, AzureMLException, OSError) as error:
            _log.warning(
                "run %s: files of %s were not stored (%s); upload_folder() stores them later",
                self._id,
                ", ".join(self._outputs),
                getattr(error, "message", error),
            )

    def __enter__(self: _RunType) -> _RunType:
        self._where = Path.cwd()
        self._capture = OutputCapture(self._where / "logs")
        self._capture.start()
        return self

    def __exit__(
        self,
        kind: builtins.type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        # sys.exit(0) says that all went well: the run completes, and as in the original the exit goes no further.
        clean = error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
        if error is not None and not clean and self._capture is not None:
            import traceback

            self._capture.write("".join(traceback.format_exception(kind, error, trace)))
        if self._capture is not None:
            self._capture.stop()
        self._outputs = [*self._outputs, "logs"] if "logs" not in self._outputs else self._outputs
        if clean:
            self.complete()
        else:
            self.fail(error)
        return clean and error is not None

    def flush(self, timeout_seconds: float = 300) -> None:
        """Wait until the service has stored everything this process recorded for the run. Nothing is lost without it.

        Args:
            timeout_seconds: longest wait.

        Raises:
            AzureMLException: not stored within that time.
            ServiceException: the service is away.
        """
        if not settle(self._client, self._id, timeout_seconds):
            raise AzureMLException(f"Failed to flush task queue within {timeout_seconds} seconds")

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Wait until the run has ended.

        Args:
            show_output: print the run's id and page first, and a summary at the end.
            wait_post_processing: wait out Finalizing and CancelRequested too.
            raise_on_error: raise if it failed.

        Returns:
            What `get_details` returns.

        Raises:
            ActivityFailedException: it failed and `raise_on_error` is set. A canceled run never raises.
            ServiceException: the service is away.
        """
        over = (
            TERMINAL if wait_post_processing or show_output else TERMINAL | {"Finalizing", "CancelRequested"}
        )
        if show_output:
            print(f"RunId: {self._id}\nWeb View: {self.get_portal_url()}", flush=True)
        pause = 0.1
        while self.get_status() not in over:
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)
        details = self.get_details()
        if show_output:
            print(
                f"\nExecution Summary\n=================\nRunId: {self._id}\nWeb View: {self.get_portal_url()}\n",
                flush=True,
            )
        if self._record.status == "Failed" and raise_on_error:
            import json

            error = details.get("error")
            raise ActivityFailedException(
                json.dumps(error, indent=4)
                if error
                else "Detailed error not set on the Run. Please check the logs for details."
            )
        return details

    # --- children ---

    def child_run(self, name: str | None = None, run_id: str | None = None, outputs: Any = None) -> Run:
        """Start a run below this one, whatever this one's status.

        Args:
            name: appended to this run's name.
            run_id: its id; default a new uuid4.
            outputs: directories collected when it ends; default none.
        """
        child = Run._start(
            self._experiment,
            name=f"{self._record.name or 'run_' + self._id}>{name or ''}",
            run_id=run_id,
            outputs=outputs,
            parent=self,
        )
        child._parent = self
        return child

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Sequence[Any] | None = None
    ) -> builtins.list[Run]:
        """Start several runs below this one.

        Args:
            count: how many, 0 to 100; each gets its number from 0 as tag `azureml.batch_child_number`.
            tag_key: instead of `count`: a tag each gets,
            tag_values: with these values, one child a value.

        Raises:
            UserErrorException: both or neither way, half of the second, or more than 100.
        """
        if (count is None) == (tag_key is None and tag_values is None) or (tag_key is None) != (
            tag_values is None
        ):
            raise UserErrorException("create_children takes either count, or tag_key and tag_values together")
        if count is not None:
            tag_key, tag_values = "azureml.batch_child_number", [str(number) for number in range(count)]
        assert tag_key is not None
        assert tag_values is not None
        if len(tag_values) > _MOST_CHILDREN or (count is not None and count < 0):
            wanted = len(tag_values) if count is None else count
            raise UserErrorException(
                f"create_children makes 0 to {_MOST_CHILDREN} children at once, not {wanted}; call it several times"
            )
        children = []
        for value in tag_values:
            child = Run._start(
                self._experiment,
                name=f"{self._record.name or 'run_' + self._id}>",
                parent=self,
                tags={tag_key: value},
            )
            child._parent = self
            children.append(child)
        return children

    def get_children(
        self,
        recursive: bool = False,
        tags: Filter = None,
        properties: Filter = None,
        type: str | None = None,
        status: str | None = None,
        _rehydrate_runs: bool = True,
    ) -> Iterator[Run]:
        """The runs below this one, newest start first, fetched as they are asked for.

        Args:
            recursive: all descendants; below a run that has a parent itself they come depth first.
            tags: a tag's name, or a dictionary of names and values that must all match.
            properties: the same for properties.
            type: only of this type.
            status: only in this status.

        Raises:
            ValueError: a filter of another type (at the call).
            ServiceException: the service is away (when iterating).
        """
        check_filter("tags", tags)
        check_filter("properties", properties)
        return self._children(recursive, tags, properties, type, status)

    def _children(
        self, recursive: bool, tags: Filter, properties: Filter, type: str | None, status: str | None
    ) -> Iterator[Run]:
        self._settle_all()
        if recursive:
            found = list_records(self._client, [("ancestor", self._id)])
            if self._record.parent_run_id:
                found = _depth_first(list(found), self._id)
        else:
            found = list_records(
                self._client, [("parent", self._id), *run_params(tags, properties, type, status)]
            )
        for record in found:
            if fits(record, tags, properties, type, status):
                yield Run._of(self._experiment, record)

    # --- what is known of it ---

    def get_status(self) -> str:
        """The status now; a run that has ended is not asked about again.

        Raises:
            ServiceException: the service is away.
        """
        if self._record.status not in TERMINAL:
            self._refresh()
        return self._record.status

    def get_detailed_status(self) -> dict[str, str | None]:
        """The status now, and what it is waiting for: `{"status", "details"}`."""
        status = self.get_status()
        return {"status": status, "details": None}

    def get_tags(self) -> dict[str, str | None]:
        """The tags now.

        Raises:
            ServiceException: the service is away.
        """
        return dict(self._refresh().tags)

    def get_properties(self) -> dict[str, str | None]:
        """The properties now.

        Raises:
            ServiceException: the service is away.
        """
        return dict(self._refresh().properties)

    def get_details(self) -> dict[str, Any]:
        """The run under the original's keys: `runId`, `target`, `status`, `startTimeUtc`, `endTimeUtc`, `error` ...

        Raises:
            ServiceException: the service is away.
        """
        record = self._refresh()
        details: dict[str, Any] = {
            "runId": self._id,
            "target": record.target,
            "status": record.status,
            "startTimeUtc": record.start_time_utc,
            "endTimeUtc": record.end_time_utc,
            "error": {"error": record.error} if record.error else None,
            "warnings": record.warnings or None,
            "services": {},
            "properties": dict(record.properties),
            "inputDatasets": [],
            "outputDatasets": [],
            "logFiles": {},
            "submittedBy": record.details.get("user"),
        }
        log_files = [
            file["path"] for file in files.list_files(self._client, self._id) if _is_log(file["path"])
        ]
        base = f"{self._client.address().url}/api/v1/runs/{quoted(self._id)}/files/"
        details["logFiles"] = {path: base + quoted(path) for path in log_files}
        return {key: value for key, value in details.items() if value is not None}

    def get_metrics(
        self,
        name: str | None = None,
        recursive: bool = False,
        run_type: str | None = None,
        populate: bool = False,
    ) -> dict[str, Any]:
        """What was logged, all of it in one request.

        One value is the value, several are a list in order of logging, a table is a dictionary of columns, an image is its
        address. Integers among floats are floats. A single None is left out.

        Args:
            name: only this series.
            recursive: also of all descendants: `{run id: {name: value}}`, descendants newest start first,
                then this run; runs without metrics are left out.
            run_type: with `recursive`, only descendants of this type.
            populate: images and other files as `ArtifactMetric`, with their content.

        Raises:
            ServiceException: the service is away.
        """
        waits = (
            unconfirmed(self._settings)
            if recursive
            else self._live_run.unconfirmed()
            if self._live_run
            else {}
        )
        found = fetch_metrics(
            self._client,
            [self._id],
            name=name,
            recursive=recursive,
            run_type=run_type if recursive else None,
            waits=waits,
        )
        shaped = {run_id: self._shape(run_id, series, populate) for run_id, series in found.items()}
        if not recursive:
            return dict(shaped.get(self._id, {}))
        if self._id in shaped:
            shaped[self._id] = shaped.pop(self._id)
        return {run_id: metrics for run_id, metrics in shaped.items() if metrics}

    def _shape(self, run_id: str, series: builtins.list[Series], populate: bool) -> Metrics:
        def content(one: Series) -> ArtifactMetric:
            uri = str(one.values[0])
            path = uri.partition(f"dcid.{run_id}/")[2]
            body = self._client.request("GET", f"/api/v1/runs/{quoted(run_id)}/files/{quoted(path)}").body
            return ArtifactMetric(
                body, path.rsplit("/", 1)[-1], uri, f"azureml.v2.{_ARTIFACT_TYPES[one.cls - 2]}"
            )

        return shape_metrics(series, content if populate else None)

    def get_portal_url(self) -> str:
        """Address of the run's page.

        Raises:
            ServiceException: the service is away.
        """
        return (
            f"{self._client.address().url}/runs/{quoted(self._id)}?wsid={self._experiment.workspace._scope()}"
        )

    def _settle_all(self) -> None:
        settle(self._client)

    def _refresh(self) -> RunRecord:
        self._record = fetch_record(self._client, self._id)
        return self._record

    def _known_properties(self) -> dict[str, str | None]:
        # Asking would make a training wait for the service: of a run started here, this process knows the properties itself.
        return self._record.properties if self._started_here else self._refresh().properties

    # --- finding runs ---

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> Run:
        """A run by its id, whatever its experiment.

        Raises:
            ServiceException: there is none (status_code 404), or the service is away.
        """
        record = fetch_record(workspace._client, run_id)
        return Run._of(
            Experiment(workspace, record.experiment, _skip_name_validation=True, _create_in_cloud=False),
            record,
        )

    @staticmethod
    def list(
        experiment: Experiment,
        type: str | None = None,
        tags: Filter = None,
        properties: Filter = None,
        status: str | None = None,
        include_children: bool = False,
        _rehydrate_runs: bool = True,
    ) -> Iterator[Run]:
        """An experiment's runs, newest start first, fetched in pages as they are asked for.

        Args:
            experiment: the experiment.
            type: only of this type, or with it as property `azureml.runsource`.
            tags: a tag's name, or a dictionary of names and values that must all match.
            properties: the same for properties.
            status: only in this status.
            include_children: also runs that have a parent.

        Raises:
            ValueError: a filter of another type (at the call).
            ServiceException: the service is away (when iterating).
        """
        check_filter("tags", tags)
        check_filter("properties", properties)

        def found() -> Iterator[Run]:
            workspace = experiment.workspace
            settle(workspace._client)
            params = [("workspace", workspace.name), ("experiment", experiment.name)]
            if not include_children:
                params.append(("parent", "none"))
            for record in list_records(
                workspace._client, [*params, *run_params(tags, properties, type, status)]
            ):
                if fits(record, tags, properties, type, status):
                    yield Run._of(experiment, record)

        return found()

    def __str__(self) -> str:
        return (
            f"Run(Experiment: {self._experiment.name},\nId: {self._id},\nType: {self._record.type},\n"
            f"Status: {self._record.status})"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        cells = [self._experiment.name, self._id, str(self._record.type), self._record.status]
        page = self.get_portal_url()
        return (
            "<table><tr><th>Experiment</th><th>Id</th><th>Type</th><th>Status</th><th>Details Page</th></tr><tr>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + f'<td><a href="{escape(page)}" target="_blank" rel="noopener">Link to the run</a></td></tr></table>'
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # For joblib and multiprocessing: the other process opens a writer of its own on the same run.
        return _reopen, (type(self), self._experiment.workspace, self._experiment.name, self._record)


def get_run(experiment: Experiment, run_id: str, rehydrate: bool = True, clean_up: bool = True) -> Run:
    """A run of an experiment by its id.

    Raises:
        ServiceException: the experiment has no such run (status_code 404), or the service is away.
    """
    return Run(experiment, run_id)


def _reopen(kind: type[_RunType], workspace: Workspace, experiment: str, record: RunRecord) -> _RunType:
    return kind._of(
        Experiment(workspace, experiment, _skip_name_validation=True, _create_in_cloud=False), record
    )


def _checked(run_id: Any) -> str:
    if not isinstance(run_id, str) or "/" in run_id or not run_id.isprintable():
        raise UserErrorException(
            f"run id {run_id!r:.60}: expected a string of printable characters without slashes"
        )
    return run_id


def _depth_first(records: list[RunRecord], root: str) -> Iterator[RunRecord]:
    children: dict[str | None, list[RunRecord]] = {}
    for record in records:
        children.setdefault(record.parent_run_id, []).append(record)
    waiting = children.get(root, [])[::-1]
    while waiting:
        record = waiting.pop()
        yield record
        waiting.extend(reversed(children.get(record.run_id, [])))


def _is_log(path: str) -> bool:
    return path.startswith(("logs/", "azureml-logs/", "user_logs/", "system_logs/"))
