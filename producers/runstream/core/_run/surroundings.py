"""What a run works with: its environment, the workspace's secrets, its directory on this machine, its page."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...client.records import TERMINAL
from ...compute.job import run_directory
from ...exceptions import RunEnvironmentException, UserErrorException
from .handle import RunHandle

if TYPE_CHECKING:
    from ..environment import Environment


class RunSurroundings(RunHandle):
    """The part of `Run` that is about where it takes place."""

    def get_environment(self) -> Environment:
        """The environment the run was submitted with.

        Raises:
            RunEnvironmentException: it was not submitted.
            ServiceException: the service is away.
        """
        from ..environment import Environment

        definition = self._record.details.get("runDefinition") or self._refresh().details.get("runDefinition")
        if not definition:
            raise RunEnvironmentException(
                f"run {self._id} was not submitted, and took place in the environment of the process that started it"
            )
        return Environment.from_document(definition["environment"])

    def get_secret(self, name: str) -> str | None:
        """A secret of the workspace, as `Keyvault.get_secret`; None when there is none of that name."""
        return self._experiment.workspace.get_default_keyvault().get_secret(name)

    def get_secrets(self, secrets: Iterable[str]) -> dict[str, str | None]:
        """Several secrets of the workspace by name; None for those there are not."""
        return self._experiment.workspace.get_default_keyvault().get_secrets(secrets)

    def clean(self) -> list[str]:
        """Remove what a submitted run left on this machine: its copy of the source directory, and its logs.

        What it stored (metrics, logs, outputs, the snapshot) stays.

        Returns:
            Paths of the removed files; none when it was not submitted here.

        Raises:
            UserErrorException: the run has not ended.
            ServiceException: the service is away.
        """
        directory = run_directory(self._settings, self._id)
        if not directory.is_dir():
            return []
        if self._record.status not in TERMINAL and self._refresh().status not in TERMINAL:
            raise UserErrorException(
                f"run {self._id} is {self._record.status}; wait for its end, or cancel it, before its files are removed"
            )
        files = [str(path) for path in sorted(directory.rglob("*")) if not path.is_dir()]
        shutil.rmtree(directory)
        return files

    @property
    def portal_url(self) -> str:
        """Address of the service's pages; `get_portal_url` has that of the run's page.

        Raises:
            ServiceException: the service is away.
        """
        return self._client.address().url
