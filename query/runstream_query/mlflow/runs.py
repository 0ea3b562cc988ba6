"""Runs: made, ended, deleted and restored, tagged. Whatever is changed is changed as every edit of a run is."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

from runstream_schemas.limits import TIME_MAX_US, TIME_MIN_US
from runstream_schemas.runs.recording import NewRun
from runstream_schemas.runs.status import TERMINAL

from ..runs.edits import UNCHANGED, RunEdit, add_steps, edit_runs
from ..runs.runs import Connection
from . import experiments, inputs
from .errors import MlflowError, invalid, missing
from .names import MOST_KEY, MOST_TAG, check_key, check_length
from .run_documents import BY_ID, NOTE, PARENT, RUN_NAME, USER, documents, info, is_deleted
from .run_names import random_name
from .scope import Document, Scope
from .sent import Sent

_STEPS: Final = {
    "RUNNING": "start",
    "SCHEDULED": "queued",
    "FINISHED": "complete",
    "FAILED": "fail",
    "KILLED": "cancel",
}
"""The step of a run's life that leads to a status."""
_BY_NUMBER: Final = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
MODELS_TAG: Final = "mlflow.log-model.history"
_MODEL_FIELDS: Final = frozenset({"artifact_path", "flavors", "utc_time_created", "run_id"})
_LOCKED: Final = f"{BY_ID} for no key update of r"
_TAG: Final = "select value from tags where run_key = $1 and key = $2 and not removed"
_ELSEWHERE: Final = """
select true from runs r join experiments e on e.id = r.experiment_id where r.run_id = $2 and e.workspace <> $1
"""


async def find(connection: Any, scope: Scope, run_id: str) -> Any:
    """The row of a run.

    Raises:
        MlflowError: there is none of that id in the workspace.
    """
    row = await connection.fetchrow(BY_ID, scope.workspace, run_id)
    if row is None:
        raise _none(run_id)
    return row


def _none(run_id: str) -> MlflowError:
    return missing(f"Run with id={run_id} not found")


async def active(connection: Any, scope: Scope, run_id: str, *, lock: bool = False) -> Any:
    """The row of a run that is not deleted.

    Args:
        lock: keep all others from changing it until the end of the transaction.

    Raises:
        MlflowError: there is none, or it is.
    """
    if lock:
        row = await connection.fetchrow(_LOCKED, scope.workspace, run_id)
        if row is None:
            raise _none(run_id)
    else:
        row = await find(connection, scope, run_id)
    if is_deleted(row):
        raise invalid(f"The run {run_id} must be in the 'active' state. Current state is deleted.")
    return row


async def get(scope: Scope, sent: Sent) -> Document:
    """runs/get."""
    row = await find(scope.pool, scope, sent.run_id())
    return {"run": (await documents(scope, [row["key"]]))[0]}


async def create(scope: Scope, sent: Sent) -> Document:
    """runs/create."""
    experiment_id = sent.text("experiment_id") or experiments.DEFAULT_ID
    started, name, tags = sent.integer("start_time"), sent.text("run_name"), sent.pairs("tags")
    user = sent.text("user_id")
    if name and tags.get(RUN_NAME) and name != tags[RUN_NAME]:
        raise invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
            f"(run_name='{name}', mlflow.runName='{tags[RUN_NAME]}')."
        )
    tags = checked_tags(tags, "tags")
    tags[RUN_NAME] = name or tags.get(RUN_NAME) or random_name()
    if user:
        tags.setdefault(USER, user)
    experiment = await experiments.active(scope, experiment_id)
    run_id = uuid.uuid4().hex
    parent = tags.get(PARENT) or None
    async with scope.pool.acquire() as connection, connection.transaction():
        if parent is not None and await connection.fetchval(_ELSEWHERE, scope.workspace, parent):
            parent = None  # one that is still on its way may be
        run = NewRun(
            run_id=run_id,
            workspace=scope.workspace,
            experiment=experiment["name"],
            name=tags[RUN_NAME],
            parent_run_id=parent,
            description=tags.get(NOTE),
            started_us=micros(started, "start_time"),
            tags=tags,
        )
        key = await scope.recorder.create_run(connection, run)
    return {"run": (await documents(scope, [key]))[0]}


async def update(scope: Scope, sent: Sent) -> Document:
    """runs/update: another status, with the time of its end, or another name."""
    run_id = sent.run_id()
    ended, name = sent.integer("end_time"), sent.text("run_name")
    status = _status(sent) if sent.has("status") else None
    async with scope.pool.acquire() as connection, connection.transaction():
        row = await active(connection, scope, run_id)
        if status is not None:
            data = {"ended_us": micros(ended, "end_time")} if sent.has("end_time") else {}
            await _set_status(connection, row, status, data)
        if name:
            await edit_runs(connection, [run_id], RunEdit(display_name=name, set_tags={RUN_NAME: name}))
        row = await find(connection, scope, run_id)
        user = await connection.fetchval(_TAG, row["key"], USER)
    if row["status"] in TERMINAL:
        await scope.recorder.settle([row["key"]])
    return {"run_info": info(row, user)}


async def _set_status(connection: Connection, row: Any, status: str, data: Mapping[str, Any]) -> None:
    """Take a run to a status, whichever it has."""
    steps: list[tuple[str, dict[str, Any], str]] = [(_STEPS[status], dict(data), "status")]
    if row["status"] in TERMINAL and status != "RUNNING":
        # What has ended is opened again first: an end after another one would be passed over.
        steps.insert(0, ("start", {}, "status"))
    await add_steps(connection, {row["key"]: steps}, [row["run_id"]])


def _status(sent: Sent) -> str:
    value = str(sent.values["status"])
    value = _BY_NUMBER.get(value, value)
    if value not in _STEPS:
        raise sent.wrong("status", sent.values["status"])
    return value


async def delete(scope: Scope, sent: Sent) -> Document:
    """runs/delete: into the archive."""
    return await _archive(scope, sent.run_id(), True)


async def restore(scope: Scope, sent: Sent) -> Document:
    """runs/restore: out of the archive."""
    return await _archive(scope, sent.run_id(), False)


async def _archive(scope: Scope, run_id: str, archived: bool) -> Document:
    async with scope.pool.acquire() as connection:
        await find(connection, scope, run_id)
        await edit_runs(connection, [run_id], RunEdit(archived=archived))
    return {}


async def set_tag(scope: Scope, sent: Sent) -> Document:
    """runs/set-tag."""
    run_id, key = sent.run_id(), sent.text("key", needed=True)
    tags = checked_tags({key: sent.text("value")}, "")
    async with scope.pool.acquire() as connection, connection.transaction():
        await active(connection, scope, run_id)
        await set_tags(connection, run_id, tags)
    return {}


async def set_tags(connection: Connection, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags, and the fields that some of them stand for."""
    edit = RunEdit(
        set_tags=tags,
        display_name=tags.get(RUN_NAME, UNCHANGED),
        description=tags.get(NOTE, UNCHANGED),
    )
    await edit_runs(connection, [run_id], edit)


async def delete_tag(scope: Scope, sent: Sent) -> Document:
    """runs/delete-tag."""
    run_id, key = sent.run_id(), sent.text("key", needed=True)
    async with scope.pool.acquire() as connection, connection.transaction():
        row = await active(connection, scope, run_id)
        if await connection.fetchrow(_TAG, row["key"], key) is None:
            raise missing(f"No tag with name: {key} in run with id {run_id}")
        await edit_runs(connection, [run_id], RunEdit(remove_tags=[key]))
    return {}


async def log_inputs(scope: Scope, sent: Sent) -> Document:
    """runs/log-inputs."""
    run_id = sent.text("run_id", needed=True)
    sent.items("datasets")
    async with scope.pool.acquire() as connection, connection.transaction():
        row = await active(connection, scope, run_id)
        await inputs.add_inputs(connection, row["key"], sent)
    return {}


async def log_model(scope: Scope, sent: Sent) -> Document:
    """runs/log-model, as clients of MLflow 2 tell of a model: it is noted in a tag."""
    run_id, text = sent.text("run_id", needed=True), sent.text("model_json", needed=True)
    try:
        model = json.loads(text)
    except (ValueError, RecursionError):
        raise invalid(f"Malformed model info. \n {text} \n is not a valid JSON.") from None
    absent = _MODEL_FIELDS - set(model if isinstance(model, dict) else ())
    if absent:
        raise invalid(f"Model json is missing mandatory fields: {absent}")
    noted = {key: model[key] for key in (*sorted(_MODEL_FIELDS), "model_uuid") if key in model}
    if isinstance(flavors := model["flavors"], dict):
        noted["flavors"] = {
            name: {key: value for key, value in flavor.items() if key != "config"}
            if isinstance(flavor, dict)
            else flavor
            for name, flavor in flavors.items()
        }
    async with scope.pool.acquire() as connection, connection.transaction():
        row = await active(connection, scope, run_id, lock=True)
        before = json.loads(await connection.fetchval(_TAG, row["key"], MODELS_TAG) or "[]")
        await set_tags(connection, run_id, {MODELS_TAG: json.dumps([*before, noted])})
    return {}


async def log_outputs(scope: Scope, sent: Sent) -> Document:
    """runs/outputs."""
    run_id = sent.text("run_id", needed=True)
    async with scope.pool.acquire() as connection, connection.transaction():
        row = await active(connection, scope, run_id)
        await inputs.add_outputs(connection, row["key"], sent)
    return {}


def checked_tags(tags: Mapping[str, str], path: str) -> dict[str, str]:
    """Tags that can be stored; values that are too long are cut, as MLflow's own server does.

    Raises:
        MlflowError: a key that cannot be one.
    """
    for place, key in enumerate(tags):
        where = f"{path}[{place}].key" if path else "key"
        check_key(key, where)
        check_length(where, key, MOST_KEY)
    return {key: value[:MOST_TAG] for key, value in tags.items()}


def micros(time_ms: int, name: str) -> int:
    """Microseconds of milliseconds since the epoch.

    Raises:
        MlflowError: no date can be shown for it.
    """
    time_us = time_ms * 1000
    if not TIME_MIN_US <= time_us <= TIME_MAX_US:
        raise invalid(
            f"Invalid value {time_ms} for parameter '{name}' supplied: it lies outside of the years 1 to 9999."
        )
    return time_us
