"""Secrets of a workspace, in a file of the home that only its owner may read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from runstream_schemas.errors import brief

from ..exceptions import UserErrorException
from ..home import json_document
from ..spool.values import check_text
from ..workspace_type import Workspace

__all__ = ["Keyvault"]

_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,127}")


class Keyvault:
    """A workspace's secrets: `keyvault.json` in the home, mode 0600, not encrypted. They never leave this machine.

    Args:
        workspace: the workspace.

    Source: `azureml.core.Keyvault`, whose secrets lie in Azure.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def set_secret(self, name: str, value: str, content_type: object = None) -> None:
        """Keep one secret, over an older one of that name.

        Args:
            name: letters, digits and dashes, at most 127.
            value: text.
            content_type: accepted, not kept.

        Raises:
            UserErrorException: a name of another form, or a value that is no text.
        """
        del content_type
        self.set_secrets({name: value})

    def set_secrets(self, secrets_batch: Mapping[str, Any]) -> None:
        """Keep several secrets, or none of them; as `set_secret`."""
        if not isinstance(secrets_batch, Mapping):
            raise UserErrorException(
                f"secrets_batch: expected names and values, got {type(secrets_batch).__name__}"
            )
        for name, value in secrets_batch.items():
            if not _NAME.fullmatch(check_text("secret name", name)):
                raise UserErrorException(
                    f"secret name {brief(name, 140)}: expected 1 to 127 letters, digits or dashes"
                )
            if not isinstance(value, str):
                raise UserErrorException(
                    f"secret {name}: expected a text, got {type(value).__name__}; pass str(value)"
                )
            check_text(f"secret {name}", value)
        with json_document.change(self._path()) as document:
            document.setdefault(self.workspace.name, {}).update(secrets_batch)

    def get_secret(self, name: str) -> str | None:
        """One secret; None when there is none of that name."""
        return self.get_secrets([name])[name]

    def get_secrets(self, secrets: Iterable[str]) -> dict[str, str | None]:
        """Several secrets by name; None for those there are not."""
        have = json_document.read(self._path()).get(self.workspace.name, {})
        return {name: have.get(name) for name in secrets}

    def list_secrets(self) -> list[dict[str, str]]:
        """The names, without values: `[{"name": ...}]`."""
        have = json_document.read(self._path()).get(self.workspace.name, {})
        return [{"name": name} for name in sorted(have)]

    def delete_secret(self, name: str) -> None:
        """Forget one secret, if there is one of that name."""
        self.delete_secrets([name])

    def delete_secrets(self, secrets: Iterable[str]) -> None:
        """Forget several secrets; names there are not are ignored."""
        with json_document.change(self._path()) as document:
            for name in secrets:
                document.get(self.workspace.name, {}).pop(name, None)

    def _path(self) -> Path:
        return self.workspace._settings.home_path / "keyvault.json"

    def __repr__(self) -> str:
        return f"Keyvault(workspace={self.workspace.name!r})"
