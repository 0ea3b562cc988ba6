"""Sends growing files of a submitted run to the service while they are written."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import files
from .client import ServiceClient
from .exceptions import AuthenticationException, AzureMLException, ServiceException

LOOK_SECONDS = 0.5
"""Between two looks at the files."""

PIECE = 4 << 20
_BYTES_A_SECOND = (
    20 << 20
)  # the service copies what it has with each piece: long logs come in fewer, larger ones

_log = logging.getLogger("runstream")


class LogShipping:
    """Follows all files below some directories, in a thread, and sends what was added to them.

    Args:
        client: of the run's service.
        run_id: the run.
        folders: directory to the name of its files among the run's.
        look: called at each look.
    """

    def __init__(
        self,
        client: ServiceClient,
        run_id: str,
        folders: dict[Path, str],
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._run_id, self._folders, self._look = client, run_id, folders, look
        self._sent: dict[Path, int] = {}
        self._next: dict[Path, float] = {}
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

    def send(self, *, all_of_it: bool = False) -> None:
        """Send what was added.

        Args:
            all_of_it: also of long files that are not due yet.

        Raises:
            ServiceException: the service is away.
        """
        for folder, name in self._folders.items():
            if not folder.is_dir():
                continue
            for path in sorted(folder.rglob("*")):
                parts = path.relative_to(folder).parts
                if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in parts):
                    continue
                if all_of_it or time.monotonic() >= self._next.get(path, 0.0):
                    self._send_file(path, f"{name}/{'/'.join(parts)}")

    def _send_file(self, path: Path, name: str) -> None:
        sent = self._sent.get(path, 0)
        with path.open("rb") as stream:
            stream.seek(sent)
            while (piece := stream.read(PIECE)) or (sent == 0 and path not in self._sent):
                sent = files.append(self._client, self._run_id, name, sent, piece)
                stream.seek(sent)
                self._sent[path] = sent
        self._next[path] = time.monotonic() + sent / _BYTES_A_SECOND

    def _follow(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                self.send()
                self._look()
            except (ServiceException, AuthenticationException, AzureMLException, OSError) as error:
                _log.warning(
                    "logs of run %s are not sent: %s", self._run_id, getattr(error, "message", error)
                )
