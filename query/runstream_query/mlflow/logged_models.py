"""Models that runs log, before anybody registers them: what they are, their parameters, tags and metrics."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

from . import artifacts, experiments
from .errors import invalid, missing
from .experiments import id_of
from .grammar import read_token, write_token
from .logged_model_search import STATUSES, models_sql
from .places import artifact_root, below, safe_path
from .run_documents import shown_value
from .run_names import random_name
from .scope import Document, Scope, key_values
from .sent import Sent

_BY_NUMBER: Final = {str(number): name for number, name in enumerate(STATUSES, 1)}
_ADD: Final = """
insert into logged_models (model_id, experiment_id, name, source_run_id, type, status, artifact_location, params, tags,
                           created_ms, changed_ms)
values ($1, $2, $3, $4, $5, 'LOGGED_MODEL_PENDING', $6, $7, $8, $9, $9)
"""
_FIND: Final = """
select m.*, e.name as experiment from logged_models m join experiments e on e.id = m.experiment_id
where e.workspace = $1 and m.model_id = any($2::text[])
"""
_METRICS: Final = """
select * from (
    select distinct on (model_id, name, dataset_name, dataset_digest) * from logged_model_metrics
    where model_id = any($1::text[])
    order by model_id, name, dataset_name, dataset_digest, time_ms desc, step desc, value desc
) m order by model_id, name
"""
_CHANGE: Final = """
update logged_models set status = coalesce($2, status), params = params || $3::jsonb,
    tags = (tags || $4::jsonb) - $5::text[],
    changed_ms = case when $2::text is null then changed_ms else $6 end
where model_id = $1
"""
_DELETE: Final = "update logged_models set deleted_at = now(), changed_ms = $2 where model_id = $1"
_ADD_METRICS: Final = """
insert into logged_model_metrics (model_id, run_id, name, step, time_ms, value, dataset_name, dataset_digest)
select m.model_id, $2, $3, $4, $5, $6, $7, $8
from logged_models m join experiments e on e.id = m.experiment_id where m.model_id = $1 and e.workspace = $9
on conflict do nothing
"""


async def documents(scope: Scope, model_ids: Sequence[str]) -> list[Document]:
    """The models with these ids, in that order."""
    rows = {row["model_id"]: row for row in await scope.pool.fetch(_FIND, scope.workspace, list(model_ids))}
    metrics: dict[str, list[Document]] = {}
    for row in await scope.pool.fetch(_METRICS, list(rows)):
        shown: Document = {
            "key": row["name"],
            "value": shown_value(row["value"]),
            "timestamp": row["time_ms"],
            "step": row["step"],
            "model_id": row["model_id"],
            "run_id": row["run_id"],
        }
        shown |= {name: row[name] for name in ("dataset_name", "dataset_digest") if row[name] is not None}
        metrics.setdefault(row["model_id"], []).append(shown)
    return [_document(rows[id_], metrics.get(id_, [])) for id_ in model_ids if id_ in rows]


def _document(row: Any, metrics: list[Document]) -> Document:
    facts: Document = {
        "model_id": row["model_id"],
        "experiment_id": id_of({"id": row["experiment_id"], "name": row["experiment"]}),
        "name": row["name"],
        "artifact_uri": row["artifact_location"],
        "creation_timestamp_ms": row["created_ms"],
        "last_updated_timestamp_ms": row["changed_ms"],
        "status": row["status"],
        "tags": key_values(json.loads(row["tags"])),
        "model_type": row["type"] or "",
        "source_run_id": row["source_run_id"] or "",
    }
    if row["status_message"]:
        facts["status_message"] = row["status_message"]
    return {"info": facts, "data": {"params": key_values(json.loads(row["params"])), "metrics": metrics}}


async def find(scope: Scope, model_id: str, *, deleted: bool = False) -> Any:
    """The row of a model.

    Args:
        deleted: also one that was deleted.

    Raises:
        MlflowError: there is none of that id in the workspace.
    """
    row = await scope.pool.fetchrow(_FIND, scope.workspace, [model_id])
    if row is None or (row["deleted_at"] is not None and not deleted):
        raise missing(f"Logged model with ID '{model_id}' not found.")
    return row


async def create(scope: Scope, sent: Sent) -> Document:
    """Create a model, whose files are to come."""
    experiment_id = sent.text("experiment_id", needed=True)
    name, kind = sent.text("name"), sent.text("model_type")
    run_id = sent.text("source_run_id")
    params, tags = sent.pairs("params"), sent.pairs("tags")
    check_name(name)
    experiment = await experiments.active(scope, experiment_id)
    model_id = f"m-{uuid.uuid4().hex}"
    root = artifact_root(experiment["artifact_location"], id_of(experiment))
    await scope.pool.execute(
        _ADD,
        model_id,
        experiment["id"],
        name or random_name(),
        run_id or None,
        kind or None,
        below(root, "models", model_id, "artifacts"),
        json.dumps(params),
        json.dumps(tags),
        _now(),
    )
    return {"model": (await documents(scope, [model_id]))[0]}


def check_name(name: str) -> None:
    """Refuse what cannot name a model.

    Raises:
        MlflowError: a character that paths and queries need.
    """
    if any(letter in name for letter in "/:.%\"'"):
        raise invalid(
            f"Invalid model name ({name}) provided. Model name must be a non-empty string and cannot contain the following "
            "characters: ('/', ':', '.', '%', '\"', \"'\")"
        )


async def get(scope: Scope, sent: Sent) -> Document:
    """One model."""
    row = await find(scope, sent.text("model_id"), deleted=sent.truth("allow_deleted"))
    return {"model": (await documents(scope, [row["model_id"]]))[0]}


async def finalize(scope: Scope, sent: Sent) -> Document:
    """Another status of a model."""
    model_id, status = sent.text("model_id", needed=True), str(sent.values.get("status") or "")
    status = _BY_NUMBER.get(status, status)
    if not status:
        raise sent.absent("status")
    if status not in STATUSES:
        raise sent.wrong("status", sent.values["status"])
    await find(scope, model_id)
    await scope.pool.execute(_CHANGE, model_id, status, "{}", "{}", [], _now())
    return {"model": (await documents(scope, [model_id]))[0]}


async def delete(scope: Scope, sent: Sent) -> Document:
    """Delete a model: it is kept, and found by nobody who does not ask for deleted ones."""
    row = await find(scope, sent.text("model_id"), deleted=True)
    await scope.pool.execute(_DELETE, row["model_id"], _now())
    return {}


async def log_params(scope: Scope, sent: Sent) -> Document:
    """More parameters of a model."""
    row = await find(scope, sent.text("model_id", needed=True), deleted=True)
    await scope.pool.execute(
        _CHANGE, row["model_id"], None, json.dumps(sent.pairs("params")), "{}", [], _now()
    )
    return {}


async def set_tags(scope: Scope, sent: Sent) -> Document:
    """Set tags of a model."""
    row = await find(scope, sent.text("model_id"), deleted=True)
    await tag(scope, row["model_id"], sent.pairs("tags"))
    return {}


async def tag(scope: Scope, model_id: str, tags: dict[str, str]) -> None:
    """Set tags of a model that is there."""
    await scope.pool.execute(_CHANGE, model_id, None, "{}", json.dumps(tags), [], _now())


async def delete_tag(scope: Scope, sent: Sent) -> Document:
    """Delete a tag of a model."""
    row, key = await find(scope, sent.text("model_id"), deleted=True), sent.text("tag_key")
    if key not in json.loads(row["tags"]):
        raise missing(f"No tag with key {key!r} found for model with ID {row['model_id']!r}.")
    await scope.pool.execute(_CHANGE, row["model_id"], None, "{}", "{}", [key], _now())
    return {}


async def search(scope: Scope, sent: Sent) -> Document:
    """A page of the models that pass a filter."""
    ids = sent.texts("experiment_ids")
    if not ids:
        raise sent.absent("experiment_ids")
    most = sent.most("max_results", default=100, most=1000)
    offset = read_token(sent.text("page_token"))
    data_sets = []
    for item in sent.items("datasets"):
        if not item.text("dataset_name"):
            raise invalid("`dataset_name` in the `datasets` clause must be specified.")
        data_sets.append((item.text("dataset_name"), item.optional("dataset_digest") or None))
    sql, arguments = models_sql(
        scope.workspace, ids, sent.text("filter"), data_sets, sent.items("order_by"), offset, most + 1
    )
    model_ids = [row["model_id"] for row in await scope.pool.fetch(sql, *arguments)]
    answer: Document = {"models": await documents(scope, model_ids[:most])}
    if len(model_ids) > most:
        answer["next_page_token"] = write_token(offset + most)
    return answer


async def list_files(scope: Scope, sent: Sent) -> Document:
    """Files and folders of a model."""
    path = sent.text("artifact_directory_path")
    if path:
        safe_path(path)
    row = await find(scope, sent.text("model_id"))
    folder = await folder_of(scope, row["artifact_location"], path)
    return {
        "files": artifacts.listed(
            await artifacts.files_below(scope, folder), folder.path, below=path.strip("/")
        ),
        "root_uri": row["artifact_location"],
    }


async def folder_of(scope: Scope, location: str, path: str) -> artifacts.Folder:
    """Where a path below a model's own place leads.

    Raises:
        MlflowError: its files do not lie here.
    """
    root = artifacts.own_path(location)
    if root is None:
        raise invalid(f"the files of this model lie at {location}, and not in this server")
    return await artifacts.folder_of(scope, "/".join(part for part in (root, path.strip("/")) if part))


async def add_metrics(
    connection: Any, scope: Scope, experiment_id: int, run_id: str, metrics: Sequence[Sent]
) -> None:
    """Note points that are said to be of a logged model as its own, too."""
    for item in metrics:
        if model_id := item.text("model_id"):
            await connection.execute(
                _ADD_METRICS,
                model_id,
                run_id,
                item.text("key"),
                item.integer("step"),
                item.integer("timestamp"),
                item.number("value"),
                item.optional("dataset_name"),
                item.optional("dataset_digest"),
                scope.workspace,
            )


def _now() -> int:
    return time.time_ns() // 1_000_000
