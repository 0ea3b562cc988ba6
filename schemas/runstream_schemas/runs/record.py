"""The record of a run: what is known of it, declared once.

`RunFacts` is what a run's own steps say of it (see `status.fold`), `StoredRun` what the database has beside that, and
`RunRecord` the run as the HTTP API shows it: the query layer makes it, the client reads it, and the OpenAPI document and the
types of the pages come from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, TypedDict

Status: TypeAlias = Literal[
    "NotStarted",
    "Queued",
    "Preparing",
    "Provisioning",
    "Starting",
    "Running",
    "Unapproved",
    "NotResponding",
    "Pausing",
    "Paused",
    "CancelRequested",
    "Finalizing",
    "Completed",
    "Failed",
    "Canceled",
]
"""Every status of a run: the one list, for commands, filters, the HTTP API, pages and docs."""

Number: TypeAlias = float | Literal["NaN", "Infinity", "-Infinity"] | None
"""A number as JSON has it."""


ParamKind: TypeAlias = Literal["float", "int", "bool", "text", "null", "json"]
"""Type of a parameter; `json` is a list, or an empty dictionary."""


class ParamRecord(TypedDict):
    """A parameter: its kind, and its value as a text (see `runstream_schemas.runs.params`)."""

    kind: ParamKind
    text: str


class SummaryRecord(TypedDict):
    """Statistics of one series of a run: null for texts and where no value is finite; `text` is the last text, cut to 256
    characters."""

    cls: int
    kind: int
    count: int
    first: Number
    last: Number
    min: Number
    max: Number
    mean: Number
    last_step: int | None
    last_time: int
    text: str | None


@dataclass(slots=True, kw_only=True)
class RunFacts:
    """What a run's steps say of it. None: nothing said."""

    status: Status = "NotStarted"
    experiment: str | None = None
    workspace: str | None = None
    parent_run_id: str | None = None
    root_run_id: str | None = None
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    type: str | None = None
    target: str | None = None
    error: dict[str, Any] | None = None
    warnings: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class StoredRun(RunFacts):
    """A run as stored, but for its times.

    Attributes:
        number: its number among the runs of its experiment.
        dropped: points its processes could not keep.
        gaps: slots that will never come.
        settled: it has ended, and every point up to its end is stored or is known to be lost.
    """

    run_id: str
    number: int | None = None
    tags: dict[str, str | None] = field(default_factory=dict)
    properties: dict[str, str | None] = field(default_factory=dict)
    dropped: int = 0
    gaps: int = 0
    settled: bool = False


@dataclass(slots=True, kw_only=True)
class RunRecord(StoredRun):
    """A run as the HTTP API shows it. Times are ISO 8601 UTC with `Z`.

    Attributes:
        summaries: the summaries of its metrics, by name; None: they were not asked for, and are no part of the answer.
        params: its parameters, by name; None: the same.
    """

    created_utc: str | None = None
    start_time_utc: str | None = None
    end_time_utc: str | None = None
    last_seen_utc: str | None = None
    archived_utc: str | None = None
    summaries: dict[str, SummaryRecord] | None = None
    params: dict[str, ParamRecord] | None = None

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RunRecord:
        """Read a record of the HTTP API; unknown fields are ignored, absent ones and nulls take their defaults."""
        return cls(**{key: document[key] for key in _NAMES if document.get(key) is not None})


_NAMES = tuple(item.name for item in fields(RunRecord))
