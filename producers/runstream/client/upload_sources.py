"""What can be uploaded: a path of this machine, or a stream, as bytes that can be read twice."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from runstream_schemas.errors import brief

from ..exceptions import UserErrorException
from .folder_contents import kind_of


def path_of(what: str, path: Any) -> Path:
    """A path of this machine.

    Raises:
        UserErrorException: no path, or one no file can have.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UserErrorException(f"{what}: expected a path, got {type(path).__name__}")
    file = Path(path)
    try:
        text = os.fsencode(file)
    except UnicodeEncodeError:
        text = b"\0"
    if b"\0" in text:
        raise UserErrorException(f"{what} {brief(path)}: no file can have such a name; give another one")
    return file


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading; never waits for the other end of a named pipe, never reads a device.

    Raises:
        UserErrorException: it is no regular file.
        OSError: it cannot be opened.
    """
    # O_NONBLOCK: the open itself would wait for a writer of a pipe; regular files do not know it.
    try:
        file = open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")  # noqa: SIM115 - whoever asked closes it
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise UserErrorException(
                f"{path} is a socket, which cannot be stored; give a regular file"
            ) from None
        raise
    kind = kind_of(os.fstat(file.fileno()))
    if kind:
        file.close()
        raise UserErrorException(
            f"{path} is {kind}, which may have no end; read it yourself, and pass a stream"
        )
    return file


def _bytes_of(source: Any, piece: Any) -> bytes:
    try:
        return (
            piece.encode("utf-8", "surrogateescape") if isinstance(piece, str) else bytes(memoryview(piece))
        )
    except (UnicodeEncodeError, TypeError) as error:
        raise UserErrorException(
            f"{brief(source, 100)} gave {type(piece).__name__}, which cannot be stored: {error}"
            "; give bytes, or a file opened as bytes"
        ) from None


def _can_be_rewound(source: Any) -> bool:
    """Whether a stream is one of bytes with `seek` and `tell` that work; many that only look like one have neither."""
    try:
        return bool(source.seekable()) and isinstance(source.tell(), int) and source.read(0) == b""
    except Exception:
        return False


@contextlib.contextmanager
def opened(source: Any) -> Iterator[IO[bytes]]:
    """A path or a stream as a stream of bytes that can be rewound: a repeat after a broken connection has to start over.

    Raises:
        UserErrorException: another type, a directory, a pipe or device, or a stream that is closed.
        FileNotFoundError: there is no such file.
    """
    if isinstance(source, (str, os.PathLike)):
        path = path_of("file", source)
        if path.is_dir():
            raise UserErrorException(f"{path} is a directory; use upload_folder")
        with open_regular(path) as file:
            yield file
    elif isinstance(source, io.IOBase) or hasattr(source, "read"):
        if getattr(source, "closed", False):
            raise UserErrorException(f"{brief(source, 100)} is closed; pass a path, or a stream that is open")
        if not isinstance(source, io.TextIOBase) and _can_be_rewound(source):
            yield source
            return
        import tempfile

        with tempfile.TemporaryFile() as kept:
            while piece := source.read(1 << 20):
                kept.write(_bytes_of(source, piece))
            kept.seek(0)
            yield kept
    else:
        raise UserErrorException(
            f"UnsupportedType: {type(source).__name__} cannot be uploaded; pass a path or a stream"
        )
