"""The Iceberg tables that the compactor publishes, as a catalog: workspaces are its namespaces."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from runstream_schemas.settings import Settings
from runstream_schemas.store import Store

from .not_there import NotThere
from .runs import registry

TABLES: Final = "select name from iceberg_tables where workspace = $1 order by name"
METADATA: Final = "select metadata from iceberg_tables where workspace = $1 and name = $2"


async def namespaces(pool: asyncpg.Pool[Any], only: str | None) -> list[str]:
    """Names of the workspaces.

    Args:
        only: the one that may be known; None: all.
    """
    return [
        workspace["name"] for workspace in await registry.list_workspaces(pool, *([only] if only else []))
    ]


async def check_namespace(pool: asyncpg.Pool[Any], workspace: str, only: str | None) -> None:
    """Pass a workspace that is there.

    Raises:
        NotThere: it is not, or is another than the one that may be known.
    """
    if only not in (None, workspace) or workspace not in await namespaces(pool, workspace):
        raise NotThere(
            f"there is no namespace {workspace!r:.200}; a workspace is one once it holds something"
        )


async def tables(pool: asyncpg.Pool[Any], workspace: str) -> list[str]:
    """Names of the tables of a workspace."""
    return [row["name"] for row in await pool.fetch(TABLES, workspace)]


async def load(
    pool: asyncpg.Pool[Any], store: Store, settings: Settings, workspace: str, name: str
) -> tuple[str, str]:
    """The address and the text of a table's metadata.

    Raises:
        NotThere: there is no such table.
        StoreError: its metadata cannot be read.
    """
    path = await pool.fetchval(METADATA, workspace, name)
    if path is None:
        why = (
            "RUNSTREAM_ICEBERG_INTERVAL is 0, so nothing is published"
            if not settings.iceberg_interval
            else "there is one once points of that kind were compacted"
        )
        raise NotThere(f"there is no table {name!r:.200} in the namespace {workspace!r:.200}; {why}")
    return store.address(path), await asyncio.to_thread(_read, store, path)


def _read(store: Store, path: str) -> str:
    with store.open_input(path) as source:
        return bytes(source.read()).decode()


def store_properties(settings: Settings) -> dict[str, str]:
    """What engines need to know of the object store, but for the keys: these they have of their own."""
    if not settings.store_endpoint:
        return {}
    return {
        "s3.endpoint": settings.store_endpoint,
        "s3.path-style-access": "true",
        "s3.region": "us-east-1",
        "client.region": "us-east-1",
    }
