"""What a workspace keeps beside runs: experiments' tags and archive, its own facts, environments with their versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

import asyncpg

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name

from .. import queries
from ..json_values import from_json, iso, utc
from ..not_there import NotThere

CHANGE_EXPERIMENT: Final = """
update experiments set
    tags = (tags || $3::jsonb) - $4::text[],
    archived_at = case when $5::boolean is null then archived_at
                       when $5 then coalesce(archived_at, now()) end,
    description = case when $6 then $7 else description end
where workspace = $1 and name = $2
"""

DELETE_EXPERIMENT: Final = """
delete from experiments e
where e.workspace = $1 and e.name = $2 and not exists (select from runs r where r.experiment_id = e.id)
"""

WORKSPACES: Final = """
with named as (
    select name from workspaces union select workspace from experiments
    union select workspace from environments union select workspace from models
    union select workspace from notes where workspace is not null
)
select n.name, w.description, coalesce(w.tags, '{}') as tags, w.created_at
from named n left join workspaces w on w.name = n.name
where $1::text is null or n.name = $1
order by n.name
"""

SET_WORKSPACE: Final = """
insert into workspaces (name, description, tags) values ($1, $3, coalesce($2::jsonb, '{}'))
on conflict (name) do update set
    tags = coalesce($2::jsonb, workspaces.tags), description = coalesce($3, workspaces.description)
"""

WORKSPACE_IN_USE: Final = """
select exists (select from runs r join experiments e on e.id = r.experiment_id where e.workspace = $1)
    or exists (select from models where workspace = $1)
"""

DELETE_WORKSPACE: Final = (
    "delete from notes where workspace = $1",
    "delete from environments where workspace = $1",
    "delete from experiments where workspace = $1",
    "delete from workspaces where name = $1",
)

ENVIRONMENTS: Final = """
select e.name, e.version, e.document, e.created_at,
    array(select l.label from environment_labels l
          where l.workspace = e.workspace and l.name = e.name and l.version = e.version order by l.label) as labels
from environments e
where e.workspace = $1 and ($2::text is null or e.name = $2) and ($3::text is null or e.version = $3)
    and ($4::text is null or exists (select from environment_labels l where l.workspace = e.workspace
         and l.name = e.name and l.version = e.version and l.label = $4))
    and (not $5 or e.id = (select max(o.id) from environments o where o.workspace = e.workspace and o.name = e.name))
order by e.name, e.id
"""

LABEL: Final = """
insert into environment_labels (workspace, name, label, version) select $1, $2, l, $3 from unnest($4::text[]) l
on conflict (workspace, name, label) do update set version = excluded.version
"""

ONE_AT_A_TIME: Final = "select pg_advisory_xact_lock(hashtextextended($1, 0))"
"""Two that register under one name do so one after the other, or both would count from the same last version."""


class Workspace(TypedDict):
    """A workspace."""

    name: str
    description: str | None
    tags: dict[str, str | None]
    created_utc: str | None


class Experiment(TypedDict):
    """An experiment."""

    id: int
    name: str
    workspace: str
    description: str | None
    created_utc: str
    archived_utc: str | None
    tags: dict[str, str | None]
    runs: int


class Environment(TypedDict):
    """A registered environment."""

    name: str
    version: str
    labels: list[str]
    created_utc: str
    document: dict[str, Any]


class InTheWay(QueryError):
    """The state of things does not allow it."""


@dataclass(frozen=True, slots=True)
class ExperimentChange:
    """What to change of an experiment; None and empty leave things as they are.

    Attributes:
        set_tags: added or replaced.
        archived: archive it, or take it back.
        description: used when `describe` is set.
    """

    set_tags: Mapping[str, str | None] = field(default_factory=dict)
    remove_tags: Sequence[str] = ()
    archived: bool | None = None
    describe: bool = False
    description: str | None = None


async def change_experiment(
    pool: asyncpg.Pool[Any], workspace: str, name: str, change: ExperimentChange
) -> Experiment:
    """Change an experiment, which is made if need be; returns its record."""
    check_name("experiment name", name)
    check_name("workspace", workspace)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(queries.ADD_EXPERIMENT, workspace, name)
        await connection.execute(
            CHANGE_EXPERIMENT,
            workspace,
            name,
            json.dumps(dict(change.set_tags)),
            list(change.remove_tags),
            change.archived,
            change.describe,
            change.description,
        )
        row = await connection.fetchrow(queries.EXPERIMENTS, workspace, name)
    return _experiment(row)


async def list_experiments(pool: asyncpg.Pool[Any], workspace: str | None) -> list[Experiment]:
    """Experiments of a workspace; None: of all."""
    return [_experiment(row) for row in await pool.fetch(queries.EXPERIMENTS, workspace, None)]


async def add_experiment(pool: asyncpg.Pool[Any], workspace: str, name: str) -> Experiment:
    """Create an experiment if need be; returns its record."""
    check_name("experiment name", name)
    check_name("workspace", workspace)
    await pool.execute(queries.ADD_EXPERIMENT, workspace, name)
    return _experiment(await pool.fetchrow(queries.EXPERIMENTS, workspace, name))


def _experiment(row: Any) -> Experiment:
    return {
        "id": row["id"],
        "name": row["name"],
        "workspace": row["workspace"],
        "description": row["description"],
        "created_utc": utc(row["created_at"]),
        "archived_utc": iso(row["archived_at"]),
        "tags": from_json(row["tags"]) or {},
        "runs": row["runs"],
    }


async def delete_experiment(pool: asyncpg.Pool[Any], workspace: str, name: str) -> None:
    """Delete an experiment without runs.

    Raises:
        NotThere: there is no such experiment.
        InTheWay: it has runs.
    """
    if await pool.execute(DELETE_EXPERIMENT, workspace, name) == "DELETE 1":
        return
    if await pool.fetchrow(queries.EXPERIMENTS, workspace, name) is None:
        raise NotThere(
            f"workspace {workspace!r:.80} has no experiment {name!r:.80}"
            "; GET /api/v1/experiments lists those there are"
        )
    raise InTheWay(f"experiment {name} has runs; only an empty one can be deleted: archive it instead")


async def list_workspaces(pool: asyncpg.Pool[Any], name: str | None = None) -> list[Workspace]:
    """Workspaces that were created or hold something, by name."""
    return [
        {
            "name": row["name"],
            "description": row["description"],
            "tags": from_json(row["tags"]) or {},
            "created_utc": iso(row["created_at"]),
        }
        for row in await pool.fetch(WORKSPACES, name)
    ]


async def set_workspace(
    pool: asyncpg.Pool[Any], name: str, tags: Mapping[str, str | None] | None, description: str | None
) -> Workspace:
    """Create a workspace, or replace its tags or description where they are given; returns its record."""
    check_name("workspace", name)
    await pool.execute(SET_WORKSPACE, name, None if tags is None else json.dumps(dict(tags)), description)
    return (await list_workspaces(pool, name))[0]


async def delete_workspace(pool: asyncpg.Pool[Any], name: str) -> None:
    """Delete a workspace with its environments and empty experiments.

    Raises:
        NotThere: it was not created and holds nothing.
        InTheWay: it holds runs or models.
    """
    if not await list_workspaces(pool, name):
        raise NotThere(f"there is no workspace {name!r:.80}; GET /api/v1/workspaces lists those there are")
    try:
        async with pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(WORKSPACE_IN_USE, name):
                raise InTheWay(
                    f"workspace {name} holds runs or models, and stays; archive its experiments to leave them out of lists"
                )
            for statement in DELETE_WORKSPACE:
                await connection.execute(statement, name)
    except (
        asyncpg.ForeignKeyViolationError
    ):  # a run that came meanwhile, or a file that is being cleared away
        raise InTheWay(f"workspace {name} is in use; try again later") from None


async def list_environments(
    pool: asyncpg.Pool[Any],
    workspace: str,
    *,
    name: str | None = None,
    version: str | None = None,
    label: str | None = None,
    latest: bool = False,
) -> list[Environment]:
    """Registered environments; `latest`: only the newest version of each name."""
    rows = await pool.fetch(ENVIRONMENTS, workspace, name, version, label, latest)
    return [_environment(row) for row in rows]


async def register_environment(
    pool: asyncpg.Pool[Any], workspace: str, name: str, version: str | None, document: dict[str, Any]
) -> Environment:
    """Keep an environment under a version; returns its record.

    Args:
        version: None: that of the same content, or else one more than the number of versions there are.
        document: the environment; its own `name` and `version` do not count.

    Raises:
        InTheWay: the version exists with other content.
    """
    check_name("workspace", workspace)
    check_name("environment name", name)
    content = {key: value for key, value in document.items() if key not in ("name", "version", "assetId")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(ONE_AT_A_TIME, f"environment {workspace} {name}")
        have = await connection.fetch(
            "select version, digest from environments where workspace = $1 and name = $2 order by id desc",
            workspace,
            name,
        )
        if version is None:
            # The newest only: going back to what an older version held is a change, and gets a version.
            version = have[0]["version"] if have and have[0]["digest"] == digest else None
            if version is None:
                taken = {row["version"] for row in have}
                number = len(have) + 1
                while str(number) in taken:
                    number += 1
                version = str(number)
        same = next((row for row in have if row["version"] == version), None)
        if same is not None and same["digest"] != digest:
            raise InTheWay(
                f"environment {name} has a version {version} with other content, and versions do not change; "
                "leave the version out to get a new one"
            )
        if same is None:
            await connection.execute(
                "insert into environments (workspace, name, version, digest, document) values ($1, $2, $3, $4, $5)",
                workspace,
                name,
                check_name("environment version", version),
                digest,
                json.dumps(content),
            )
        row = (await connection.fetch(ENVIRONMENTS, workspace, name, version, None, False))[0]
    return _environment(row)


async def label_environment(
    pool: asyncpg.Pool[Any], workspace: str, name: str, version: str, labels: Sequence[str]
) -> None:
    """Let labels point to a version; a label points to one version at a time.

    Raises:
        NotThere: there is no such version.
    """
    try:
        await pool.execute(LABEL, workspace, name, version, [check_name("label", label) for label in labels])
    except asyncpg.ForeignKeyViolationError:
        raise NotThere(
            f"environment {name!r:.80} has no version {version!r:.40}"
            "; GET /api/v1/environments lists those there are"
        ) from None


def _environment(row: asyncpg.Record) -> Environment:
    return {
        "name": row["name"],
        "version": row["version"],
        "labels": list(row["labels"]),
        "created_utc": utc(row["created_at"]),
        "document": from_json(row["document"]),
    }
