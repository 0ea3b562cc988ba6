"""The directory of the embedded Postgres: what lies where, and what the server wrote there about itself.

<directory>/data            what initdb made
<directory>/lock            held by every process of the server
<directory>/.s.PGSQL.5432   the socket (the directory is closed to others)
<directory>/password        of the one role, for loopback TCP where the path is too long for a socket
<directory>/postgres.log
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from runstream_schemas.errors import DatabaseError

ROLE = "runstream"
DATABASE = "postgres"
SOCKET_PORT = 5432
MAX_SOCKET_PATH = 100
"""Longest socket path used, in bytes; the kernel's own limit is 107 on Linux, 103 on macOS."""
MAX_LOG_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class PostgresDirectory:
    """A directory of a server (see the module's head)."""

    path: Path

    @property
    def data(self) -> Path:
        """The data directory proper."""
        return self.path / "data"

    @property
    def log_file(self) -> Path:
        """What the server has to say."""
        return self.path / "postgres.log"

    @property
    def lock_file(self) -> Path:
        """What every process of the server holds."""
        return self.path / "lock"

    @property
    def password_file(self) -> Path:
        """The role's password."""
        return self.path / "password"

    @property
    def tcp(self) -> bool:
        """Whether the path cannot hold a socket, so that loopback TCP with a password is used."""
        path = os.fsencode(self.path / f".s.PGSQL.{SOCKET_PORT}")
        return len(path) > MAX_SOCKET_PATH or b"," in path  # a comma separates hosts in the client's eyes

    def dsn(self, port: int = 0) -> str:
        """Address of the database; holds the password where TCP is used.

        Args:
            port: the TCP port; 0: the one a running server wrote down.
        """
        if self.tcp:
            password = self.password_file.read_text().strip()
            port = port or self.recorded_port()
            return f"postgresql://{ROLE}:{quote(password, safe='')}@127.0.0.1:{port}/{DATABASE}"
        return f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(self.path), safe='')}&port={SOCKET_PORT}"

    def make(self) -> None:
        """Make the directory if it is missing, closed to others; a log that grew long is put aside.

        Raises:
            DatabaseError: it cannot be made or closed.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o700)
        except OSError as error:
            raise DatabaseError(
                f"the database directory {self.path} cannot be made or closed to others ({error.strerror}); "
                "set RUNSTREAM_HOME to a directory you own"
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if self.log_file.stat().st_size > MAX_LOG_BYTES:
                self.log_file.replace(self.log_file.with_suffix(".log.1"))

    def check_version(self, installed: int) -> None:
        """Compare the data's version with the programs'.

        Raises:
            DatabaseError: they differ.
        """
        made_by = int((self.data / "PG_VERSION").read_text().split()[0])
        if made_by != installed:
            raise DatabaseError(
                f"the database in {self.data} was made by Postgres {made_by}, the installed one is {installed}; install the "
                f"runstream that made it, or move {self.path} away and start with an empty database (Parquet files stay "
                "readable)"
            )

    def state(self, pid: int) -> str:
        """What the postmaster of this process id wrote about itself: `starting`, `ready`, `stopping`; empty when nothing."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return ""
        return lines[7].strip() if len(lines) >= 8 and lines[0] == str(pid) else ""

    def recorded_port(self) -> int:
        """Port of a server another process started here.

        Raises:
            DatabaseError: none runs.
        """
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[3])
        except (OSError, IndexError, ValueError):
            raise DatabaseError(
                f"no Postgres runs in {self.path}; start the service with `runstream up`"
            ) from None

    def recorded_pid(self) -> int:
        """The postmaster that wrote itself down last, 0 if none did."""
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return 0

    def log_size(self) -> int:
        """Bytes the server has said."""
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def last_log(self) -> str:
        """The last lines of that, for a message."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, self.log_file.stat().st_size - 4096))
                lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        except OSError:
            lines = []
        return " / ".join(lines[-3:]) + f" (more in {self.log_file})"
