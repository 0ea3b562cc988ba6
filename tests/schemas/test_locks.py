"""Locks on files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runstream_schemas.locks import is_held, locked, take, write_owner

HOLD = """
import sys
from pathlib import Path
from runstream_schemas.locks import take
assert take(Path(sys.argv[1])) is not None
print(flush=True)
sys.stdin.readline()
"""


def test_one_process_has_it_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert is_held(path)
        assert take(path) is None
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
    finally:
        holder.kill()
        holder.communicate()
    assert not is_held(path)
    descriptor = take(path)
    assert descriptor is not None
    os.close(descriptor)


def test_a_directory_is_shared_by_those_who_say_so(tmp_path: Path) -> None:
    with locked(tmp_path, shared=True):
        with locked(tmp_path, shared=True, wait=False):
            pass
        with pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
            pass
    with locked(tmp_path, wait=False):
        pass


def test_a_lock_is_taken_though_the_disk_has_no_room_for_the_name_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    descriptor = take(tmp_path / "lock")
    assert descriptor is not None
    with monkeypatch.context() as without_room:
        without_room.setattr(os, "pwrite", full)
        write_owner(descriptor)
    assert is_held(tmp_path / "lock")
    os.close(descriptor)
