"""What every part of `Run` stands on: its identity, its record as last heard of, its spool writer and its service."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from runstream_schemas.settings import Settings

from ...client.http import ServiceClient
from ...client.reading import fetch_record
from ...client.records import RunRecord
from ...spool.live_runs import LiveRun, open_live
from ...spool.values import check_text
from ...workspace_type import Workspace

if TYPE_CHECKING:
    from .snapshot_taking import SnapshotJob


class RunHandle:
    """A run's identity and its two connections: the spool for what is recorded, the service for what is asked."""

    _snapshot_job: SnapshotJob | None = None  # of its source, being taken in the background

    def _become(self, workspace: Workspace, record: RunRecord, outputs: list[str]) -> None:
        self._workspace, self._record, self._outputs = workspace, record, outputs
        self._id = record.run_id
        self._where = working_directory()
        self._live_run: LiveRun | None = None
        self._started_here = False

    def _attach(self, live: LiveRun) -> None:
        self._live_run = live
        # Found before the method of the same signature, `Recording.log`, which would call it.
        self.__dict__["log"] = live.writer.log

    def _live(self) -> LiveRun:
        if self._live_run is None:
            self._attach(open_live(self._settings, self._id))
        assert self._live_run is not None
        return self._live_run

    @property
    def _settings(self) -> Settings:
        return self._workspace._settings

    @property
    def _client(self) -> ServiceClient:
        return self._workspace._client

    def _refresh(self) -> RunRecord:
        self._record = fetch_record(self._client, self._id)
        return self._record

    def _await_snapshot(self) -> None:
        """Wait until the snapshot of the run's source is taken, if it is being taken."""
        if self._snapshot_job is not None:
            self._snapshot_job.wait()
            self._snapshot_job = None

    @property
    def id(self) -> str:
        """The run's id."""
        return self._id

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
        text = text_or_none("display_name", value)
        self._live().writer.set_field("display_name", text)
        self._record.display_name = text

    @property
    def description(self) -> str | None:
        """Free text, Markdown; may be set."""
        return self._record.description

    @description.setter
    def description(self, value: str | None) -> None:
        text = text_or_none("description", value)
        self._live().writer.set_field("description", text)
        self._record.description = text

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


def working_directory() -> Path:
    """The directory this process is in; of one that was deleted, a path where nothing is found, nor made."""
    try:
        return _path(os.getcwd())
    except OSError:
        return Path("/proc/self/cwd")


_path = lru_cache(1)(Path)


def text_or_none(what: str, value: str | None) -> str | None:
    """A text somebody gave for a run, or None.

    Raises:
        UserErrorException: no text, one that is too long, or one that is not valid unicode.
    """
    return None if value is None else check_text(what, value)
