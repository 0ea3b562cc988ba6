"""Registered models: the models of a workspace by their names, with tags, a description and aliases of versions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from . import versions
from .errors import exists, invalid, missing
from .grammar import read_token, write_token
from .names import MOST_KEY, check_as_path, check_key, check_length
from .registry_search import names_sql
from .scope import Document, Scope, key_values, millis
from .sent import Sent
from .versions import STAGES, stage_of, version_number

MOST_TAG_VALUE: Final = 100_000
MOST_ALIAS: Final = 255
_ALIAS: Final = re.compile(r"[\w\-]*")
_LIKE_A_VERSION: Final = re.compile(r"[vV]\d+")

_FIND: Final = """
select * from model_names where workspace = $1 and name = any($2::text[]) and registered
"""
_ALIASES: Final = """
select name, alias, version from model_aliases where workspace = $1 and name = any($2::text[]) order by alias
"""
# A name that was deleted comes back with nothing but the number of its last version.
_ADD: Final = """
insert into model_names as n (workspace, name, description, tags) values ($1, $2, $3, $4)
on conflict (workspace, name) do update set
    description = excluded.description, tags = excluded.tags, registered = true, created_at = now(), changed_at = now()
where not n.registered
returning name
"""
_CHANGE: Final = """
update model_names set description = case when $3 then $4 else description end, tags = (tags || $5::jsonb) - $6::text[],
    changed_at = case when $3 then now() else changed_at end
where workspace = $1 and name = $2
"""
_RENAME: Final = """
insert into model_names (workspace, name, last_version, description, tags, created_at)
select workspace, $3, last_version, description, tags, created_at from model_names where workspace = $1 and name = $2
on conflict (workspace, name) do update set
    last_version = greatest(model_names.last_version, excluded.last_version), description = excluded.description,
    tags = excluded.tags, created_at = excluded.created_at, changed_at = now(), registered = true
where not model_names.registered
returning name
"""
_MOVE_VERSIONS: Final = "update models set name = $3, changed_at = now() where workspace = $1 and name = $2"
_UNREGISTER: Final = """
update model_names set registered = false, description = null, tags = '{}' where workspace = $1 and name = $2
"""
_SET_ALIAS: Final = """
insert into model_aliases (workspace, name, alias, version) values ($1, $2, $3, $4)
on conflict (workspace, name, alias) do update set version = excluded.version
"""
_DELETE_ALIAS: Final = "delete from model_aliases where workspace = $1 and name = $2 and alias = $3"
_ALIASED: Final = "select version from model_aliases where workspace = $1 and name = $2 and alias = $3"


async def documents(scope: Scope, names: Sequence[str]) -> list[Document]:
    """The registered models of these names, in that order."""
    rows = {row["name"]: row for row in await scope.pool.fetch(_FIND, scope.workspace, list(names))}
    aliases: dict[str, list[Document]] = {}
    for row in await scope.pool.fetch(_ALIASES, scope.workspace, list(rows)):
        aliases.setdefault(row["name"], []).append({"alias": row["alias"], "version": str(row["version"])})
    latest = await versions.latest(scope, list(rows))
    models = []
    for name in names:
        if (row := rows.get(name)) is None:
            continue
        model: Document = {
            "name": name,
            "creation_timestamp": millis(row["created_at"]),
            "last_updated_timestamp": millis(row["changed_at"]),
            "description": row["description"] or "",
            "latest_versions": latest.get(name, []),
            "tags": key_values(json.loads(row["tags"])),
            "aliases": aliases.get(name, []),
        }
        models.append(model)
    return models


async def _document(scope: Scope, name: str) -> Document:
    return {"registered_model": (await documents(scope, [name]))[0]}


async def find(scope: Scope, name: str) -> Any:
    """The row of a name.

    Raises:
        MlflowError: there is none in the workspace, or it can be none.
    """
    check_name(name)
    row = await scope.pool.fetchrow(_FIND, scope.workspace, [name])
    if row is None:
        raise missing(f"Registered Model with name={name} not found")
    return row


def check_name(name: str) -> None:
    """Refuse what cannot name a model.

    Raises:
        MlflowError: nothing, a character that addresses of models need, or what would be another name as a path.
    """
    if not name.strip():
        raise invalid("Missing value for required parameter 'name'.")
    if "/" in name or ":" in name:
        raise invalid(f"Invalid model name '{name}'. Names cannot contain '/' or ':'.")
    check_as_path(name, "name")
    check_length("name", name, 256)


def check_tag(key: str, value: str) -> None:
    """Refuse what cannot be a tag of a model.

    Raises:
        MlflowError: a key that cannot be one, or a text that is too long.
    """
    check_key(key)
    check_length("key", key, MOST_KEY)
    check_length("value", value, MOST_TAG_VALUE)


async def create(scope: Scope, sent: Sent) -> Document:
    """registered-models/create."""
    name, tags = sent.text("name", needed=True), sent.pairs("tags")
    check_name(name)
    for key, value in tags.items():
        check_tag(key, value)
    made = await scope.pool.fetchval(
        _ADD, scope.workspace, name, sent.optional("description"), json.dumps(tags)
    )
    if made is None:
        raise exists(f"Registered Model (name={name}) already exists.")
    return await _document(scope, name)


async def get(scope: Scope, sent: Sent) -> Document:
    """registered-models/get."""
    row = await find(scope, sent.text("name", needed=True))
    return await _document(scope, row["name"])


async def update(scope: Scope, sent: Sent) -> Document:
    """registered-models/update: another description."""
    row = await find(scope, sent.text("name", needed=True))
    await scope.pool.execute(_CHANGE, scope.workspace, row["name"], True, sent.text("description"), "{}", [])
    return await _document(scope, row["name"])


async def rename(scope: Scope, sent: Sent) -> Document:
    """registered-models/rename: versions and aliases move along."""
    name, new = sent.text("name", needed=True), sent.text("new_name", needed=True)
    check_name(new)
    await find(scope, name)
    async with scope.pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(_RENAME, scope.workspace, name, new) is None:
            raise exists(f"Registered Model (name={new}) already exists.")
        await connection.execute(_MOVE_VERSIONS, scope.workspace, name, new)
        await connection.execute(_UNREGISTER, scope.workspace, name)
    return await _document(scope, new)


async def delete(scope: Scope, sent: Sent) -> Document:
    """registered-models/delete: with all its versions."""
    name = sent.text("name", needed=True)
    await find(scope, name)
    await versions.delete_all(scope, name)
    await scope.pool.execute(_UNREGISTER, scope.workspace, name)
    return {}


async def search(scope: Scope, sent: Sent) -> Document:
    """registered-models/search."""
    most = sent.most("max_results", default=100, most=1000)
    offset = read_token(sent.text("page_token"))
    sql, arguments = names_sql(scope.workspace, sent.text("filter"), sent.texts("order_by"), offset, most + 1)
    names = [row["name"] for row in await scope.pool.fetch(sql, *arguments)]
    answer: Document = {"registered_models": await documents(scope, names[:most])}
    if len(names) > most:
        answer["next_page_token"] = write_token(offset + most)
    return answer


async def latest_versions(scope: Scope, sent: Sent) -> Document:
    """registered-models/get-latest-versions: the newest version of each stage."""
    name, stages = sent.text("name", needed=True), sent.texts("stages")
    wanted_stages = {stage_of(stage) for stage in stages} or set(STAGES)
    await find(scope, name)
    newest = (await versions.latest(scope, [name])).get(name, [])
    return {"model_versions": [version for version in newest if version["current_stage"] in wanted_stages]}


async def set_tag(scope: Scope, sent: Sent) -> Document:
    """registered-models/set-tag."""
    name, key, value = sent.text("name", needed=True), sent.text("key", needed=True), sent.text("value")
    check_tag(key, value)
    await find(scope, name)
    await scope.pool.execute(_CHANGE, scope.workspace, name, False, None, json.dumps({key: value}), [])
    return {}


async def delete_tag(scope: Scope, sent: Sent) -> Document:
    """registered-models/delete-tag."""
    name, key = sent.text("name", needed=True), sent.text("key", needed=True)
    await find(scope, name)
    await scope.pool.execute(_CHANGE, scope.workspace, name, False, None, "{}", [key])
    return {}


async def set_alias(scope: Scope, sent: Sent) -> Document:
    """registered-models/alias: a name for a version."""
    name, alias = sent.text("name", needed=True), sent.text("alias", needed=True)
    number = version_number(sent.text("version", needed=True))
    check_alias(alias)
    await find(scope, name)
    try:
        await scope.pool.execute(_SET_ALIAS, scope.workspace, name, alias, number)
    except asyncpg.ForeignKeyViolationError:
        raise missing(f"Model Version (name={name}, version={number}) not found") from None
    return {}


def check_alias(alias: str) -> None:
    """Refuse what cannot be an alias.

    Raises:
        MlflowError: other letters than it may have, or one that means something by itself.
    """
    if not _ALIAS.fullmatch(alias):
        raise invalid(
            f"Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )
    check_length("Registered model alias name", alias, MOST_ALIAS)
    if alias.lower() == "latest":
        raise invalid("'latest' alias name (case insensitive) is reserved.")
    if _LIKE_A_VERSION.fullmatch(alias):
        raise invalid(f"Version alias name '{alias}' is reserved.")


async def delete_alias(scope: Scope, sent: Sent) -> Document:
    """registered-models/alias: the name of a version goes."""
    name, alias = sent.text("name", needed=True), sent.text("alias", needed=True)
    await find(scope, name)
    await scope.pool.execute(_DELETE_ALIAS, scope.workspace, name, alias)
    return {}


async def get_by_alias(scope: Scope, sent: Sent) -> Document:
    """registered-models/alias: the version a name stands for."""
    name, alias = sent.text("name", needed=True), sent.text("alias", needed=True)
    await find(scope, name)
    number = await scope.pool.fetchval(_ALIASED, scope.workspace, name, alias)
    if number is None:
        raise invalid(f"Registered model alias {alias} not found.")
    return {"model_version": (await versions.documents(scope, name, [number]))[0]}
