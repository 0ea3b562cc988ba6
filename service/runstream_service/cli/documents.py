"""Runs and experiments as the command line prints them: under the keys of the original's CLI, then under our own.

Source: `az ml run` and `az ml experiment` of the v1 extension; `list` and `show` write snake_case, `update` and the
experiments camelCase.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from runstream_schemas.runs.params import value_of
from runstream_schemas.runs.record import ParamRecord

from .output import table

Document = dict[str, Any]

_LONGEST = 500
"""Characters of a parameter from which a list has only its beginning."""

_SAME = ("root_run_id", "created_utc", "run_id", "parent_run_id", "status", "start_time_utc", "end_time_utc")
_OWN = (
    "experiment", "workspace", "last_seen_utc", "archived_utc", "warnings", "dropped", "gaps", "settled", "details",
    "params", "summaries",
)  # fmt: skip


def listed_run(record: Mapping[str, Any]) -> Document:
    """A run as `run list` prints it: without the `details`, which make a list unreadable."""
    return {key: value for key, value in run_document(record).items() if key != "details"}


def run_document(record: Mapping[str, Any]) -> Document:
    """A run of the HTTP API as `run show` and `run submit-script` print it; what is not set is left out.

    `tags` and `properties` are always objects: JMESPath's `keys()` fails on null.
    """
    get = record.get
    document: Document = {
        "run_number": get("number"),
        **{key: get(key) for key in _SAME},
        "experiment_id": get("experiment_id"),
        "heartbeat_enabled": True,
        "name": get("name"),
        "display_name": get("display_name"),
        "data_container_id": f"dcid.{get('run_id')}",
        "description": get("description"),
        "run_type": get("type"),
        "run_type_v2": {"orchestrator": "Execution" if get("type") else "External", "traits": []},
        "target": get("target"),
        "created_by": (get("details") or {}).get("user"),
        "error": {"error": get("error")} if get("error") else None,
        "_experiment_name": get("experiment"),
        **{key: get(key) for key in _OWN},
    }
    if document["params"]:
        document["params"] = {name: _param(record) for name, record in document["params"].items()}
    shown = {key: value for key, value in document.items() if value not in (None, "", [], {}, 0)}
    return shown | {"tags": get("tags") or {}, "properties": get("properties") or {}}


def _param(record: ParamRecord) -> Any:
    """A parameter with its type, but for numbers that JSON has not: those are texts."""
    value = value_of(record) if len(record["text"]) < _LONGEST else record["text"]
    return record["text"] if isinstance(value, float) and not math.isfinite(value) else value


def minimal(record: Mapping[str, Any]) -> Document:
    """A run as `run list --minimal` prints it."""
    get = record.get
    return {
        "RunId": get("run_id"),
        "RunType": get("type"),
        "Status": get("status"),
        "StartTime": get("start_time_utc"),
        "EndTime": get("end_time_utc"),
        "Target": get("target"),
        "Tags": get("tags") or {},
    }


def updated_run(record: Mapping[str, Any]) -> Document:
    """A run as `run update` prints it."""
    return {_camel(key.lstrip("_")): value for key, value in run_document(record).items()}


def experiment_document(record: Mapping[str, Any]) -> Document:
    """An experiment as `experiment list` prints it."""
    get = record.get
    return {
        "experimentId": get("id"),
        "name": get("name"),
        "description": get("description"),
        "createdUtc": get("created_utc"),
        "archivedTime": get("archived_utc"),
        "tags": get("tags") or {},
        "workspace": get("workspace"),
        "runs": get("runs"),
    }


def upright(document: dict[str, Any]) -> str:
    """A run as a person reads it: one line a field, then its metrics."""
    summaries = document.get("summaries") or {}
    left_out = {
        "summaries",
        "params",
        "_experiment_name",
        "run_type_v2",
        "heartbeat_enabled",
        "data_container_id",
    }
    fields = [
        [key, value] for key, value in document.items() if key not in left_out and value not in ({}, False)
    ]
    text = table((), fields)
    if params := document.get("params"):
        text += "\n\n" + table(("parameter", "value"), [[name, value] for name, value in params.items()])
    if summaries:
        heads: tuple[str, ...] = ("count", "first", "last", "min", "max", "mean")
        rows = [[name, *(entry.get(head) for head in heads)] for name, entry in summaries.items()]
        if texts := (document.get("details") or {}).get("metric_descriptions"):
            heads = (*heads, "description")
            rows = [[*row, texts.get(row[0])] for row in rows]
        text += "\n\n" + table(("metric", *heads), rows)
    return text


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part.capitalize() for part in rest)
