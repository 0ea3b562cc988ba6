"""Versions of registered models: where each comes from, its stage, and its files where they lie in this server."""

from __future__ import annotations

import json
import posixpath
import uuid
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote_plus, urlsplit

from ..runs import models
from . import artifacts, logged_models
from .artifacts import own_path
from .errors import MlflowError, invalid, missing
from .grammar import read_token, write_token
from .names import MOST_KEY, check_key, check_length
from .registry_search import versions_sql
from .scope import Document, Scope, key_values, millis
from .sent import Sent

STAGES: Final = ("None", "Staging", "Production", "Archived")
_ACTIVE: Final = ("Staging", "Production")
MOST_TAG_VALUE: Final = 100_000
VERSIONS_TAG: Final = "mlflow.modelVersions"
"""The tag of a logged model that says as which versions it was registered."""

_COLUMNS: Final = """m.*, array(select a.alias from model_aliases a
    where a.workspace = m.workspace and a.name = m.name and a.version = m.version order by a.alias) as aliases"""
_FIND: Final = f"""
select {_COLUMNS} from models m where m.workspace = $1 and m.name = $2 and m.version = any($3::int8[])
"""
_BY_ID: Final = f"select {_COLUMNS} from models m where m.workspace = $1 and m.id = any($2::int8[])"
_LATEST: Final = f"""
select distinct on (m.name, m.stage) {_COLUMNS} from models m where m.workspace = $1 and m.name = any($2::text[])
order by m.name, m.stage, m.version desc
"""
_NUMBERS: Final = "select version from models where workspace = $1 and name = $2 order by version"
_NAME: Final = (
    "select name from model_names where workspace = $1 and name = $2 and registered for no key update"
)
_TOUCH_NAME: Final = "update model_names set changed_at = now() where workspace = $1 and name = $2"
_ADD: Final = """
insert into models (workspace, name, version, token, run_id, experiment, description, tags, source, source_run, run_link,
                    logged_model_id, details, changed_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now()) returning id
"""
_EXPERIMENT: Final = """
select e.name from runs r join experiments e on e.id = r.experiment_id where r.run_id = $1 and e.workspace = $2
"""
_DESCRIBE: Final = """
update models set description = $4, changed_at = now() where workspace = $1 and name = $2 and version = $3
"""
_TAG: Final = """
update models set tags = (tags || $4::jsonb) - $5::text[] where workspace = $1 and name = $2 and version = $3
"""
_SET_STAGE: Final = (
    "update models set stage = $4, changed_at = now() where workspace = $1 and name = $2 and version = $3"
)
_ARCHIVE_OTHERS: Final = """
update models set stage = 'Archived', changed_at = now()
where workspace = $1 and name = $2 and version <> $3 and stage = $4
"""


def _document(row: Any) -> Document:
    changed = row["changed_at"] or row["created_at"]
    return {
        "name": row["name"],
        "version": str(row["version"]),
        "creation_timestamp": millis(row["created_at"]),
        "last_updated_timestamp": millis(changed),
        "current_stage": row["stage"],
        "description": row["description"] or "",
        "source": source_of(row),
        "run_id": row["source_run"] or row["run_id"] or "",
        "run_link": row["run_link"] or "",
        "status": "READY",
        "status_message": "",
        "tags": key_values({key: value or "" for key, value in json.loads(row["tags"]).items()}),
        "aliases": list(row["aliases"]),
        **({"model_id": row["logged_model_id"]} if row["logged_model_id"] else {}),
    }


def source_of(row: Any) -> str:
    """Where the files of a version are said to come from. Those that runstream registered lie at a place of their own."""
    return row["source"] or f"mlflow-artifacts:/registered/{row['name']}/{row['version']}"


async def documents(scope: Scope, name: str, numbers: Sequence[int]) -> list[Document]:
    """Versions of a name, by number."""
    rows = await scope.pool.fetch(_FIND, scope.workspace, name, list(numbers))
    return [_document(row) for row in sorted(rows, key=lambda row: int(row["version"]))]


async def latest(scope: Scope, names: Sequence[str]) -> dict[str, list[Document]]:
    """The newest version of each stage, by name."""
    newest: dict[str, list[Document]] = {}
    for row in await scope.pool.fetch(_LATEST, scope.workspace, list(names)):
        newest.setdefault(row["name"], []).append(_document(row))
    return newest


def version_number(text: str) -> int:
    """The number of a version, which clients send as a text.

    Raises:
        MlflowError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise invalid(f"Parameter 'version' must be an integer, got '{text}'.") from None


def stage_of(text: str) -> str:
    """The stage a word means, in any case.

    Raises:
        MlflowError: there is no such stage.
    """
    for stage in STAGES:
        if stage.lower() == text.lower():
            return stage
    raise invalid(f"Invalid Model Version stage: {text}. Value must be one of {', '.join(STAGES)}.")


async def find(scope: Scope, sent: Sent) -> Any:
    """The row of the version a request names.

    Raises:
        MlflowError: there is none in the workspace.
    """
    name, number = sent.text("name", needed=True), version_number(sent.text("version", needed=True))
    rows = await scope.pool.fetch(_FIND, scope.workspace, name, [number]) if abs(number) < 1 << 62 else []
    if not rows:
        raise missing(f"Model Version (name={name}, version={number}) not found")
    return rows[0]


async def get(scope: Scope, sent: Sent) -> Document:
    """model-versions/get."""
    return {"model_version": _document(await find(scope, sent))}


async def _again(scope: Scope, row: Any) -> Document:
    return {"model_version": (await documents(scope, row["name"], [row["version"]]))[0]}


# --- made and deleted --------------------------------------------------------------------------------------------------


async def create(scope: Scope, sent: Sent) -> Document:
    """model-versions/create."""
    name, source = sent.text("name", needed=True), sent.text("source", needed=True)
    run_id, model_id = sent.text("run_id"), sent.text("model_id")
    tags = sent.pairs("tags")
    for key, value in tags.items():
        check_tag(key, value)
    check_source(source, "model_id" if model_id else "run_id")
    place, of_source = await _resolved(scope, source)
    noted_on = model_id
    model_id = model_id or of_source.get("logged_model_id", "")
    if model_id:
        row = await logged_models.find(scope, model_id)
        run_id = run_id or row["source_run_id"] or ""
    files = await files_at(scope, place)
    ours = await scope.pool.fetchval(_EXPERIMENT, run_id, scope.workspace) if run_id else None
    async with scope.pool.acquire() as connection, connection.transaction():
        await connection.execute(models.LOCK_CONTENT)
        if await connection.fetchval(_NAME, scope.workspace, name) is None:
            raise missing(f"Registered Model with name={name} not found")
        number = await connection.fetchval(models.NEXT_VERSION, scope.workspace, name)
        key = await connection.fetchval(
            _ADD,
            scope.workspace,
            name,
            number,
            uuid.uuid4(),
            run_id if ours else None,
            ours,
            sent.optional("description"),
            json.dumps(tags),
            source,
            run_id or None,
            sent.optional("run_link"),
            model_id or None,
            json.dumps({"mlflow_place": place}),
        )
        await connection.executemany(
            "insert into model_files (model_id, path, size, sha256) values ($1, $2, $3, $4)",
            [(key, path, size, digest) for path, size, digest in files],
        )
    if noted_on:  # clients that name a model by its address alone note it themselves
        await _note_version(scope, noted_on, name, number)
    return {"model_version": (await documents(scope, name, [number]))[0]}


async def _resolved(scope: Scope, source: str) -> tuple[str, dict[str, str]]:
    """Where the files of a source lie, and of what it is, if it is a model of ours."""
    address = urlsplit(source)
    if address.scheme != "models":
        return source, {}
    path = unquote_plus(address.path.strip("/"))
    if path.startswith("m-") and "/" not in path:
        row = await logged_models.find(scope, path)
        return row["artifact_location"], {"logged_model_id": path}
    name, _, version = path.rpartition("/")
    row = await find(scope, Sent({"name": name, "version": version}))
    return place_of(row), {"logged_model_id": row["logged_model_id"]} if row["logged_model_id"] else {}


def place_of(row: Any) -> str:
    """Where the files of a version lie."""
    place: str = json.loads(row["details"]).get("mlflow_place") or source_of(row)
    return place


async def files_at(scope: Scope, place: str) -> list[tuple[str, int, str]]:
    """(name, size, digest) of the files at a place of this server, whose content is stored for models; else none."""
    path = own_path(place)
    if not path:
        return []
    folder = await artifacts.folder_of(scope, path)
    last = folder.path.rfind("/") + 1
    held = []
    for file in await artifacts.files_below(scope, folder):
        if not await artifacts.is_stored(scope, models.place(file.sha256)):
            await models.save(scope.store, file.sha256, artifacts.pieces_of(scope, file))
        held.append(
            (file.path[last:] if folder.run_id else file.path[len(folder.path) + 1 :], file.size, file.sha256)
        )
    return [(name, size, digest) for name, size, digest in held if name]


async def _note_version(scope: Scope, model_id: str, name: str, number: int) -> None:
    row = await logged_models.find(scope, model_id)
    noted = json.loads(json.loads(row["tags"]).get(VERSIONS_TAG) or "[]")
    noted.append({"name": name, "version": number})
    await logged_models.tag(scope, model_id, {VERSIONS_TAG: json.dumps(noted, separators=(",", ":"))})


def check_source(source: str, named: str) -> None:
    """Refuse a source that would lead to files of the machine of this server.

    Args:
        named: the parameter by which it would have to be allowed.

    Raises:
        MlflowError: a path of this machine, or one that leads out of itself.
    """
    address = urlsplit(source)
    if address.scheme in ("", "file") or (
        address.scheme == "mlflow-artifacts" and not address.path.strip("/")
    ):
        what = "run" if named == "run_id" else "model"
        raise invalid(
            f"Invalid model version source: '{source}'. To use a local path as a model version source, the {named} request "
            "parameter has to be specified and the local path has to be contained within the artifact directory of the "
            f"{what} specified by the {named}."
        )
    plain = source
    while (further := unquote_plus(plain)) != plain:
        plain = further
    path = urlsplit(plain).path.rstrip("/")
    while "//" in path:
        path = path.replace("//", "/")
    if "\0" in plain or ".." in plain.split("/") or (path and posixpath.normpath(path) != path):
        raise invalid(
            f"Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, "
            "objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references "
            "present. Please provide an absolute path."
        )


def check_tag(key: str, value: str) -> None:
    """Refuse what cannot be a tag of a version.

    Raises:
        MlflowError: a key that cannot be one, or a text that is too long.
    """
    check_key(key)
    check_length("key", key, MOST_KEY)
    check_length("value", value, MOST_TAG_VALUE)


async def delete(scope: Scope, sent: Sent) -> Document:
    """model-versions/delete: its number is not given out again."""
    row = await find(scope, sent)
    await models.delete(scope.pool, scope.store, scope.workspace, row["name"], row["version"])
    await scope.pool.execute(_TOUCH_NAME, scope.workspace, row["name"])
    return {}


async def delete_all(scope: Scope, name: str) -> None:
    """Delete every version of a name."""
    for row in await scope.pool.fetch(_NUMBERS, scope.workspace, name):
        await models.delete(scope.pool, scope.store, scope.workspace, name, row["version"])


# --- changed, searched -------------------------------------------------------------------------------------------------


async def update(scope: Scope, sent: Sent) -> Document:
    """model-versions/update: another description."""
    row = await find(scope, sent)
    await scope.pool.execute(
        _DESCRIBE, scope.workspace, row["name"], row["version"], sent.optional("description")
    )
    return await _again(scope, row)


async def transition(scope: Scope, sent: Sent) -> Document:
    """model-versions/transition-stage."""
    stage, archive = stage_of(sent.text("stage", needed=True)), sent.truth("archive_existing_versions")
    if archive and stage not in _ACTIVE:
        raise MlflowError(
            "INTERNAL_ERROR",
            f"Model version transition cannot archive existing model versions because '{sent.text('stage')}' is not an "
            f"Active stage. Valid stages are {list(_ACTIVE)}",
        )
    row = await find(scope, sent)
    name, number = row["name"], row["version"]
    async with scope.pool.acquire() as connection, connection.transaction():
        if archive:
            await connection.execute(_ARCHIVE_OTHERS, scope.workspace, name, number, stage)
        await connection.execute(_SET_STAGE, scope.workspace, name, number, stage)
        await connection.execute(_TOUCH_NAME, scope.workspace, name)
    return await _again(scope, row)


async def set_tag(scope: Scope, sent: Sent) -> Document:
    """model-versions/set-tag."""
    key, value = sent.text("key", needed=True), sent.text("value")
    check_tag(key, value)
    row = await find(scope, sent)
    await scope.pool.execute(_TAG, scope.workspace, row["name"], row["version"], json.dumps({key: value}), [])
    return {}


async def delete_tag(scope: Scope, sent: Sent) -> Document:
    """model-versions/delete-tag."""
    key = sent.text("key", needed=True)
    row = await find(scope, sent)
    await scope.pool.execute(_TAG, scope.workspace, row["name"], row["version"], "{}", [key])
    return {}


async def download_uri(scope: Scope, sent: Sent) -> Document:
    """model-versions/get-download-uri."""
    return {"artifact_uri": place_of(await find(scope, sent))}


async def search(scope: Scope, sent: Sent) -> Document:
    """model-versions/search."""
    most = sent.most("max_results", default=10_000, most=200_000)
    offset = read_token(sent.text("page_token"))
    sql, arguments = versions_sql(
        scope.workspace, sent.text("filter"), sent.texts("order_by"), offset, most + 1
    )
    ids = [row["id"] for row in await scope.pool.fetch(sql, *arguments)]
    rows = {row["id"]: row for row in await scope.pool.fetch(_BY_ID, scope.workspace, ids[:most])}
    answer: Document = {"model_versions": [_document(rows[id_]) for id_ in ids[:most] if id_ in rows]}
    if len(ids) > most:
        answer["next_page_token"] = write_token(offset + most)
    return answer
