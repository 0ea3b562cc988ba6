"""A run's files: up and down over HTTP, streamed, under names that cannot leave the run."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from runstream_schemas.source_snapshot import MAX_PART_BYTES, MAX_PATH_BYTES

from ..exceptions import AzureMLAggregatedException, ServiceException, UserErrorException
from .addresses import quoted
from .folder_contents import contents
from .http import AWAY_TIMEOUT, ServiceClient

WHOLE = 8 << 20
"""Bytes up to which a file goes in one request."""
PIECE = 8 << 20
_STANDSTILL = 120.0
_CONTENT_TYPE = "application/octet-stream"


@dataclass(slots=True)
class UploadResult:
    """What an upload stored.

    Attributes:
        artifacts: by path among the run's files: `{"path", "size", "sha256"}`.
    """

    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The stored files."""
        return iter(self.artifacts.values())


def normalised(name: str) -> str:
    """A file's name as it is stored: `/` between parts, no leading `./` or `/`.

    Raises:
        UserErrorException: not a string, empty, leading out of the run with `..`, too long, with control characters, or of
            a form the store keeps for itself.
    """
    if not isinstance(name, str):
        raise UserErrorException(f"file name: expected a string, got {type(name).__name__}")
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    whole = "/".join(parts)
    problem = ""
    if not parts or ".." in parts:
        problem = "it is empty or leads out of the run's folder"
    elif any(ord(letter) < 32 or "\ud800" <= letter <= "\udfff" for letter in whole):
        problem = "it has control characters or is not valid unicode"
    elif len(whole.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        problem = f"it is too long: at most {MAX_PATH_BYTES} bytes of UTF-8, {MAX_PART_BYTES} a part"
    elif any(part.startswith(".part-") for part in parts):
        problem = "names that begin with .part- are the store's own"
    if problem:
        raise UserErrorException(f"file name {name!r:.100} cannot be used: {problem}")
    return whole


def inside(directory: Path, name: str) -> Path:
    """Where a file of that name belongs below a directory; whoever sent the name, it stays there.

    Raises:
        UserErrorException: the name leads out of the directory.
    """
    if normalised(name) != name or Path(name).is_absolute() or Path(name).drive:
        raise UserErrorException(f"file name {name!r:.100} leads out of {directory}; it is not written")
    return directory / name


def put(
    client: ServiceClient,
    run_id: str,
    name: str,
    stream: IO[bytes],
    *,
    captured: bool = False,
    patience: float = AWAY_TIMEOUT,
) -> dict[str, Any]:
    """Store one file. The same bytes under the same name are accepted again.

    A large one goes in pieces: after a broken connection, also to a service that was started again, it resumes where it
    stopped, and memory does not grow with it. Nobody sees anything of it before it is whole.

    Args:
        client: the client of the run's service.
        run_id: the run.
        name: path among the run's files.
        stream: can be rewound; sent from its present position to its end.
        captured: collected by itself: it leaves alone what a call stored, and gives way to a later state or a call.
        patience: seconds to keep retrying while the service is away.

    Returns:
        `{"path", "size", "sha256"}` of what the name holds now.

    Raises:
        UserErrorException: a name that cannot be used.
        AzureMLAggregatedException: the name is taken by other bytes.
        ServiceException: the service is away, has no room (status_code 507), or could not store it.
    """
    name = normalised(name)
    start = stream.tell()
    size = stream.seek(0, os.SEEK_END) - start
    stream.seek(start)
    path = f"/api/v1/runs/{quoted(run_id)}/files/{quoted(name)}"
    params = [("captured", "1")] if captured else []
    try:
        if size > WHOLE:
            return _put_large(client, path, params, stream, start, size, patience)
        headers = {"Content-Length": str(size), "Content-Type": _CONTENT_TYPE}
        stored: dict[str, Any] = client.request(
            "PUT", path, params, body=stream, headers=headers, patience=patience
        ).json()
        return stored
    except ServiceException as error:
        if error.status_code != 409:
            raise
        raise AzureMLAggregatedException(
            f"UserError: Resource Conflict: ArtifactId ExperimentRun/dcid.{run_id}/{name} already exists."
            + (f" ({error.message})" if "would be a folder" in error.message else "")
        ) from error


def _put_large(
    client: ServiceClient,
    path: str,
    params: list[tuple[str, str]],
    stream: IO[bytes],
    start: int,
    size: int,
    patience: float,
) -> dict[str, Any]:
    """In pieces below the digest of the whole, then given its name."""
    import hashlib

    from .progress import progress

    digest = hashlib.sha256()
    left = size
    while left and (piece := stream.read(min(PIECE, left))):
        digest.update(piece)
        left -= len(piece)
    sha256 = digest.hexdigest()
    whole = [*params, ("upload", sha256), ("size", str(size))]
    headers = {"Content-Type": _CONTENT_TYPE}
    with progress(path.rpartition("/")[2], size) as show:
        moved = time.monotonic()
        offset = -1
        while True:
            try:
                stored: dict[str, Any] = client.request(
                    "PUT", path, whole, body=b"", headers=headers, patience=patience
                ).json()
                return stored
            except ServiceException as error:
                reached = _offset(error)
            while reached < size:
                if reached != offset:
                    offset, moved = reached, time.monotonic()
                elif time.monotonic() - moved > _STANDSTILL:
                    raise ServiceException(
                        f"{path}: the upload stands still at byte {offset} of {size}"
                        "; look at the service's log, and upload it again",
                        503,
                    )
                else:
                    time.sleep(0.2)  # somebody else is sending the same content
                show(offset)
                stream.seek(start + offset)
                piece = stream.read(min(PIECE, size - offset))
                if not piece:
                    raise UserErrorException(
                        f"{path}: the file became shorter while it was uploaded; upload it when it is written"
                    )
                try:
                    reached = int(
                        client.request(
                            "PATCH",
                            f"/api/v1/uploads/{sha256}",
                            [("offset", str(offset))],
                            body=piece,
                            headers=headers,
                            patience=patience,
                        ).json()["offset"]
                    )
                except ServiceException as error:
                    reached = _offset(error)


def _offset(error: ServiceException) -> int:
    """How far an upload has come, from the refusal of a piece that does not continue there."""
    offset = error.details.get("offset")
    if error.status_code != 409 or not isinstance(offset, int):
        raise error
    return offset


def append(
    client: ServiceClient,
    run_id: str,
    name: str,
    offset: int,
    piece: bytes,
    patience: float = AWAY_TIMEOUT,
) -> int:
    """Add a piece to a file that grows; returns the size the file then has, from where to continue.

    Args:
        offset: where the piece begins. If the file ends elsewhere nothing is added.

    Raises:
        ServiceException: the service is away, or could not store it.
    """
    try:
        answer = client.request(
            "POST",
            f"/api/v1/runs/{quoted(run_id)}/files/{quoted(name)}",
            [("append_at", str(offset))],
            body=piece,
            headers={"Content-Type": "text/plain; charset=utf-8"},
            patience=patience,
        )
    except ServiceException as error:
        size = error.details.get("size")
        if error.status_code != 409 or not isinstance(size, int) or size < 0:
            raise
        return size
    return int(answer.json()["size"])


def folder_files(
    name: str, folder: str | os.PathLike[str], left_out: list[str] | None = None
) -> Iterator[tuple[str, Path]]:
    """The files below a folder, hidden ones and those behind links too, with their names among the run's files.

    What a name cannot have there (bytes that are no UTF-8, control characters) is written as `%E9`.

    Args:
        left_out: gets a line for what is passed over; see `contents`.
    """
    for path, file in contents(folder, left_out):
        yield f"{name.rstrip('/')}/{_UNSTORABLE.sub(_escape, path)}", file


_UNSTORABLE = re.compile(r"[\0-\x1f\x7f\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def list_files(client: ServiceClient, run_id: str, patience: float = AWAY_TIMEOUT) -> list[dict[str, Any]]:
    """The run's files as stored: `path`, `size`, `sha256`, `created_utc`, `captured`; of an unknown run none."""
    try:
        answer = client.request("GET", f"/api/v1/runs/{quoted(run_id)}/files", patience=patience)
    except ServiceException as error:
        if error.status_code != 404:
            raise
        return []  # as a token of one workspace is told of what is not there
    files: list[dict[str, Any]] = answer.json()["files"]
    return files


def download(client: ServiceClient, run_id: str, name: str, target: Path, checksum: bool = False) -> None:
    """Fetch one file to `target`, whose parents are created; it appears there whole or not at all.

    Args:
        checksum: compare the content's SHA-256 with the stored one.

    Raises:
        UserErrorException: the run has no such file, or its content is damaged.
        ServiceException: the service is away.
    """
    import tempfile

    from .progress import progress

    name = normalised(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as stream:
            try:
                client.download(
                    f"/api/v1/runs/{quoted(run_id)}/files/{quoted(name)}",
                    stream,
                    lambda size: progress(name, size),
                )
            except ServiceException as error:
                if error.status_code != 404:
                    raise
                available = ", ".join(file["path"] for file in list_files(client, run_id)) or "none"
                raise UserErrorException(
                    f"File with path {name} was not found,\navailable files include: {available}."
                ) from None
            if checksum:
                _verify(client, run_id, name, stream)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _verify(client: ServiceClient, run_id: str, name: str, stream: IO[bytes]) -> None:
    import hashlib

    expected = next((file["sha256"] for file in list_files(client, run_id) if file["path"] == name), None)
    stream.seek(0)
    digest = hashlib.sha256()
    while piece := stream.read(1 << 20):
        digest.update(piece)
    if expected and digest.hexdigest() != expected:
        raise UserErrorException(
            f"{name} of run {run_id} arrived damaged: its SHA-256 is not {expected}; download it again"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
