"""Runs that are read, as `Api` gives them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..client import files
from ..client.metrics import Series
from ..client.outbox import wait_delivered
from ..client.reading import fetch_metrics, fetch_params
from ..client.records import RunRecord
from ..core.run import Run as CoreRun
from ..core.workspace import Workspace
from ..exceptions import ServiceException, UserErrorException
from .errors import CommError
from .mapping import SUMMARY_FILE, put_at

_STATES = {
    "Completed": "finished", "Failed": "failed", "Canceled": "killed", "Running": "running", "Finalizing": "running",
    "CancelRequested": "running",
}  # fmt: skip


class PublicFile:
    """A file of a run.

    Attributes:
        name: its path among the run's files.
        size: bytes.
        updated_at: when it was stored, ISO 8601.
    """

    def __init__(self, workspace: Workspace, run_id: str, described: Mapping[str, Any]) -> None:
        self.name, self.size = str(described["path"]), int(described["size"])
        self.updated_at = str(described["created_utc"])
        self._workspace, self._run_id = workspace, run_id

    def download(
        self, root: str | os.PathLike[str] = ".", replace: bool = False, exist_ok: bool = False
    ) -> io.TextIOWrapper:
        """Fetch it below a directory, and open it.

        Raises:
            ValueError: there is a file already, and neither `replace` nor `exist_ok` is set.
        """
        target = files.inside(Path(root), self.name)
        if not target.exists() or replace:
            target.parent.mkdir(parents=True, exist_ok=True)
            files.download(self._workspace._client, self._run_id, self.name, target)
        elif not exist_ok:
            raise ValueError(
                "File already exists, pass replace=True to overwrite or exist_ok=True to leave it as is."
            )
        return target.open(encoding="utf-8")

    def __repr__(self) -> str:
        return f"<File {self.name} ({self.size} bytes)>"


class PublicRun:
    """A run as it is stored; what is asked of it is fetched once."""

    def __init__(self, workspace: Workspace, record: RunRecord) -> None:
        self._workspace, self._record = workspace, record

    @property
    def id(self) -> str:
        """Its id."""
        return self._record.run_id

    @property
    def name(self) -> str:
        """Its name."""
        return self._record.display_name or self._record.name or self.id

    @property
    def display_name(self) -> str:
        """As `name`."""
        return self.name

    @property
    def project(self) -> str:
        """Its project, or experiment."""
        return self._record.properties.get("wandb.project") or self._record.experiment or ""

    @property
    def entity(self) -> str:
        """Whom it was said to be of."""
        return self._record.properties.get("wandb.entity") or ""

    @property
    def path(self) -> list[str]:
        """Entity, project and id."""
        return [self.entity, self.project, self.id]

    @property
    def state(self) -> str:
        """`running`, `finished`, `failed`, `killed` or `pending`."""
        return _STATES.get(self._record.status, "pending")

    @property
    def tags(self) -> list[str]:
        """Its tags without values."""
        return [key for key, value in self._record.tags.items() if value is None]

    @property
    def group(self) -> str | None:
        """The group it is of."""
        return self._record.tags.get("group")

    @property
    def job_type(self) -> str | None:
        """What it does."""
        return self._record.tags.get("job_type")

    @property
    def notes(self) -> str | None:
        """Free text."""
        return self._record.description

    @property
    def created_at(self) -> str | None:
        """When it started, ISO 8601."""
        return self._record.start_time_utc

    @property
    def url(self) -> str:
        """Address of its page.

        Raises:
            ServiceException: the service is away.
        """
        return self.runstream.get_portal_url()

    @cached_property
    def runstream(self) -> CoreRun:
        """The run as `runstream` has it, which can do more."""
        return CoreRun.get(self._workspace, self.id)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its parameters, nested at their dots."""
        tree: dict[str, Any] = {}
        for name, value in fetch_params(self._workspace._client, self.id).items():
            put_at(tree, tuple(name.split(".")), value)
        return tree

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Its summary; of a run that has not ended, the last value of each metric."""
        wait_delivered(self._workspace._client, self.id)
        try:
            answer = self._workspace._client.request("GET", f"/api/v1/runs/{self.id}/files/{SUMMARY_FILE}")
            document = json.loads(answer.body)
        except (ServiceException, ValueError):
            document = {}
        if isinstance(document, dict) and document:
            return document
        tree: dict[str, Any] = {}
        for series in self._series:
            put_at(tree, tuple(series.name.split(".")), series.values[-1])
        return tree

    @property
    def summary_metrics(self) -> dict[str, Any]:
        """As `summary`."""
        return self.summary

    @cached_property
    def _series(self) -> list[Series]:
        series = fetch_metrics(self._workspace._client, [self.id]).get(self.id, [])
        return [metric for metric in series if metric.cls == 0 and metric.values]

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """All rows, by step; with keys only those that have all of them.

        Args:
            keys: names of metrics.
            page_size: accepted.
            min_step: the first step.
            max_step: the step behind the last one.
        """
        rows: dict[int, dict[str, Any]] = {}
        for series in self._series:
            if keys is None or series.name in keys:
                for step, time, value in zip(series.steps, series.times, series.values, strict=True):
                    rows.setdefault(step, {"_step": step, "_timestamp": time / 1e6})[series.name] = value
        asked = set(keys or ()) - {"_step", "_timestamp"}
        for step, row in sorted(rows.items()):
            if (
                (min_step is None or step >= min_step)
                and (max_step is None or step < max_step)
                and asked <= row.keys()
            ):
                yield {key: row[key] for key in keys} if keys else row

    def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
        stream: str = "default",
    ) -> Any:
        """Rows, at most so many, evenly chosen: a frame of pandas, or a list.

        Args:
            samples: how many.
            keys: names of metrics; only rows that have all of them.
            x_axis: `_step`; accepted.
            pandas: as a frame.
            stream: `default`, or `system` for what the machine was doing.

        Raises:
            UserErrorException: another stream.
        """
        if stream not in ("default", "system"):
            raise UserErrorException(f"history: stream {stream!r:.80}: expected default or system")
        rows = (
            self._system_rows()
            if stream == "system"
            else list(self.scan_history([*keys, "_step"] if keys else None))
        )
        if len(rows) > samples:
            rows = [rows[place * len(rows) // samples] for place in range(samples)]
        if pandas:
            try:
                import pandas as pd
            except ImportError:
                return rows
            return pd.DataFrame(rows)
        return rows

    def _system_rows(self) -> list[dict[str, Any]]:
        rows: dict[int, dict[str, Any]] = {}
        measured = self.runstream.get_system_metrics()
        assert isinstance(measured, dict)
        for name, samples in measured.items():
            for sample in samples:
                rows.setdefault(sample.time, {"_timestamp": sample.time / 1e6})[name] = sample.value
        return [row for _, row in sorted(rows.items())]

    def files(self, names: Sequence[str] | None = None, per_page: int = 50) -> list[PublicFile]:
        """Its files."""
        wait_delivered(self._workspace._client, self.id)
        listed = files.list_files(self._workspace._client, self.id)
        return [
            PublicFile(self._workspace, self.id, file)
            for file in listed
            if not names or file["path"] in names
        ]

    def file(self, name: str) -> PublicFile:
        """A file by its name.

        Raises:
            CommError: the run has no such file.
        """
        listed = self.files([name])
        if not listed:
            raise CommError(f"run {self.id} has no file {name}; files() lists those it has")
        return listed[0]

    def look(self, key: str) -> Any:
        """The value of a key of a filter or order: `state`, `config.lr`, `summary_metrics.loss` ..."""
        first, _, rest = key.partition(".")
        if first in ("config", "summary", "summary_metrics") and rest:
            tree: Any = self.config if first == "config" else self.summary
            if rest in tree:
                return tree[rest]
            for part in rest.removesuffix(".value").split("."):
                tree = tree.get(part) if isinstance(tree, dict) else None
            return tree
        names = {
            "displayName": "name",
            "display_name": "name",
            "createdAt": "created_at",
            "jobType": "job_type",
        }
        return getattr(self, names.get(key, key), None)

    def wait_until_finished(self) -> None:
        """Wait until it has ended."""
        self.runstream.wait_for_completion(raise_on_error=False)

    def delete(self, delete_artifacts: bool = False) -> None:
        """Refused: runs are deleted with `runstream run delete`, which asks first."""
        raise UserErrorException(
            f"run {self.id} stays; use `runstream run delete {self.id}`, which asks first"
        )

    def __repr__(self) -> str:
        return f"<Run {'/'.join(self.path)} ({self.state})>"
