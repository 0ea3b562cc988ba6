"""A run's files: up and down over HTTP, streamed, under names that cannot leave the run."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .client import ServiceClient, quoted
from .exceptions import AzureMLAggregatedException, ServiceException, UserErrorException

IGNORED = frozenset({"azureml.log"})
"""Files that automatic capture leaves out."""


@dataclass(slots=True)
class UploadResult:
    """What an upload stored.

    Attributes:
        artifacts: by path among the run's files: `{"path", "size", "sha256"}`.
    """

    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)


def normalised(name: str) -> str:
    """A file's name as it is stored: `/` between parts, no leading `./` or `/`.

    Raises:
        UserErrorException: not a string, empty, or leading out of the run with `..`.
    """
    if not isinstance(name, str):
        raise UserErrorException(f"file name: expected a string, got {type(name).__name__}")
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in name:
        raise UserErrorException(
            f"file name {name!r} cannot be used: it is empty or leads out of the run's folder"
        )
    return "/".join(parts)


def upload(client: ServiceClient, run_id: str, name: str, source: Any) -> dict[str, Any]:
    """Store one file. The same bytes under the same name are accepted again.

    Args:
        client: of the run's service.
        run_id: the run.
        name: path among the run's files.
        source: a path, or a stream read to its end.

    Returns:
        `{"path", "size", "sha256"}` of the stored file.

    Raises:
        UserErrorException: another type of source, or a name that cannot be used.
        FileNotFoundError: there is no such file.
        AzureMLAggregatedException: the name is taken by other bytes.
        ServiceException: the service is away, or could not store it.
    """
    name = normalised(name)
    import tempfile

    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            raise UserErrorException(f"{path} is a directory; use upload_folder")
        with path.open("rb") as stream:
            return _put(client, run_id, name, stream)
    if isinstance(source, io.TextIOBase):
        return _put(client, run_id, name, io.BytesIO(source.read().encode()))
    if isinstance(source, io.IOBase) or hasattr(source, "read"):
        if source.seekable():
            return _put(client, run_id, name, source)
        with tempfile.TemporaryFile() as kept:  # a repeat after a broken connection has to start over
            while piece := source.read(1 << 20):
                kept.write(piece)
            kept.seek(0)
            return _put(client, run_id, name, kept)
    raise UserErrorException(
        f"UnsupportedType: {type(source).__name__} cannot be uploaded; pass a path or a stream"
    )


def _put(client: ServiceClient, run_id: str, name: str, stream: IO[bytes]) -> dict[str, Any]:
    start = stream.tell()
    size = stream.seek(0, os.SEEK_END) - start
    stream.seek(start)
    try:
        answer = client.request(
            "PUT",
            f"/api/v1/runs/{quoted(run_id)}/files/{quoted(name)}",
            body=stream,
            headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
        )
    except ServiceException as error:
        if error.status_code != 409:
            raise
        raise AzureMLAggregatedException(
            f"UserError: Resource Conflict: ArtifactId ExperimentRun/dcid.{run_id}/{name} already exists."
        ) from error
    stored: dict[str, Any] = answer.json()
    return stored


def append(client: ServiceClient, run_id: str, name: str, offset: int, piece: bytes) -> int:
    """Add a piece to a file that grows; returns the size the file then has, from where to go on.

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
        )
    except ServiceException as error:
        size = error.details.get("size")
        if error.status_code != 409 or not isinstance(size, int) or size < 0:
            raise
        return size
    return int(answer.json()["size"])


def folder_files(name: str, folder: str | os.PathLike[str]) -> Iterator[tuple[str, Path]]:
    """The files below a folder, hidden ones too, with their names among the run's files.

    Symbolic links to folders are not followed.
    """
    root = Path(folder)
    for directory, subfolders, files in os.walk(root):
        subfolders.sort()
        for file in sorted(files):
            path = Path(directory, file)
            yield f"{name.rstrip('/')}/{path.relative_to(root).as_posix()}", path


def list_files(client: ServiceClient, run_id: str) -> list[dict[str, Any]]:
    """The run's files as stored: `path`, `size`, `sha256`, `created_utc`."""
    found: list[dict[str, Any]] = client.get_json(f"/api/v1/runs/{quoted(run_id)}/files")["files"]
    return found


def capture(client: ServiceClient, run_id: str, folders: list[str], where: Path) -> None:
    """Store what lies in the run's output folders, but for names already stored.

    Args:
        folders: as the user named them, relative to `where`; also their names among the run's files.
    """
    found = [
        pair
        for folder in folders
        for pair in folder_files(normalised(folder), where / folder)
        if pair[1].name not in IGNORED
    ]
    if not found:
        return
    have = {file["path"] for file in list_files(client, run_id)}
    for name, path in found:
        if name not in have:
            upload(client, run_id, name, path)


def download(client: ServiceClient, run_id: str, name: str, target: Path, checksum: bool = False) -> None:
    """Fetch one file to `target`, whose parents are created; it appears there whole or not at all.

    Args:
        checksum: compare the content's SHA-256 with the stored one.

    Raises:
        UserErrorException: the run has no such file, or its content is damaged.
        ServiceException: the service is away.
    """
    import tempfile

    name = normalised(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as stream:
            try:
                client.download(f"/api/v1/runs/{quoted(run_id)}/files/{quoted(name)}", stream)
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

    wanted = next((file["sha256"] for file in list_files(client, run_id) if file["path"] == name), None)
    stream.seek(0)
    digest = hashlib.sha256()
    while piece := stream.read(1 << 20):
        digest.update(piece)
    if wanted and digest.hexdigest() != wanted:
        raise UserErrorException(
            f"{name} of run {run_id} arrived damaged: its SHA-256 is not {wanted}; download it again"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
