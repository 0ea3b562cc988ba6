"""One reader a spool: who it is, which spool it is, and whether it is there still."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from runstream_schemas.errors import SpoolError
from runstream_schemas.locks import take, write_owner
from runstream_schemas.ownership import make_private


class SpoolLock:
    """A lock on the spool's directory, which the system frees when this process ends."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._path = spool / "agent.lock"
        self._descriptor: int | None = None

    async def acquire(self, patience: float) -> None:
        """Become the one reader of the spool.

        Raises:
            SpoolError: another process has been reading it for longer than `patience` seconds.
        """
        make_private(self._spool)
        deadline = time.monotonic() + patience
        while (descriptor := take(self._path)) is None:
            if time.monotonic() >= deadline:
                owner = self._path.read_text(errors="replace").strip() or "unknown"
                raise SpoolError(
                    f"the spool {self._spool} is read by process {owner} already, which delivers what lies there"
                )
            await asyncio.sleep(0.05)
        self._descriptor = descriptor
        write_owner(descriptor)

    def release(self) -> None:
        """Let another process read the spool."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def removed(self) -> bool:
        """Whether the directory that was locked is there no longer: somebody deleted the spool with all it held."""
        if self._descriptor is None:
            return False
        try:
            there, held = os.stat(self._path), os.fstat(self._descriptor)
        except FileNotFoundError:
            return True
        return (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino)


def spool_id(spool: Path) -> str:
    """Id of a spool directory: a random one, made on first use and kept in it."""
    path = spool / "id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.write_text(os.urandom(8).hex())
        return path.read_text().strip()
