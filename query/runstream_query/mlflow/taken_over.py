"""What `runstream import mlflow` brings beside runs: experiments, logged models, inputs and outputs, registered models.

Ids, version numbers and times are those they had, which MLflow's own calls leave to the server. What is there already stays
as it is, so that a request may be repeated.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from runstream_schemas.limits import TIME_MIN_US

from ..runs import models
from . import inputs, logged_models, registry, versions
from .errors import MlflowError
from .experiments import check_name, check_tag, id_of
from .logged_model_search import STATUSES
from .places import SCHEME, artifact_root, below, run_root, safe_path
from .run_documents import BY_ID
from .runs import micros
from .scope import Document, Scope
from .sent import Sent

_EXPERIMENT: Final = """
insert into experiments as e (workspace, name, tags, created_at, changed_at) values ($1, $2, $3, coalesce($4, now()), now())
on conflict (workspace, name) do update set
    tags = excluded.tags || e.tags, created_at = least(e.created_at, excluded.created_at)
returning id, name, artifact_location
"""
_LOGGED_MODEL: Final = """
insert into logged_models (model_id, experiment_id, name, source_run_id, type, status, status_message, artifact_location,
                           params, tags, created_ms, changed_ms)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing
"""
_METRIC: Final = """
insert into logged_model_metrics (model_id, run_id, name, step, time_ms, value, dataset_name, dataset_digest)
values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing
"""
_NAME: Final = """
insert into model_names as n (workspace, name, last_version, description, tags, created_at, changed_at)
values ($1, $2, $3, $4, $5, coalesce($6, now()), coalesce($7, now()))
on conflict (workspace, name) do update set last_version = greatest(n.last_version, excluded.last_version)
returning registered
"""
_VERSION: Final = """
insert into models (workspace, name, version, token, run_id, experiment, description, tags, source, source_run, run_link,
                    logged_model_id, details, created_at, changed_at, stage)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, coalesce($14, now()), coalesce($15, now()), $16)
on conflict do nothing returning id
"""
_HELD: Final = "select token from models where workspace = $1 and name = $2 and version = $3"
_ALIAS: Final = """
insert into model_aliases (workspace, name, alias, version) select $1, $2, $3, $4
where exists (select from models where workspace = $1 and name = $2 and version = $4) on conflict do nothing
"""
_TOKENS: Final = uuid.UUID("5ab0d1a6-3f0e-4f6e-9d8d-6a9a1d2c7f10")


async def add_experiments(scope: Scope, sent: Sent) -> Document:
    """Experiments with their tags; the earlier time of creation holds."""
    for given in sent.items("experiments"):
        await _experiment(scope, given.text("name", needed=True), given)
    return {}


async def _experiment(scope: Scope, name: str, given: Sent) -> Any:
    check_name(name)
    tags = given.pairs("tags")
    for key, value in tags.items():
        check_tag(key, value)
    return await scope.pool.fetchrow(
        _EXPERIMENT, scope.workspace, name, json.dumps(tags), _time(given, "creation_time")
    )


def _time(given: Sent, name: str) -> datetime | None:
    """A time in milliseconds as one of the database."""
    if not given.integer(name):
        return None
    return datetime.fromtimestamp(max(micros(given.integer(name), name), TIME_MIN_US) / 1e6, UTC)


async def add_inputs(scope: Scope, sent: Sent) -> Document:
    """Data sets and models that runs have read, and models that they made. The answer names runs that are not here."""
    absent = []
    for given in sent.items("runs"):
        run_id = given.text("run_id", needed=True)
        async with scope.pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(BY_ID, scope.workspace, run_id)
            if row is None:
                absent.append(run_id)
                continue
            await inputs.add_inputs(connection, row["key"], given.inner("inputs"))
            await inputs.add_outputs(connection, row["key"], given.inner("outputs"))
    return {"absent": absent}


async def add_logged_models(scope: Scope, sent: Sent) -> Document:
    """Logged models. The answer says where the files of each lie from now on."""
    places = {}
    for given in sent.items("models"):
        model_id, name = given.text("model_id", needed=True), given.text("name")
        logged_models.check_name(name)
        safe_path(model_id)
        experiment = await _experiment(scope, given.text("experiment", needed=True), Sent({}))
        status = given.text("status", default="LOGGED_MODEL_READY")
        if status not in STATUSES:
            raise given.wrong("status", status)
        place = below(
            artifact_root(experiment["artifact_location"], id_of(experiment)), "models", model_id, "artifacts"
        )
        async with scope.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                _LOGGED_MODEL,
                model_id,
                experiment["id"],
                name,
                given.optional("source_run_id"),
                given.optional("model_type"),
                status,
                given.optional("status_message"),
                place,
                json.dumps(given.pairs("params")),
                json.dumps(given.pairs("tags")),
                given.integer("created_ms"),
                given.integer("changed_ms") or given.integer("created_ms"),
            )
            await connection.executemany(
                _METRIC, [_metric(model_id, point) for point in given.items("metrics")]
            )
        row = await logged_models.find(scope, model_id, deleted=True)
        places[model_id] = row["artifact_location"]
    return {"places": places}


def _metric(model_id: str, point: Sent) -> tuple[Any, ...]:
    return (
        model_id,
        point.text("run_id", needed=True),
        point.text("key", needed=True),
        point.integer("step"),
        point.integer("timestamp"),
        point.number("value"),
        point.optional("dataset_name"),
        point.optional("dataset_digest"),
    )


async def add_registered_model(scope: Scope, sent: Sent) -> Document:
    """A registered model and its versions under the numbers they had. What could not be taken is said in the answer.

    A version's files are looked for among those of the run or logged model that it names, which were taken over before.
    """
    name = sent.text("name", needed=True)
    registry.check_name(name)
    given_versions = sent.items("versions")
    newest = max([sent.integer("last_version"), *(given.integer("version") for given in given_versions)])
    registered = await scope.pool.fetchval(
        _NAME,
        scope.workspace,
        name,
        newest,
        sent.optional("description"),
        json.dumps(sent.pairs("tags")),
        _time(sent, "created_ms"),
        _time(sent, "changed_ms"),
    )
    if not registered:
        return {"new": 0, "left_out": [f"registered model {name}: it was deleted here"]}
    new, left_out = 0, []
    for given in given_versions:
        made = await _add_version(scope, name, given)
        new += made is True
        if made is None:
            left_out.append(
                f"version {given.integer('version')} of {name}: another version has that number here"
            )
    for alias, version in sent.pairs("aliases").items():
        await scope.pool.execute(_ALIAS, scope.workspace, name, alias, versions.version_number(version))
    return {"new": new, "left_out": left_out}


async def _add_version(scope: Scope, name: str, given: Sent) -> bool | None:
    """Add one version; False: it is there, None: another one has its number."""
    number, source = given.integer("version", needed=True), given.text("source", needed=True)
    token = uuid.uuid5(_TOKENS, f"{scope.workspace}\n{name}\n{number}\n{source}")
    held = await scope.pool.fetchval(_HELD, scope.workspace, name, number)
    if held is not None:
        return False if held == token else None
    run_id, path = given.text("run_id"), given.text("path")
    model_id = given.text("model_id")
    run = await scope.pool.fetchrow(BY_ID, scope.workspace, run_id) if run_id else None
    place = source
    if model_id and (row := await _model(scope, model_id)) is not None:
        place = below(row["artifact_location"], *_parts(path))
    elif given.truth("of_run") and run is not None:
        place = below(run_root(run["artifact_location"], _experiment_id(run), run["run_id"]), *_parts(path))
    files = await versions.files_at(scope, place)
    shown = place if place.startswith(f"{SCHEME}:") and not source.startswith("models:") else source
    async with scope.pool.acquire() as connection, connection.transaction():
        await connection.execute(models.LOCK_CONTENT)
        key = await connection.fetchval(
            _VERSION,
            scope.workspace,
            name,
            number,
            token,
            run_id if run is not None else None,
            run["experiment"] if run is not None else None,
            given.optional("description"),
            json.dumps(given.pairs("tags")),
            shown,
            run_id or None,
            given.optional("run_link"),
            model_id or None,
            json.dumps({"mlflow_place": place, "mlflow_source": source}),
            _time(given, "created_ms"),
            _time(given, "changed_ms"),
            versions.stage_of(given.text("stage", default="None")),
        )
        if key is None:
            return False
        await connection.executemany(
            "insert into model_files (model_id, path, size, sha256) values ($1, $2, $3, $4)",
            [(key, file_path, size, digest) for file_path, size, digest in files],
        )
    return True


def _parts(path: str) -> Sequence[str]:
    return [safe_path(path)] if path else []


def _experiment_id(row: Any) -> str:
    return id_of({"id": row["id"], "name": row["experiment"]})


async def _model(scope: Scope, model_id: str) -> Any:
    try:
        return await logged_models.find(scope, model_id, deleted=True)
    except MlflowError:
        return None
