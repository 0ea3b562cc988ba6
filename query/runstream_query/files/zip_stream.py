"""Several files of the store as one zip, made while it is sent."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from runstream_schemas.store import Store

PIECE = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LINUX = 3  # `create_system` under which unpackers look at permissions


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the zip.

    Attributes:
        name: its path in the zip, relative, with `/`.
        path: where it lies in the store.
        size: bytes.
        executable: its permissions are 755, not 644.
        modified: shown as its time; None: 1980, so that the same files make the same zip.
    """

    name: str
    path: str
    size: int
    executable: bool = False
    modified: datetime | None = None


class _Sink(io.RawIOBase):
    """Takes what the zip is written to, and hands it out in pieces. It cannot seek: the writer makes one pass."""

    def __init__(self) -> None:
        self.held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self.held += view
        return view.nbytes

    def take(self) -> bytes:
        taken = bytes(self.held)
        self.held.clear()
        return taken


def zip_pieces(store: Store, members: Iterable[Member]) -> Iterator[bytes]:
    """The zip, in pieces; memory does not grow with the files. Blocks: iterate in a thread.

    Raises:
        StoreError: a file is missing; the zip then ends without its directory, which every unpacker notices.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name, _date(member.modified))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = _LINUX
            info.external_attr = (0o100755 if member.executable else 0o100644) << 16
            info.file_size = member.size  # decides whether the large format is needed
            with (
                contextlib.closing(store.open_input(member.path)) as source,
                archive.open(info, "w") as target,
            ):
                while piece := source.read(PIECE):
                    target.write(piece)
                    if len(sink.held) >= PIECE:
                        yield sink.take()
            if len(sink.held) >= PIECE:
                yield sink.take()
    yield sink.take()


def _date(modified: datetime | None) -> tuple[int, int, int, int, int, int]:
    if modified is None or modified.year < 1980:
        return _EPOCH
    return (
        modified.year,
        modified.month,
        modified.day,
        modified.hour,
        modified.minute,
        modified.second,
    )
