"""All that one run holds, read in pieces of bounded size: what every format is written from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from runstream_schemas.runs.params import value_of
from runstream_schemas.series import SeriesClass

from ..client import files
from ..client.addresses import quoted
from ..client.http import ServiceClient
from ..client.metrics import Series
from ..client.reading import fetch_metrics
from ..client.records import RunRecord

MOST_AT_ONCE = 1_000_000
"""Points read in one request, but for a series that has more."""


@dataclass
class RunContents:
    """One run.

    Attributes:
        client: asks the service that has the run.
        record: the run as the HTTP API shows it.
        left_out: reason to number of values that the format has no place for; its writer counts them.
    """

    client: ServiceClient
    record: RunRecord
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.record.run_id

    @cached_property
    def params(self) -> dict[str, Any]:
        """Its parameters, typed."""
        answer = self.client.get_json(f"/api/v1/runs/{quoted(self.run_id)}/params")
        return {name: value_of(record) for name, record in answer["params"].items()}

    @cached_property
    def counts(self) -> list[tuple[SeriesClass, str, int]]:
        """Class, name and points of each series, a table's columns as one."""
        answer = self.client.get_json(f"/api/v1/runs/{quoted(self.run_id)}/series")
        counts: dict[tuple[SeriesClass, str], int] = {}
        for series in answer["series"]:
            key = SeriesClass(series["cls"]), series["name"]
            counts[key] = counts.get(key, 0) + series["count"]
        return [(cls, name, count) for (cls, name), count in counts.items()]

    @cached_property
    def files(self) -> list[dict[str, Any]]:
        """Its files: `path`, `size`, `sha256`."""
        return files.list_files(self.client, self.run_id)

    def names(self, cls: SeriesClass) -> list[str]:
        """The series of a class, in the order first logged."""
        return [name for own, name, _ in self.counts if own == cls]

    def series(self, cls: SeriesClass) -> Iterator[list[Series]]:
        """Every series of a class by its name, in the order first logged: of a table its columns, else one."""
        chosen = [(name, count) for own, name, count in self.counts if own == cls]
        if sum(count for _, count in chosen) <= MOST_AT_ONCE:
            yield from self._read(cls, None) if chosen else ()
            return
        for name, _ in chosen:
            yield from self._read(cls, name)

    def _read(self, cls: SeriesClass, name: str | None) -> Iterator[list[Series]]:
        by_name: dict[str, list[Series]] = {}
        answer = fetch_metrics(self.client, [self.run_id], name=name, classes=[cls])
        for series in answer.get(self.run_id, []):
            by_name.setdefault(series.name, []).append(series)
        yield from by_name.values()

    def save_files(self, folder: Path) -> None:
        """Fetch all files of the run, held to their digests, below a folder."""
        for file in self.files:
            files.download(self.client, self.run_id, file["path"], files.inside(folder, file["path"]), True)

    def read_file(self, path: str) -> bytes | None:
        """The bytes of one file; None: it is not stored (yet)."""
        if not any(file["path"] == path for file in self.files):
            return None
        return self.client.request("GET", f"/api/v1/runs/{quoted(self.run_id)}/files/{quoted(path)}").body
