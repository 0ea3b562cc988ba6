"""Sends growing files of a run to the service while they are written."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ...client import files
from ...client.http import ServiceClient
from ...client.outbox import is_away, note_away, patience, store_file
from ...exceptions import AuthenticationException, AzureMLException, ServiceException

LOOK_SECONDS = 0.5
"""Between two looks at the files."""

PIECE = 4 << 20
_BYTES_A_SECOND = (
    20 << 20
)  # the service copies what it has with each piece: long logs come in fewer, larger ones

_AWAY_SECONDS = 10.0  # between two tries while the service is away

_log = logging.getLogger("runstream")


class LogShipping:
    """Follows all files below some directories, in a thread, and sends what was added to them.

    Args:
        client: the client of the run's service.
        run_id: the run.
        folders: directory to the name of its files among the run's.
        look: called at each look.
        begins: files of which the run has no more than what follows after so many bytes.
    """

    def __init__(
        self,
        client: ServiceClient,
        run_id: str,
        folders: dict[Path, str],
        look: Callable[[], None] = lambda: None,
        begins: Mapping[Path, int] | None = None,
    ) -> None:
        self._begins = dict(begins or {})
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
                if self._sent.get(path, -1) < path.stat().st_size - begin:
                    with path.open("rb") as stream:
                        stream.seek(begin)
                        store_file(self._client, self._run_id, name, stream, captured=True)

    def _files(self) -> Iterator[tuple[str, Path]]:
        for folder, name in self._folders.items():
            for file, path in files.folder_files(name, folder):
                hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
                if not hidden and path not in self._refused:
                    yield file, path

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
