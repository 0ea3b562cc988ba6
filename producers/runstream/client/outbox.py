"""Files and snapshots that could not be sent because the service was away: kept in the home, delivered by whoever runs next.

    <home>/outbox/<time>-<random>/
        item.json    what it is: a file of a run, or a snapshot
        content      the file's bytes
        contents/    the snapshot's, by SHA-256
    <home>/outbox/media/        contents of logged media: see `media_outbox`

An item appears whole or not at all: it is made under a name that begins with `.new-`, and renamed. The embedded service and
the agent look for items every second, `runstream sync` delivers them once. What the service refuses for good is kept in
`<home>/refused` with the reason, and noted as a warning of the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runstream_schemas.locks import locked, take
from runstream_schemas.ownership import make_private
from runstream_schemas.settings import Settings
from runstream_schemas.source_snapshot import SourceFile

from ..exceptions import AuthenticationException, AzureMLException, ServiceException
from ..spool.live_runs import open_live
from . import code_snapshots as snapshots
from . import files, media_outbox
from .http import ServiceClient, client_for

if TYPE_CHECKING:
    import asyncio

LOOK_SECONDS = 1.0
_LEFT_OVER = (
    24 * 3600.0
)  # half-made items are kept so long, for older runstreams, which do not hold the outbox
_PIECE = 1 << 20
_DELIVERY_PATIENCE = 2.0

_log = logging.getLogger("runstream")


@dataclass(slots=True)
class Delivered:
    """What a delivery did.

    Attributes:
        stored: items the service has now.
        refused: items it will never take.
        left: items that are still there: the service is away.
    """

    stored: int = 0
    refused: int = 0
    left: int = 0


def outbox_of(settings: Settings) -> Path:
    """The outbox of a home."""
    return settings.home_path / "outbox"


# --- store now, or keep ----------------------------------------------------------------------------------------------

PATIENCE = 3.0
"""Seconds an upload waits for a service that is away before it is kept; uploads soon after do not wait again."""
_UNLIKELY_PATIENCE = 0.5
_AWAY_SECONDS = 20.0
_away_since: dict[ServiceClient, float] = {}
_safe: set[tuple[ServiceClient, str]] = set()  # snapshots this process has stored, or kept


def is_away(error: Exception) -> bool:
    """Whether an error says that there is no service, and not that it refused."""
    return isinstance(error, ServiceException) and error.status_code in (429, 502, 503, 504)


def store_file(
    client: ServiceClient, run_id: str, name: str, stream: IO[bytes], captured: bool = False
) -> dict[str, Any]:
    """Store a file of a run; while the service is away keep it in the outbox, with a warning, so that no training fails.

    Args:
        stream: as for `files.put`.
        captured: as for `files.put`.

    Returns:
        `{"path", "size", "sha256"}`, with `"pending": True` when it is kept.

    Raises:
        UserErrorException: a name that cannot be used.
        AzureMLAggregatedException: the name is taken by other bytes.
        ServiceException: the service could not store it; or it is away and the file cannot be kept either (status_code 503).
    """
    start = stream.tell()
    try:
        return files.put(client, run_id, name, stream, captured=captured, patience=patience(client))
    except ServiceException as error:
        if not is_away(error):
            raise
        note_away(client)
        stream.seek(start)
        try:
            record = put_file(client.settings, run_id, files.normalised(name), stream, captured)
        except OSError as problem:
            raise ServiceException(
                f"{name} of run {run_id} cannot be stored ({error.message}), and not be kept in "
                f"{outbox_of(client.settings)} either ({problem}); free some room and upload it again",
                503,
            ) from error
    _log.warning(
        "run %s: the service is away; %s is kept in %s until it is back",
        run_id,
        name,
        outbox_of(client.settings),
    )
    return {**record, "pending": True}


def store_snapshot(client: ServiceClient, snapshot: snapshots.CodeSnapshot) -> None:
    """Store a snapshot; while the service is away keep it in the outbox.

    Raises:
        ContentChanged: a file was changed since the snapshot was taken.
        ServiceException: the service could not store it.
        OSError: it is away, and the snapshot cannot be kept either.
    """
    if (client, snapshot.id) in _safe:
        return
    try:
        snapshots.send(client, snapshot, min(patience(client), _UNLIKELY_PATIENCE))
    except ServiceException as error:
        if not is_away(error):
            raise
        note_away(client)
        put_snapshot(client.settings, snapshot)
    _safe.add((client, snapshot.id))


def patience(client: ServiceClient) -> float:
    """Seconds an upload waits for the service: none where it was found away just now, few where nobody starts one."""
    if time.monotonic() - _away_since.get(client, -_AWAY_SECONDS) < _AWAY_SECONDS:
        return 0.0
    return PATIENCE if client.settings.url or client.settings.autostart else _UNLIKELY_PATIENCE


def note_away(client: ServiceClient) -> None:
    """Note that the service was found away."""
    _away_since[client] = time.monotonic()


# --- putting in ------------------------------------------------------------------------------------------------------


def put_file(settings: Settings, run_id: str, name: str, stream: IO[bytes], captured: bool) -> dict[str, Any]:
    """Keep a file of a run for later; memory does not grow with it.

    Args:
        stream: read from its present position to its end.
        captured: as for `files.upload`.

    Returns:
        `{"path", "size", "sha256"}`, as of a stored file.

    Raises:
        OSError: the disk is full, or the home cannot be written.
    """
    digest, size = hashlib.sha256(), 0
    with _new_item(settings) as directory:
        with (directory / "content").open("xb") as kept:
            while piece := stream.read(_PIECE):
                digest.update(piece)
                kept.write(piece)
                size += len(piece)
        record = {"path": name, "size": size, "sha256": digest.hexdigest()}
        _write(directory, {"kind": "file", "run_id": run_id, "captured": captured, **record})
    return record


def put_snapshot(settings: Settings, snapshot: snapshots.CodeSnapshot) -> None:
    """Keep a snapshot for later, with all its contents.

    Raises:
        ContentChanged: a file was changed since the snapshot was taken.
        OSError: the disk is full, or the home cannot be written.
    """
    with _new_item(settings) as directory:
        (directory / "contents").mkdir()
        for sha256 in snapshot.sources:
            digest = hashlib.sha256()
            with snapshot.open(sha256) as stream, (directory / "contents" / sha256).open("xb") as kept:
                while piece := stream.read(_PIECE):
                    digest.update(piece)
                    kept.write(piece)
            if digest.hexdigest() != sha256:
                raise snapshots.ContentChanged(snapshot.sources[sha256])
        listed = [snapshots.file_record(file) for file in snapshot.files]
        _write(directory, {"kind": "snapshot", "id": snapshot.id, "files": listed})


@contextlib.contextmanager
def _new_item(settings: Settings) -> Iterator[Path]:
    outbox = outbox_of(settings)
    make_private(outbox)
    name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    draft = outbox / f".new-{name}"
    with locked(outbox, shared=True):  # while items are made in it
        draft.mkdir(mode=0o700)
        try:
            yield draft
            draft.rename(outbox / name)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def _write(directory: Path, document: dict[str, Any]) -> None:
    with (directory / "item.json").open("x", encoding="utf-8") as stream:
        json.dump(document, stream)


# --- delivering ------------------------------------------------------------------------------------------------------


def items(outbox: Path) -> list[Path]:
    """The items of an outbox, the oldest first."""
    try:
        names = os.listdir(outbox)
    except FileNotFoundError:
        return []
    return [outbox / name for name in sorted(names) if name[:1].isdigit()]


def deliver(
    settings: Settings, outbox: Path | None = None, stopped: Callable[[], bool] = lambda: False
) -> Delivered:
    """Send what is in an outbox, and remove it; one process at a time, the others find nothing to do.

    Args:
        settings: the settings of the service to send to; it is not started.
        outbox: default that of the settings' home.
        stopped: asked between two items.
    """
    outbox = outbox or outbox_of(settings)
    done = Delivered()
    if not items(outbox) and not media_outbox.waiting(outbox):
        return done
    descriptor = take(outbox / "lock")
    if descriptor is None:
        return done
    client = client_for(replace(settings, autostart=False))
    try:
        _remove_left_over(outbox)
        for item in items(outbox):
            if stopped():
                break
            try:
                _send(client, item)
            except (
                ServiceException,
                AuthenticationException,
                AzureMLException,
                OSError,
                ValueError,
                KeyError,
            ) as error:
                if _may_pass(error):
                    _log.debug("outbox %s waits: %s", outbox, error)
                    break
                _refuse(settings, outbox, item, error)
                done.refused += 1
                continue
            shutil.rmtree(item, ignore_errors=True)
            done.stored += 1
        stored, refused = media_outbox.send_all(
            client, outbox, partial(_refuse_content, settings, outbox), _may_pass, stopped
        )
        done.stored, done.refused = done.stored + stored, done.refused + refused
        done.left = len(items(outbox)) + media_outbox.waiting(outbox)
    finally:
        os.close(descriptor)
        client.close()
    return done


def wait_delivered(client: ServiceClient, run_id: str, timeout: float = 10.0) -> None:
    """Wait, at most `timeout` seconds, for what is kept of a run: who recorded a file also reads it."""
    outbox = outbox_of(client.settings)
    deadline = time.monotonic() + timeout
    while any(_file_of(item, run_id) for item in items(outbox)) or media_outbox.waiting(outbox, run_id):
        if time.monotonic() > deadline:
            _log.warning("run %s: some of its files still wait in %s", run_id, outbox)
            return
        if not deliver(client.settings).stored:
            time.sleep(0.1)  # somebody else is at it, or the service is not there yet


def _file_of(item: Path, run_id: str) -> bool:
    try:
        document = json.loads((item / "item.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # delivered meanwhile
        return False
    return bool(document.get("run_id") == run_id)


async def run_outbox(settings: Settings, stop: asyncio.Event) -> None:
    """Deliver the home's outbox whenever something is in it, until `stop` is set."""
    import asyncio

    while not stop.is_set():
        outbox = outbox_of(settings)
        if items(outbox) or media_outbox.waiting(outbox):
            done = await asyncio.to_thread(deliver, settings, None, stop.is_set)
            if done.stored:
                _log.info("%d files that had waited are stored", done.stored)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_SECONDS)


def _send(client: ServiceClient, item: Path) -> None:
    document = json.loads((item / "item.json").read_text(encoding="utf-8"))
    if document["kind"] == "file":
        with (item / "content").open("rb") as stream:
            files.put(
                client,
                document["run_id"],
                document["path"],
                stream,
                captured=document["captured"],
                patience=_DELIVERY_PATIENCE,
            )
    else:
        listed = [SourceFile(**file) for file in document["files"]]
        sources = {file.sha256: str(item / "contents" / file.sha256) for file in listed}
        snapshots.send(client, snapshots.CodeSnapshot(document["id"], listed, sources), _DELIVERY_PATIENCE)


def _may_pass(error: Exception) -> bool:
    """Whether it is worth to try again later: the service is away, has no room, or wants another token."""
    if isinstance(error, ServiceException):
        return error.status_code >= 500 or error.status_code == 429
    return isinstance(error, AuthenticationException)


def _refuse(settings: Settings, outbox: Path, item: Path, error: Exception) -> None:
    refused = outbox.parent / "refused"
    refused.mkdir(exist_ok=True, mode=0o700)
    reason = str(getattr(error, "message", "") or error)
    with contextlib.suppress(OSError):
        (item / "reason.txt").write_text(reason + "\n", encoding="utf-8")
    item.rename(refused / item.name)
    message = f"a file that was kept while the service was away is refused: {reason}; it lies in {refused / item.name}"
    _log.warning("%s", message)
    with contextlib.suppress(OSError, ValueError):
        document = json.loads((refused / item.name / "item.json").read_text(encoding="utf-8"))
        if run_id := document.get("run_id"):
            live = open_live(settings, run_id)
            live.writer.status("warning", {"message": message[:1000]})
            live.writer.close()


def _refuse_content(settings: Settings, outbox: Path, run_id: str, content: Path, error: Exception) -> None:
    """Put a content aside that the service will never take; its run may have been deleted."""
    item = outbox / f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    item.mkdir(mode=0o700)
    content.rename(item / "content")
    _write(item, {"kind": "file", "run_id": run_id, "captured": False, "path": content.name})
    _refuse(settings, outbox, item, error)


def _remove_left_over(outbox: Path) -> None:
    """Remove what processes left that died while they made it: who makes an item holds the outbox."""
    with contextlib.suppress(OSError), locked(outbox, wait=False):
        for draft in outbox.glob(".new-*"):
            if time.time() - draft.stat().st_mtime > _LEFT_OVER:
                shutil.rmtree(draft, ignore_errors=True)
