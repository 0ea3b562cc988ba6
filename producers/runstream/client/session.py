"""One workspace of one service: what everything below the objects people hold has to know of a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from runstream_schemas.settings import Settings

from ..home import json_document
from .http import ServiceClient, client_for


class Session:
    """Where a workspace's things are kept and asked for: settings, HTTP client and name. `core.Workspace` is one.

    Args:
        settings: which service, home and spool.
        name: the name of the workspace.
        subscription_id: kept and given back, as `resource_group`; nothing is looked up by it.
        resource_group: the same.
    """

    def __init__(self, settings: Settings, name: str, subscription_id: str, resource_group: str) -> None:
        self._settings, self._name = settings, name
        self._subscription_id, self._resource_group = subscription_id, resource_group

    @property
    def name(self) -> str:
        """The workspace's name."""
        return self._name

    @property
    def subscription_id(self) -> str:
        """As it was given; `local` without one."""
        return self._subscription_id

    @property
    def resource_group(self) -> str:
        """As it was given; `local` without one."""
        return self._resource_group

    @cached_property
    def _client(self) -> ServiceClient:
        return client_for(self._settings)

    def _send_json(self, method: str, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Send a JSON object about something of this workspace; returns the answer, {} for none."""
        answer = self._client.request(
            method,
            path,
            [("workspace", self.name)],
            body=json_document.encode(f"{method} {path}", document),
            headers={"Content-Type": "application/json"},
        )
        body: dict[str, Any] = answer.json() if answer.body else {}
        return body

    def _scope(self) -> str:
        """The workspace under the reproduced API's kind of name, for config files and addresses of pages."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )

    def __getstate__(self) -> dict[str, Any]:
        # For joblib and multiprocessing: the other process opens a connection of its own.
        return {key: value for key, value in self.__dict__.items() if key != "_client"}
