"""Notes of runs and experiments: Markdown that is read and written through the service."""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass

from ..spool.values import check_text
from .addresses import quoted
from .http import Params, ServiceClient


@dataclass(frozen=True, slots=True)
class Note:
    """Where a note is: the service, path and parameters."""

    client: ServiceClient
    path: str
    params: Params = ()


def run_note(client: ServiceClient, run_id: str) -> Note:
    """The note of a run."""
    return Note(client, f"/api/v1/runs/{quoted(run_id)}/note")


def experiment_note(client: ServiceClient, name: str, workspace: str) -> Note:
    """The note of an experiment."""
    return Note(client, f"/api/v1/experiment-notes/{quoted(name)}", [("workspace", workspace)])


class Noted:
    """What has a note in Markdown, which others may change too."""

    @abstractmethod
    def _noted(self) -> Note: ...

    def get_note(self) -> str:
        """The note; empty where nothing was written yet.

        Raises:
            ServiceException: the service is away, or what the note is of is not there yet.
        """
        note = self._noted()
        return str(note.client.get_json(note.path, note.params)["text"])

    def set_note(self, text: str) -> None:
        """Write the note: a new version, the former ones are kept.

        Args:
            text: up to 1 MiB of UTF-8.

        Raises:
            UserErrorException: it is no text, or too long.
            ServiceException: the service is away, what the note is of is not there yet, or somebody has changed the note in
                this very moment.
        """
        check_text("note", text)
        note = self._noted()
        before = note.client.get_json(note.path, note.params)
        body = json.dumps({"text": text, "title": before["title"], "version": before["version"]}).encode()
        headers = {"Content-Type": "application/json"}
        note.client.request("PUT", note.path, note.params, body=body, headers=headers)
