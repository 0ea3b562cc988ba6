"""Bytes of logged media on their way to the service: kept in the home, one file a content, until they are stored.

    <home>/outbox/media/<md5 of the run's id>/
        run.txt                 the run's id
        <sha256><suffix>        a content, whole: it is written aside and renamed

Logging a picture costs a file and no request, whatever the service does; memory does not grow with a video. Whoever delivers
the outbox (`outbox.deliver`) sends small contents many at a time, large ones in pieces that resume.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from runstream_schemas.ownership import make_private
from runstream_schemas.settings import Settings
from runstream_schemas.values.media import content_type_of, media_path

from ..exceptions import AuthenticationException, AzureMLException, ServiceException
from . import files
from .addresses import quoted
from .http import ServiceClient

BATCH_FILES, BATCH_BYTES = 256, 8 << 20
"""Contents that are sent in one request, at most."""

_SMALL = 1 << 20  # bytes up to which a content is sent with others
_PIECE = 1 << 20
_QUIET = 3600.0  # seconds after which a run's empty folder goes
_PATIENCE = 2.0

_log = logging.getLogger("runstream")


def folder_of(outbox: Path, run_id: str) -> Path:
    """Where contents of a run wait."""
    return outbox / "media" / hashlib.md5(run_id.encode(), usedforsecurity=False).hexdigest()


def keep(settings: Settings, run_id: str, content: bytes | IO[bytes], content_type: str) -> tuple[str, int]:
    """Keep a content for a run; its SHA-256 in hexadecimal, and its bytes.

    Args:
        content: bytes, or a stream that is read to its end, piece by piece.

    Raises:
        OSError: the disk is full, or the home cannot be written.
    """
    folder = str(folder_of(settings.home_path / "outbox", run_id))
    draft = f"{folder}/.new-{secrets.token_hex(8)}"  # texts: a Path a picture costs a quarter of the call
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    digest, size = hashlib.sha256(), 0
    try:
        with _opened(folder, draft, run_id) as kept:
            while piece := stream.read(_PIECE):
                digest.update(piece)
                kept.write(piece)
                size += len(piece)
        name = media_path(digest.hexdigest(), content_type).rpartition("/")[2]
        os.rename(draft, f"{folder}/{name}")
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    return digest.hexdigest(), size


def _opened(place: str, draft: str, run_id: str) -> IO[bytes]:
    for _ in range(3):  # an empty folder may go between the look and the opening
        with contextlib.suppress(FileNotFoundError):
            return open(draft, "xb", buffering=0)
        folder = Path(place)
        make_private(folder.parent.parent)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        note = folder / f".run-{secrets.token_hex(8)}"
        note.write_text(run_id, encoding="utf-8")
        note.rename(folder / "run.txt")
    return open(draft, "xb", buffering=0)


def waiting(outbox: Path, run_id: str | None = None) -> bool:
    """Whether a content of a run, or of any, waits in an outbox."""
    folders = _folders(outbox / "media") if run_id is None else [folder_of(outbox, run_id)]
    return any(True for folder in folders for _ in _contents(folder))


def _folders(media: Path) -> list[Path]:
    try:
        return [media / name for name in sorted(os.listdir(media))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _contents(folder: Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith(".") and entry.name != "run.txt")


def send_all(
    client: ServiceClient,
    outbox: Path,
    refuse: Callable[[str, Path, Exception], None],
    may_pass: Callable[[Exception], bool],
    stopped: Callable[[], bool],
) -> tuple[int, int]:
    """Send what waits; how many contents the service has now, and how many it will never take.

    Args:
        refuse: is told the run, the content and why it is refused, and puts it away.
        may_pass: whether an error is worth another try later: the rest then waits.
        stopped: asked between two requests.
    """
    stored = refused = 0
    for folder in _folders(outbox / "media"):
        try:
            run_id = (folder / "run.txt").read_text(encoding="utf-8")
        except OSError:  # being made, or gone
            continue
        for batch in _batches(folder):
            if stopped():
                return stored, refused
            try:
                _send(client, run_id, batch)
            except (
                ServiceException,
                AuthenticationException,
                AzureMLException,
                OSError,
                ValueError,
            ) as error:
                if may_pass(error):
                    return stored, refused
                for path in batch:
                    refuse(run_id, path, error)
                refused += len(batch)
                continue
            for path in batch:
                path.unlink(missing_ok=True)
            stored += len(batch)
        _remove_quiet(folder)
    return stored, refused


def _batches(folder: Path) -> Iterator[list[Path]]:
    """The contents of a run: small ones together, a large one by itself."""
    batch: list[Path] = []
    size = 0
    for entry in sorted(_contents(folder), key=lambda entry: entry.name):
        try:
            more = entry.stat().st_size
        except FileNotFoundError:
            continue
        if more > _SMALL:
            yield [Path(entry.path)]
            continue
        if batch and (len(batch) >= BATCH_FILES or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(Path(entry.path))
        size += more
    if batch:
        yield batch


def _send(client: ServiceClient, run_id: str, batch: Sequence[Path]) -> None:
    if len(batch) == 1 and batch[0].stat().st_size > _SMALL:
        with batch[0].open("rb") as stream:
            name = media_path(batch[0].name[:64], content_type_of(batch[0].name))
            files.put(client, run_id, name, stream, patience=_PATIENCE)
        return
    import msgpack

    packed: list[Any] = [msgpack.packb([content_type_of(path.name), path.read_bytes()]) for path in batch]
    body = b"".join(packed)
    headers = {"Content-Type": "application/octet-stream"}
    client.request(
        "POST", f"/api/v1/runs/{quoted(run_id)}/media", body=body, headers=headers, patience=_PATIENCE
    )


def _remove_quiet(folder: Path) -> None:
    """Remove the folder of a run that has logged nothing for long, with what a process left that died while it wrote."""
    with contextlib.suppress(OSError):
        if time.time() - folder.stat().st_mtime > _QUIET and not any(True for _ in _contents(folder)):
            shutil.rmtree(folder)
