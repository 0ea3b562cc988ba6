"""Registered models: versions under a name, their files in the store by content, once for all models that hold it."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

import asyncpg

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name
from runstream_schemas.store import Store

from ..files import artifacts
from ..json_values import from_json, utc
from ..not_there import NotThere, no_run
from .registry import InTheWay
from .runs import Connection

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-._]{0,254}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

NEXT_VERSION: Final = """
insert into model_names (workspace, name, last_version) values ($1, $2, 1)
on conflict (workspace, name) do update set
    last_version = model_names.last_version + 1, registered = true, changed_at = now()
returning last_version
"""
"""Locks the name until the end of the transaction: of two that register at once, the second waits for its number."""

ADD_MODEL: Final = """
insert into models (workspace, name, version, token, run_id, experiment, description, tags, properties, details)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning id
"""

MODELS: Final = """
select m.*, (select coalesce(jsonb_agg(jsonb_build_object('path', f.path, 'size', f.size, 'sha256', f.sha256)
                                       order by f.path), '[]') from model_files f where f.model_id = m.id) as files
from models m
where ($1::text is null or m.workspace = $1) and ($2::text is null or m.name = $2)
    and ($3::int8 is null or m.version = $3) and ($4::text is null or m.run_id = $4)
    and ($5::uuid is null or m.token = $5)
    and (not $6 or m.version = (select max(o.version) from models o where o.workspace = m.workspace and o.name = m.name))
order by m.id desc
limit $7
"""

CHANGE: Final = """
update models set tags = (tags || $4::jsonb) - $5::text[], properties = properties || $6::jsonb,
    description = case when $7 then $8 else description end
where workspace = $1 and name = $2 and version = $3
"""

LOCK_CONTENT: Final = "select pg_advisory_xact_lock_shared(hashtextextended('model-content', 0))"
LOCK_CONTENT_ALONE: Final = "select pg_advisory_xact_lock(hashtextextended('model-content', 0))"
"""Between those who rely on content that lies in the store, and the one who deletes what no model holds any more."""

OWN_CONTENT: Final = """
select sha256 from model_content where workspace = $1 and sha256 = any($2::text[])
union
select f.sha256 from model_files f join models m on m.id = f.model_id where m.workspace = $1 and f.sha256 = any($2::text[])
"""
SENT_CONTENT: Final = "insert into model_content (sha256, workspace) values ($1, $2) on conflict do nothing"
FORGET_CONTENT: Final = """
delete from model_content c where sha256 = any($1::text[]) and workspace = $2 and not exists (
    select from model_files f join models m on m.id = f.model_id where m.workspace = $2 and f.sha256 = c.sha256)
"""
HELD_CONTENT: Final = """
select sha256 from model_files where sha256 = any($1::text[])
union
select sha256 from model_content where sha256 = any($1::text[])
"""
"""By a model, or by a workspace that sent it and is about to register one."""

MOST_MODELS: Final = 10_000
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """A model to register. Its files are those of a run, or content stored before.

    Attributes:
        token: names the registration: the same again returns the model it made.
        narrowed: whoever asks may use this workspace only, and so only content that was sent for it or that its models hold:
            a digest is no proof of having the content.
        run_id: run it comes from.
        path: with `run_id`: the run's file, or folder of files, that is the model.
        files: without `path`: (path, sha256) of stored content.
    """

    workspace: str
    name: str
    token: uuid.UUID
    narrowed: bool = False
    run_id: str | None = None
    path: str | None = None
    files: Sequence[tuple[str, str]] = ()
    description: str | None = None
    tags: Mapping[str, str | None] = field(default_factory=dict)
    properties: Mapping[str, str | None] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


class ModelFile(TypedDict):
    """A file of a model."""

    path: str
    size: int
    sha256: str


class Model(TypedDict):
    """A registered model."""

    workspace: str
    name: str
    version: int
    run_id: str | None
    experiment: str | None
    description: str | None
    tags: dict[str, str | None]
    properties: dict[str, str | None]
    details: dict[str, Any]
    created_utc: str
    files: list[ModelFile]


async def register(pool: asyncpg.Pool[Any], store: Store, model: NewModel) -> Model:
    """Register a model under the next version of its name; returns its record.

    Raises:
        QueryError: the name cannot be used, or it has no files.
        NotThere: no such run, file, or stored content.
    """
    if not NAME.fullmatch(model.name):
        raise QueryError(
            f"model name {model.name!r:.80}: expected 1 to 255 letters, digits, dashes, dots or underscores, "
            "the first a letter or a digit"
        )
    check_name("workspace", model.workspace)
    if done := await find(pool, model.workspace, token=model.token):
        return done[0]
    experiment = None
    if model.run_id is not None:
        run = await pool.fetchrow(
            "select e.name from runs r left join experiments e on e.id = r.experiment_id where r.run_id = $1",
            model.run_id,
        )
        if run is None:
            raise no_run(model.run_id)
        experiment = run["name"]
    for _ in range(_ATTEMPTS):
        if model.path is not None and model.run_id is not None:
            files = await _files_of_run(pool, store, model.run_id, model.path)
        else:
            files = await _stored_files(pool, store, model)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK_CONTENT)
            if all([await asyncio.to_thread(store.exists, place(digest)) for _, _, digest in files]):
                await _insert(connection, model, experiment, files)
                break  # else: deleted with another model meanwhile
    else:
        raise InTheWay(f"model {model.name}: its files are being deleted with another model; try again")
    return (await find(pool, model.workspace, token=model.token))[0]


async def _insert(
    connection: Connection, model: NewModel, experiment: str | None, files: list[tuple[str, int, str]]
) -> None:
    version = await connection.fetchval(NEXT_VERSION, model.workspace, model.name)
    try:
        key = await connection.fetchval(
            ADD_MODEL,
            model.workspace,
            model.name,
            version,
            model.token,
            model.run_id,
            experiment,
            model.description,
            json.dumps(dict(model.tags)),
            json.dumps(dict(model.properties)),
            json.dumps(dict(model.details)),
        )
    except asyncpg.UniqueViolationError:  # the same request, sent again while the first was under way
        raise InTheWay(f"model {model.name}: this registration was made just now; ask again") from None
    await connection.executemany(
        "insert into model_files (model_id, path, size, sha256) values ($1, $2, $3, $4)",
        [(key, path, size, digest) for path, size, digest in files],
    )


async def _files_of_run(
    pool: asyncpg.Pool[Any], store: Store, run_id: str, path: str
) -> list[tuple[str, int, str]]:
    """(name, size, digest) of a run's file or folder, whose content is stored for models if it is not yet."""
    path = artifacts.check_path(path)
    have = await artifacts.list_artifacts(pool, run_id)
    chosen = [file for file in have if file.path == path or file.path.startswith(f"{path}/")]
    if not chosen:
        raise NotThere(
            f"run {run_id} has no file or folder {path}; GET /api/v1/runs/<id>/files lists those it has"
        )
    cut = path.rfind("/") + 1  # the model keeps the file's own name, or the folder's
    for file in chosen:
        if not await asyncio.to_thread(store.exists, place(file.sha256)):
            await save(store, file.sha256, artifacts.read(store, run_id, file.path, 0, file.size))
    return [(file.path[cut:], file.size, file.sha256) for file in chosen]


async def _stored_files(pool: asyncpg.Pool[Any], store: Store, model: NewModel) -> list[tuple[str, int, str]]:
    result: dict[str, tuple[str, int, str]] = {}
    digests = [check_digest(digest) for _, digest in model.files]
    own = set(digests)
    if model.narrowed:
        own = {row["sha256"] for row in await pool.fetch(OWN_CONTENT, model.workspace, digests)}
    for path, digest in model.files:
        path = artifacts.check_path(path)
        if digest not in own or not await asyncio.to_thread(store.exists, place(digest)):
            raise NotThere(f"content {digest} of {path} is not stored; send it first")
        result[path] = (path, await asyncio.to_thread(store.size, place(digest)), digest)
    if not result:
        raise QueryError("a model needs at least one file")
    return list(result.values())


async def find(
    pool: asyncpg.Pool[Any],
    workspace: str | None = None,
    name: str | None = None,
    version: int | None = None,
    *,
    run_id: str | None = None,
    token: uuid.UUID | None = None,
    latest: bool = False,
) -> list[Model]:
    """Records of models, the newest first; `latest`: only the last version of each name."""
    rows = await pool.fetch(MODELS, workspace, name, version, run_id, token, latest, MOST_MODELS)
    return [_record(row) for row in rows]


async def change(
    pool: asyncpg.Pool[Any],
    workspace: str,
    name: str,
    version: int,
    *,
    set_tags: Mapping[str, str | None],
    remove_tags: Sequence[str],
    add_properties: Mapping[str, str | None],
    describe: bool,
    description: str | None,
) -> Model:
    """Change a model's tags and description, add properties; returns its record.

    Raises:
        NotThere: no such model.
        QueryError: a property has another value already.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            "select properties from models where workspace = $1 and name = $2 and version = $3 for update",
            workspace,
            name,
            version,
        )
        if row is None:
            raise NotThere(
                f"workspace {workspace!r:.80} has no model {name!r:.80} of version {version}"
                "; GET /api/v1/models lists those there are"
            )
        have = from_json(row["properties"])
        for key, value in add_properties.items():
            if key in have and have[key] != value:
                raise QueryError(
                    f"property {key!r} of model {name} is {have[key]!r}; properties do not change"
                )
        await connection.execute(
            CHANGE,
            workspace,
            name,
            version,
            json.dumps(dict(set_tags)),
            list(remove_tags),
            json.dumps(dict(add_properties)),
            describe,
            description,
        )
    return (await find(pool, workspace, name, version))[0]


async def delete(pool: asyncpg.Pool[Any], store: Store, workspace: str, name: str, version: int) -> None:
    """Delete a model, and content that no other model holds. Its version is not given out again.

    Raises:
        NotThere: no such model.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(LOCK_CONTENT_ALONE)
        rows = await connection.fetch(
            "select f.sha256 from models m left join model_files f on f.model_id = m.id "
            "where m.workspace = $1 and m.name = $2 and m.version = $3",
            workspace,
            name,
            version,
        )
        if not rows:
            raise NotThere(
                f"workspace {workspace!r:.80} has no model {name!r:.80} of version {version}"
                "; GET /api/v1/models lists those there are"
            )
        await connection.execute(
            "delete from models where workspace = $1 and name = $2 and version = $3", workspace, name, version
        )
        digests = [row["sha256"] for row in rows if row["sha256"]]
        await connection.execute(FORGET_CONTENT, digests, workspace)
        held = await connection.fetch(HELD_CONTENT, digests)
        unheld = set(digests) - {row["sha256"] for row in held}
    # After the commit: a crash here leaves content nobody names, never a model without its content. The lock is gone by
    # now, so whoever registers the same content meanwhile is asked about once more.
    for digest in sorted(unheld):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK_CONTENT_ALONE)
            if not await connection.fetch(HELD_CONTENT, [digest]):
                await asyncio.to_thread(store.delete, place(digest))


def place(digest: str) -> str:
    """Where content of models lies in the store."""
    return f"models/{digest[:2]}/{digest}"


def check_digest(digest: str) -> str:
    """Return `digest` if it is a SHA-256 in hexadecimal.

    Raises:
        QueryError: it is not.
    """
    if not _DIGEST.fullmatch(digest):
        raise QueryError(f"sha256 {digest!r:.80}: expected 64 hexadecimal digits")
    return digest


async def save(store: Store, digest: str, content: AsyncIterable[bytes]) -> int:
    """Store content for models; returns its size in bytes. It is there whole or not at all.

    Raises:
        QueryError: `digest` is not its SHA-256.
    """
    file = await asyncio.to_thread(store.create, place(check_digest(digest)))
    try:
        size, received = await artifacts.receive(file, content)
        if received != digest:
            raise QueryError(f"the content's SHA-256 is {received}, not {digest}; send it again")
        await asyncio.to_thread(file.commit)
    finally:
        await asyncio.shield(asyncio.to_thread(file.abort))  # does nothing after the commit
    return size


def _record(row: asyncpg.Record) -> Model:
    return {
        "workspace": row["workspace"],
        "name": row["name"],
        "version": row["version"],
        "run_id": row["run_id"],
        "experiment": row["experiment"],
        "description": row["description"],
        "tags": from_json(row["tags"]),
        "properties": from_json(row["properties"]),
        "details": from_json(row["details"]),
        "created_utc": utc(row["created_at"]),
        "files": from_json(row["files"]),
    }
