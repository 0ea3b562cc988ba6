"""The home: where everything of the embedded mode lies, who serves it, and what may not lie on a network filesystem.

    $RUNSTREAM_HOME/
        version         layout of this directory
        spool/          what training processes wrote and nobody has stored yet
        store/          Parquet files and artifacts
        postgres/       the embedded database and its socket
        log/            logs of the services
        consoles/       what runs printed, until it is sent; see `consoles.capture`
        imports/        how far other tools' files were taken over; see `importers.positions`
        token           what a client must send to the server
        service.lock    held (flock) by the process that serves this home
        service.json    its address; true only while the lock is held
        database.json   only when the home is on a network filesystem: the host and local directory of the database

Standard library only, and quick to import: every training process reads this on the way to its first `log()`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from runstream_schemas.errors import ServiceError
from runstream_schemas.locks import is_held, take, write_owner
from runstream_schemas.ownership import is_ours, make_private
from runstream_schemas.settings import Settings

from .filesystems import is_network, local_directory

LAYOUT = 1
"""Version of the layout above. A home of a newer one is refused, an older one is converted when opened."""


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of one home. `spool` and `postgres` lie elsewhere when `root` is on a network filesystem."""

    root: Path
    spool: Path
    postgres: Path

    @property
    def store(self) -> Path:
        """Parquet files and artifacts."""
        return self.root / "store"

    @property
    def log(self) -> Path:
        """Logs of the services."""
        return self.root / "log"

    @property
    def token_file(self) -> Path:
        """The server's token, readable by the owner only."""
        return self.root / "token"

    @property
    def service_file(self) -> Path:
        """Address of the running service."""
        return self.root / "service.json"

    @property
    def lock_file(self) -> Path:
        """Held by the process that serves this home."""
        return self.root / "service.lock"

    @property
    def database_file(self) -> Path:
        """Where the database lies, if not in the home."""
        return self.root / "database.json"


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """A service that answers.

    Attributes:
        url: address of its HTTP API, without a trailing slash.
        pid: its process, 0 if it is not of this machine.
        host: name of its machine.
        started: when it was ready, ISO 8601 UTC.
        version: the version of the runstream it runs.
        kafka: bootstrap servers it reads from; empty in the embedded mode.
        ends_when_idle: it was started by itself, and ends when nothing needs it.
        browsers_need_ticket: it cannot tell its owner's browser by the connection.
        token: what to send as bearer token; never written to service.json.
    """

    url: str
    pid: int = 0
    host: str = ""
    started: str = ""
    version: str = ""
    kafka: str = ""
    ends_when_idle: bool = False
    browsers_need_ticket: bool = False
    token: str = ""


def open_home(settings: Settings, *, create: bool = True, mounts: str | None = None) -> Home:
    """Find a home's directories, and make them when they are missing.

    Args:
        settings: `home` and `spool` are read.
        create: make missing directories; without it nothing is written.
        mounts: text of a mounts table to use instead of the machine's own.

    Raises:
        ServiceError: the home cannot be made, belongs to another user, was laid out by a newer runstream, or lies on a
            network filesystem and no local directory can take its database and spool.
    """
    root = settings.home_path
    if create:
        try:
            make_private(root)
        except OSError as error:
            raise ServiceError(
                f"the home {root} cannot be made ({error.strerror}); set RUNSTREAM_HOME to a directory you can write"
            ) from None
    _check_owner(root, settings)
    local = root
    if is_network(root, mounts):
        local = local_directory(root, mounts, create=create)
    spool = settings.spool_path if settings.spool else local / "spool"
    home = Home(root=root, spool=spool, postgres=local / "postgres")
    _check_layout(home, create=create)
    if create:
        for path in (home.spool, home.log):
            make_private(path)
    return home


def _check_owner(root: Path, settings: Settings) -> None:
    """A home holds the token, the code of runs and the database: one that somebody else prepared is not used unasked."""
    if root.exists() and not is_ours(root, settings.safe_directory):
        raise ServiceError(
            f"the home {root} belongs to another user (uid {root.stat().st_uid}); set RUNSTREAM_HOME to a directory of your "
            f"own, or, if you trust its owner, RUNSTREAM_SAFE_DIRECTORY={root}"
        )


def with_local_spool(settings: Settings) -> Settings:
    """The settings with `spool` filled in where the home lies on a network filesystem and none was given.

    Raises:
        ServiceError: no local directory can be written.
    """
    root = settings.home_path
    if settings.spool or not is_network(root):
        return settings
    return replace(settings, spool=str(local_directory(root, None, create=True) / "spool"))


def _check_layout(home: Home, *, create: bool) -> None:
    marker = home.root / "version"
    try:
        number = int(marker.read_text().split()[0])
    except FileNotFoundError:
        if create:
            _write_atomically(marker, f"{LAYOUT}\n", 0o644)
        return
    except (OSError, ValueError, IndexError):
        raise ServiceError(
            f"{marker}: not a version of a home; restore the file (it holds the number {LAYOUT})"
        ) from None
    if number > LAYOUT:
        raise ServiceError(
            f"the home {home.root} was laid out by a newer runstream (layout {number}, this one knows {LAYOUT}); "
            "upgrade with `pip install -U runstream`, or set RUNSTREAM_HOME to another directory"
        )


def claim_database(home: Home) -> None:
    """Write down where the database of a home on a network filesystem lies; call with the lock held.

    Raises:
        ServiceError: another machine has it.
    """
    if home.postgres.parent == home.root:
        return
    host = socket.gethostname()
    record = _read_json(home.database_file)
    if record and record.get("host") != host:
        raise ServiceError(
            f"the home {home.root} is on a network filesystem and its database lies on the machine {record.get('host')} "
            f"({record.get('path')}); start the service there and set RUNSTREAM_URL here, or set RUNSTREAM_HOME to a local "
            "directory"
        )
    if record and record.get("path") != str(home.postgres):
        raise ServiceError(
            f"the database of the home {home.root} lies in {record.get('path')}, but this process would use "
            f"{home.postgres}; set XDG_STATE_HOME as it was, or move the directory and remove {home.database_file}"
        )
    if not record:
        _write_atomically(
            home.database_file, json.dumps({"host": host, "path": str(home.postgres)}) + "\n", 0o644
        )


# --- the service of a home ------------------------------------------------------------------------------------------


class ServiceLock:
    """The lock of a home, held by the one process that serves it and freed by the kernel when that dies."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, home: Home) -> None:
        self.path = home.lock_file
        self._descriptor = -1

    def acquire(self, patience: float = 0.3) -> bool:
        """Take the lock; False if another process holds it for longer than `patience` seconds.

        The patience is for those who only look: `lock_held` shares the lock for some microseconds.
        """
        try:
            descriptor = take(self.path, patience)
        except OSError as error:
            raise ServiceError(
                f"{self.path} cannot be locked ({error.strerror}); use a filesystem with locks"
            ) from None
        if descriptor is None:
            return False
        self._descriptor = descriptor
        write_owner(descriptor)
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock_held(home: Home) -> bool:
    """Whether a process serves this home, or is about to."""
    return is_held(home.lock_file)


def lock_owner(home: Home) -> int:
    """Process that took the lock last, 0 when unknown. Meaningful while `lock_held`."""
    try:
        return int(home.lock_file.read_text())
    except (OSError, ValueError):
        return 0


def read_service(home: Home) -> ServiceInfo | None:
    """The service of a home as it wrote itself down, with the home's token. Meaningful while `lock_held`."""
    record = _read_json(home.service_file)
    if not record or not isinstance(record.get("url"), str):
        return None
    known: dict[str, Any] = {
        item.name: record[item.name] for item in fields(ServiceInfo) if item.name in record
    }
    return ServiceInfo(**{**known, "token": read_token(home)})


def running_service(home: Home) -> ServiceInfo | None:
    """The service of a home if it is up and ready."""
    info = read_service(home) if lock_held(home) else None
    if info is None or info.host != socket.gethostname():
        return info
    # A service that was killed leaves its file, and the next one has the lock some moments before it removes that.
    try:
        os.kill(info.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return info if info.pid == lock_owner(home) else None


def write_service(home: Home, info: ServiceInfo) -> None:
    """Make a service known; call with the lock held and the server ready."""
    record = asdict(info)
    del record["token"]  # it has a file of its own
    _write_atomically(home.service_file, json.dumps(record, indent=1) + "\n", 0o600)


def forget_service(home: Home) -> None:
    """Remove service.json; call with the lock held."""
    with contextlib.suppress(FileNotFoundError):
        home.service_file.unlink()


def spooled_sources(home: Home) -> set[str]:
    """Directories of the sources in the spool."""
    with contextlib.suppress(FileNotFoundError):
        return {name for name in os.listdir(home.spool) if len(name) == 32}
    return set()


def read_token(home: Home) -> str:
    """Token of the home's server; empty when there is none yet or it is not ours to read."""
    try:
        with open(
            os.open(home.token_file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), encoding="ascii"
        ) as stream:
            # Not one that somebody else put there: they would know it.
            return stream.read().strip() if os.fstat(stream.fileno()).st_uid in _owners(home) else ""
    except (OSError, ValueError):
        return ""


def _owners(home: Home) -> set[int]:
    return {os.geteuid(), 0, home.root.stat().st_uid}


def create_token(home: Home) -> str:
    """Token of the home's server, made on first use; only the owner may read the file."""
    with contextlib.suppress(FileExistsError):
        # Written beside and linked into place: a reader finds a whole token or none, and the first of two writers wins.
        draft = _draft(home.token_file)
        with _private(draft) as descriptor:
            os.write(descriptor, secrets.token_urlsafe(32).encode() + b"\n")
        try:
            os.link(draft, home.token_file)
        except PermissionError:  # a filesystem without hard links
            os.rename(draft, home.token_file)
        finally:
            draft.unlink(missing_ok=True)
    token = read_token(home)
    if not token:
        raise ServiceError(
            f"{home.token_file} is empty, a link or somebody else's, or cannot be read; remove it, and the service makes "
            "a new one"
        )
    return token


@contextlib.contextmanager
def _private(path: Path) -> Iterator[int]:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _draft(path: Path) -> Path:
    """A name beside `path` that no other thread or process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")


def _read_json(path: Path) -> dict[str, object]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_atomically(path: Path, text: str, mode: int) -> None:
    draft = _draft(path)
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    os.replace(draft, path)
