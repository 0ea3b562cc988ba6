"""Backups of a database and a store, and back: what changes meanwhile, what is damaged, what is not empty, what is older."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from runstream_consumers.compaction.orphans import clean_rows
from runstream_consumers.compaction.purge import purge_runs, purge_snapshots
from runstream_consumers.compaction.worker import Worker
from runstream_query.files import artifacts
from runstream_query.files.growing_files import append
from runstream_schemas import database
from runstream_schemas.database import Migration, create_pool, migrations
from runstream_schemas.errors import BackupError, StoreError
from runstream_schemas.runs.deletion import delete_rows
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store, open_store
from runstream_service.backup import restoring, taking
from runstream_service.backup.directory import content_path, open_directory, read_manifest, verify
from runstream_service.backup.restoring import RESTORING, restore
from runstream_service.backup.stored_files import first_file
from runstream_service.backup.taking import BackupReport, take_backup

POINTS = b"the points of two runs" * 1000
MODEL, OTHER = b"a model" * 500, b"what a folder held"


@dataclass
class Side:
    """A database and a store."""

    settings: Settings
    pool: asyncpg.Pool[Any]
    store: Store

    def content(self, place: str) -> bytes:
        with closing(self.store.open_input(place)) as file:
            return bytes(file.read())

    def put(self, place: str, content: bytes) -> None:
        with self.store.create(place) as new:
            new.stream.write(content)

    async def tick(self, seconds: int) -> None:
        await self.pool.execute("update uptime set seconds = seconds + $1", seconds)

    async def rows(self, table: str) -> list[tuple[Any, ...]]:
        return sorted((tuple(row) for row in await self.pool.fetch(f"select * from {table}")), key=repr)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A local S3 with one bucket."""
    from moto.server import ThreadedMotoServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{address}/backups", method="PUT")).close()
    yield address
    server.stop()


@pytest.fixture(params=["local", "s3"])
async def side(request: Any, postgres: str, tmp_path: Path) -> AsyncIterator[Side]:
    """A database and a store with a bit of everything."""
    settings = Settings(database=postgres, store=str(tmp_path / "store"), home=str(tmp_path))
    if request.param == "s3":
        settings = replace(
            settings,
            store=f"s3://backups/{tmp_path.name}",
            store_endpoint=request.getfixturevalue("endpoint"),
            store_key="key",
            store_secret="secret",
        )
    pool = await create_pool(settings, max_size=4)
    side = Side(settings, pool, open_store(settings))
    await _fill(side)
    yield side
    await pool.close()


async def _fill(side: Side) -> None:
    pool = side.pool
    experiment = await pool.fetchval("insert into experiments (name) values ('one') returning id")
    for run in ("stays", "goes"):
        key = await pool.fetchval(
            "insert into runs (run_id, experiment_id) values ($1, $2) returning key", run, experiment
        )
        await pool.execute(
            "insert into chunks (run_key, source_key, first, count, points, payload) values ($1, 1, 0, 3, 3, $2)",
            key,
            b"\x00\xff" * 9,
        )
    for path, state in (
        ("metrics/a.parquet", "live"),
        ("metrics/old.parquet", "trash"),
        ("metrics/b.parquet", "pending"),
    ):
        await pool.execute(
            "insert into files (kind, path, state, bytes) values ('metrics', $1, $2, $3)",
            path,
            state,
            len(POINTS),
        )
    side.put("metrics/a.parquet", POINTS)
    for run, path in (("stays", "model.bin"), ("goes", "model.bin")):
        await artifacts.save(pool, side.store, run, path, _once(MODEL), None)
    await artifacts.save(pool, side.store, "stays", "collected.txt", _once(b"before"), None, captured=True)
    await artifacts.save(pool, side.store, "stays", "passing.txt", _once(b"soon gone"), None)
    await append(pool, side.store, "stays", "logs/out.txt", 0, b"line 1\n", None)
    digest = hashlib.sha256(OTHER).hexdigest()
    await pool.execute(
        "insert into blobs (sha256, size, made_up) values ($1, $2, -1000000)", digest, len(OTHER)
    )
    side.put(f"blobs/{digest[:2]}/{digest}", OTHER)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture
async def empty(side: Side, tmp_path: Path) -> AsyncIterator[Side]:
    """An empty database and an empty store of the same kind."""
    name = f"restored_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16]}"
    await side.pool.execute(f"create database {name}")
    mine = await side.pool.fetchval("select current_database()")
    settings = replace(
        side.settings,
        database=side.settings.database.replace(f"/{mine}", f"/{name}", 1),
        store=f"{side.settings.store}-restored",
    )
    pool = await create_pool(settings, max_size=2)
    yield Side(settings, pool, open_store(settings))
    await pool.close()
    await side.pool.execute(f"drop database {name} with (force)")


async def backup(side: Side, directory: Path) -> BackupReport:
    return await take_backup(side.settings, directory)


async def test_what_comes_back_is_what_was_there(side: Side, empty: Side, tmp_path: Path) -> None:
    """Rows, files, and what numbers are given out next; a second backup copies nothing again."""
    directory = tmp_path / "backup"
    # A snapshot of an Iceberg table still shows a replaced file, whose row cannot go before.
    await side.pool.execute(
        "with made as (insert into iceberg_tables (workspace, name, folder, metadata) "
        "values ('default', 'metrics', 'iceberg/1', 'iceberg/1/a.json') returning key) "
        "insert into iceberg_files (table_key, file_id, experiment) select made.key, f.id, 'one' from made, files f "
        "where f.state <> 'pending'"
    )
    first = await backup(side, directory)
    again = await backup(side, directory)
    assert first.copied >= 6
    assert again.copied == 0
    assert len(list(open_directory(directory).list("files"))) == 6
    assert len(list(directory.glob("rows-*"))) == 1
    await restore(empty.settings, directory)
    for table in ("experiments", "runs", "chunks", "artifacts", "blobs", "installation", "deleted_runs"):
        assert await empty.rows(table) == await side.rows(table)
    assert [row["path"] for row in await empty.pool.fetch("select path from files")] == ["metrics/a.parquet"]
    assert empty.content("metrics/a.parquet") == POINTS
    assert await empty.rows("iceberg_tables") == [], "published anew: their metadata are not in the backup"
    for path, content in (("model.bin", MODEL), ("logs/out.txt", b"line 1\n"), ("collected.txt", b"before")):
        assert empty.content(artifacts.place("stays", path)) == content
    assert not empty.store.exists(RESTORING)
    new = "insert into runs (run_id) values ('new') returning key"
    assert await empty.pool.fetchval(new) == await side.pool.fetchval(new)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await empty.pool.execute("insert into tags values (99, 'k', 'v', false, 0, gen_random_uuid(), 0)")
    with pytest.raises(BackupError, match="is not empty"):
        await restore(empty.settings, directory)


async def test_what_changes_meanwhile(
    side: Side, empty: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the rows and the files of a backup everything that can go goes, grows or is replaced."""
    copy_files = taking._Backup._copy_files
    worker = Worker()

    async def later(self: Any, manifest: Any) -> Any:
        await side.pool.execute("update files set state = 'trash' where path = 'metrics/a.parquet'")
        side.store.retire("metrics/a.parquet")
        async with side.pool.acquire() as connection, connection.transaction():
            key = await connection.fetchval("select key from runs where run_id = 'goes'")
            await delete_rows(connection, [key])
        await append(side.pool, side.store, "stays", "logs/out.txt", 7, b"line 2\n", None)
        await artifacts.save(
            side.pool, side.store, "stays", "collected.txt", _once(b"after"), None, captured=True
        )
        await side.pool.execute("delete from artifacts where path = 'passing.txt'")
        side.store.delete(artifacts.place("stays", "passing.txt"))
        await _sweep(side, worker)
        return await copy_files(self, manifest)

    monkeypatch.setattr(taking._Backup, "_copy_files", later)
    await backup(side, tmp_path / "backup")
    await restore(empty.settings, tmp_path / "backup")
    assert empty.content("metrics/a.parquet") == POINTS
    assert empty.content(artifacts.place("goes", "model.bin")) == MODEL
    assert empty.content(artifacts.place("stays", "logs/out.txt")) == b"line 1\n"
    assert empty.content(artifacts.place("stays", "collected.txt")) == b"after"
    rows = await empty.pool.fetch("select run_key, path, size, sha256 from artifacts order by path, run_key")
    assert [row["path"] for row in rows] == ["collected.txt", "logs/out.txt", "model.bin", "model.bin"]
    assert rows[0]["sha256"] == hashlib.sha256(b"after").hexdigest()
    # The hold ended with the backup: what it kept goes now.
    await _sweep(side, worker)
    worker.close()
    for place in ("metrics/a.parquet", artifacts.place("goes", "model.bin")):
        with pytest.raises(StoreError):
            side.content(place)


async def _sweep(side: Side, worker: Worker) -> None:
    await clean_rows(side.pool, side.store, pending_grace=0.0, trash_grace=0.0)
    await purge_runs(side.pool, side.store, worker)
    await purge_snapshots(side.pool, side.store, keep=0.0)


async def test_the_hold_of_a_dead_backup_ends(side: Side) -> None:
    await side.pool.execute("insert into backup_holds (id) values (gen_random_uuid())")
    side.put("metrics/old.parquet", POINTS)
    trash = "select count(*) from files where state = 'trash'"
    for seconds, left in ((0, 1), (170, 1), (20, 0)):
        await side.tick(seconds)
        await clean_rows(side.pool, side.store, pending_grace=1e9, trash_grace=0.0)
        assert await side.pool.fetchval(trash) == left


@pytest.mark.parametrize("side", ["local"], indirect=True)
async def test_a_damaged_backup_is_refused(side: Side, empty: Side, tmp_path: Path) -> None:
    directory = tmp_path / "backup"
    await backup(side, directory)
    manifest = verify(open_directory(directory))
    content = directory / content_path(hashlib.sha256(POINTS).hexdigest())
    for file in (content, directory / manifest.tables["runs"].path, directory / "manifest.json"):
        whole = file.read_bytes()
        middle = len(whole) // 2
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        with pytest.raises(BackupError, match=file.name):
            await restore(empty.settings, directory)
        assert await empty.pool.fetchval("select to_regclass('runs') is null")
        assert first_file(empty.store) is None
        file.write_bytes(whole)
    content.unlink()
    with pytest.raises(BackupError, match=r"metrics/a\.parquet of the store"):
        verify(open_directory(directory))
    # The next backup has it again.
    await backup(side, directory)
    await restore(empty.settings, directory)


@pytest.mark.parametrize("side", ["local"], indirect=True)
async def test_refusals(side: Side, empty: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("a year")
    with pytest.raises(BackupError, match=r"thesis\.tex"):
        await backup(side, tmp_path / "full")
    with pytest.raises(BackupError, match="no directory"):
        await restore(empty.settings, tmp_path / "nowhere")
    (tmp_path / "half").mkdir()
    with pytest.raises(BackupError, match="no complete backup"):
        await restore(empty.settings, tmp_path / "half")
    await backup(side, tmp_path / "backup")
    with pytest.raises(BackupError, match=r"store .* is not empty"):
        await restore(replace(empty.settings, store=side.settings.store), tmp_path / "backup")
    with pytest.raises(BackupError, match=r"database .* is not empty"):
        await restore(replace(empty.settings, database=side.settings.database), tmp_path / "backup")
    # Bytes of an upload that were damaged where they lie are not taken for what the database says.
    monkeypatch.setattr(taking, "_PAUSE", 0.0)
    side.put(artifacts.place("stays", "passing.txt"), b"soon gone?"[:9].upper())
    with pytest.raises(BackupError, match=r"passing\.txt"):
        await backup(side, tmp_path / "second")
    assert read_manifest(open_directory(tmp_path / "second")) is None
    monkeypatch.setattr(restoring, "migrations", lambda: migrations()[:-1])
    with pytest.raises(BackupError, match="does not know"):
        await restore(empty.settings, tmp_path / "backup")


@pytest.mark.parametrize("side", ["local"], indirect=True)
async def test_an_older_backup_is_migrated(
    side: Side, empty: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backup(side, tmp_path / "backup")
    steps = migrations()
    step = Migration(
        steps[-1].version + 1,
        "later",
        "alter table runs add column color text; update runs set color = 'red';",
    )
    for module in (database, restoring):
        monkeypatch.setattr(module, "migrations", lambda: [*steps, step])
    await restore(empty.settings, tmp_path / "backup")
    assert [row["color"] for row in await empty.pool.fetch("select color from runs")] == ["red", "red"]


@pytest.mark.parametrize("side", ["local"], indirect=True)
async def test_a_restore_that_was_broken_off_is_gone_on_with(
    side: Side, empty: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, within and after the transaction of the rows."""
    await backup(side, tmp_path / "backup")
    await backup(side, tmp_path / "other")
    steps = ["_copy", "_copy_rows", "_correct_rows", "migrate"]

    class BrokenOff(Exception):
        pass

    def breaks(*_: Any) -> Any:
        raise BrokenOff

    for name in steps:
        with monkeypatch.context() as patch:
            owner: Any = restoring if name == "migrate" else restoring._Restore
            patch.setattr(owner, name, breaks)
            with pytest.raises(BrokenOff):
                await restore(empty.settings, tmp_path / "backup")
        with pytest.raises(BackupError, match="another backup"):
            await restore(empty.settings, tmp_path / "other")
    await restore(empty.settings, tmp_path / "backup")
    assert await empty.rows("runs") == await side.rows("runs")
    assert await asyncio.to_thread(empty.content, "metrics/a.parquet") == POINTS
