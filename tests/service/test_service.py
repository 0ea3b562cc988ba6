"""`runstream up` as a whole: started, raced, killed, moved about, left alone. Real processes, a real Postgres."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from runstream.home.layout import lock_held, lock_owner, read_token, running_service
from runstream_service.servers.postgres_programs import binaries, copies
from runstream_service.servers.postgres_users import server_user

if TYPE_CHECKING:
    from conftest import Shell
    from runstream_service.servers.postgres import PostgresServer

ROOT = os.geteuid() == 0


def postgres_of(shell: Shell) -> int:
    return int((shell.home.postgres / "data" / "postmaster.pid").read_text().split()[0])


@pytest.mark.attack
def test_up_status_down(shell: Shell) -> None:
    said = shell.run("up").stdout
    status = shell.json("status")
    assert status["url"] in said
    assert status["status"] == "up"
    assert status["home"] == str(shell.root)
    assert "already up" in shell.run("up").stdout
    address = urllib.parse.urlsplit(status["url"])
    assert address.hostname == "127.0.0.1"
    with pytest.raises(OSError):  # not even another address of loopback is listened on
        socket.create_connection(("127.0.0.2", address.port or 0), timeout=60)
    assert stat.S_IMODE((shell.root / "spool").stat().st_mode) == 0o700
    postgres = postgres_of(shell)
    assert shell.lives(postgres)
    assert "down" in shell.run("down").stdout
    assert not shell.lives(postgres)
    assert not shell.home.service_file.exists()
    assert shell.run("status", check=False).returncode == 3


@pytest.mark.attack
def test_what_was_logged_can_be_read_by_every_command(shell: Shell) -> None:
    shell.run("up")
    run_id = shell.train(100)
    shell.wait_until(lambda: shell.points(run_id) == 100)
    runs = shell.json("run", "list")
    assert [(run["run_id"], run["status"]) for run in runs] == [(run_id, "Completed")]
    assert shell.json("run", "list", "--query", "[].run_id") == [run_id]
    assert run_id in shell.run("run", "list").stdout
    assert "99" in shell.run("run", "show", run_id).stdout
    assert shell.json("run", "show", run_id)["summaries"]["loss"]["count"] == 100
    assert [item["name"] for item in shell.json("experiment", "list")] == ["embedded"]
    assert shell.run("sql", "select 1 as a, 'x' as b", "-o", "tsv").stdout == "1\tx\n"
    assert shell.run("sql", "select 1 as a", "-o", "yaml").stdout == "- a: 1\n"
    done = shell.run("run", "show", "no-such-run", check=False)
    assert done.returncode == 1
    assert "no-such-run" in done.stderr
    assert "Traceback" not in done.stderr
    findings = {item["check"]: item["result"] for item in shell.json("doctor")}
    assert findings["service"] == findings["clock"] == "ok"


@pytest.mark.skipif(not ROOT, reason="only root has to become somebody else")
def test_as_root_in_a_container_without_user_namespaces(shell: Shell) -> None:
    shell.root.mkdir(mode=0o700)
    restricted = [sys.executable, str(Path(__file__).with_name("restricted.py")), "no-namespaces,no-ptrace"]
    subprocess.run(
        [*restricted, sys.executable, "-m", "runstream", "up"], env=shell.environment(), check=True
    )
    assert os.stat(f"/proc/{postgres_of(shell)}").st_uid == server_user()
    run_id = shell.train(10)
    shell.wait_until(lambda: shell.points(run_id) == 10)


def test_compact_writes_what_was_logged_to_parquet(shell: Shell) -> None:
    shell.run("up")
    run_id = shell.train(500)
    shell.wait_until(lambda: shell.points(run_id) == 500)
    assert "500 points" in shell.run("compact").stdout
    assert list((shell.root / "store" / "metrics").rglob("*.parquet"))
    assert shell.points(run_id) == 500


def test_first_log_starts_the_service_by_itself(shell: Shell) -> None:
    began = time.monotonic()
    run_id = shell.train(10, "run.complete(); assert len(run.get_metrics()['loss']) == 10")
    assert time.monotonic() - began < 30
    assert shell.json("status")["status"] == "up"
    assert shell.points(run_id) == 10


def test_kill_of_everything_loses_nothing(shell: Shell) -> None:
    shell.run("up")
    first = shell.train(1000)
    shell.wait_until(lambda: shell.points(first) == 1000)
    service, postgres = lock_owner(shell.home), postgres_of(shell)
    os.kill(postgres, signal.SIGKILL)
    os.kill(service, signal.SIGKILL)
    shell.wait_until(lambda: not lock_held(shell.home))
    # Nobody serves the home now; what is logged meanwhile lies in the spool.
    shell.variables["RUNSTREAM_AUTOSTART"] = "0"
    second = shell.train(1000)
    shell.run("up")
    assert shell.points(first) == 1000
    shell.wait_until(lambda: shell.points(second) == 1000)


def test_kill_of_the_service_alone_ends_its_postgres_and_it_starts_again(shell: Shell) -> None:
    shell.run("up")
    service, postgres = lock_owner(shell.home), postgres_of(shell)
    os.kill(service, signal.SIGKILL)
    shell.run("up")
    assert lock_owner(shell.home) != service
    shell.wait_until(lambda: not shell.lives(postgres))


def test_postgres_that_crashes_comes_back(shell: Shell) -> None:
    shell.run("up")
    first = shell.train(50)
    shell.wait_until(lambda: shell.points(first) == 50)
    postgres = postgres_of(shell)
    os.kill(postgres, signal.SIGKILL)
    second = shell.train(60)
    shell.wait_until(lambda: shell.json("sql", "select 1 as x"), 60)
    shell.wait_until(lambda: shell.points(second) == 60, 60)
    assert shell.points(first) == 50
    assert postgres_of(shell) != postgres
    assert "Postgres is back" in shell.log()


def test_two_homes_do_not_meet(shells: Callable[[str], Shell]) -> None:
    ours, other = shells("one"), shells("other")
    ours.run("up")
    other.run("up")
    run_id = ours.train(10)
    ours.wait_until(lambda: ours.points(run_id) == 10)
    assert other.json("run", "list") == []
    assert ours.json("status")["url"] != other.json("status")["url"]
    request = urllib.request.Request(
        other.json("status")["url"] + "/api/v1/runs",
        headers={"Authorization": f"Bearer {read_token(ours.home)}"},
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request, timeout=10)
    ours.run("down")
    assert other.json("status")["status"] == "up"


def test_of_racing_services_one_wins(shell: Shell) -> None:
    racing = [shell.start("up", "--foreground") for _ in range(4)]
    shell.up()
    shell.wait_until(
        lambda: sum(process.poll() is not None for process in racing) == 3, 30, "three to give up"
    )
    winner = next(process for process in racing if process.poll() is None)
    assert lock_owner(shell.home) == winner.pid
    for process in racing:
        if process is not winner:
            assert process.returncode == 1
            assert "served already" in process.communicate()[1]


def test_of_racing_trainers_all_find_the_one_service(shell: Shell) -> None:
    code = (
        "from runstream import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'race').start_logging(outputs=False, snapshot_directory=None)\n"
        "run.log('x', 1.0)\nrun.complete()\nassert run.get_metrics() == {'x': 1.0}\n"
        "print(run._client.address().url)"
    )
    trainers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=shell.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(5)
    ]
    said = [trainer.communicate(timeout=90) for trainer in trainers]
    assert [trainer.returncode for trainer in trainers] == [0] * 5, said
    assert len({out for out, _ in said}) == 1
    assert len(shell.json("run", "list")) == 5


def test_port_taken_is_named(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = shell.run("up", "--port", str(port), check=False)
        assert done.returncode == 1
        assert f"127.0.0.1:{port}" in done.stderr
        assert "RUNSTREAM_PORT" in done.stderr
    assert not lock_held(shell.home)
    assert f":{port}" in shell.run("up", "--port", str(port)).stdout


@pytest.mark.parametrize("name", ["a home with blanks", "long" * 40])
def test_home_anywhere(shells: Callable[[str], Shell], name: str) -> None:
    shell = shells(name)
    shell.run("up")
    run_id = shell.train(10)
    shell.wait_until(lambda: shell.points(run_id) == 10)
    assert "10 points" in shell.run("compact").stdout


def test_service_started_by_itself_ends_when_idle_and_comes_back(shell: Shell) -> None:
    shell.variables["RUNSTREAM_IDLE_TIMEOUT"] = "1"
    run_id = shell.train(10, "run.complete(); assert len(run.get_metrics()['loss']) == 10")
    shell.wait_until(lambda: not lock_held(shell.home), 60, "the idle service to end")
    assert "no live run" in shell.log()
    assert shell.points(run_id) == 10  # the reader started it again


def test_live_run_keeps_the_service(shell: Shell) -> None:
    shell.variables |= {"RUNSTREAM_IDLE_TIMEOUT": "4", "RUNSTREAM_HEARTBEAT_INTERVAL": "0.5"}
    code = (
        "import sys\nfrom runstream import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'live').start_logging(outputs=False, snapshot_directory=None)\n"
        "run.log('x', 1.0)\nprint(run.id, flush=True)\nsys.stdin.read()\n"
    )
    trainer = subprocess.Popen(
        [sys.executable, "-c", code],
        env=shell.environment(),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert trainer.stdout is not None
        trainer.stdout.readline()
        shell.up()
        time.sleep(6)
        assert running_service(shell.home)
    finally:
        trainer.communicate()
    shell.wait_until(lambda: not lock_held(shell.home), 60, "the service to end after the run")


def test_service_by_hand_stays(shell: Shell) -> None:
    shell.run("up", "--idle-timeout", "0.2")
    time.sleep(2)
    assert shell.json("status")["status"] == "up"


def test_up_makes_a_service_started_by_itself_stay(shell: Shell) -> None:
    shell.variables["RUNSTREAM_IDLE_TIMEOUT"] = "4"
    shell.train(1, "run.complete(); run.get_metrics()")
    assert "already up" in shell.run("up").stdout
    shell.wait_until(lambda: "asked to stay" in shell.log())
    time.sleep(6)
    assert shell.json("status")["status"] == "up"


def test_service_survives_the_trainer_that_started_it(shell: Shell) -> None:
    code = (
        "import os, signal\nfrom runstream import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'x').start_logging(outputs=False, snapshot_directory=None)\n"
        "run.log('x', 1.0)\nos.killpg(0, signal.SIGKILL)\n"
    )
    trainer = subprocess.Popen(
        [sys.executable, "-c", code],
        env=shell.environment(),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    assert trainer.wait(30) == -signal.SIGKILL
    # Killed while the service was still starting in the trainer's process group: the next reader starts it then.
    assert len(shell.json("run", "list")) <= 1
    shell.wait_until(lambda: len(shell.json("run", "list")) == 1)


def test_signal_ends_it_cleanly_within_seconds(shell: Shell) -> None:
    process = shell.start("up", "--foreground")
    shell.up()
    postgres = postgres_of(shell)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0, process.communicate()
    assert time.monotonic() - began < 10
    assert not shell.lives(postgres)
    assert not lock_held(shell.home)


def test_database_of_a_newer_runstream_is_refused(shell: Shell) -> None:
    shell.run("up")
    code = (
        "import asyncio, os\nfrom pathlib import Path\n"
        "from runstream_service.servers.postgres import PostgresServer\nimport asyncpg\n"
        "async def go():\n"
        "    c = await asyncpg.connect(PostgresServer(Path(os.environ['RUNSTREAM_HOME'], 'postgres')).dsn)\n"
        "    await c.execute(\"insert into schema_migrations values (999, 'future', 'x')\")\n"
        "asyncio.run(go())"
    )
    shell.python(code)
    shell.run("down")
    done = shell.run("up", check=False)
    assert done.returncode == 1
    assert "schema version 999" in done.stderr
    assert "pip install -U" in done.stderr
    assert not lock_held(shell.home)


def test_database_elsewhere_instead_of_an_embedded_one(shell: Shell, postgres_server: PostgresServer) -> None:
    async def create() -> None:
        connection = await asyncpg.connect(postgres_server.dsn)
        await connection.execute("create database elsewhere")
        await connection.close()

    asyncio.run(create())
    shell.variables["RUNSTREAM_DATABASE"] = postgres_server.dsn.replace("@/postgres", "@/elsewhere")
    shell.run("up")
    run_id = shell.train(10)
    shell.wait_until(lambda: shell.points(run_id) == 10)
    assert not shell.home.postgres.exists()
    findings = {item["check"]: item["result"] for item in shell.json("doctor")}
    assert findings["database"] == "ok"


def test_home_of_a_newer_runstream_is_refused(shell: Shell) -> None:
    shell.root.mkdir()
    (shell.root / "version").write_text("99\n")
    for words in (["up"], ["status"], ["run", "list"]):
        done = shell.run(*words, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
    assert "layout 99" in shell.run("up", check=False).stderr


def test_sync_stores_a_spool_from_elsewhere(shells: Callable[[str], Shell]) -> None:
    laptop, office = shells("laptop"), shells("office")
    laptop.variables["RUNSTREAM_AUTOSTART"] = "0"
    run_id = laptop.train(200)
    assert not lock_held(laptop.home)
    said = office.run("sync", str(laptop.root)).stdout
    assert "200 points stored" in said
    assert office.points(run_id) == 200
    assert "0 points stored" in office.run("sync", str(laptop.root)).stdout
    assert office.points(run_id) == 200
    done = office.run("sync", str(office.root), check=False)
    assert done.returncode == 1
    assert "delivers what lies there" in done.stderr


@pytest.mark.attack
@pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")
def test_as_a_normal_user() -> None:
    nobody = pwd.getpwnam("nobody")
    code = (
        "import sys, json; from runstream_service.cli.main import main\n"
        "assert main(['up']) == 0\n"
        "from runstream import Experiment, Workspace\n"
        "run = Experiment(Workspace.from_config(), 'x').start_logging(outputs=False, snapshot_directory=None)\n"
        "run.log('x', 2.5)\nrun.complete()\nprint(json.dumps(run.get_metrics()))\n"
        "assert main(['down']) == 0\n"
    )
    user = [str(Path(__file__).with_name("restricted.py")), f"user={nobody.pw_uid}:{nobody.pw_gid}"]
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as programs:
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
        os.chmod(programs, 0o755)
        # Ours may lie below closed directories, which only this test's Python may pass.
        package = next(copies(binaries(), [programs])).parents[1]
        (package / "__init__.py").touch()
        path = os.pathsep.join([str(package.parent), *(entry for entry in sys.path if Path(entry).is_dir())])
        environment = {**os.environ, "PYTHONPATH": path, "RUNSTREAM_HOME": f"{place}/home", "HOME": place}
        done = subprocess.run(
            [sys.executable, *user, sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            timeout=90,
            check=False,
            cwd=place,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-2]) == {"x": 2.5}
        assert Path(place, "home", "postgres", "data").stat().st_uid == nobody.pw_uid
