"""Both stores keep the same promises: a file is whole or not there, and errors name the file and what to do."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runstream_schemas.errors import SettingsError, StoreError
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store, open_store

BUCKET = "runstream"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Endpoint of a local S3 with one bucket."""
    import urllib.request

    from moto.server import ThreadedMotoServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")).close()
    yield endpoint
    server.stop()


def s3_settings(endpoint: str, folder: str, **more: str) -> Settings:
    """Settings of a store in a folder of the bucket."""
    return Settings(
        store=f"s3://{BUCKET}/{folder}",
        store_endpoint=endpoint,
        store_key="key",
        store_secret="secret",
        **more,
    )


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each sort."""
    if request.param == "local":
        return open_store(Settings(store=str(tmp_path / "store")))
    return open_store(s3_settings(request.getfixturevalue("s3"), tmp_path.name))


def _put(store: Store, path: str, content: bytes) -> None:
    with store.create(path) as new:
        new.stream.write(content)


def test_a_file_is_there_once_it_is_committed(store: Store) -> None:
    new = store.create("artifacts/run/folder/ä b.bin")
    new.stream.write(b"12345")
    assert not store.exists("artifacts/run/folder/ä b.bin")
    assert list(store.list("artifacts")) == []
    assert new.commit() == 5
    assert store.exists("artifacts/run/folder/ä b.bin")
    assert store.size("artifacts/run/folder/ä b.bin") == 5
    with store.open_input("artifacts/run/folder/ä b.bin") as source:
        source.seek(2)
        assert source.read() == b"345"
    (entry,) = store.list("artifacts")
    assert (entry.path, entry.size) == ("artifacts/run/folder/ä b.bin", 5)
    assert entry.modified > 1_700_000_000


def test_a_writer_that_fails_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.create("artifacts/run/x") as new:
            new.stream.write(b"half")
            raise RuntimeError("the client went away")

    with pytest.raises(RuntimeError):
        fail()
    assert not store.exists("artifacts/run/x")
    assert list(store.list("artifacts")) == []


def test_a_file_is_replaced_whole(store: Store) -> None:
    _put(store, "runs/runs.parquet", b"old")
    _put(store, "runs/runs.parquet", b"newer")
    with store.open_input("runs/runs.parquet") as source:
        assert source.read() == b"newer"


def test_many_files_are_written_at_once(store: Store) -> None:
    _put(store, "artifacts/run/a", b"before")
    store.write_all([("artifacts/run/a", b"1"), ("artifacts/run/below/b", b"22"), ("artifacts/run/c", b"")])
    sizes = {entry.path: entry.size for entry in store.list("artifacts")}
    assert sizes == {"artifacts/run/a": 1, "artifacts/run/below/b": 2, "artifacts/run/c": 0}
    with pytest.raises(StoreError):
        store.write_all([("artifacts/run/d", b"3"), ("artifacts/../e", b"4")])
    assert {entry.path for entry in store.list("artifacts")} <= {*sizes, "artifacts/run/d"}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_of_many_files_each_is_synced_and_each_folder_once_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(Settings(store=str(tmp_path / "store")))
    synced: list[str] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), sync(fd)))
    store.write_all([(f"artifacts/run/{number}", b"1") for number in range(5)])
    assert all(Path(name).name.startswith(".part-") for name in synced[:5])
    assert synced[5:] == [str(tmp_path / "store" / "artifacts" / "run")]


def test_a_local_file_is_adopted(store: Store, tmp_path: Path) -> None:
    for content in (b"first", b"second " * 200_000):
        (tmp_path / "upload").write_bytes(content)
        store.adopt(tmp_path / "upload", "artifacts/run/a")
        assert not (tmp_path / "upload").exists()
        with store.open_input("artifacts/run/a") as stored:
            assert stored.read() == content
    with pytest.raises(StoreError, match="cannot write"):
        store.adopt(tmp_path / "none", "artifacts/run/b")
    assert not store.exists("artifacts/run/b")


def test_a_staged_file_is_found_before_while_and_after_it_is_in_its_place(store: Store) -> None:
    path = "metrics/experiment=e/f.parquet"
    with store.stage(path) as new:
        new.stream.write(b"x")

    def readable() -> bool:
        with store.open_input(path) as source:
            return bool(source.read() == b"x")

    assert readable()
    assert store.exists(path) is not store.local
    for _ in range(2):  # a repeat changes nothing
        store.publish(path)
        assert readable()
        assert store.exists(path)
    for _ in range(2):
        store.retire(path)
        assert readable()
        assert store.exists(path) is not store.local
    store.delete(path)
    store.delete(path)
    with pytest.raises(StoreError):
        store.open_input(path)


def test_an_open_file_can_be_read_on_after_it_was_retired_and_deleted(tmp_path: Path) -> None:
    store = open_store(Settings(store=str(tmp_path)))
    _put(store, "metrics/f", b"0123456789")
    with store.open_input("metrics/f") as source:
        store.retire("metrics/f")
        store.delete("metrics/f")
        assert source.read() == b"0123456789"


def test_a_missing_file_is_named_with_the_remedy(store: Store) -> None:
    for ask in (store.open_input, store.size):
        with pytest.raises(
            StoreError, match=r"metrics/gone\.parquet: no such file in the store .*RUNSTREAM_STORE"
        ):
            ask("metrics/gone.parquet")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\\b", "a\0b"])
def test_a_path_does_not_leave_the_store(store: Store, path: str) -> None:
    with pytest.raises(StoreError, match="not a path inside the store"):
        store.create(path)


def test_what_a_dead_writer_left_is_not_listed_and_goes(tmp_path: Path) -> None:
    store = open_store(Settings(store=str(tmp_path)))
    store.create("artifacts/run/x").stream.close()
    assert list(store.list("artifacts")) == []
    assert store.remove_parts(older_than=60) == 0
    assert store.remove_parts(older_than=-10) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_store_that_cannot_be_made_or_reached_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="RUNSTREAM_STORE"):
        open_store(Settings(store=str(tmp_path / "file" / "store")))
    with pytest.raises(SettingsError, match="expected a directory, s3://"):
        open_store(Settings(store="nonsense://x"))


def test_any_fsspec_address_is_a_store() -> None:
    store = open_store(Settings(store="memory://root"))
    _put(store, "artifacts/x", b"1")
    assert [entry.path for entry in store.list("artifacts")] == ["artifacts/x"]
    store.delete("artifacts/x")
    assert not store.exists("artifacts/x")
