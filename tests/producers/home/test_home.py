"""The home: layout, lock, token, and what happens on a network filesystem."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from runstream.home.autostart import log_file
from runstream.home.filesystems import filesystem, is_network
from runstream.home.layout import (
    ServiceInfo,
    ServiceLock,
    claim_database,
    create_token,
    forget_service,
    lock_held,
    lock_owner,
    open_home,
    read_service,
    read_token,
    running_service,
    spooled_sources,
    write_service,
)
from runstream_schemas.errors import ServiceError
from runstream_schemas.settings import Settings

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /mnt nfs4 rw 0 0
/dev/sdb1 /mnt/disk xfs rw 0 0
//nas/share /media/my\\040share cifs rw 0 0
user@host: /sshfs fuse.sshfs rw 0 0
tmpfs /mnt/over nfs rw 0 0
tmpfs /mnt/over tmpfs rw 0 0
"""


def settings_for(root: Path) -> Settings:
    return Settings.load({"RUNSTREAM_HOME": str(root)})


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/home/me/runs", "ext4", False),
        ("/mnt/runs", "nfs4", True),
        ("/mnt", "nfs4", True),
        ("/mntain", "ext4", False),
        ("/mnt/disk/runs", "xfs", False),
        ("/media/my share/runs", "cifs", True),
        ("/sshfs/a", "fuse.sshfs", True),
        ("/mnt/over/a", "tmpfs", False),
    ],
)
def test_filesystem_of_a_path(path: str, kind: str, network: bool) -> None:
    assert filesystem(Path(path), MOUNTS) == kind
    assert is_network(Path(path), MOUNTS) is network


def test_a_sandbox_whose_own_disk_is_9p_counts_as_local() -> None:
    mounts = "none / 9p rw 0 0\nhost /data 9p rw 0 0\n"
    assert not is_network(Path("/home/me"), mounts)
    assert is_network(Path("/data/x"), mounts)


def test_this_machines_own_table_is_read(tmp_path: Path) -> None:
    assert filesystem(tmp_path) != ""


def test_home_on_a_network_filesystem_keeps_spool_and_database_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, state = tmp_path / "shared" / "home", tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    mounts = f"/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path / 'shared'} nfs rw 0 0\n"
    home = open_home(settings_for(shared), mounts=mounts)
    assert home.store == shared / "store"
    assert home.spool.is_relative_to(state)
    assert home.postgres.is_relative_to(state)
    assert home.postgres.parent.stat().st_mode & 0o777 == 0o700
    claim_database(home)
    claim_database(home)  # the same machine again
    assert json.loads(home.database_file.read_text()) == {
        "host": socket.gethostname(),
        "path": str(home.postgres),
    }
    assert open_home(settings_for(shared), mounts=mounts) == home
    assert open_home(
        replace(settings_for(shared), spool="/elsewhere"), create=False, mounts=mounts
    ).spool == Path("/elsewhere")
    home.database_file.write_text(json.dumps({"host": "node17", "path": "/x"}))
    with pytest.raises(ServiceError, match=r"lies on the machine node17 .*RUNSTREAM_URL"):
        claim_database(home)


def test_no_local_directory_at_all_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(
        ServiceError, match=r"network filesystem \(lustre\).*RUNSTREAM_SPOOL and RUNSTREAM_DATABASE"
    ):
        open_home(settings_for(tmp_path / "home"), mounts="mds:/fs / lustre rw 0 0\n")


def test_home_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    home = open_home(settings_for(tmp_path))
    (home.root / "version").write_text("9\n")
    with pytest.raises(ServiceError, match=r"layout 9, this one knows 1.*pip install -U"):
        open_home(settings_for(tmp_path))
    (home.root / "version").write_text("what?")
    with pytest.raises(ServiceError, match="not a version"):
        open_home(settings_for(tmp_path))


def test_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="set RUNSTREAM_HOME"):
        open_home(settings_for(tmp_path / "file" / "home"))


def test_looking_makes_nothing(tmp_path: Path) -> None:
    open_home(settings_for(tmp_path / "home"), create=False)
    assert not (tmp_path / "home").exists()


def test_lock_has_one_owner_and_dies_with_it(tmp_path: Path) -> None:
    home = open_home(settings_for(tmp_path))
    assert not lock_held(home)
    code = (
        "import time; from runstream.home.layout import *; from runstream_schemas.settings import Settings\n"
        "lock = ServiceLock(open_home(Settings.load())); print(lock.acquire(), flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RUNSTREAM_HOME": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "True\n"
    assert lock_held(home)
    assert lock_owner(home) == owner.pid
    mine = ServiceLock(home)
    assert not mine.acquire(patience=0.05)
    owner.kill()
    owner.communicate()
    assert not lock_held(home)
    assert mine.acquire()
    mine.release()


def test_those_who_look_do_not_keep_a_service_from_starting(tmp_path: Path) -> None:
    home = open_home(settings_for(tmp_path))
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            lock_held(home)

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(50):
            lock = ServiceLock(home)
            assert lock.acquire()
            lock.release()
    finally:
        done.set()
        for looker in lookers:
            looker.join()


@pytest.mark.attack
def test_service_file_is_whole_private_and_without_the_token(tmp_path: Path) -> None:
    home = open_home(settings_for(tmp_path))
    token = create_token(home)
    info = ServiceInfo(url="http://127.0.0.1:1", pid=7, host="h", started="now", version="1", token=token)
    write_service(home, info)
    assert read_service(home) == info
    assert token not in home.service_file.read_text()
    assert home.service_file.stat().st_mode & 0o077 == 0
    assert running_service(home) is None  # nobody holds the lock: what the file says is over
    home.service_file.write_text("{ torn")
    assert read_service(home) is None
    forget_service(home)
    forget_service(home)


def test_file_of_a_killed_service_is_not_believed(tmp_path: Path) -> None:
    home = open_home(settings_for(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_service(home, ServiceInfo(url="http://127.0.0.1:1", pid=gone.pid, host=socket.gethostname()))
    lock = ServiceLock(home)
    assert lock.acquire()  # by the next service, which has not got to removing the file
    assert running_service(home) is None
    write_service(home, ServiceInfo(url="http://127.0.0.1:2", pid=os.getpid(), host=socket.gethostname()))
    assert running_service(home) is not None
    lock.release()


@pytest.mark.attack
def test_token_is_made_once_and_private(tmp_path: Path) -> None:
    home = open_home(settings_for(tmp_path))
    tokens: list[str] = []
    makers = [threading.Thread(target=lambda: tokens.append(create_token(home))) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(set(tokens)) == 1
    assert len(tokens[0]) >= 32
    assert home.token_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.root.iterdir() if path.name.startswith(".token")] == []


def test_the_sources_in_the_spool(tmp_path: Path) -> None:
    home = open_home(settings_for(tmp_path))
    assert spooled_sources(home) == set()
    for name in ("a" * 32, "spare", "procs"):
        (home.spool / name).mkdir()
    assert spooled_sources(home) == {"a" * 32}


def test_the_home_imports_nothing_heavy() -> None:
    code = (
        "import sys; import runstream.home.layout, runstream.home.autostart; "
        "print([m for m in ('numpy', 'asyncio', 'subprocess', 'msgpack', 'socketserver') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.attack
def test_a_home_that_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    open_home(settings_for(tmp_path / "not" / "yet" / "there"))
    for folder in (tmp_path / "not", tmp_path / "not" / "yet" / "there"):
        assert folder.stat().st_mode & 0o777 == 0o700
    given = tmp_path / "given"
    given.mkdir(0o750)
    open_home(settings_for(given))
    assert given.stat().st_mode & 0o777 == 0o750  # a group's


@pytest.mark.attack
def test_a_home_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "theirs"
    root.mkdir()
    if os.getuid() == 0:
        os.chown(root, 4711, 4711)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    for create in (True, False):
        with pytest.raises(ServiceError, match=r"belongs to another user \(uid \d+\); set RUNSTREAM_HOME"):
            open_home(settings_for(root), create=create)
    assert list(root.iterdir()) == []
    assert open_home(replace(settings_for(root), safe_directory=str(tmp_path))).root == root


@pytest.mark.attack
def test_a_token_that_somebody_else_prepared_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = open_home(settings_for(tmp_path))
    (tmp_path / "known").write_text("known to others\n")
    home.token_file.symlink_to(tmp_path / "known")
    assert read_token(home) == ""
    with pytest.raises(ServiceError, match=r"token is empty, a link or somebody else's, .*remove it"):
        create_token(home)
    home.token_file.unlink()
    home.token_file.write_text("known to others\n")
    if os.getuid() == 0:
        os.chown(home.token_file, 4711, 4711)
    else:
        monkeypatch.setattr("runstream.home.layout._owners", lambda home: {4711})
    assert read_token(home) == ""


@pytest.mark.attack
def test_logs_of_the_service_follow_no_link(tmp_path: Path) -> None:
    home = open_home(settings_for(tmp_path))
    (tmp_path / "important").write_text("x")
    (home.log / "service.log").symlink_to(tmp_path / "important")
    with pytest.raises(OSError, match=r"service\.log"):
        log_file(home, "service")
    assert (tmp_path / "important").read_text() == "x"
