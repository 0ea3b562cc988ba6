"""The embedded Postgres: real servers, started and killed in every way a machine offers."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from runstream_schemas.errors import DatabaseError
from runstream_service.embedded import watch_postgres
from runstream_service.servers.postgres import PostgresServer, binaries

ROOT = os.geteuid() == 0


def ask(server: PostgresServer, sql: str) -> Any:
    async def go() -> Any:
        connection = await asyncpg.connect(server.dsn, timeout=10)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(go())


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def run_python(
    code: str, *arguments: object, user: tuple[int, int] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, as another user if asked to (who then may search our closed directories)."""
    lines = (
        [f"from runstream_service.servers.postgres_child import drop_to; drop_to({user[0]}, {user[1]})"]
        if user
        else []
    )
    lines += [
        "import sys",
        "from pathlib import Path",
        "from runstream_service.servers.postgres import PostgresServer",
    ]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines) + "\n" + textwrap.dedent(code), *map(str, arguments)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path / "pg")
    yield server
    server.stop()


def test_starts_stops_and_keeps_its_data(server: PostgresServer) -> None:
    server.start()
    assert server.running
    ask(server, "create table t as select 7 as x")
    server.stop()
    assert not server.running
    server.start()
    assert ask(server, "select x from t") == 7
    assert ask(server, "show fsync") == "on"
    assert ask(server, "show data_checksums") == "on"
    assert ask(server, "select datlocale from pg_database where datname = current_database()") == "C.UTF-8"


def test_what_was_committed_survives_a_crash(server: PostgresServer) -> None:
    server.start()
    ask(server, "create table t as select generate_series(1, 1000) as x")
    server.kill()
    server.start()
    assert ask(server, "select count(*) from t") == 1000


async def test_killed_again_while_it_recovers_it_is_started_again(server: PostgresServer) -> None:
    server.start()
    stop = asyncio.Event()
    watching = asyncio.create_task(watch_postgres(server, stop))
    killed = set()
    for _ in range(3):  # each before it can take a connection
        async with asyncio.timeout(60):
            while not server.running or server.pid in killed:
                await asyncio.sleep(0.001)
        killed.add(server.pid)
        os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while True:
            try:
                connection = await asyncpg.connect(server.dsn)
                break
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
    assert server.pid not in killed
    await connection.close()
    assert not watching.done()
    stop.set()
    await watching


def test_nobody_else_can_enter_the_directory(server: PostgresServer) -> None:
    server.start()
    assert server.data_dir.stat().st_mode & 0o777 == 0o700
    assert (server.data_dir / "password").stat().st_mode & 0o777 == 0o600
    assert (server.data_dir / ".s.PGSQL.5432").exists()


@pytest.mark.parametrize("name", ["with blanks in it", 'quo"te', "comma,comma", "ünïcode"])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    server = PostgresServer(tmp_path / name / "pg")
    server.start()
    try:
        assert ask(server, "select 1") == 1
    finally:
        server.stop()


def test_long_path_falls_back_to_loopback_with_a_password(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / ("long" * 30) / "pg")
    server.start()
    try:
        assert server.tcp
        assert ask(server, "select 1") == 1
        assert ask(server, "show listen_addresses") == "127.0.0.1"
        wrong = f"postgresql://runstream:guess@127.0.0.1:{server.port}/postgres"

        async def guess() -> None:
            await asyncpg.connect(wrong, timeout=10)

        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(guess())
        port = server.port
        server.kill()
        server.start()
        assert server.port == port
    finally:
        server.stop()


def test_two_servers_do_not_meet(tmp_path: Path) -> None:
    one, other = PostgresServer(tmp_path / "one"), PostgresServer(tmp_path / "other")
    one.start()
    other.start()
    try:
        ask(one, "create table mine (x int)")
        assert ask(other, "select to_regclass('mine')::text") is None
        one.kill()
        assert ask(other, "select 1") == 1
    finally:
        one.stop()
        other.stop()


@pytest.mark.parametrize("lifeline", [False, True])
def test_ends_with_its_parent_and_starts_again_at_once(tmp_path: Path, lifeline: bool) -> None:
    code = """
        import os, signal
        server = PostgresServer(Path(sys.argv[1]), lifeline=sys.argv[2] == "True")
        server.start()
        print(server.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run_python(code, tmp_path / "pg", lifeline)
    assert done.returncode == -signal.SIGKILL, done.stderr
    orphan = int(done.stdout)
    # Not waited for: the next service may come while the orphan is still shutting down.
    server = PostgresServer(tmp_path / "pg")
    server.start()
    assert server.pid != orphan
    assert ask(server, "select 1") == 1
    assert not lives(orphan)
    server.stop()


def test_kill_of_server_and_parent_together(tmp_path: Path) -> None:
    code = """
        import asyncio, asyncpg, os, signal
        server = PostgresServer(Path(sys.argv[1]))
        server.start()
        async def go():
            connection = await asyncpg.connect(server.dsn)
            await connection.execute("create table t as select generate_series(1, 500) as x")
        asyncio.run(go())
        os.kill(server.pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run_python(code, tmp_path / "pg").returncode == -signal.SIGKILL
    server = PostgresServer(tmp_path / "pg")
    server.start()
    assert ask(server, "select count(*) from t") == 500
    server.stop()


def test_an_orphan_that_ignores_its_parents_death_is_ended(tmp_path: Path) -> None:
    code = """
        import os, signal, time
        server = PostgresServer(Path(sys.argv[1]))
        server.start()
        time.sleep(0.1)
        os.kill(server.pid, signal.SIGSTOP)  # the signal of our death will not reach it
        print(server.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run_python(code, tmp_path / "pg")
    orphan = int(done.stdout)
    server = PostgresServer(tmp_path / "pg")
    server._wait_for_orphans(patience=0.5)
    assert not lives(orphan)
    server.start()
    assert ask(server, "select 1") == 1
    server.stop()


def test_a_pid_file_that_names_another_program_is_no_hindrance(server: PostgresServer) -> None:
    server.start()
    server.kill()
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        server.start()
        assert ask(server, "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_initdb_that_was_killed_is_done_again(server: PostgresServer) -> None:
    (server.data_dir / "data.new").mkdir(parents=True)
    (server.data_dir / "data.new" / "PG_VERSION").write_text("18\n")
    server.start()
    assert ask(server, "select 1") == 1


@pytest.mark.parametrize("version", ["16", "99"])
def test_database_of_another_major_version_is_named(server: PostgresServer, version: str) -> None:
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text(version + "\n")
    with pytest.raises(
        DatabaseError, match=rf"made by Postgres {version}, the installed one is \d+; install"
    ):
        server.start()
    (server.data / "PG_VERSION").write_text("18\n")


def test_a_directory_that_is_no_database_is_left_alone(server: PostgresServer) -> None:
    server.data.mkdir(parents=True)
    (server.data / "letter.txt").write_text("dear")
    with pytest.raises(DatabaseError, match="move it away"):
        server.start()
    assert (server.data / "letter.txt").read_text() == "dear"


def test_a_server_that_cannot_start_says_why(server: PostgresServer) -> None:
    server.start()
    server.stop()
    (server.data / "global" / "pg_control").unlink()
    with pytest.raises(DatabaseError, match=r"ended with status \d+: .*pg_control"):
        server.start()


@pytest.mark.skipif(not ROOT, reason="only root has to become somebody else")
@pytest.mark.parametrize("identity", ["namespace", "drop"])
def test_as_root_behind_closed_directories(tmp_path: Path, identity: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    users = len(pwd.getpwall())
    server = PostgresServer(closed / "pg", identity=identity)
    server.start()
    try:
        assert ask(server, "select 1") == 1
        assert closed.stat().st_mode & 0o777 == 0o700
        assert len(pwd.getpwall()) == users
    finally:
        server.stop()
    # The same data in the other way: a container may allow today what it refused yesterday.
    other = PostgresServer(closed / "pg", identity={"namespace": "drop", "drop": "namespace"}[identity])
    other.start()
    assert ask(other, "select 1") == 1
    other.stop()


def reachable(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


# A user without a name enters a namespace, where the right to search our closed directories is gone.
OTHERS = ["nobody", "nameless"] if reachable(binaries()) else ["nobody"]


@pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")
@pytest.mark.parametrize("user", OTHERS)
def test_as_another_user(user: str) -> None:
    entry = pwd.getpwnam("nobody")
    uid, gid = (entry.pw_uid, entry.pw_gid) if user == "nobody" else (54321, 54321)
    code = """
        import asyncio, asyncpg
        server = PostgresServer(Path(sys.argv[1]))
        server.start()
        async def go():
            connection = await asyncpg.connect(server.dsn)
            return await connection.fetchval("select 42")
        print(server.identity, asyncio.run(go()))
        server.stop()
    """
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, uid, gid)
        done = run_python(code, Path(place) / "pg", user=(uid, gid))
    assert done.stdout.split() == ["plain" if user == "nobody" else "namespace", "42"], done.stderr
