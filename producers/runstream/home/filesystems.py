"""On which filesystem a path lies, and where a home's spool and database lie when that is shared over a network."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from runstream_schemas.errors import ServiceError

NETWORK_FILESYSTEMS = frozenset(
    {
        "9p",
        "afpfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fhgfs",
        "fuse.ceph",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb2",
        "smb3",
        "smbfs",
        "webdav",
    }
)
"""Filesystems on which neither a memory-mapped spool nor Postgres is safe."""


def filesystem(path: Path, mounts: str | None = None) -> str:
    """Type of the filesystem `path` (or its nearest existing parent) lies on, e.g. `ext4`; empty when unknown."""
    if mounts is None and sys.platform == "darwin":
        return _darwin_filesystem(path)
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape")
        except OSError:
            return ""
    target = os.path.realpath(path)
    best, kind = -1, ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = (
            parts[1]
            .replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\012", "\n")
            .replace("\\134", "\\")
        )
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # a later mount on the same point hides the earlier one
            best, kind = len(point), parts[2]
            if point == "/" and kind == "9p":
                kind = "rootfs"  # a sandbox (gVisor) whose own disk is served so: there is nothing more local
    return kind


def is_network(path: Path, mounts: str | None = None) -> bool:
    """Whether `path` lies on a filesystem shared over a network."""
    return filesystem(path, mounts) in NETWORK_FILESYSTEMS


def local_directory(root: Path, mounts: str | None, *, create: bool) -> Path:
    """This machine's own directory for a home that lies on a network filesystem.

    Args:
        root: the home.
        mounts: text of a mounts table to use instead of the machine's own.
        create: make it.

    Raises:
        ServiceError: none can be written.
    """
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    state = os.environ.get("XDG_STATE_HOME")
    candidates = [
        Path(state) / "runstream" if state else None,
        Path.home() / ".local" / "state" / "runstream",
        Path.home() / ".cache" / "runstream",
        Path(f"/var/tmp/runstream-{os.getuid()}"),  # noqa: S108 - its owner is checked below
    ]
    for base in candidates:
        if base is None or is_network(base, mounts):
            continue
        if not create:
            return base / name
        with contextlib.suppress(OSError):
            base.mkdir(parents=True, exist_ok=True, mode=0o700)
            # /var/tmp is everybody's: a directory prepared by somebody else is not ours to use.
            if base.is_symlink() or base.stat().st_uid != os.getuid():
                continue
            path = base / name
            path.mkdir(exist_ok=True, mode=0o700)
            return path
    raise ServiceError(
        f"the home {root} is on a network filesystem ({filesystem(root, mounts)}), where neither a spool nor Postgres is "
        "safe, and no local directory could be written; set XDG_STATE_HOME or RUNSTREAM_HOME to a local directory, or "
        "RUNSTREAM_SPOOL and RUNSTREAM_DATABASE"
    )


def _darwin_filesystem(path: Path) -> str:
    import ctypes

    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "statfs$INODE64", None) or libc.statfs
    buffer = ctypes.create_string_buffer(4096)
    if call(os.fsencode(existing), buffer):
        return ""
    # struct statfs: two 32-bit and five 64-bit counts, fsid, owner, type, flags, subtype (72 bytes), then the type's name.
    return buffer.raw[72 : 72 + 16].split(b"\0")[0].decode(errors="replace")
