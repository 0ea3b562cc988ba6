"""The embedded Postgres: real servers, started and killed in every way a machine offers."""

from __future__ import annotations

import asyncio
import gc
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from runstream_schemas.errors import DatabaseError
from runstream_service.servers import postgres
from runstream_service.servers.postgres import PostgresServer
from runstream_service.servers.postgres_orphans import wait_for_orphans
from runstream_service.servers.postgres_programs import binaries, copies
from runstream_service.servers.postgres_users import server_user
from runstream_service.supervision import watch_postgres

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


def ends(pid: int) -> bool:
    """Whether a process is gone, or about to: one that is ending lets go of its files and folder before it is a zombie."""
    deadline = time.monotonic() + 5.0
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not lives(pid)


def run_python(code: str, *arguments: object, restrictions: str = "") -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, restricted as restricted.py says."""
    head = "import sys\nfrom pathlib import Path\nfrom runstream_service.servers.postgres import PostgresServer\n"
    command = [sys.executable, "-c", head + textwrap.dedent(code), *map(str, arguments)]
    if restrictions:
        command = [sys.executable, str(Path(__file__).parents[1] / "restricted.py"), restrictions, *command]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


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


@pytest.mark.attack
def test_nobody_else_can_enter_the_directory(server: PostgresServer) -> None:
    server.start()
    assert server.directory.path.stat().st_mode & 0o777 == 0o700
    assert (server.directory.path / "password").stat().st_mode & 0o777 == 0o600
    assert (server.directory.path / ".s.PGSQL.5432").exists()


@pytest.mark.parametrize("name", ["with blanks in it", 'quo"te', "comma,comma", "ünïcode"])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    server = PostgresServer(tmp_path / name / "pg")
    server.start()
    try:
        assert ask(server, "select 1") == 1
    finally:
        server.stop()


def test_a_disk_that_takes_long_to_make_its_first_files_durable_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes them so goes on by itself, and is not dropped as a child that runs: a warning, at any moment."""
    monkeypatch.setattr(postgres, "SYNC_PATIENCE", 0.1)
    monkeypatch.setattr(postgres, "_SYNC_TREE", "import time; time.sleep(1)")
    server = PostgresServer(tmp_path / "pg")
    server.start()
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 10
    (syncing,) = postgres._syncing_on
    del server
    gc.collect()
    assert syncing.wait(10) == 0
    again = PostgresServer(tmp_path / "pg")
    again.start()
    again.stop()
    assert not postgres._syncing_on


@pytest.mark.attack
def test_long_path_falls_back_to_loopback_with_a_password(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / ("long" * 30) / "pg")
    server.start()
    try:
        assert server.directory.tcp
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
    server, other = PostgresServer(tmp_path / "one"), PostgresServer(tmp_path / "other")
    server.start()
    other.start()
    try:
        ask(server, "create table mine (x int)")
        assert ask(other, "select to_regclass('mine')::text") is None
        server.kill()
        assert ask(other, "select 1") == 1
    finally:
        server.stop()
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
    assert ends(orphan)
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
    os.close(wait_for_orphans(server.directory, patience=0.5))
    assert ends(orphan)
    server.start()
    assert ask(server, "select 1") == 1
    server.stop()


def test_a_pid_file_that_names_another_program_is_no_hindrance(server: PostgresServer) -> None:
    server.start()
    server.kill()
    pid_file = server.directory.data / "postmaster.pid"
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
    (server.directory.path / "data.new").mkdir(parents=True)
    (server.directory.path / "data.new" / "PG_VERSION").write_text("18\n")
    server.start()
    assert ask(server, "select 1") == 1


@pytest.mark.parametrize("version", ["16", "99"])
def test_database_of_another_major_version_is_named(server: PostgresServer, version: str) -> None:
    server.start()
    server.stop()
    (server.directory.data / "PG_VERSION").write_text(version + "\n")
    with pytest.raises(
        DatabaseError, match=rf"made by Postgres {version}, the installed one is \d+; install"
    ):
        server.start()
    (server.directory.data / "PG_VERSION").write_text("18\n")


def test_a_directory_that_is_no_database_is_left_alone(server: PostgresServer) -> None:
    server.directory.data.mkdir(parents=True)
    (server.directory.data / "letter.txt").write_text("dear")
    with pytest.raises(DatabaseError, match="move it away"):
        server.start()
    assert (server.directory.data / "letter.txt").read_text() == "dear"


def test_a_server_that_cannot_start_says_why(server: PostgresServer) -> None:
    server.start()
    server.stop()
    (server.directory.data / "global" / "pg_control").unlink()
    with pytest.raises(DatabaseError, match=r"ended with status \d+: .*pg_control"):
        server.start()


needs_root = pytest.mark.skipif(not ROOT, reason="only root has to become somebody else")


@pytest.fixture(scope="module")
def closed_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs below a directory only their owner may enter."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    copy = next(copies(binaries(), [closed]))
    assert copy.is_relative_to(closed)
    return copy


@pytest.mark.attack
@needs_root
@pytest.mark.parametrize("identity", ["namespace", "drop"])
def test_as_root_behind_closed_directories(tmp_path: Path, closed_programs: Path, identity: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    users = len(pwd.getpwall())
    server = PostgresServer(closed / "pg", identity=identity, programs=closed_programs)
    server.start()
    try:
        assert ask(server, "select 1") == 1
        assert closed.stat().st_mode & 0o777 == 0o700
        assert len(pwd.getpwall()) == users
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert identity == "namespace" or "CapEff:\t0000000000000000" in status  # nothing of root's
    finally:
        server.stop()
    # The same data in the other way: a container may allow today what it refused yesterday.
    other = PostgresServer(closed / "pg", identity={"namespace": "drop", "drop": "namespace"}[identity])
    other.start()
    assert ask(other, "select 1") == 1
    other.stop()


SERVES = """
    import asyncio, asyncpg, os
    server = PostgresServer(Path(sys.argv[1]), programs=Path(sys.argv[2]))
    server.start()
    async def go():
        connection = await asyncpg.connect(server.dsn)
        return await connection.fetchval("select 42")
    print(server.identity, asyncio.run(go()), os.stat(f"/proc/{server.pid}").st_uid)
    server.stop()
"""


@pytest.mark.attack
@needs_root
def test_as_root_without_user_namespaces(tmp_path: Path, closed_programs: Path) -> None:
    done = run_python(SERVES, tmp_path / "pg", closed_programs, restrictions="no-namespaces,no-ptrace")
    assert done.stdout.split() == ["drop", "42", str(server_user())], done.stderr
    with pytest.raises(KeyError):  # nobody else is that user: nobody else can read the data
        pwd.getpwuid(server_user())
    for place in (tmp_path / "pg", tmp_path / "pg" / "data"):
        assert (place.stat().st_uid, place.stat().st_mode & 0o777) == (server_user(), 0o700)


@needs_root
def test_as_root_with_neither_namespaces_nor_other_users(tmp_path: Path) -> None:
    done = run_python(SERVES, tmp_path / "pg", binaries(), restrictions="no-namespaces,no-setuid")
    assert "neither a user namespace nor another user; run as a normal user, or allow" in done.stderr
    assert "or set RUNSTREAM_DATABASE" in done.stderr
    assert not (tmp_path / "pg" / "data").exists()


@needs_root
def test_an_orphan_that_cannot_be_seen_is_waited_for_and_ended(tmp_path: Path) -> None:
    code = """
        import os, signal, time
        from runstream_service.servers.postgres_orphans import users, wait_for_orphans
        server = PostgresServer(Path(sys.argv[1]), identity="drop")
        if sys.argv[2] == "again":
            assert users(server.directory, os.open(server.directory.lock_file, os.O_RDWR)) == {int(sys.argv[3])}
            os.close(wait_for_orphans(server.directory, patience=0.5))
            sys.exit()
        server.start()
        time.sleep(0.1)
        os.kill(server.pid, signal.SIGSTOP)  # the signal of our death will not reach it
        print(server.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    orphan = int(run_python(code, tmp_path / "pg", "first", restrictions="no-ptrace").stdout)
    done = run_python(code, tmp_path / "pg", "again", orphan, restrictions="no-ptrace")
    assert not done.returncode, done.stderr
    assert ends(orphan)


@needs_root
@pytest.mark.parametrize(("user", "identity"), [("nobody", "plain"), ("54321:54321", "namespace")])
def test_as_another_user(tmp_path_factory: pytest.TempPathFactory, user: str, identity: str) -> None:
    if user == "nobody":
        user = "{0.pw_uid}:{0.pw_gid}".format(pwd.getpwnam("nobody"))
    uid, gid = map(int, user.split(":"))
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as programs:
        os.chown(place, uid, gid)
        os.chmod(programs, 0o755)
        open_programs = next(copies(binaries(), [programs]))
        done = run_python(SERVES, Path(place) / "pg", open_programs, restrictions=f"user={user}")
    assert done.stdout.split() == [identity, "42", str(uid)], done.stderr


@pytest.mark.attack
def test_a_copy_of_the_programs_is_made_once_and_mended_when_incomplete(tmp_path: Path) -> None:
    (first,) = copies(binaries(), [tmp_path])
    made = first.stat().st_ctime_ns
    (second,) = copies(binaries(), [tmp_path])
    assert (second, second.stat().st_ctime_ns) == (first, made)
    (first.parent / "share" / "postgresql" / "postgres.bki").unlink()
    (third,) = copies(binaries(), [tmp_path])
    assert third == first
    assert (first.parent / "share" / "postgresql" / "postgres.bki").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == [first.parents[2].name]


@pytest.mark.attack
def test_programs_are_not_taken_from_where_others_can_put_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)  # and not sticky: others may replace what we make
    assert not list(copies(binaries(), [tmp_path, tmp_path / "missing"]))
    tmp_path.chmod(0o1777)
    (copy,) = copies(binaries(), [tmp_path])
    place, program = copy.parents[2], copy / "postgres"
    place.chmod(0o777)
    program.write_text("#!/bin/sh\n")
    assert list(copies(binaries(), [tmp_path])) == [copy]  # made anew
    assert program.stat().st_size == (binaries() / "postgres").stat().st_size
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert not list(copies(binaries(), [tmp_path]))
