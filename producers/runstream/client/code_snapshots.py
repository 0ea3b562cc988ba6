"""Snapshots of source folders: what is in one, its id by content, and its way to the service.

Only contents the service lacks are sent. A snapshot's id is the digest of its list of files, so the same content has the
same id on every machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from runstream_schemas.settings import Settings
from runstream_schemas.source_snapshot import SourceFile, path_problem, snapshot_id

from ..exceptions import ServiceException, SnapshotException
from .http import AWAY_TIMEOUT, ServiceClient
from .source_folder import check_no_home, source_files

MAX_FILES = 2000
"""Most files of a snapshot, unless the environment variable `AML_SNAPSHOT_NO_FILE_LIMIT` is set."""

_PIECE = 1 << 20
_SENDERS = 4
_SETTLED_NS = 2_000_000_000  # a file changed this recently may change again within one tick of its clock
_BUSY_NS = 10_000_000_000  # one written this recently is probably being written now

_log = logging.getLogger("runstream")
_said: set[str] = set()  # folders of which it was said once what is left out
_digests: dict[str, tuple[tuple[int, int, int], str]] = {}  # path: (size, mtime, inode), SHA-256


class ContentChanged(Exception):
    """A file is not what it was when the snapshot was taken."""


@dataclass(frozen=True, slots=True)
class CodeSnapshot:
    """A directory's files as they were.

    Attributes:
        id: 64 hexadecimal digits.
        files: what is in it.
        sources: where the content of each SHA-256 lies on this machine.
    """

    id: str
    files: list[SourceFile]
    sources: dict[str, str]

    def open(self, sha256: str) -> BufferedReader:
        """A content, from its beginning; its digest is checked by whoever takes it."""
        try:
            return open(self.sources[sha256], "rb")
        except OSError as error:
            raise ContentChanged(str(error)) from None

    def document(self) -> bytes:
        """As the service takes it."""
        return json.dumps({"files": [file_record(file) for file in self.files]}).encode()


def file_record(file: SourceFile) -> dict[str, object]:
    """A file as the service lists it."""
    return {"path": file.path, "size": file.size, "sha256": file.sha256, "executable": file.executable}


def take(
    path: Path, settings: Settings, leave_out: Iterable[Path] = (), copies: Path | None = None
) -> CodeSnapshot:
    """Read a directory, or a single file, as it is now.

    What `.amlignore` names (`.gitignore` if there is none) is left out, and git's own directory, and the home; so are links
    that lead out of the directory, and, with a warning, files that hold passwords or keys by their name (a line `!name` in
    `.amlignore` takes one in), and those whose name the service cannot hold or that cannot be read.

    Args:
        path: a directory or a file.
        settings: `snapshot_limit` and the home are read.
        leave_out: directories in it that do not belong to it.
        copies: directory that files which are being written are copied to, as far as they go now; None: all stay where
            they are, and one that is written meanwhile is `ContentChanged` when it is stored.

    Raises:
        SnapshotException: there is no such path, it is the user's home or the root, or it is larger or has more files than a
            snapshot may.
    """
    files: list[SourceFile] = []
    sources: dict[str, str] = {}
    total = 0
    skipped: list[str] = []
    secrets: list[str] = []
    count_limit = None if os.environ.get("AML_SNAPSHOT_NO_FILE_LIMIT") else MAX_FILES
    for name, file in _found(path, settings, leave_out, secrets):
        problem = path_problem(name)
        try:
            known = os.stat(file)
            if problem is None and stat.S_ISREG(known.st_mode):
                total += known.st_size
                check_size(path, total, settings.snapshot_limit)
                check_count(path, len(files) + 1, count_limit)
                size = known.st_size
                if copies is not None and time.time_ns() - known.st_mtime_ns < _BUSY_NS:
                    file, size = _copied(file, size, copies / str(len(files)))
                    digest = _digest(file, os.stat(file))
                else:
                    digest = _digest(file, known)
                executable = bool(known.st_mode & stat.S_IXUSR)
                files.append(SourceFile(name, size, digest, executable))
                sources.setdefault(digest, file)
        except OSError as error:
            problem = error.strerror or str(error)
        if problem is not None:
            skipped.append(f"{name!r:.80} ({problem})")
    if secrets and str(path) not in _said:
        _said.add(str(path))
        _log.warning(
            "snapshots of %s leave out %s: by their names they hold passwords or keys; a line !%s in .amlignore takes it in",
            path,
            ", ".join(secrets[:5]) + (f" and {len(secrets) - 5} more" if len(secrets) > 5 else ""),
            secrets[0],
        )
    if skipped:
        _log.warning("snapshot of %s: %d files are left out: %s", path, len(skipped), "; ".join(skipped[:3]))
    return CodeSnapshot(snapshot_id(files), files, sources)


def check_size(path: Path, total: int, limit: int) -> None:
    """Refuse a folder of more than `limit` bytes.

    Raises:
        SnapshotException: it is.
    """
    if total > limit:
        raise SnapshotException(
            f"While attempting to take snapshot of {path}\n"
            f"Your total snapshot size exceeds the limit of {limit / (1 << 20)} MB.\n"
            "Name what is not source in .amlignore, set RUNSTREAM_SNAPSHOT_LIMIT, or pass snapshot_directory=None"
        )


def check_count(path: Path, count: int, limit: int | None) -> None:
    """Refuse a folder of more than `limit` files.

    Raises:
        SnapshotException: it is.
    """
    if limit is not None and count > limit:
        raise SnapshotException(
            f"While attempting to take snapshot of {path}\nYour project exceeds the file limit of {limit}.\n"
            "Name what is not source in .amlignore, or set AML_SNAPSHOT_NO_FILE_LIMIT=1"
        )


def _found(
    path: Path, settings: Settings, leave_out: Iterable[Path], secrets: list[str]
) -> Iterable[tuple[str, str]]:
    if path.is_file():
        return [(path.name, str(path))]
    if not path.is_dir():
        raise SnapshotException(
            f"{path} is neither a directory nor a file; there is nothing to take a snapshot of"
        )
    check_no_home(path)
    # Reading a segment of the spool would also take its lock away from this process, which then counts as dead.
    own = [settings.home_path, settings.spool_path]
    real = Path(os.path.realpath(path))
    copies = os.path.realpath(
        settings.home_path / "runs"
    )  # of the source of submitted runs, which may submit more
    for directory in own:
        if real.is_relative_to(os.path.realpath(directory)) and not real.is_relative_to(copies):
            raise SnapshotException(
                f"{path} lies in runstream's own directory {directory} and holds no source; "
                "start the script elsewhere, or pass snapshot_directory=None"
            )
    return source_files(path, *own, path / ".git", *leave_out, secrets=secrets)


def _copied(file: str, size: int, copy: Path) -> tuple[str, int]:
    """Copy the first `size` bytes of a file, or what it has; where to, and how many."""
    left = size
    with open(file, "rb") as stream, copy.open("wb") as target:
        while piece := stream.read(min(left, _PIECE)):
            left -= target.write(piece)
    return str(copy), size - left


def _digest(file: str, known: os.stat_result) -> str:
    """The SHA-256 of a file; one that has not changed since the last snapshot is not read again."""
    mark = (known.st_size, known.st_mtime_ns, known.st_ino)
    have = _digests.get(file)
    if have is not None and have[0] == mark:
        return have[1]
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if time.time_ns() - known.st_mtime_ns > _SETTLED_NS:
        _digests[file] = (mark, digest)
    return digest


# --- to the service --------------------------------------------------------------------------------------------------


def send(client: ServiceClient, snapshot: CodeSnapshot, patience: float = AWAY_TIMEOUT) -> None:
    """Have the service store a snapshot; contents it has already are not sent.

    Args:
        patience: seconds to wait for a service that is away.

    Raises:
        ContentChanged: a file was changed since.
        ServiceException: the service is away, or could not store it.
    """
    for _ in range(3):  # others' contents may be swept away between two requests
        missing = _offer(client, snapshot, patience)
        if not missing:
            return
        shares = [missing[start::_SENDERS] for start in range(min(_SENDERS, len(missing)))]
        try:
            from concurrent.futures import ThreadPoolExecutor  # at the end of the interpreter that fails, too

            with ThreadPoolExecutor(len(shares), "snapshot") as pool:
                list(pool.map(lambda share: _send_contents(client, snapshot, share, patience), shares))
        except RuntimeError:  # the interpreter is ending and makes no more threads
            _send_contents(client, snapshot, missing, patience)
    raise ServiceException(
        f"the service keeps lacking contents of snapshot {snapshot.id}; look at the service's log", 500
    )


def _offer(client: ServiceClient, snapshot: CodeSnapshot, patience: float) -> list[str]:
    try:
        client.request(
            "PUT",
            f"/api/v1/snapshots/{snapshot.id}",
            body=snapshot.document(),
            headers={"Content-Type": "application/json"},
            patience=patience,
        )
    except ServiceException as error:
        missing = error.details.get("missing")
        if error.status_code != 409 or not isinstance(missing, list):
            raise
        return [str(sha256) for sha256 in missing]
    return []


def _send_contents(
    client: ServiceClient, snapshot: CodeSnapshot, digests: list[str], patience: float
) -> None:
    try:
        for sha256 in digests:
            with snapshot.open(sha256) as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                    raise ContentChanged(snapshot.sources[sha256])
                size = stream.tell()
                stream.seek(0)
                client.request(
                    "PUT",
                    f"/api/v1/blobs/{sha256}",
                    body=stream,
                    headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
                    patience=patience,
                )
    finally:
        client.close()  # the thread's own connection
