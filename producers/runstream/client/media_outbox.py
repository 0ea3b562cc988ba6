"""Bytes of logged media on their way to the service: kept in the home until they are stored.

    <home>/outbox/packs/        small contents, many in one file: see `media_packs`
    <home>/outbox/media/<md5 of the run's id>/
        run.txt                 the run's id
        <sha256><suffix>        a large content, whole: it is written aside and renamed

Logging a picture costs no request, whatever the service does; memory does not grow with a video. Whoever delivers the outbox
(`outbox.deliver`) sends small contents many at a time, large ones in pieces that resume. Earlier runstreams kept small
contents in files of their own, too: these are sent as ever.
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
from runstream_schemas.values.media import SUFFIXES, content_type_of, media_path

from ..exceptions import AuthenticationException, AzureMLException, ServiceException
from . import files, media_packs
from .addresses import quoted
from .http import ServiceClient

_SMALL = 1 << 20  # bytes up to which a content is kept and sent with others
_PIECE = 1 << 20
_QUIET = 3600.0  # seconds after which a run's empty folder goes
_PATIENCE = 2.0

_FAILURES = ServiceException, AuthenticationException, AzureMLException, OSError, ValueError

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
    outbox = settings.home_path / "outbox"
    if isinstance(content, bytes):
        content = io.BytesIO(content)
    start = content.read(_SMALL + 1)
    while len(start) <= _SMALL and (piece := content.read(_PIECE)):  # it may give less than asked for
        start += piece
    if len(start) <= _SMALL:
        return media_packs.append(outbox, run_id, start, content_type), len(start)
    return _keep_large(outbox, run_id, start, content, content_type)


def _keep_large(
    outbox: Path, run_id: str, start: bytes, rest: IO[bytes], content_type: str
) -> tuple[str, int]:
    folder = str(folder_of(outbox, run_id))
    draft = f"{folder}/.new-{secrets.token_hex(8)}"
    digest, size = hashlib.sha256(), 0
    piece = start
    try:
        with _opened(folder, draft, run_id) as kept:
            while piece:
                digest.update(piece)
                kept.write(piece)
                size += len(piece)
                piece = rest.read(_PIECE)
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
    if media_packs.waiting(outbox, run_id):
        return True
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
    stored, refused, goes_on = _send_packs(client, outbox, refuse, may_pass, stopped)
    for folder in _folders(outbox / "media") if goes_on else ():
        try:
            run_id = (folder / "run.txt").read_text(encoding="utf-8")
        except OSError:  # being made, or gone
            continue
        for batch in _batches(folder):
            if stopped():
                return stored, refused
            try:
                _send(client, run_id, batch)
            except _FAILURES as error:
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


def _send_packs(
    client: ServiceClient,
    outbox: Path,
    refuse: Callable[[str, Path, Exception], None],
    may_pass: Callable[[Exception], bool],
    stopped: Callable[[], bool],
) -> tuple[int, int, bool]:
    """As `send_all`, of packs; and whether to continue. What is sent again after a kill is there already."""
    stored = refused = 0
    for pack in media_packs.sealed(outbox):
        run_id, batches = media_packs.batches(pack)
        for batch in batches:
            if stopped():
                return stored, refused, False
            try:
                _send_body(client, run_id, batch.body)
                stored += len(batch.contents)
            except _FAILURES as error:
                if may_pass(error):
                    return stored, refused, False
                for content_type, _, start, end in batch.contents:
                    content = batch.body[start:end]
                    name = hashlib.sha256(content).hexdigest() + SUFFIXES[content_type]
                    (single := pack.parent.parent / name).write_bytes(content)  # listed by nobody
                    refuse(run_id, single, error)
                refused += len(batch.contents)
        pack.unlink(missing_ok=True)
    return stored, refused, True


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
        if batch and (len(batch) >= media_packs.BATCH_FILES or size + more > media_packs.BATCH_BYTES):
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
    _send_body(client, run_id, b"".join(packed))


def _send_body(client: ServiceClient, run_id: str, body: bytes) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    client.request(
        "POST", f"/api/v1/runs/{quoted(run_id)}/media", body=body, headers=headers, patience=_PATIENCE
    )


def _remove_quiet(folder: Path) -> None:
    """Remove the folder of a run that has logged nothing for long, with what a process left that died while it wrote."""
    with contextlib.suppress(OSError):
        if time.time() - folder.stat().st_mtime > _QUIET and not any(True for _ in _contents(folder)):
            shutil.rmtree(folder)
