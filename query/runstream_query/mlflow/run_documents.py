"""Runs as the interface shows them: info, data, inputs and outputs, read for many runs at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runstream_schemas.runs.params import KINDS, from_stored
from runstream_schemas.runs.status import ENDINGS
from runstream_schemas.runs.status import STATUSES as ALL_STATUSES
from runstream_schemas.series import Kind

from ..json_values import json_number
from .experiments import id_of
from .inputs import inputs_of, outputs_of
from .places import run_root
from .scope import Document, Scope, key_values, millis

RUN_NAME, PARENT, NOTE, USER = "mlflow.runName", "mlflow.parentRunId", "mlflow.note.content", "mlflow.user"
"""Tags that say what a run has a field of its own for."""
GREATEST: Final = 1.7976931348623157e308
"""What an infinity is to clients."""

_UNDER_WAY: Final = frozenset(
    {"Running", "NotResponding", "CancelRequested", "Pausing", "Paused", "Finalizing"}
)
_ENDED: Final = {
    ENDINGS[step]: theirs
    for step, theirs in (("complete", "FINISHED"), ("fail", "FAILED"), ("cancel", "KILLED"))
}
STATUSES: Final[dict[str, str]] = {
    ours: _ENDED.get(ours, "SCHEDULED") for ours in ALL_STATUSES if ours not in _UNDER_WAY
}
"""Statuses of runs, as clients know them; all others are RUNNING."""

COLUMNS: Final = """r.key, r.run_id, r.parent_run_id, r.status, r.start_time, r.end_time, r.archived_at, r.packing,
    r.description, coalesce(r.display_name, r.name, '') as name, e.id, e.name as experiment, e.artifact_location,
    e.archived_at as experiment_archived_at"""
BY_KEY: Final = f"""
select {COLUMNS} from runs r join experiments e on e.id = r.experiment_id where r.key = any($1::int8[])
"""
BY_ID: Final = f"""
select {COLUMNS} from runs r join experiments e on e.id = r.experiment_id where r.run_id = $2 and e.workspace = $1
"""

_TAGS: Final = (
    "select run_key, key, value from tags where run_key = any($1::int8[]) and not removed order by key"
)
_PARAMS: Final = "select run_key, name, kind, text from params where run_key = any($1::int8[]) order by name"
METRICS: Final = """
select m.run_key, s.name, coalesce(l.value, m.last) as value, coalesce(l.step, m.last_step) as step,
    coalesce(l.time_us, m.last_time) as time
from summaries m join series s on s.id = m.series_id
left join latest_points l on l.run_key = m.run_key and l.series_id = m.series_id
where m.run_key = any($1::int8[]) and s.cls = 0 and m.kind <= 2
order by s.name
"""


async def documents(scope: Scope, keys: Sequence[int]) -> list[Document]:
    """The runs with these keys, in that order."""
    if not keys:
        return []
    async with scope.pool.acquire() as connection:
        rows = {row["key"]: row for row in await connection.fetch(BY_KEY, list(keys))}
        metrics: dict[int, list[Document]] = {}
        for key, name, value, step, time in await connection.fetch(METRICS, list(keys)):
            metrics.setdefault(key, []).append(metric(name, value, time // 1000, step or 0))
        params: dict[int, dict[str, str]] = {}
        for key, name, kind, text in await connection.fetch(_PARAMS, list(keys)):
            params.setdefault(key, {})[name] = shown_param(kind, text)
        tags: dict[int, dict[str, str]] = {}
        for key, name, value in await connection.fetch(_TAGS, list(keys)):
            tags.setdefault(key, {})[name] = value or ""
        inputs, outputs = await inputs_of(connection, keys), await outputs_of(connection, keys)
    runs = []
    for key in keys:
        if (row := rows.get(key)) is None:
            continue
        labels = all_tags(row, tags.get(key, {}))
        data: Document = {
            "metrics": metrics.get(key, []),
            "params": key_values(params.get(key, {})),
            "tags": key_values(labels),
        }
        runs.append(
            {
                "info": info(row, labels.get(USER)),
                "data": {name: held for name, held in data.items() if held},
                "inputs": inputs.get(key, {}),
                "outputs": outputs.get(key, {}),
            }
        )
    return runs


def info(row: Any, user: str | None) -> Document:
    """The facts of a run."""
    experiment_id = id_of({"id": row["id"], "name": row["experiment"]})
    facts: Document = {
        "run_id": row["run_id"],
        "run_uuid": row["run_id"],
        "run_name": row["name"],
        "experiment_id": experiment_id,
        "user_id": user or "unknown",
        "status": STATUSES.get(row["status"], "RUNNING"),
        "artifact_uri": run_root(row["artifact_location"], experiment_id, row["run_id"]),
        "lifecycle_stage": "deleted" if is_deleted(row) else "active",
    }
    for name in ("start_time", "end_time"):
        if row[name] is not None:
            facts[name] = millis(row[name])
    return facts


def is_deleted(row: Any) -> bool:
    """Whether a run, or its experiment, is in the archive, which is deleted to clients."""
    return row["archived_at"] is not None or row["experiment_archived_at"] is not None


def all_tags(row: Any, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a run, and what it has fields of its own for as tags."""
    fields = {RUN_NAME: row["name"], PARENT: row["parent_run_id"], NOTE: row["description"]}
    return {key: value for key, value in fields.items() if value} | dict(tags)


def metric(name: str, value: float, time_ms: int, step: int) -> Document:
    """A point of a metric."""
    return {"key": name, "value": shown_value(value), "timestamp": time_ms, "step": step}


def shown_value(value: float) -> Any:
    """The value of a metric: infinities are the greatest numbers there are, NaN is a word."""
    return json_number(math.copysign(GREATEST, value) if math.isinf(value) else value)


def shown_param(kind: int, text: str) -> str:
    """The value of a parameter as the text a client would have sent for it."""
    name = KINDS[kind]
    if name == "bool":
        return text.capitalize()
    return "None" if name == "null" else text


def param_value(text: str) -> str:
    """The JSON text of a parameter's value a client sent, which is a text."""
    return from_stored("text", text)


assert Kind.FLOAT < Kind.INT < Kind.BOOL < Kind.TEXT  # kinds up to 2 are numbers
