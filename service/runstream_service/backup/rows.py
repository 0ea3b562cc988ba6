"""The rows of the database: out by COPY in one snapshot, and in again in one transaction, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from runstream_schemas.store import LocalStore

from .directory import Manifest, Packed, PackedWriter, unpacked

if TYPE_CHECKING:
    import asyncpg

NOT_COPIED = ("schema_migrations", "backup_holds")
"""Tables whose rows belong to the database and not to what it stores."""

SEEDED = ("installation", "uptime", "alert_cursor")
"""Tables in which migrations put a row."""

TABLES = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = current_schema() and c.relkind = 'r' and c.relname <> all($1::text[]) order by c.relname"""
COLUMNS = """
select attname from pg_attribute
where attrelid = to_regclass(quote_ident($1)) and attnum > 0 and not attisdropped and attgenerated = '' order by attnum"""
SEQUENCES = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = current_schema() and c.relkind = 'S' order by c.relname"""
SET_SEQUENCE = "select setval(quote_ident($1)::regclass, $2, $3)"
FOREIGN_KEYS = """
select conrelid::regclass::text as table, quote_ident(conname) as name, pg_get_constraintdef(oid) as definition
from pg_constraint where contype = 'f' and connamespace = current_schema()::regnamespace order by conrelid, conname"""


async def copy_out(
    connection: asyncpg.Connection[Any], directory: LocalStore, folder: str
) -> tuple[dict[str, Packed], dict[str, tuple[int, bool]]]:
    """Write the rows of every table; returns the tables, and the sequences as they stand after these rows.

    Args:
        connection: in a REPEATABLE READ transaction.
        folder: where to write, in the directory.
    """
    tables = {}
    for row in await connection.fetch(TABLES, NOT_COPIED):
        tables[row["relname"]] = await _copy_table(connection, directory, folder, row["relname"])
    sequences = {}
    # No snapshot holds a sequence still: read after the rows, it lies behind all of them.
    for row in await connection.fetch(SEQUENCES):
        state = await connection.fetchrow(f'select last_value, is_called from "{row["relname"]}"')
        assert state is not None
        sequences[row["relname"]] = state["last_value"], state["is_called"]
    return tables, sequences


async def _copy_table(
    connection: asyncpg.Connection[Any], directory: LocalStore, folder: str, table: str
) -> Packed:
    columns = [row["attname"] for row in await connection.fetch(COLUMNS, table)]
    packed = PackedWriter(directory, f"{folder}/{table}.copy.zst")

    async def write(data: bytes) -> None:
        packed.write(data)

    try:
        done = await connection.copy_from_table(table, columns=columns, output=write, format="binary")
        return await asyncio.to_thread(packed.commit, int(done.split()[-1]), columns)
    finally:
        packed.abort()


async def holds_rows(connection: asyncpg.Connection[Any]) -> str | None:
    """A table that holds rows beside those that migrations put there; None: the database is empty."""
    for row in await connection.fetch(TABLES, (*NOT_COPIED, *SEEDED)):
        if await connection.fetchval(f'select exists (select from "{row["relname"]}")'):
            return str(row["relname"])
    return None


async def copy_in(connection: asyncpg.Connection[Any], directory: LocalStore, manifest: Manifest) -> None:
    """Put the rows of a backup in place of all there are, and set the sequences.

    Args:
        connection: in a transaction, of a database whose schema is the backup's.
    """
    # Foreign keys are checked once they are all there: in one pass a table, and whatever refers to what.
    keys = await connection.fetch(FOREIGN_KEYS)
    for key in keys:
        await connection.execute(f"alter table {key['table']} drop constraint {key['name']}")
    await connection.execute("truncate " + ", ".join(f'"{name}"' for name in manifest.tables))
    for name, table in manifest.tables.items():
        await connection.copy_to_table(
            name, columns=table.columns, source=_pieces(directory, table.path), format="binary"
        )
    for key in keys:
        await connection.execute(
            f"alter table {key['table']} add constraint {key['name']} {key['definition']}"
        )
    for name, (value, called) in manifest.sequences.items():
        await connection.fetchval(SET_SEQUENCE, name, value, called)


async def _pieces(directory: LocalStore, path: str) -> AsyncIterator[bytes]:
    pieces = unpacked(directory, path)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
