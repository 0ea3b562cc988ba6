"""Small contents of media on their way to the service: appended to packs, many in one file, until they are stored.

    <home>/outbox/packs/writing/<time>-<md5 of the run's id>-<random>
    <home>/outbox/packs/sealed/<the same>           nothing is appended any more

A pack is a sequence of msgpack objects: the run's id, then `[content type, bytes]` for each content, as the service takes
them. What a kill left unfinished at its end was promised to nobody. Who appends opens the file, locks it, and looks whether
it still bears its name; who delivers moves it under the same lock. So nothing comes into a pack that was read, and no
process has to be alive for its pack to be sent. Each process has packs of its own: behind what a kill left nothing is
appended. Packs move from folder to folder: a listing could miss both names of one that is renamed meanwhile within its own.

One file a picture would cost a file system ten times what the bytes do: an entry made, renamed and deleted again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runstream_schemas.locks import try_lock
from runstream_schemas.ownership import make_private
from runstream_schemas.values.media import SUFFIXES

PACK_BYTES, PACK_CONTENTS = 8 << 20, 1024
"""A pack of so many bytes or contents is followed by another one."""

BATCH_FILES, BATCH_BYTES = 256, 8 << 20
"""Contents that are sent in one request, at most."""

_MOST_PACKS = 64  # of a process, of which it knows what is in them
_LOOKS = 20  # for a lock, a millisecond apart
_WRITING, _SEALED = "writing", "sealed"

_log = logging.getLogger("runstream")


@dataclass(slots=True)
class _Pack:
    """What a process knows of the pack of a run that it appends to."""

    path: str
    digests: set[str] = field(default_factory=set)  # of contents in it


_packs: dict[tuple[int, str, str], _Pack] = {}


def folder_of(outbox: Path) -> Path:
    """Where the packs of an outbox lie."""
    return outbox / "packs"


def append(outbox: Path, run_id: str, content: bytes, content_type: str) -> str:
    """Keep a content for a run; its SHA-256 in hexadecimal. Of several threads and processes each may do so at any time.

    Raises:
        OSError: the disk is full, or the home cannot be written; nothing of it is kept then.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    place = os.getpid(), str(outbox), run_id
    name = sha256 + SUFFIXES[content_type]  # the same bytes may be of two kinds
    pack = _packs.get(place)
    if pack is not None and name in pack.digests and os.path.exists(pack.path):
        return sha256
    record = [_head(content_type, len(content)), content]
    if pack is None or len(pack.digests) >= PACK_CONTENTS or not _append(pack.path, record):
        pack = _Pack(_new_pack(outbox, run_id, record))
        while len(_packs) >= _MOST_PACKS:
            with contextlib.suppress(KeyError, StopIteration, RuntimeError):  # another thread did
                del _packs[next(iter(_packs))]
        _packs[place] = pack
    pack.digests.add(name)
    return sha256


def _head(content_type: str, size: int) -> bytes:
    """What stands before the bytes: an array of two, a text, and the length of the bytes."""
    text = content_type.encode()
    return b"\x92\xd9" + bytes((len(text),)) + text + b"\xc6" + size.to_bytes(4, "big")


def _append(path: str, record: list[bytes]) -> bool:
    """Append to a pack; False: it is full, or being delivered, and a new one is needed."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not _lock(descriptor) or not os.path.exists(path):
            return False
        size = os.fstat(descriptor).st_size
        if size >= PACK_BYTES:
            return False
        _write(descriptor, record, size)
    finally:
        os.close(descriptor)
    return True


def _name_of(run_id: str) -> bytes:
    text = run_id.encode()
    return b"\xdb" + len(text).to_bytes(4, "big") + text


def _new_pack(outbox: Path, run_id: str, record: list[bytes]) -> str:
    of_run = hashlib.md5(run_id.encode(), usedforsecurity=False).hexdigest()
    path = f"{folder_of(outbox)}/{_WRITING}/{time.time_ns():020d}-{of_run}-{secrets.token_hex(4)}"
    how = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(path, how, 0o600)
    except FileNotFoundError:
        for folder in (_SEALED, _WRITING):
            make_private(folder_of(outbox) / folder)
        descriptor = os.open(path, how, 0o600)
    try:
        # It may be sealed, found empty and deleted before it is locked; what is written then would be lost.
        if _lock(descriptor) and os.path.exists(path):
            try:
                _write(descriptor, [_name_of(run_id), *record], 0)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                raise
            return path
    finally:
        os.close(descriptor)
    return _new_pack(outbox, run_id, record)


def _lock(descriptor: int) -> bool:
    """Lock a pack; False: somebody has held it for longer than it takes to append, and may have been stopped."""
    for _ in range(_LOOKS):
        if try_lock(descriptor):
            return True
        time.sleep(0.001)
    return False


def _write(descriptor: int, pieces: list[bytes], size: int) -> None:
    """Write all or nothing to the end of a file of `size` bytes, which is locked."""
    try:
        written = os.writev(descriptor, pieces)
        if written < sum(
            map(len, pieces)
        ):  # the disk is filling up; the next call says so, or there is room again
            rest = memoryview(b"".join(pieces))[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


# --- delivering ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Batch:
    """Contents of a pack that fit into a request.

    Attributes:
        body: as the service takes it.
        contents: content type, where the record begins and where its bytes do, and where they end: places in `body`.
    """

    body: bytes
    contents: list[tuple[str, int, int, int]]


def waiting(outbox: Path, run_id: str | None = None) -> bool:
    """Whether a pack of a run, or of any, waits in an outbox."""
    of_run = "" if run_id is None else hashlib.md5(run_id.encode(), usedforsecurity=False).hexdigest()
    return any(of_run in path.name for path in _paths(outbox))


def sealed(outbox: Path) -> Iterator[Path]:
    """The packs of an outbox, the oldest first; nothing comes into them any more."""
    for path in sorted(_paths(outbox), key=lambda path: path.name):
        if path.parent.name == _SEALED:
            yield path
        elif (moved := _seal(path)) is not None:
            yield moved


def _paths(outbox: Path) -> list[Path]:
    paths: dict[str, Path] = {}
    for name in (_WRITING, _SEALED):  # in the order in which they move
        folder = folder_of(outbox) / name
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            paths |= {name: folder / name for name in os.listdir(folder)}
    return list(paths.values())


def _seal(path: Path) -> Path | None:
    """Have nothing more come into a pack; None: it is being written to, by a process that was stopped perhaps."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # of NFS, only such a one can be locked
    except FileNotFoundError:
        return None
    try:
        if not _lock(descriptor):
            return None
        os.rename(path, into := path.parent.parent / _SEALED / path.name)
        return into
    finally:
        os.close(descriptor)


def batches(path: Path) -> tuple[str, Iterator[Batch]]:
    """The run whose contents are in a sealed pack, and these, up to where it breaks off."""
    import msgpack

    data = path.read_bytes()
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    contents: list[tuple[str, int, int, int]] = []
    run_id: object = ""
    try:
        run_id = unpacker.unpack()
        start = unpacker.tell()
        while start < len(data):
            content_type, content = unpacker.unpack()
            if content_type not in SUFFIXES or not isinstance(content, bytes):
                raise ValueError(f"{content_type!r:.80}")
            end = unpacker.tell()
            contents.append((content_type, start, end - len(content), end))
            start = end
    except msgpack.exceptions.OutOfData:
        pass  # whoever wrote it was killed meanwhile
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        _log.warning("%s is damaged behind its first %d contents (%s)", path, len(contents), error)
    return (run_id, _divided(data, contents)) if isinstance(run_id, str) else ("", iter(()))


def _divided(data: bytes, contents: list[tuple[str, int, int, int]]) -> Iterator[Batch]:
    part: list[tuple[str, int, int, int]] = []
    for number, content in enumerate(contents):
        part.append(content)
        following = contents[number + 1] if number + 1 < len(contents) else None
        first = part[0][1]
        if following is None or len(part) >= BATCH_FILES or following[3] - first > BATCH_BYTES:
            moved = [(kind, at - first, body - first, end - first) for kind, at, body, end in part]
            yield Batch(data[first : content[3]], moved)
            part = []
