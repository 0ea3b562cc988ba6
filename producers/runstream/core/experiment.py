"""Experiments: named groups of runs, and where interactive runs start."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from runstream_schemas.errors import brief

from ..client.addresses import quoted
from ..client.arguments import experiment_name_argument, text_argument, texts_argument
from ..client.notes import Note, Noted, experiment_note
from ..client.records import Filter, Moment, Statuses, as_texts, check_filter, matches
from ..exceptions import UserErrorException
from ..home.workspace_config import CONFIG_FILES, search
from ..spool.values import check_name
from ._submission.submitters import submitter_of
from .workspace import Workspace

if TYPE_CHECKING:
    from .run import Run, ScriptRun
    from .script_run_config import ScriptRunConfig

__all__ = ["Experiment", "ViewType"]

_new: set[tuple[str, str]] = set()  # (workspace, name) of experiments the service may not know yet
_new_lock = threading.RLock()


class ViewType(Enum):
    """Which experiments a list holds."""

    ActiveOnly = "ActiveOnly"
    ArchivedOnly = "ArchivedOnly"
    All = "All"


class Experiment(Noted):
    """An experiment; it comes into being with its first run, or when its `id` is asked for.

    The constructor asks no service, so that a script starts at once and offline too.

    Args:
        workspace: the workspace it belongs to.
        name: letters, digits, `_` and `-`, at most 255, the first a letter or digit.
        _skip_name_validation: take any name.

    Raises:
        UserErrorException: the name is not of that form.

    Source: `azureml.core.Experiment`.
    """

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        _skip_name_validation: bool = False,
        _id: Any = None,
        _archived_time: str | None = None,
        _create_in_cloud: bool = True,
        _experiment_dto: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise TypeError(f"Experiment() got an unexpected keyword argument {next(iter(kwargs))!r}")
        if not _skip_name_validation:
            experiment_name_argument(name)
        self._workspace = workspace
        self._name = check_name("experiment name", name) if _create_in_cloud else name
        self._record = dict(_experiment_dto) if _experiment_dto else None
        if _create_in_cloud and self._record is None:
            with _new_lock:
                _new.add((workspace.name, name))

    @classmethod
    def _of(cls, workspace: Workspace, name: str) -> Experiment:
        """One that something belongs to already, whatever its name is: empty, while only points of a run are stored."""
        return cls(workspace, name, _skip_name_validation=True, _create_in_cloud=False)

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self._name

    @property
    def workspace(self) -> Workspace:
        """The workspace it belongs to."""
        return self._workspace

    workspace_object = workspace

    @property
    def id(self) -> str:
        """The service's id of the experiment, which is created if need be.

        Raises:
            ServiceException: the service is away.
        """
        return str(self._known()["id"])

    @property
    def tags(self) -> dict[str, str | None]:
        """The experiment's tags as last fetched."""
        return dict(self._known().get("tags") or {})

    @property
    def archived_time(self) -> str | None:
        """When it was archived, ISO 8601 UTC, or None."""
        return self._known().get("archived_utc")

    def refresh(self) -> None:
        """Fetch the experiment's record again.

        Raises:
            ServiceException: the service is away.
        """
        self._record = None
        self._known()

    def tag(self, key: str, value: Any = None) -> None:
        """Set one tag; as `set_tags`."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any] | str) -> None:
        """Add or change tags; others stay.

        Args:
            tags: name to value, which becomes text unless it is None; or one name, to have no value.

        Raises:
            ServiceException: the service is away.
        """
        texts = as_texts("tag", {tags: None} if isinstance(tags, str) else tags)
        if texts:
            self._change({"tags": texts})

    def remove_tags(self, tags: Sequence[str] | str) -> None:
        """Remove tags; names the experiment does not have are ignored.

        Args:
            tags: names, or one name.

        Raises:
            ServiceException: the service is away.
        """
        names = texts_argument("tags", tags)
        if names:
            self._change({"remove_tags": names})

    def archive(self) -> None:
        """Leave the experiment and its runs out of lists, unless they are asked for; nothing is deleted.

        Raises:
            ServiceException: the service is away.
        """
        self._change({"archived": True})

    def reactivate(self, new_name: str | None = None) -> None:
        """Bring an archived experiment back.

        Args:
            new_name: must be None.

        Raises:
            UserErrorException: a new name; an experiment keeps its name.
            ServiceException: the service is away.
        """
        if new_name is not None:
            raise UserErrorException(
                f"reactivate: an experiment keeps its name, so new_name={brief(new_name)} cannot be given; leave it out"
            )
        self._change({"archived": False})

    @staticmethod
    def from_directory(path: str, auth: Any = None) -> Experiment:
        """The experiment a directory was attached to with `runstream folder attach`. Deprecated in the original.

        Raises:
            UserErrorException: the directory, and those above it, are attached to none.
        """
        config = search(Path(path), CONFIG_FILES)
        if config is None or "experiment" not in config[1]:
            raise UserErrorException(
                f"{path} is attached to no experiment; attach it with `runstream folder attach`, or name the experiment"
            )
        return Experiment(Workspace.from_config(config[0], auth), config[1]["experiment"])

    @staticmethod
    def delete(workspace: Workspace, experiment_id: str) -> None:
        """Delete an experiment that has no runs.

        Args:
            workspace: the workspace it belongs to.
            experiment_id: its `id`.

        Raises:
            UserErrorException: there is no such experiment.
            ServiceException: it has runs (status_code 409), or the service is away.
        """
        identity = text_argument("experiment_id", experiment_id)
        for experiment in Experiment.list(workspace, view_type=ViewType.All):
            if experiment.id == identity:
                workspace._client.request("DELETE", experiment._address(), [("workspace", workspace.name)])
                return
        raise UserErrorException(f"no experiment has the id {identity!r:.80}; Experiment.list() has the ids")

    def start_logging(
        self,
        name: str | None = None,
        run_id: str | None = None,
        outputs: str | builtins.list[str] | bool | None = None,
        snapshot_directory: str | None = ".",
        *,
        tags: Mapping[str, Any] | None = None,
        display_name: str | None = None,
        description: str | None = None,
        fork_from: tuple[Any, int] | None = None,
    ) -> Run:
        """Start an interactive run, which is Running at once, whether or not a service is there.

        Args:
            name: the run's name; default `run_<id>`.
            run_id: its id; default a new uuid4. An existing run of that id is started again.
            outputs: directories collected when the run ends, created now; None or True for `./outputs`, False for none.
            snapshot_directory: directory of the run's source: a snapshot is taken in the background, with git's facts as
                properties; None for none. One that is too large only costs a warning.
            tags: first tags.
            display_name: name for people; default `name`, or three words made up.
            description: free text, Markdown.
            fork_from: (run or its id, step): begin with a copy of its metrics up to the step. This asks the service.

        Raises:
            NotADictionary, TypeError: tags that are no dictionary, an unknown keyword.
            UserErrorException, ServiceException: `fork_from` is no run of this workspace and step; no service to ask.
        """
        from .run import Run

        return Run._start(
            self,
            name=name,
            run_id=run_id,
            outputs=outputs,
            snapshot_directory=snapshot_directory,
            tags=tags,
            display_name=display_name or name,
            description=description,
            fork_from=fork_from,
        )

    @overload
    def submit(
        self, config: ScriptRunConfig, tags: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> ScriptRun: ...

    @overload
    def submit(self, config: Any, tags: Mapping[str, Any] | None = None, **kwargs: Any) -> Any: ...

    def submit(self, config: Any, tags: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """Run a script in the background, from a copy of its directory; returns at once.

        Args:
            config: what to run, and how; read now. A `HyperDriveConfig` gives a `HyperDriveRun`.
            tags: first tags.
            **kwargs: `run_id`, default `<experiment>_<unix seconds>_<8 hex digits>`; `credential_passthrough`, ignored.

        Returns:
            The run, in status Starting; `wait_for_completion(show_output=True)` follows it.

        Raises:
            AzureMLException: a configuration of another kind.
            ExperimentExecutionException: the script is not in the source directory, or no process can be started.
            RunEnvironmentException: the environment needs a tool this machine does not have.
            ServiceException: there is no such compute target (status_code 400).
            TypeError: another keyword.
        """
        from ._run.starting import submit_options
        from .run import ScriptRun

        if (submitter := submitter_of(config)) is not None:
            return submitter(self, config, tags, submit_options(kwargs))
        return ScriptRun._submit(self, config, tags, submit_options(kwargs))

    def get_runs(
        self,
        type: str | None = None,
        tags: Filter = None,
        properties: Filter = None,
        include_children: bool = False,
        *,
        status: Statuses = None,
        started_from: Moment = None,
        started_to: Moment = None,
    ) -> Iterator[Run]:
        """The experiment's runs, newest start first, fetched in pages as they are asked for.

        Args:
            type: only runs of this type, or with it as property `azureml.runsource`.
            tags: a tag's name, or a dictionary of names and values that must all match.
            properties: the same for properties.
            include_children: also runs that have a parent.
            status: only runs in this status, or in one of these.
            started_from, started_to: started from the first, before the second: datetime, or ISO 8601; without a zone, UTC.

        Raises:
            ValueError: a filter of another type, or an unknown status (at the call).
            ServiceException: a time that cannot be read (status_code 400), or the service is away (when iterating).
        """
        from .run import Run

        return Run.list(
            self,
            type=type,
            tags=tags,
            properties=properties,
            status=status,
            include_children=include_children,
            started_from=started_from,
            started_to=started_to,
        )

    @staticmethod
    def list(
        workspace: Workspace,
        experiment_name: str | None = None,
        view_type: str | ViewType = "ActiveOnly",
        tags: Filter = None,
    ) -> builtins.list[Experiment]:
        """A workspace's experiments.

        Args:
            workspace: the workspace.
            experiment_name: only the one of this name.
            view_type: `ActiveOnly`, `ArchivedOnly` or `All`.
            tags: a tag's name, or a dictionary of names and values that must all match.

        Raises:
            ServiceException: the service is away.
        """
        check_filter("tags", tags)
        view = view_type.value if isinstance(view_type, ViewType) else view_type
        with _new_lock:
            unknown = [name for space, name in _new if space == workspace.name]
        for name in unknown:
            Experiment._of(workspace, name)._known()
        listed = workspace._client.get_json("/api/v1/experiments", [("workspace", workspace.name)])
        return [
            Experiment(workspace, record["name"], _skip_name_validation=True, _experiment_dto=record)
            for record in listed["experiments"]
            if (experiment_name is None or record["name"] == experiment_name)
            and (view == "All" or bool(record.get("archived_utc")) == (view == "ArchivedOnly"))
            and matches(tags, record.get("tags") or {})
        ]

    def get_portal_url(self) -> str:
        """Address of the experiment's page, as `Run.get_portal_url`.

        Raises:
            ServiceException: the service is away.
        """
        return self._workspace._client.page(f"/experiments/id/{self.id}?wsid={self._workspace._scope()}")

    def _known(self) -> dict[str, Any]:
        if self._record is None:
            where = [("workspace", self._workspace.name)]
            self._note(self._workspace._client.request("PUT", self._address(), where).json())
        assert self._record is not None, "noted above"
        return self._record

    def _change(self, change: Mapping[str, Any]) -> None:
        self._note(self._workspace._send_json("PATCH", self._address(), change))

    def _note(self, record: dict[str, Any]) -> None:
        """Take over what the service says, which knows the experiment now."""
        self._record = record
        with _new_lock:
            _new.discard((self._workspace.name, self._name))

    def _noted(self) -> Note:
        return experiment_note(self._workspace._client, self._name, self._workspace.name)

    def _address(self) -> str:
        return f"/api/v1/experiments/{quoted(self._name)}"

    def __str__(self) -> str:
        return f"Experiment(Name: {self._name},\nWorkspace: {self._workspace.name})"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from ._html_reprs import one_row, page_or_none

        page = page_or_none(self._workspace._client.address, self.get_portal_url)
        links = {"Report Page": ("Link to the experiment", page)}
        return one_row({"Name": self._name, "Workspace": self._workspace.name}, links)
