"""Experiments: their ids are digits, `0` is the one called `Default`, and deleted ones are those in the archive."""

from __future__ import annotations

import json
from typing import Any, Final

import asyncpg

from .errors import MlflowError, exists, invalid, missing
from .experiment_search import experiments_sql
from .grammar import read_token, write_token
from .names import MOST_KEY, MOST_NAME, check_key, check_length, is_number
from .places import artifact_root, check_location
from .scope import Document, Scope, key_values, millis
from .sent import Sent

DEFAULT: Final = "Default"
DEFAULT_ID: Final = "0"
MOST_TAG_VALUE: Final = 5000
MOST_LISTED: Final = 50_000

COLUMNS: Final = "e.id, e.name, e.tags, e.artifact_location, e.created_at, e.changed_at, e.archived_at"
_BY_ID: Final = f"select {COLUMNS} from experiments e where e.workspace = $1 and e.id = $2"
_BY_NAME: Final = f"select {COLUMNS} from experiments e where e.workspace = $1 and e.name = $2"
_ADD: Final = """
insert into experiments (workspace, name, artifact_location, tags, changed_at) values ($1, $2, $3, $4, now())
on conflict do nothing returning id
"""
_ARCHIVE: Final = """
update experiments set archived_at = case when $2 then now() end, changed_at = now() where id = $1
"""
_RENAME: Final = "update experiments set name = $2, changed_at = now() where id = $1"
_SET_TAG: Final = """
update experiments set tags = tags || jsonb_build_object($2::text, $3::text), changed_at = now() where id = $1
"""
_DELETE_TAG: Final = "update experiments set tags = tags - $2::text, changed_at = now() where id = $1"


def id_of(row: Any) -> str:
    """The id of an experiment, as clients know it."""
    return DEFAULT_ID if row["name"] == DEFAULT else str(row["id"])


def document(row: Any) -> Document:
    """An experiment, as the interface shows it."""
    tags = json.loads(row["tags"])
    return {
        "experiment_id": id_of(row),
        "name": row["name"],
        "artifact_location": artifact_root(row["artifact_location"], id_of(row)),
        "lifecycle_stage": "active" if row["archived_at"] is None else "deleted",
        "creation_time": millis(row["created_at"]),
        "last_update_time": millis(row["changed_at"] or row["created_at"]),
        "tags": key_values({key: value or "" for key, value in tags.items()}),
    }


async def find(scope: Scope, experiment_id: str, *, archived: bool | None = None) -> Any:
    """The row of an experiment.

    Args:
        archived: only one that is in the archive, or is not; None: either.

    Raises:
        MlflowError: there is none of that id.
    """
    if not is_number(experiment_id):
        raise invalid(f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.")
    if int(experiment_id) == 0:
        row = await default(scope)
    else:
        row = await scope.pool.fetchrow(_BY_ID, scope.workspace, int(experiment_id))
    if row is None or archived not in (None, row["archived_at"] is not None):
        raise missing(f"No Experiment with id={int(experiment_id)} exists")
    return row


async def default(scope: Scope) -> Any:
    """The row of the experiment `0`, which every workspace has; None: who asks may not make it."""
    row = await scope.pool.fetchrow(_BY_NAME, scope.workspace, DEFAULT)
    if row is None and scope.writes:
        await scope.pool.execute(_ADD, scope.workspace, DEFAULT, None, "{}")
        row = await scope.pool.fetchrow(_BY_NAME, scope.workspace, DEFAULT)
    return row


async def get(scope: Scope, sent: Sent) -> Document:
    """experiments/get."""
    return {"experiment": document(await find(scope, sent.text("experiment_id", needed=True)))}


async def get_by_name(scope: Scope, sent: Sent) -> Document:
    """experiments/get-by-name."""
    name = sent.text("experiment_name", needed=True)
    row = await scope.pool.fetchrow(_BY_NAME, scope.workspace, name)
    if row is None and name == DEFAULT:
        row = await default(scope)
    if row is None:
        raise missing(f"Could not find experiment with name '{name}'")
    return {"experiment": document(row)}


async def create(scope: Scope, sent: Sent) -> Document:
    """experiments/create."""
    name = sent.text("name", needed=True)
    location = sent.text("artifact_location")
    tags = sent.pairs("tags")
    check_name(name)
    for key, value in tags.items():
        check_tag(key, value)
    if location:
        check_location(location, "artifact_location")
    made = None
    await default(scope)  # is the first one
    if name != DEFAULT:
        made = await scope.pool.fetchval(_ADD, scope.workspace, name, location or None, json.dumps(tags))
    if made is None:
        raise exists(f"Experiment(name={name}) already exists.")
    return {"experiment_id": str(made)}


async def delete(scope: Scope, sent: Sent) -> Document:
    """experiments/delete: into the archive; its runs count as deleted with it."""
    row = await find(scope, sent.text("experiment_id", needed=True), archived=False)
    await scope.pool.execute(_ARCHIVE, row["id"], True)
    return {}


async def restore(scope: Scope, sent: Sent) -> Document:
    """experiments/restore: out of the archive."""
    row = await find(scope, sent.text("experiment_id", needed=True), archived=True)
    await scope.pool.execute(_ARCHIVE, row["id"], False)
    return {}


async def update(scope: Scope, sent: Sent) -> Document:
    """experiments/update: another name."""
    experiment_id, name = sent.text("experiment_id", needed=True), sent.text("new_name", needed=True)
    check_name(name)
    row = await find(scope, experiment_id)
    if row["archived_at"] is not None:
        raise MlflowError("INVALID_STATE", "Cannot rename a non-active experiment; restore it first.")
    try:
        await scope.pool.execute(_RENAME, row["id"], name)
    except asyncpg.UniqueViolationError:
        raise exists(f"Experiment(name={name}) already exists.") from None
    return {}


async def set_tag(scope: Scope, sent: Sent) -> Document:
    """experiments/set-experiment-tag."""
    experiment_id, key = sent.text("experiment_id", needed=True), sent.text("key", needed=True)
    value = sent.text("value")
    check_tag(key, value)
    row = await active(scope, experiment_id)
    await scope.pool.execute(_SET_TAG, row["id"], key, value)
    return {}


async def delete_tag(scope: Scope, sent: Sent) -> Document:
    """experiments/delete-experiment-tag."""
    experiment_id, key = sent.text("experiment_id", needed=True), sent.text("key", needed=True)
    row = await active(scope, experiment_id)
    if key not in json.loads(row["tags"]):
        raise missing(f"No tag with name: {key} in experiment with id {experiment_id}")
    await scope.pool.execute(_DELETE_TAG, row["id"], key)
    return {}


async def active(scope: Scope, experiment_id: str) -> Any:
    """The row of an experiment that is not in the archive.

    Raises:
        MlflowError: there is none, or it is.
    """
    row = await find(scope, experiment_id)
    if row["archived_at"] is not None:
        raise invalid(f"The experiment {id_of(row)} must be in the 'active' state. Current state is deleted.")
    return row


async def search(scope: Scope, sent: Sent) -> Document:
    """experiments/search."""
    most = sent.most("max_results", default=1000, most=MOST_LISTED)
    offset = read_token(sent.text("page_token"))
    await default(scope)
    sql, arguments = experiments_sql(
        scope.workspace,
        sent.text("filter"),
        sent.texts("order_by"),
        view_of(sent, "view_type"),
        offset,
        most + 1,
    )
    rows = await scope.pool.fetch(sql.format(columns=COLUMNS), *arguments)
    answer: Document = {"experiments": [document(row) for row in rows[:most]]}
    if len(rows) > most:
        answer["next_page_token"] = write_token(offset + most)
    return answer


def view_of(sent: Sent, name: str) -> bool | None:
    """Which of the deleted and the others are asked for: True: those that are deleted, False: the others, None: all.

    Raises:
        MlflowError: there is no such view.
    """
    value = sent.values.get(name)
    views = {None: False, "": False, "ACTIVE_ONLY": False, "DELETED_ONLY": True, "ALL": None}
    by_number = {"1": False, "2": True, "3": None}
    if str(value) in by_number:
        return by_number[str(value)]
    if value is not None and (not isinstance(value, str) or value not in views):
        raise sent.wrong(name, value)
    return views[value]


def check_name(name: str) -> None:
    """Refuse what cannot name an experiment.

    Raises:
        MlflowError: it is too long.
    """
    check_length("name", name, MOST_NAME)


def check_tag(key: str, value: str) -> None:
    """Refuse what cannot be a tag of an experiment.

    Raises:
        MlflowError: a key that cannot be one, or a text that is too long.
    """
    check_key(key)
    check_length("key", key, MOST_KEY)
    check_length("value", value, MOST_TAG_VALUE)
