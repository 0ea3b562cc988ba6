"""Workspaces: the names experiments are grouped by, and where their service is."""

from __future__ import annotations

import builtins
import json
import os
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream_schemas.settings import PREFIX, Settings, read_config

from .client import ServiceClient, client_for
from .exceptions import UserErrorException, WorkspaceException
from .home import with_local_spool

if TYPE_CHECKING:
    from .experiment import Experiment
    from .run import Run

_CONFIG_FOLDERS = (".runstream", ".azureml", "aml_config", "")
_CONFIG_FILES = ("config.json", "project.json")


class Workspace:
    """A workspace: a name that groups experiments. It exists as soon as something is in it.

    Args:
        subscription_id: kept and given back; nothing is looked up by it.
        resource_group: the same.
        workspace_name: the workspace's name.
        auth: accepted and ignored, as are the remaining arguments.

    Source: `azureml.core.Workspace`.
    """

    def __init__(
        self,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        workspace_name: str | None = None,
        auth: Any = None,
        _location: str | None = None,
        _disable_service_check: bool = False,
        _workspace_id: str | None = None,
        sku: str = "basic",
        tags: Mapping[str, str] | None = None,
        _cloud: str = "AzureCloud",
        *,
        _settings: Settings | None = None,
    ) -> None:
        self._settings = with_local_spool(_settings or Settings.load())
        self.name: str = workspace_name or self._settings.workspace
        self.subscription_id: str = subscription_id or "local"
        self.resource_group: str = resource_group or "local"
        self.location: str = _location or "local"
        self.sku = sku
        self.tags: dict[str, str] = dict(tags or {})
        if not isinstance(self.name, str):
            raise UserErrorException(f"workspace name: expected a string, got {type(self.name).__name__}")

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str] | None = None,
        auth: Any = None,
        _logger: Any = None,
        _file_name: str | None = None,
    ) -> Workspace:
        """The workspace a config file names.

        The file may have the shape `{"subscription_id", "resource_group", "workspace_name"}`, or `{"Id", "Scope"}`, or hold
        runstream's settings (`{"workspace": ..., "home": ...}`) beside or
        instead of them. Environment variables win over it.

        Args:
            path: a file, or the directory to start from; default: the current directory. Searched for are `config.json` and
                `project.json` in `.runstream`, `.azureml`, `aml_config` and the directory itself, each up to the root before
                the next one: a parent's `.azureml/config.json` wins over a plain `config.json` here.

        Raises:
            UserErrorException: `path` was given and leads to no such file, or the file is not of these shapes.
                Without `path` the local default workspace is taken, with a line on stderr.
        """
        start = Path(path) if path is not None else Path.cwd()
        if start.is_file():
            found: tuple[Path, dict[str, Any]] | None = (start, _read_workspace(start))
        else:
            found = _search(start, (_file_name,) if _file_name else _CONFIG_FILES)
        if found is None:
            if path is not None:
                raise UserErrorException(
                    f"The workspace configuration file config.json, could not be found in {start} or its "
                    "parent directories. "
                    "Write one with Workspace.write_config() or `runstream folder attach`, or call from_config() "
                    "without a path for the local default workspace."
                )
            workspace = cls()
            print(
                f"runstream: no config.json here or above; using the local workspace {workspace.name!r} "
                f"({workspace._settings.url or workspace._settings.home_path})",
                file=sys.stderr,
            )
            return workspace
        file, named = found
        settings = {
            key: value for key, value in read_config(file).items() if not os.environ.get(PREFIX + key.upper())
        }
        return cls(
            named.get("subscription_id"),
            named.get("resource_group"),
            named.get("workspace_name"),
            auth,
            _settings=Settings.load(**settings),
        )

    @classmethod
    def get(
        cls,
        name: str,
        auth: Any = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        cloud: str = "AzureCloud",
        id: str | None = None,
    ) -> Workspace:
        """The workspace of that name."""
        return cls(
            subscription_id, resource_group, name, auth, _location=location, _workspace_id=id, _cloud=cloud
        )

    @classmethod
    def list(
        cls, subscription_id: str | None = None, auth: Any = None, resource_group: str | None = None
    ) -> dict[str, builtins.list[Workspace]]:
        """All workspaces that hold an experiment, by name.

        Raises:
            ServiceException: the service is away.
        """
        names = {
            one["workspace"]
            for one in client_for(Settings.load()).get_json("/api/v1/experiments")["experiments"]
        }
        return {name: [cls(subscription_id, resource_group, name, auth)] for name in sorted(names)}

    @classmethod
    def create(
        cls,
        name: str,
        auth: Any = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        create_resource_group: bool = True,
        sku: str = "basic",
        tags: Mapping[str, str] | None = None,
        *,
        exist_ok: bool = False,
        show_output: bool = True,
        **_: Any,
    ) -> Workspace:
        """A new workspace.

        Args:
            exist_ok: take an existing one instead of raising.

        Raises:
            WorkspaceException: it holds experiments already and `exist_ok` is False.
            ServiceException: the service is away and `exist_ok` is False.
        """
        workspace = cls(subscription_id, resource_group, name, auth, _location=location, sku=sku, tags=tags)
        if not exist_ok and workspace.experiments:
            raise WorkspaceException(
                f"Workspace {name} already exists; pass exist_ok=True to use it, or choose another name"
            )
        return workspace

    @property
    def experiments(self) -> dict[str, Experiment]:
        """The experiments by name, archived ones left out.

        Raises:
            ServiceException: the service is away.
        """
        from .experiment import Experiment

        return {experiment.name: experiment for experiment in Experiment.list(self)}

    def get_run(self, run_id: str) -> Run:
        """A run of this workspace, whatever its experiment.

        Raises:
            ServiceException: there is none of that id (status_code 404), or the service is away.
        """
        from .run import Run

        return Run.get(self, run_id)

    def get_details(self) -> dict[str, Any]:
        """What is known of the workspace, under the reproduced API's keys."""
        return {
            "id": self._scope(),
            "name": self.name,
            "location": self.location,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "tags": dict(self.tags),
            "sku": self.sku,
            "workspaceid": self.name,
            "friendlyName": self.name,
        }

    def write_config(self, path: str | os.PathLike[str] | None = None, file_name: str | None = None) -> None:
        """Write `.runstream/config.json`, which `from_config` finds again.

        Args:
            path: directory to write into; default: the current one.
            file_name: another name of the file.
        """
        folder = Path(path or ".") / ".runstream"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (file_name or "config.json")).write_text(
            json.dumps({"Id": None, "Scope": self._scope()}, indent=4, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )

    def _scope(self) -> str:
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )

    @cached_property
    def _client(self) -> ServiceClient:
        return client_for(self._settings)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_client"}

    def __repr__(self) -> str:
        return (
            f"Workspace.create(name={self.name!r}, subscription_id={self.subscription_id!r}, "
            f"resource_group={self.resource_group!r})"
        )

    def _repr_html_(self) -> str:
        from .html_reprs import one_row, page_or_none

        cells = {
            "Name": self.name,
            "Subscription": self.subscription_id,
            "Resource Group": self.resource_group,
            "Location": self.location,
        }
        page = page_or_none(self._client.address, lambda: f"{self._client.address().url}/")
        return one_row(cells, {"Runs Page": ("Link to the runs", page)})


def _search(start: Path, files: tuple[str, ...]) -> tuple[Path, dict[str, Any]] | None:
    folders = [start.absolute(), *start.absolute().parents]
    for subfolder in _CONFIG_FOLDERS:
        for name in files:
            for candidate in _existing(folders, subfolder, name):
                named = _read_workspace(candidate, required=bool(subfolder))
                if named:
                    return candidate, named
    return None


def _existing(folders: list[Path], subfolder: str, name: str) -> Iterator[Path]:
    return (folder / subfolder / name for folder in folders if (folder / subfolder / name).is_file())


def _read_workspace(file: Path, required: bool = True) -> dict[str, Any]:
    """The workspace a file names; {} for a file of another purpose (many tools have a config.json) unless `required`."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if not required:
            return {}
        raise UserErrorException(f"{file}: cannot be read as JSON ({error})") from None
    if isinstance(document, dict):
        if document.get("workspace_name"):
            return {key: document.get(key) for key in ("subscription_id", "resource_group", "workspace_name")}
        scope = str(document.get("Scope") or "").split("/")
        if len(scope) > 8:
            return {"subscription_id": scope[2], "resource_group": scope[4], "workspace_name": scope[8]}
        if settings := read_config(file):
            return {"workspace_name": settings.get("workspace"), "settings": settings}
    if required:
        raise UserErrorException(
            f"{file}: names no workspace; expected the keys subscription_id, resource_group and workspace_name, or Scope, "
            "or runstream's settings such as workspace and home"
        )
    return {}
