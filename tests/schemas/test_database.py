"""The database's schema: migrations, their lock and their refusals, against a real Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from runstream_schemas.database import (
    Migration,
    connect,
    connect_options,
    create_pool,
    migrate,
    migrations,
    redact,
    schema_version,
    wait_for_database,
)
from runstream_schemas.errors import DatabaseError
from runstream_schemas.runs import params
from runstream_schemas.runs.record import ParamRecord
from runstream_schemas.settings import Settings
from runstream_service.servers.postgres import PostgresServer

DESCRIBE = """
select 'column' as what, table_name || '.' || column_name as name,
       concat_ws(' ', data_type, is_nullable, column_default, is_identity, identity_generation) as is
from information_schema.columns where table_schema = 'public'
union all
select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) from pg_constraint
where connamespace = 'public'::regnamespace
union all
select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'
union all
select 'storage', attrelid::regclass || '.' || attname, attstorage::text from pg_attribute
join pg_class c on c.oid = attrelid where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and attnum > 0
union all
select 'options', relname, array_to_string(reloptions, ',') from pg_class
where relnamespace = 'public'::regnamespace and relkind in ('r', 'i')
order by 1, 2
"""
STEPS = [
    Migration(1, "one", "create table a (x int);"),
    Migration(2, "two", "alter table a add y text; create index a_y on a (y);"),
    Migration(3, "three", "create table b (z int primary key);"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("pg"))
    server.start()
    yield server
    server.stop()


@contextlib.asynccontextmanager
async def database(server: PostgresServer, name: str) -> AsyncIterator[Settings]:
    """A new database; the settings that lead to it."""
    admin = await asyncpg.connect(server.dsn)
    await admin.execute(f"create database {name}")
    try:
        yield Settings(database=server.dsn.replace("@/postgres", f"@/{name}"))
    finally:
        await admin.execute(f"drop database {name} with (force)")
        await admin.close()


async def describe(connection: asyncpg.Connection[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch(DESCRIBE)]


def test_migrated_step_by_step_equals_fresh(server: PostgresServer) -> None:
    async def go() -> None:
        async with database(server, "stepwise") as stepwise, database(server, "fresh") as fresh:
            stepped, other = await connect(stepwise), await connect(fresh)
            known = migrations()
            for count in range(1, len(known) + 1):
                assert await migrate(stepped, known[:count]) == 1
            assert await migrate(other) == len(known)
            described = await describe(stepped)
            assert described == await describe(other)
            assert any(name == "chunks.payload" for _, name, _ in described)
            assert await migrate(other) == 0
            assert await schema_version(other) == known[-1].version
            await stepped.close()
            await other.close()

    asyncio.run(go())


def test_parameters_of_runs_that_were_there_before_are_what_a_new_run_gets(server: PostgresServer) -> None:
    """Migration 0019 reads arguments and sweeps as `params.given` does."""
    arguments: list[list[Any]] = [
        ["--lr", "0.5", "--epochs", "3", "--fast"], ["--lr=5e-1", "data.csv", "-x", "1e-3"],
        ["--a", "-1", "--b", "--c", "x y"], ["--seed", "007", "--big", "9" * 19, "--plus", "+5", "--bigger", "9" * 30],
        ["--a", "1", "--a", "2", "--e", "", "--f=", "--g=h=i"], ["--flag", True, "--n", 4, "--x", 0.25, "--none", None],
        ["--nan", "nan", "--inf", "inf", "--huge", "1e999", "--tiny", "1e-320", "--sci", "1E+5", "--dot", "5."],
        ["--", "x", "-1", "y", "--=x"], ["--" + "n" * 1025, "1", "--t", "x" * 70_000], [], ["--two\nlines", "a\nb"],
        ["--weights=1=2\n3", "-v"],
    ]  # fmt: skip
    sweeps = [
        '{"lr": 0.5, "net": "deep", "none": null, "l": [1, 2.5], "b": true, "n": 3, "f": 1.0, "s": "7"}',
        "no JSON", "[1]", "3", '{"lr": 1e-7, "x": {"a": 1}}', '{"": 1}', '{"big": 12345678901234567}',
    ]  # fmt: skip
    runs = [(given_arguments, None) for given_arguments in arguments] + [
        (arguments[0], sweep) for sweep in sweeps
    ]

    async def go() -> None:
        async with database(server, "with_runs") as settings:
            connection = await connect(settings)
            known = migrations()
            before = [step for step in known if step.version < 19]
            await migrate(connection, before)
            for number, (words, sweep) in enumerate(runs):
                key = await connection.fetchval(
                    "insert into runs (run_id, details) values ($1, $2::jsonb) returning key",
                    str(number),
                    json.dumps({"runDefinition": {"arguments": words}}),
                )
                if sweep is not None:
                    await connection.execute(
                        "insert into properties values ($1, 'sweep_parameters', $2, 0, gen_random_uuid(), 0)",
                        key,
                        sweep,
                    )
            await connection.execute(
                "insert into runs (run_id, details) values ('odd', '{\"runDefinition\": 3}')"
            )
            await migrate(connection)
            rows = await connection.fetch(
                "select r.run_id, p.name, p.kind, p.text, p.number, p.origin from params p join runs r on r.key = p.run_key"
            )
            by_run: dict[str, dict[str, Any]] = {}
            for run_id, name, kind, text, number, origin in rows:
                value = params.value_of({"kind": params.KINDS[kind], "text": text})
                by_run.setdefault(run_id, {})[name] = (origin, params.KINDS[kind], value, number)
            for at, (words, sweep) in enumerate(runs):
                given = params.given({"runDefinition": {"arguments": words}}, {"sweep_parameters": sweep})
                expected = {}
                for name, (origin, value) in given.items():
                    kind, text, number = params.as_stored(value)
                    record: ParamRecord = {"kind": params.KINDS[kind], "text": text}
                    expected[name] = (origin, params.KINDS[kind], params.value_of(record), number)
                assert by_run.get(str(at), {}) == expected, (words, sweep)
            await connection.close()

    asyncio.run(go())


def test_files_that_were_there_before_stay_and_those_of_system_metrics_can_come(
    server: PostgresServer,
) -> None:
    """Migration 0021."""

    async def go() -> None:
        async with database(server, "with_files") as settings:
            connection = await connect(settings)
            await migrate(connection, [step for step in migrations() if step.version < 21])
            kinds = ["metrics", "tables", "histograms", "media", "runs"]
            insert = "insert into files (kind, path, state) values ($1, $1, 'pending')"
            for kind in kinds:
                await connection.execute(insert, kind)
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(insert, "system")
            await migrate(connection)
            await connection.execute(insert, "system")
            rows = await connection.fetch("select kind from files")
            assert {row["kind"] for row in rows} == {*kinds, "system"}
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(insert, "others")
            await connection.close()

    asyncio.run(go())


def test_summaries_that_were_there_before_stay_and_new_pages_leave_room_to_merge(
    server: PostgresServer,
) -> None:
    """Migration 0027."""

    async def go() -> None:
        async with database(server, "with_summaries") as settings:
            connection = await connect(settings)
            await migrate(connection, [step for step in migrations() if step.version < 27])
            await connection.execute("insert into runs (run_id) values ('run')")
            await connection.execute(
                "insert into series (cls, name) select 0, n::text from generate_series(1, 500) n"
            )
            await connection.execute(
                "insert into live_summaries (run_key, series_id, kind, count, finite, last_time) "
                "select r.key, s.id, 0, 1, 1, 7 from runs r, series s"
            )
            everything = "select array_agg(s order by series_id)::text from live_summaries s"
            before = await connection.fetchval(everything)
            await migrate(connection)
            assert await connection.fetchval(everything) == before
            options = await connection.fetchval(
                "select reloptions from pg_class where oid = 'live_summaries'::regclass"
            )
            assert options == ["fillfactor=45"]
            await connection.close()

    asyncio.run(go())


def test_a_name_whose_models_were_all_deleted_is_none_to_clients_of_mlflow(server: PostgresServer) -> None:
    """Migration 0020: names of models become things of their own; their last versions stay."""

    async def go() -> None:
        async with database(server, "named") as settings:
            connection = await connect(settings)
            await migrate(connection, migrations()[:19])
            await connection.execute(
                "insert into model_names (workspace, name, last_version) values ('w', 'kept', 2), ('w', 'gone', 5)"
            )
            await connection.execute(
                "insert into models (workspace, name, version, token) values ('w', 'kept', 2, gen_random_uuid())"
            )
            await migrate(connection)
            rows = await connection.fetch(
                "select name, last_version, registered, tags from model_names order by name"
            )
            assert [tuple(row) for row in rows] == [("gone", 5, False, "{}"), ("kept", 2, True, "{}")]
            stage, source = await connection.fetchrow("select stage, source from models")
            assert (stage, source) == ("None", None)
            await connection.close()

    asyncio.run(go())


def test_four_migrate_at_once(server: PostgresServer) -> None:
    async def go() -> None:
        async with database(server, "racing") as settings:
            connections = [await connect(settings) for _ in range(4)]
            counts = await asyncio.gather(*(migrate(connection) for connection in connections))
            assert sum(counts) == len(migrations())
            for connection in connections:
                await connection.close()

    asyncio.run(go())


def test_newer_database_is_refused(server: PostgresServer) -> None:
    async def go() -> None:
        async with database(server, "newer") as settings:
            connection = await connect(settings)
            await migrate(connection, STEPS)
            with pytest.raises(
                DatabaseError, match=r"schema version 3, this runstream knows 2.*pip install -U"
            ):
                await migrate(connection, STEPS[:2])
            await connection.close()

    asyncio.run(go())


def test_changed_migration_is_refused(server: PostgresServer) -> None:
    async def go() -> None:
        async with database(server, "changed") as settings:
            connection = await connect(settings)
            await migrate(connection, STEPS[:2])
            edited = [STEPS[0], Migration(2, "two", "select 1;"), STEPS[2]]
            with pytest.raises(
                DatabaseError, match=r"schema version 2: the database has two .* different builds"
            ):
                await migrate(connection, edited)
            assert await schema_version(connection) == 2
            await connection.close()

    asyncio.run(go())


def test_foreign_tables_are_left_alone(server: PostgresServer) -> None:
    async def go() -> None:
        async with database(server, "theirs") as settings:
            connection = await connect(settings)
            await connection.execute("create table runs (mine int)")
            with pytest.raises(DatabaseError, match="database of its own"):
                await migrate(connection)
            assert await schema_version(connection) == 0
            await connection.close()

    asyncio.run(go())


def test_failed_migration_leaves_nothing(server: PostgresServer) -> None:
    async def go() -> None:
        async with database(server, "failing") as settings:
            connection = await connect(settings)
            with pytest.raises(asyncpg.PostgresError):
                await migrate(
                    connection, [STEPS[0], Migration(2, "two", "create table c (x int); select nonsense;")]
                )
            assert await schema_version(connection) == 1
            assert await connection.fetchval("select to_regclass('c')") is None
            await connection.close()

    asyncio.run(go())


def test_pool_behind_pgbouncer_prepares_nothing_by_name(server: PostgresServer) -> None:
    async def go() -> None:
        settings = Settings(database=server.dsn, database_pgbouncer=True, database_pool=2)
        pool = await create_pool(settings)
        async with pool.acquire() as connection:
            assert await connection.fetchval("select $1::int", 7) == 7
            assert not await connection.fetch("select name from pg_prepared_statements where name <> ''")
        assert pool.get_max_size() == 2
        await pool.close()

    asyncio.run(go())


def test_waiting_is_bounded_and_says_where(tmp_path: Path) -> None:
    settings = Settings(database="postgresql://someone:secret@127.0.0.1:1/db")
    with pytest.raises(
        DatabaseError, match=r"someone:\*\*\*@127.0.0.1:1/db took no connection for 0 s"
    ) as caught:
        asyncio.run(wait_for_database(settings, timeout=0.3))
    assert "secret" not in str(caught.value)


def test_waiting_for_a_wrong_database_ends_at_once(server: PostgresServer) -> None:
    settings = Settings(database=server.dsn.replace("@/postgres", "@/nowhere"))
    with pytest.raises(DatabaseError, match="nowhere"):
        asyncio.run(wait_for_database(settings, timeout=30))


def test_bad_addresses_are_named() -> None:
    with pytest.raises(DatabaseError, match="not a Postgres address"):
        connect_options(Settings(database="mysql://x"))
    with pytest.raises(DatabaseError, match="PEM"):
        connect_options(Settings(database="postgresql://x", database_ca_file="/nowhere.pem"))
    assert redact("postgresql://a:b@c/d") == "postgresql://a:***@c/d"
    assert redact("postgresql://a@c/d") == "postgresql://a@c/d"


@pytest.mark.attack
def test_certificate_authority_means_full_verification() -> None:
    bundle = ssl.get_default_verify_paths().cafile or __import__("certifi").where()
    context = connect_options(Settings(database="postgresql://x", database_ca_file=bundle))["ssl"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
