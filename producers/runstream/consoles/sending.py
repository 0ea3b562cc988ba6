"""Sends the consoles that processes of this node keep in the home, while they grow and after these have ended."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runstream_schemas.locks import is_held
from runstream_schemas.settings import Settings

from ..client import files
from ..client.http import ServiceClient, client_for
from ..client.outbox import is_away
from ..exceptions import AuthenticationException, AzureMLException, ServiceException
from .capture import folder_of

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("runstream")

NAME = "user_logs/std_log.txt"
"""A console among the files of its run; that of a process that started the run again has a number more."""
LOOK_SECONDS = 1.0
_PIECE = 4 << 20
_BYTES_A_SECOND = 20 << 20
"""The service copies what it has with each piece: long texts come in fewer, larger ones."""
_PATIENCE = 2.0


@dataclass(slots=True)
class _Sent:
    """How far a console was sent.

    Attributes:
        name: among the files of the run; empty: not known yet.
    """

    run_id: str
    name: str = ""
    size: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Sender:
    """Sends consoles; one at a time.

    Args:
        folder: where they lie; None: the home's.
    """

    settings: Settings
    folder: Path | None = None
    _known: dict[str, _Sent] = field(default_factory=dict)

    def look(self, *, all_of_it: bool = False) -> int:
        """Send what was added; returns how many bytes.

        Args:
            all_of_it: also of long ones that are not due yet.

        Raises:
            ServiceException: the service is away.
        """
        folder = self.folder or folder_of(self.settings)
        names = waiting(folder)
        if not names:
            return 0
        client = client_for(replace(self.settings, autostart=False))
        try:
            return sum(self._send(client, folder, name, all_of_it) for name in names)
        finally:
            client.close()

    def _send(self, client: ServiceClient, folder: Path, name: str, all_of_it: bool) -> int:
        path, about = folder / f"{name}.log", folder / f"{name}.json"
        over = not is_held(path)  # asked first: what is written behind it is there
        try:
            sent = self._known.get(name) or _read(about)
        except (OSError, ValueError, KeyError) as error:
            logger.warning("the console %s cannot be sent: %s", about, error)
            _remove(path, about)
            return 0
        self._known[name] = sent
        size = path.stat().st_size if path.exists() else 0
        before = sent.size
        if sent.size < size and (all_of_it or over or time.monotonic() >= sent.not_before):
            try:
                self._append(client, sent, path, about)
            except (ServiceException, AuthenticationException, AzureMLException) as error:
                if is_away(error) or isinstance(error, AuthenticationException) or _may_pass(error):
                    raise
                logger.warning("run %s: its console is not kept: %s", sent.run_id, error)
                sent.size, over = size, True
        if over and sent.size >= size:
            _remove(path, about)
            self._known.pop(name, None)
        return sent.size - before

    def _append(self, client: ServiceClient, sent: _Sent, path: Path, about: Path) -> None:
        if not sent.name:
            sent.name = _free_name(client, sent.run_id)
            draft = about.with_name(f".{about.name}")
            draft.write_text(json.dumps({"run": sent.run_id, "name": sent.name}))
            os.replace(draft, about)
        with path.open("rb") as stream:
            stream.seek(sent.size)
            while piece := stream.read(_PIECE):
                reached = files.append(client, sent.run_id, sent.name, sent.size, piece, _PATIENCE)
                if reached == sent.size:
                    break
                sent.size = reached
                stream.seek(sent.size)
        sent.not_before = time.monotonic() + sent.size / _BYTES_A_SECOND


def waiting(folder: Path) -> list[str]:
    """The consoles in a folder, the oldest first."""
    try:
        return sorted(name[:-5] for name in os.listdir(folder) if name.endswith(".json") and name[0] != ".")
    except FileNotFoundError:
        return []


def _read(about: Path) -> _Sent:
    document = json.loads(about.read_bytes())
    return _Sent(document["run"], document.get("name", ""))


def _free_name(client: ServiceClient, run_id: str) -> str:
    taken = {file["path"] for file in files.list_files(client, run_id, _PATIENCE)}
    stem, suffix = NAME.rsplit(".", 1)
    number, name = 1, NAME
    while name in taken:
        number += 1
        name = f"{stem}_{number}.{suffix}"
    return name


def _may_pass(error: Exception) -> bool:
    return isinstance(error, ServiceException) and error.status_code >= 500


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


async def run_consoles(settings: Settings, stop: asyncio.Event) -> None:
    """Send the home's consoles until `stop` is set."""
    import asyncio

    sender = Sender(settings)
    while not stop.is_set():
        try:
            await asyncio.to_thread(sender.look)
            pause = LOOK_SECONDS
        except (ServiceException, AuthenticationException, AzureMLException, OSError) as error:
            logger.debug("consoles wait: %s", error)
            pause = 5 * LOOK_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
