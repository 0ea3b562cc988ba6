"""The spool's file format: segments of 32-byte slots, mapped into memory by the writer and by the reader.

Directory of the spool::

    procs/<token>              locked by the process for its life: free means the process is gone
    <source id>/00000000.seg   segments of one source, in order
    <source id>/*.free         read segments that the writer may use again
    <source id>/names          series defined in segments that are gone (see series_names)
    spare/<id>                 directory of a closed source, with a .free segment, for a new one to take
    spare/<id>.gone            one that is being deleted

A segment is a header of `HEADER_BYTES` and slots. A slot is four 64-bit words; the last one is written last and publishes
it: a reader never takes a half-written slot, zero means not written (yet). A *frame* takes several slots: its first one is
published as OPEN, with the number of slots, before anything is written into the others, and as FRAME afterwards.

Order of the writes: on x86 stores become visible in program order. Elsewhere a reader may see the publishing word before the
rest of its slot; it therefore waits `settle_seconds` between finding slots published and reading them, far longer than any
processor holds back a store. After the writer's death all its stores are visible, in every case.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import platform
import struct
import time
import weakref
import zlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runstream_schemas.errors import SpoolError
from runstream_schemas.ownership import make_private

SLOT = 32
HEADER_BYTES = 512
SMALLEST, LARGEST = 32 << 10, 1 << 20
"""Bytes of a source's first segment and of its later ones: thousands of short runs must not reserve gigabytes."""

# Kinds of slot: the lowest byte of its last word. A point's kind is KIND_BASE + series.Kind.
KIND_BASE = 1
FRAME, OPEN, PAD = 0x10, 0x11, 0x12

# Kinds of frame: third word of a frame's first slot.
SERIES, TEXT, ROWS, ARRAY, TAG, STATUS, REWIND = 1, 2, 3, 4, 5, 6, 7
CONTROL_FRAMES = frozenset((TAG, STATUS))

WORD = struct.Struct("<Q")
FRAME_HEAD = struct.Struct("<IIdQ")  # bytes, checksum, time, kind; the word that publishes follows
_TIME_KIND = struct.Struct("<dQ")

# Body of an array's frame: series, points, kind, how steps and times are given; first step, stride, first time, nothing.
ARRAY_HEAD = struct.Struct("<IIBBBxxxxxqqdd")
GIVEN, AFFINE = 1, 0

_MAGIC = b"RSSEG\x02\r\n"
_FIXED = struct.Struct(
    "<8sI16sQQIIdI48sH"
)  # magic, index, source, first seq, slots, pid, flags, created, reserved, token, run id
_OWNER = 1
_CRC = struct.Struct("<I")
_CRC_AT = 436

# Words of the header that change. The writer's: points dropped, reason, since, until; flags. The reader's: positions stored.
DROPPED_AT, DROP_REASON_AT, STATE_AT = 440, 448, 456
ACKED_AT = {"metrics": 464, "tags": 472, "status": 480}
REPORTED_AT = 488
"""Until which slot a reader has said that the source is read: the next one resumes there, whatever its clock says."""
LATEST_STEP_AT = 504
"""The latest time of the statuses that are stored, in microseconds: what follows counts as no older. The word before it is
not used."""
ENDED, CLOSED, FAILED, CANCELED, ENDING_LOST = 1, 2, 4, 8, 16
"""Flags. Without room for the run's last status, ENDING_LOST says so, and it was complete, or FAILED or CANCELED."""
DROP_REASONS = (
    "",
    "disk full",
    "spool quota reached",
    "spool directory cannot be written",
    "spool directory vanished",
)

SPARE, GONE = "spare", ".gone"

settle_seconds = 0.0 if platform.machine() in ("x86_64", "AMD64", "i686") else 0.001


@dataclass(frozen=True, slots=True)
class Header:
    """What never changes in a segment's header.

    Attributes:
        source: 16 bytes, id of the source.
        index: 0, 1, ... within the source.
        first: seq of the first slot.
        slots: how many slots the segment has.
        owner: the source's process started the run, and has to end it.
        token: name of the process's lock file in `procs`.
    """

    source: bytes
    index: int
    first: int
    slots: int
    run_id: str
    owner: bool
    pid: int
    created: float
    token: str

    def pack(self) -> bytes:
        """The header's bytes, with checksum."""
        run = self.run_id.encode()
        fixed = _FIXED.pack(
            _MAGIC,
            self.index,
            self.source,
            self.first,
            self.slots,
            self.pid,
            _OWNER if self.owner else 0,
            self.created,
            0,
            self.token.encode(),
            len(run),
        )
        body = (fixed + run).ljust(_CRC_AT, b"\0")
        return (body + _CRC.pack(zlib.crc32(body))).ljust(HEADER_BYTES, b"\0")


def read_header(data: bytes, path: str) -> Header:
    """Read a segment's header.

    Raises:
        SpoolError: not a segment, or damaged.
    """
    if len(data) < HEADER_BYTES or data[:8] != _MAGIC:
        raise SpoolError(
            f"{path}: not a spool segment (starts with {bytes(data[:8])!r}); move the file away to continue"
        )
    if zlib.crc32(data[:_CRC_AT]) != _CRC.unpack_from(data, _CRC_AT)[0]:
        raise SpoolError(
            f"{path}: the header's checksum does not match; the file is damaged, move it away to continue"
        )
    _, index, source, first, slots, pid, flags, created, _, token, length = _FIXED.unpack_from(data)
    run_id = data[_FIXED.size : _FIXED.size + length].decode()
    return Header(
        source, index, first, slots, run_id, bool(flags & _OWNER), pid, created, token.rstrip(b"\0").decode()
    )


def frame_crc(body: bytes, when: float, kind: int) -> int:
    """The checksum in a frame's head: of its time, its kind and its body."""
    return zlib.crc32(body, zlib.crc32(_TIME_KIND.pack(when, kind)))


def segment_name(index: int) -> str:
    """File name of segment `index`; names sort like indexes."""
    return f"{index:08d}.seg"


class _LibC:
    """mmap and munmap of the C library: the module `mmap` keeps a descriptor open a mapping, a process with 1,000 runs has
    too few. Loaded on first use."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.mmap, self.munmap = libc.mmap, libc.munmap
        self.mmap.restype = ctypes.c_void_p
        self.mmap.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_longlong,
        ]
        self.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


_libc: _LibC | None = None

_spares: dict[
    str, deque[str]
] = {}  # found in a spool's directory of spares, and perhaps taken by others since

# The garbage collector runs weak references' callbacks before the `__del__` of a writer in the same cycle, which still has
# its last words to write: a mapping whose last reference the collector takes is ended a moment later.
_ending: deque[tuple[float, int, int]] = deque()
_ENDED_AFTER = 1.0  # seconds
_collecting = False


def _note_collection(phase: str, _: dict[str, int]) -> None:
    global _collecting
    _collecting = phase == "start"


def _end_mapping(libc: _LibC, address: int, size: int) -> None:
    if _collecting:
        _ending.append((time.monotonic(), address, size))
    else:
        libc.munmap(address, size)


def _end_mappings(libc: _LibC) -> None:
    while _ending:
        try:
            since, address, size = _ending.popleft()
        except IndexError:  # another thread was here
            return
        if time.monotonic() - since < _ENDED_AFTER:
            _ending.appendleft((since, address, size))
            return
        libc.munmap(address, size)


def map_file(descriptor: int, size: int, *, writable: bool = True) -> ctypes.Array[ctypes.c_char]:
    """Map a file into memory, shared; the descriptor may be closed afterwards.

    Returns:
        a ctypes array of `size` bytes; the mapping ends with the last reference to it.

    Raises:
        OSError: the system refuses.
    """
    global _libc
    if _libc is None:
        _libc = _LibC()
        gc.callbacks.append(_note_collection)
    _end_mappings(_libc)
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    address = _libc.mmap(None, size, protection, mmap.MAP_SHARED, descriptor, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    array = (ctypes.c_char * size).from_address(address)
    weakref.finalize(array, _end_mapping, _libc, address, size).atexit = False
    return array


def make_source(spool: str, directory: str) -> None:
    """Make a source's directory, or take a closed one's that was given back: files are quick to write, and slow to make.

    Raises:
        OSError: no space, no permission.
    """
    spares = _spares.setdefault(spool, deque())
    if not spares:
        with suppress(FileNotFoundError), os.scandir(os.path.join(spool, SPARE)) as entries:
            spares.extend(entry.path for entry in entries if not entry.name.endswith(GONE))
    while spares:
        try:
            os.rename(spares.popleft(), directory)
            return
        except (FileNotFoundError, IndexError):  # another process's or thread's
            continue
    make_private(directory)


def give_back_source(spool: Path, directory: Path, *, keep: bool) -> bool:
    """Take a source's directory out of the spool.

    Args:
        keep: it holds one segment, of the smallest size, that nobody writes to any more: for `make_source`.

    Returns:
        whether it is kept; else it lies in `SPARE` as `GONE`, to be deleted.
    """
    here, spare = str(directory), f"{spool}/{SPARE}/{directory.name}"
    first = segment_name(0)
    keep = keep and os.listdir(here) == [first]
    if keep:
        os.rename(f"{here}/{first}", f"{here}/{first.removesuffix('.seg')}.free")
    else:
        spare += GONE
    try:
        os.rename(here, spare)
    except FileNotFoundError:
        os.mkdir(f"{spool}/{SPARE}", 0o700)
        os.rename(here, spare)
    return keep


def delete_source(directory: Path | str) -> bool:
    """Delete a source's directory; files and nothing else lie in it. Returns whether it is gone: else what is left stays."""
    try:
        for name in os.listdir(directory):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def create_segment(directory: Path | str, header: Header, size: int) -> ctypes.Array[ctypes.c_char]:
    """Create the segment's file, or use a `.free` one again, and map it. The file appears complete under its name.

    Blocks are reserved on disk: a mapping over a hole of a full disk would kill the process at the first store.

    Raises:
        OSError: no space, no permission, no directory.
    """
    path = f"{directory}/{segment_name(header.index)}"
    spare = _take_spare(directory, size) if header.index else _first_spare(path, size)
    descriptor = -1
    if spare is not None:
        try:
            descriptor = os.open(spare, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # most often of a directory that is new
            spare = None
    temporary = spare or path + ".new"
    if spare is None:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not spare:
            _reserve(descriptor, size)
        elif size == SMALLEST:
            _erase(descriptor, size)
        array = map_file(descriptor, size)
        if spare and size > SMALLEST:
            ctypes.memset(array, 0, size)
    except BaseException:
        os.close(descriptor)
        os.unlink(temporary)
        raise
    os.close(descriptor)
    ctypes.memmove(array, header.pack(), HEADER_BYTES)
    os.rename(temporary, path)
    return array


_PAGE = 4096
_ZEROS = bytes(_PAGE)


def _erase(descriptor: int, size: int) -> None:
    """Zeros over what a short run's segment held: most of it is zeros already, and a page that is not touched costs nothing.
    A large one was full, and is quicker written where it is mapped."""
    data = os.pread(descriptor, size, 0)
    held = len(data)
    while (
        held and data[held - _PAGE : held] == _ZEROS
    ):  # a page is compared at once, and stripped byte by byte
        held -= _PAGE
    written = 0
    while written < held:
        written += os.pwrite(descriptor, bytes(held - written), written)


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(min(size, 1 << 20))
    written = 0
    while written < size:
        written += os.write(descriptor, zeros[: size - written])


def _first_spare(path: str, size: int) -> str | None:
    """What may lie in the directory that `make_source` has taken: nobody else looks there before there is a segment."""
    spare = path.removesuffix(".seg") + ".free"
    return spare if size == SMALLEST else None


def _take_spare(directory: Path | str, size: int) -> str | None:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".free"):
                taken = os.path.join(directory, entry.name[:-5] + ".used")
                try:
                    if entry.stat().st_size != size:
                        continue
                    os.rename(entry.path, taken)
                except FileNotFoundError:  # another thread's writer, or the reader tidying up
                    continue
                return taken
    return None


def as_bytes(array: Any) -> memoryview:
    """The mapping as a byte view."""
    return memoryview(array).cast("B")
