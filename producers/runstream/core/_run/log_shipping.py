"""Sends growing files of a run to the service while they are written."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...client import files
from ...client.http import ServiceClient
from ...client.outbox import is_away, note_away, patience, store_file
from ...consoles.folding import Bounded, folded
from ...exceptions import AuthenticationException, AzureMLException, ServiceException

LOOK_SECONDS = 0.5
"""Between two looks at the files."""

PIECE = 4 << 20
_BYTES_A_SECOND = (
    20 << 20
)  # the service copies what it has with each piece: long logs come in fewer, larger ones

_AWAY_SECONDS = 10.0  # between two tries while the service is away

_log = logging.getLogger("runstream")


@dataclass(slots=True)
class _Text:
    """A console on its way.

    Attributes:
        read: bytes of the file that were read.
        waiting: what is to be sent.
        sent: bytes the service has; -1: nobody has asked it.
    """

    text: Bounded
    read: int
    waiting: bytes = b""
    sent: int = -1


class LogShipping:
    """Follows all files below some directories, in a thread, and sends what was added to them.

    Args:
        client: the client of the run's service.
        run_id: the run.
        folders: directory to the name of its files among the run's.
        look: called at each look.
        begins: files of which the run has no more than what follows after so many bytes.
        consoles: files that were printed: progress bars in them are folded, and they are bounded.
    """

    def __init__(
        self,
        client: ServiceClient,
        run_id: str,
        folders: dict[Path, str],
        look: Callable[[], None] = lambda: None,
        begins: Mapping[Path, int] | None = None,
        consoles: Collection[Path] = (),
    ) -> None:
        self._begins, self._consoles = dict(begins or {}), frozenset(consoles)
        self._texts: dict[Path, _Text] = {}
        self._client, self._run_id, self._folders, self._look = client, run_id, folders, look
        self._sent: dict[Path, int] = {}
        self._next: dict[Path, float] = {}
        self._refused: set[Path] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Follow the files from now on."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._follow, name="log shipping", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following; what is there now is not sent."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def send(self, *, all_of_it: bool = False, wait: float = 0.0) -> None:
        """Send what was added.

        Args:
            all_of_it: also of long files that are not due yet.
            wait: seconds to keep retrying while the service is away.

        Raises:
            ServiceException: the service is away.
        """
        for name, path in self._files():
            if all_of_it or time.monotonic() >= self._next.get(path, 0.0):
                if path in self._consoles:
                    self._send_console(path, name, wait, all_of_it=all_of_it)
                else:
                    self._send_file(path, name, wait)

    def finish(self) -> None:
        """Send all that is left; what cannot be sent because the service is away is kept in the outbox.

        Raises:
            ServiceException: the service could not store it, or it is away and it cannot be kept either.
        """
        try:
            self.send(all_of_it=True, wait=patience(self._client))
        except ServiceException as error:
            if not is_away(error):
                raise
            for name, path in self._files():
                begin = self._begins.get(path, 0)
                if path in self._consoles:
                    if path not in self._texts or self._texts[path].waiting:
                        with folded(path, self._client.settings.console_limit, begin) as stream:
                            store_file(self._client, self._run_id, name, stream, captured=True)
                elif self._sent.get(path, -1) < path.stat().st_size - begin:
                    with path.open("rb") as stream:
                        stream.seek(begin)
                        store_file(self._client, self._run_id, name, stream, captured=True)

    def _files(self) -> Iterator[tuple[str, Path]]:
        for folder, name in self._folders.items():
            for file, path in files.folder_files(name, folder):
                hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
                if not hidden and path not in self._refused:
                    yield file, path

    def _send_console(self, path: Path, name: str, wait: float, *, all_of_it: bool) -> None:
        begin = self._begins.get(path, 0)
        console = self._texts.setdefault(path, _Text(Bounded(self._client.settings.console_limit), begin))
        with path.open("rb") as stream:
            stream.seek(console.read)
            while True:
                full = len(console.waiting) >= PIECE  # the service is away: no more is read for now
                piece = b"" if full else stream.read(PIECE)
                console.read += len(piece)
                console.waiting += console.text.feed(piece, time.monotonic())
                if all_of_it and not piece and not full:
                    console.waiting += console.text.flush()
                if (console.waiting or console.sent < 0) and not self._append(path, name, console, wait):
                    return
                if not piece and not full:
                    break
        self._next[path] = time.monotonic() + console.sent / _BYTES_A_SECOND

    def _append(self, path: Path, name: str, console: _Text, wait: float) -> bool:
        """Send what waits of a console; False: it is refused for good."""
        at = max(console.sent, 0)
        try:
            reached = files.append(self._client, self._run_id, name, at, console.waiting, wait)
        except ServiceException as error:
            if not 400 <= error.status_code < 500 or error.status_code == 429:
                raise
            _log.warning("run %s: %s is not collected: %s", self._run_id, name, error.message)
            self._refused.add(path)
            return False
        console.waiting = console.waiting[max(reached - at, 0) :]
        console.sent = reached
        return True

    def _send_file(self, path: Path, name: str, wait: float) -> None:
        sent, begin = self._sent.get(path, 0), self._begins.get(path, 0)
        with path.open("rb") as stream:
            stream.seek(begin + sent)
            while (piece := stream.read(PIECE)) or (sent == 0 and path not in self._sent):
                try:
                    sent = files.append(self._client, self._run_id, name, sent, piece, wait)
                except ServiceException as error:
                    if not 400 <= error.status_code < 500:
                        raise
                    # Somebody stored a file of that name by a call, or it cannot be one's name.
                    _log.warning("run %s: %s is not collected: %s", self._run_id, name, error.message)
                    self._refused.add(path)
                    return
                stream.seek(begin + sent)
                self._sent[path] = sent
        self._next[path] = time.monotonic() + sent / _BYTES_A_SECOND

    def _follow(self) -> None:
        pause, told = LOOK_SECONDS, False
        try:
            while not self._stopped.wait(pause):
                try:
                    self.send()
                    self._look()
                    pause, told = LOOK_SECONDS, False
                except (ServiceException, AuthenticationException, AzureMLException, OSError) as error:
                    pause = 1.0
                    if is_away(error):
                        note_away(self._client)
                        pause = _AWAY_SECONDS
                    if not told:
                        message = getattr(error, "message", "") or error
                        _log.warning("run %s: its files wait to be sent: %s", self._run_id, message)
                    told = True
        finally:
            self._client.close()  # the thread's own connection
