"""What sources leave behind: kept for new ones, or deleted, with nothing in memory that grows with their number."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runstream.spool import segment as seg
from runstream.spool.collecting.leftovers import Leftovers


def directory(spool: Path, name: str) -> None:
    path = spool / seg.SPARE / name
    path.mkdir(parents=True)
    (path / "00000000.free").write_bytes(b"slots")


def test_however_many_are_to_be_deleted_one_turn_is_in_line(tmp_path: Path) -> None:
    for number in range(700):
        directory(tmp_path, f"{number:032x}{seg.GONE}")
    directory(tmp_path, "f" * 32)
    busy = threading.Event()
    with ThreadPoolExecutor(1) as tidier:
        tidier.submit(busy.wait)  # as when a disk takes its time
        leftovers = Leftovers(tmp_path, tidier)
        for clock in range(50):
            leftovers.delete_gone()
            leftovers.count_spares(float(clock))  # as once a second
        waiting = tidier._work_queue.qsize()
        busy.set()
        deadline = time.monotonic() + 20
        while len(os.listdir(tmp_path / seg.SPARE)) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert waiting == 1
    assert os.listdir(tmp_path / seg.SPARE) == ["f" * 32]


def test_what_cannot_be_deleted_is_not_tried_without_end(tmp_path: Path) -> None:
    for number in range(300):
        directory(tmp_path, f"{number:032x}{seg.GONE}")
        (tmp_path / seg.SPARE / f"{number:032x}{seg.GONE}" / "somebody's").mkdir()
    turns: list[object] = []

    class Counting(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            turns.append(args[0])
            return super().submit(*args, **kwargs)

    with Counting(1) as tidier:
        leftovers = Leftovers(tmp_path, tidier)
        leftovers.delete_gone()
        tidier.submit(len, ()).result()
        tidier.submit(len, ()).result()
    assert len(turns) == 3


def test_directories_that_writers_took_make_room_for_others_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as tidier:
        leftovers = Leftovers(tmp_path, tidier)
        while leftovers.wants_spare:
            directory(tmp_path, os.urandom(16).hex())
            leftovers.add_spare()
        spool = str(tmp_path)
        seg.make_source(spool, os.path.join(spool, "a" * 32))
        time.sleep(0.15)
        assert leftovers.wants_spare
        leftovers.add_spare()
        assert not leftovers.wants_spare
