"""Whose connection it is: what Linux lists of sockets, and what must not be believed of it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runstream_query.http import connection_owner
from runstream_query.http.app import owner_enters
from runstream_query.http.connection_owner import owner, owner_may_enter, why_unknown
from runstream_schemas.settings import Settings

pytestmark = pytest.mark.attack

STRANGER = 23456
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
SERVER, PEER = ("127.0.0.1", 8080), ("127.0.0.1", 40000)
THERE, HERE = "0100007F:9C40", "0100007F:1F90"


def line(local: str, remote: str, state: str = "01", uid: int = 1000, inode: int = 7) -> str:
    return f"   1: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid:5d} 0 {inode} 1 0000 20 4 30 10 -1\n"


def table(directory: Path, tcp: str = "", tcp6: str = "", uid_map: str = "0 0 4294967295") -> Path:
    (directory / "net").mkdir(exist_ok=True)
    (directory / "self").mkdir(exist_ok=True)
    (directory / "net" / "tcp").write_text(HEAD + tcp)
    (directory / "net" / "tcp6").write_text(HEAD + tcp6)
    (directory / "self" / "uid_map").write_text(uid_map)
    return directory


@contextmanager
def connection(server: str = "127.0.0.1", client: int = socket.AF_INET) -> Iterator[socket.socket]:
    """The accepted end of a connection within this process."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family) as listener, socket.socket(client) as other:
        listener.bind((server, 0))
        listener.listen()
        port = listener.getsockname()[1]
        to = {"::1": "::1", "::": "::1"}.get(
            server, "127.0.0.1" if client == socket.AF_INET else "::ffff:127.0.0.1"
        )
        other.connect((to if client == socket.AF_INET6 or family == socket.AF_INET else "127.0.0.1", port))
        accepted, _ = listener.accept()
        with accepted:
            yield accepted


def ends(accepted: socket.socket) -> tuple[tuple[str, int], tuple[str, int]]:
    return accepted.getsockname()[:2], accepted.getpeername()[:2]


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("127.0.0.1", socket.AF_INET6),
        ("::1", socket.AF_INET6),
        ("::", socket.AF_INET6),
        ("::", socket.AF_INET),
    ],
)
def test_ones_own_connection_is_known(server: str, client: int) -> None:
    with connection(server, client) as accepted:
        assert owner(*ends(accepted)) == os.geteuid()


def test_who_hangs_up_is_nobody() -> None:
    """A socket nobody holds any more is listed with user 0."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        other = socket.create_connection(listener.getsockname())
        other.sendall(b"DELETE ")
        accepted, _ = listener.accept()
        with accepted:
            where = ends(accepted)
            assert owner(*where) == os.geteuid()
            other.shutdown(socket.SHUT_WR)
            assert owner(*where) is None
            other.close()
            assert owner(*where) is None


@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
def test_a_stranger_is_known(server: str) -> None:
    """Run by another user where one may become one, else on what Linux would list."""
    if os.geteuid() != 0:
        assert not owner_may_enter(os.geteuid() + 1)
        return
    with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET) as listener:
        listener.bind((server, 0))
        listener.listen()
        script = f"exec 3<>/dev/tcp/{server}/{listener.getsockname()[1]}; read -u 3"
        with subprocess.Popen(["/bin/bash", "-c", script], user=STRANGER, cwd="/") as stranger:
            accepted, _ = listener.accept()
            with accepted:
                assert owner(*ends(accepted)) == STRANGER
                assert not owner_may_enter(STRANGER)
                stranger.kill()
                stranger.wait()
                assert owner(*ends(accepted)) is None


def test_lines_that_say_nothing(tmp_path: Path) -> None:
    good = line(THERE, HERE)
    assert owner(SERVER, PEER, table(tmp_path, good)) == 1000
    for other in (
        line(HERE, THERE),  # our own end
        line(THERE, HERE, state="06", uid=0, inode=0),  # closed, and shown with user 0
        line(THERE, HERE, uid=0, inode=0),
        line(THERE, HERE, state="08"),
        line(THERE, HERE, state="0A"),
        line(THERE, "0100007F:1F91"),
        line("0200007F:9C40", HERE),
        "",
    ):
        assert owner(SERVER, PEER, table(tmp_path, other)) is None
        assert owner(SERVER, PEER, table(tmp_path, other + good)) == 1000
    assert owner(SERVER, ("10.0.0.1", 40000), table(tmp_path, line("0100000A:9C40", HERE))) is None
    mapped = line("0000000000000000FFFF00000100007F:9C40", "0000000000000000FFFF00000100007F:1F90")
    assert owner(SERVER, PEER, table(tmp_path, tcp6=mapped)) == 1000
    assert owner(SERVER, PEER, tmp_path / "none") is None


def test_root_is_believed_when_it_is_seen_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading the state of a socket and its user, Linux may have seen it closed."""
    root = line(THERE, HERE, uid=0, inode=9)
    assert owner(SERVER, PEER, table(tmp_path, root)) == 0
    looks = iter([(0, "9"), None, (0, "9"), (0, "10")])
    monkeypatch.setattr(connection_owner, "_look", lambda *_: next(looks))
    assert owner(SERVER, PEER) is None
    assert owner(SERVER, PEER) is None


def test_where_it_cannot_be_known(tmp_path: Path) -> None:
    assert why_unknown(table(tmp_path)) == ""
    assert why_unknown(table(tmp_path, uid_map="         0          0 4294967295\n")) == ""
    assert "user namespace" in why_unknown(table(tmp_path, uid_map="0 1000 1"))
    assert "user namespace" in why_unknown(table(tmp_path, uid_map="0 100000 65536"))
    assert "cannot be read" in why_unknown(tmp_path / "none")


def test_the_owner_enters_only_where_nobody_passes_requests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_owner, "why_unknown", lambda: "")
    assert owner_enters(Settings())
    assert not owner_enters(Settings(trusted_proxies="127.0.0.1"))
    assert not owner_enters(Settings(owner_access=False))
    monkeypatch.setattr(connection_owner, "why_unknown", lambda: "it is no Linux")
    assert not owner_enters(Settings())
