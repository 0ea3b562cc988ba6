"""Workspaces: the names experiments are grouped by, and where their service is."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runstream_schemas.errors import brief
from runstream_schemas.settings import Settings

from ..client.addresses import quoted
from ..client.arguments import path_argument, write_text_file
from ..client.http import client_for
from ..client.mlflow_variables import TRACKING_URI, add_mlflow
from ..client.records import as_texts
from ..cloud import CloudCall
from ..exceptions import UserErrorException, WorkspaceException
from ..home.layout import with_local_spool
from ..home.workspace_config import CONFIG_FILES, read_workspace, search, settings_with
from ..printable import say
from ..spool.values import check_name
from ._workspace_contents import WorkspaceContents

__all__ = ["Workspace"]

_PATH = "/api/v1/workspaces"
_NO_ACCOUNT = "there is no cloud account behind a workspace, so there is nothing to set up; take the call out"


class Workspace(WorkspaceContents):
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
        settings = with_local_spool(_settings or Settings.load())
        name: Any = workspace_name or settings.workspace
        if not isinstance(name, str) or "\0" in name:
            raise UserErrorException(
                f"workspace name {brief(name)}: expected a string without the character NUL"
            )
        super().__init__(
            settings,
            check_name("workspace name", name),
            subscription_id or "local",
            resource_group or "local",
        )
        self._location = _location or "local"
        self._sku = sku
        self._tags: dict[str, str | None] | None = None if tags is None else dict(tags)

    @property
    def location(self) -> str:
        """As it was given; `local` without one."""
        return self._location

    @property
    def sku(self) -> str:
        """As it was given; `basic` without one."""
        return self._sku

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
        some of runstream's settings (`{"workspace": ..., "url": ...}`, see docs/reference/settings.md) beside or instead of
        them. Environment variables win over it. A file of another user is passed over, with a line on stderr, unless it is
        given or the setting `safe_directory` names its folder.

        Args:
            path: a file, or the directory to start from; default: the current directory. Searched for are `config.json` and
                `project.json` in `.runstream`, `.azureml`, `aml_config` and the directory itself, each up to the root before
                the next one: a parent's `.azureml/config.json` wins over a plain `config.json` here.

        Raises:
            UserErrorException: `path` was given and leads to no such file, or the file is not of these shapes.
                Without `path` the local default workspace is taken, with a line on stderr.
        """
        start = Path(path if path is not None else ".")
        if start.is_file():
            config: tuple[Path, dict[str, Any]] | None = (start, read_workspace(start))
        else:
            config = search(start, (_file_name,) if _file_name else CONFIG_FILES)
        if config is None:
            if path is not None:
                raise UserErrorException(
                    f"The workspace configuration file config.json, could not be found in {start} or its "
                    "parent directories. "
                    "Write one with Workspace.write_config() or `runstream folder attach`, or call from_config() "
                    "without a path for the local default workspace."
                )
            workspace = cls()
            say(
                f"runstream: no config.json here or above; using the local workspace {workspace.name!r} "
                f"({workspace._settings.url or workspace._settings.home_path})",
                error=True,
            )
            return workspace
        file, named = config
        return cls(
            named.get("subscription_id"),
            named.get("resource_group"),
            named.get("workspace_name"),
            auth,
            _settings=settings_with(file, {}),
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
        """All workspaces that were created or hold something, by name.

        Raises:
            ServiceException: the service is away.
        """
        records = client_for(with_local_spool(Settings.load())).get_json(_PATH)["workspaces"]
        return {
            record["name"]: [cls(subscription_id, resource_group, record["name"], auth, tags=record["tags"])]
            for record in records
        }

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
        friendly_name: str | None = None,
        storage_account: Any = None,
        key_vault: Any = None,
        app_insights: Any = None,
        container_registry: Any = None,
        adb_workspace: Any = None,
        primary_user_assigned_identity: Any = None,
        cmk_keyvault: Any = None,
        resource_cmk_uri: Any = None,
        hbi_workspace: bool = False,
        default_cpu_compute_target: Any = None,
        default_gpu_compute_target: Any = None,
        private_endpoint_config: Any = None,
        private_endpoint_auto_approval: bool = True,
        exist_ok: bool = False,
        show_output: bool = True,
        user_assigned_identity_for_cmk_encryption: Any = None,
        system_datastores_auth_mode: str = "accessKey",
        v1_legacy_mode: bool | None = None,
    ) -> Workspace:
        """A new workspace. Of the many arguments, which Azure needs, only these matter here.

        Args:
            name: its name.
            tags: its tags, name to value.
            exist_ok: take an existing one instead of raising.
            show_output: accepted.

        Raises:
            WorkspaceException: it was created or holds something already, and `exist_ok` is False.
            ServiceException: the service is away, and `exist_ok` is False or there are tags.
        """
        del friendly_name, storage_account, key_vault, app_insights, container_registry, adb_workspace
        del primary_user_assigned_identity, cmk_keyvault, resource_cmk_uri, hbi_workspace, show_output
        del default_cpu_compute_target, default_gpu_compute_target, create_resource_group
        del private_endpoint_config, private_endpoint_auto_approval
        del user_assigned_identity_for_cmk_encryption, system_datastores_auth_mode, v1_legacy_mode
        workspace = cls(subscription_id, resource_group, name, auth, _location=location, sku=sku)
        if not exist_ok and workspace._facts() is not None:
            raise WorkspaceException(
                f"Workspace {name} already exists; pass exist_ok=True to use it, or choose another name"
            )
        if not exist_ok or tags is not None:
            workspace.update(tags=tags)
        return workspace

    @property
    def tags(self) -> dict[str, str | None]:
        """The workspace's tags, as first fetched.

        Raises:
            ServiceException: the service is away.
        """
        if self._tags is None:
            self._tags = dict((self._facts() or {}).get("tags", {}))
        return dict(self._tags)

    def update(
        self,
        friendly_name: str | None = None,
        description: str | None = None,
        tags: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Change the workspace; what is None stays.

        Args:
            friendly_name: accepted, not kept: a workspace is known by its name.
            description: free text.
            tags: the new tags, all of them.
            **kwargs: accepted: they are about Azure.

        Returns:
            What `get_details` returns.

        Raises:
            ServiceException: the service is away.
        """
        del friendly_name, kwargs
        changes: dict[str, Any] = {} if description is None else {"description": description}
        if tags is not None:
            changes["tags"] = as_texts("tag", tags)
        record = self._send_json("PUT", f"{_PATH}/{quoted(self.name)}", changes)
        self._tags = dict(record["tags"])
        return self._details(record)

    def delete(self, delete_dependent_resources: bool = False, no_wait: bool = False) -> None:
        """Delete the workspace with its environments. One that holds runs or models stays.

        Raises:
            ServiceException: it holds runs or models (status_code 409), there is no such workspace (404), or the service
                is away.
        """
        del delete_dependent_resources, no_wait
        self._client.request("DELETE", f"{_PATH}/{quoted(self.name)}")

    def get_mlflow_tracking_uri(self, _with_auth: bool = False) -> str:
        """The address for `mlflow.set_tracking_uri`: the service answers MLflow's clients, of this workspace's runs.

        MLflow reads the token and the workspace from environment variables, which are set in this process unless they are
        (`MLFLOW_TRACKING_TOKEN`, `MLFLOW_WORKSPACE`).

        Raises:
            ServiceException: the service is away.
        """
        del _with_auth
        address = self._client.address()
        variables = {TRACKING_URI: address.url}
        add_mlflow(variables, address, self.name)
        for name, value in variables.items():
            if name != TRACKING_URI:
                os.environ.setdefault(name, value)
        return address.url

    setup = CloudCall("Workspace.create makes a workspace")
    sync_keys = CloudCall(_NO_ACCOUNT)
    list_keys = CloudCall(_NO_ACCOUNT)
    list_connections = CloudCall(_NO_ACCOUNT)
    get_connection = CloudCall(_NO_ACCOUNT)
    set_connection = CloudCall(_NO_ACCOUNT)
    delete_connection = CloudCall(_NO_ACCOUNT)
    add_private_endpoint = CloudCall(_NO_ACCOUNT)
    delete_private_endpoint_connection = CloudCall(_NO_ACCOUNT)
    update_dependencies = CloudCall(_NO_ACCOUNT)
    diagnose_workspace = CloudCall("`runstream doctor` says what is wrong with this installation")

    def get_details(self) -> dict[str, Any]:
        """What is known of the workspace, under the reproduced API's keys.

        Raises:
            ServiceException: the service is away.
        """
        return self._details(self._facts() or {})

    def _details(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": self._scope(),
            "name": self.name,
            "location": self.location,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "tags": dict(record.get("tags", {})),
            "sku": self.sku,
            "workspaceid": self.name,
            "description": record.get("description") or "",
            "friendlyName": self.name,
            "creationTime": record.get("created_utc"),
        }

    def _facts(self) -> dict[str, Any] | None:
        """The service's record; None for a workspace that was not created and holds nothing."""
        records: list[dict[str, Any]] = self._client.get_json(_PATH, [("name", self.name)])["workspaces"]
        return records[0] if records else None

    def write_config(self, path: str | os.PathLike[str] | None = None, file_name: str | None = None) -> None:
        """Write `.runstream/config.json`, which `from_config` finds again.

        Args:
            path: directory to write into; default: the current one.
            file_name: another name of the file.
        """
        folder = path_argument("write_config: path", path or ".") / ".runstream"
        file = folder / path_argument("write_config: file_name", file_name or "config.json")
        document = {"Id": None, "Scope": self._scope()}
        write_text_file("write_config:", file, json.dumps(document, indent=4, ensure_ascii=False) + "\n")

    def __repr__(self) -> str:
        return (
            f"Workspace.create(name={self.name!r}, subscription_id={self.subscription_id!r}, "
            f"resource_group={self.resource_group!r})"
        )

    def _repr_html_(self) -> str:
        from ._html_reprs import one_row, page_or_none

        cells = {
            "Name": self.name,
            "Subscription": self.subscription_id,
            "Resource Group": self.resource_group,
            "Location": self.location,
        }
        page = page_or_none(self._client.address, lambda: f"{self._client.address().url}/")
        return one_row(cells, {"Runs Page": ("Link to the runs", page)})
