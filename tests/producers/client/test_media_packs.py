"""Packs of the outbox: a content that was kept is in exactly one of them, whoever is killed, stopped or out of room."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from runstream.client import media_outbox, media_packs
from runstream.exceptions import ServiceException
from runstream_schemas.settings import Settings

KEEPING = """
import os, sys, threading
from pathlib import Path
from runstream.client import media_packs

def keep(who):
    for number in range(int(sys.argv[2])):
        content = f"{who} {number} ".encode() * 700
        digest = media_packs.append(Path(sys.argv[1]), "run", content, "image/png")
        os.write(1, digest.encode() + b"\\n")  # in one: print writes the end of a line apart, and others come between

if os.fork() == 0:
    keep(f"child {os.getpid()}")
    os._exit(0)
threads = [threading.Thread(target=keep, args=(f"{os.getpid()} {name}",)) for name in "ab"]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
os.wait()
"""


def contents_of(pack: Path) -> tuple[str, list[str]]:
    """The run of a pack, and the digests of its contents."""
    run_id, batches = media_packs.batches(pack)
    return run_id, [
        hashlib.sha256(batch.body[start:end]).hexdigest()
        for batch in batches
        for _, _, start, end in batch.contents
    ]


def taken(outbox: Path) -> list[str]:
    """Take all packs, as a delivery does."""
    digests = []
    for pack in media_packs.sealed(outbox):
        run_id, of_pack = contents_of(pack)
        assert run_id == "run" or (run_id, of_pack) == ("", [])  # sealed before anything came into it
        digests += of_pack
        pack.unlink()
    return digests


def test_each_content_is_in_one_pack_while_threads_and_forks_append_and_packs_are_taken(
    tmp_path: Path,
) -> None:
    count = 300
    delivered: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", KEEPING, str(tmp_path), str(count)], stdout=subprocess.PIPE, text=True
    ) as keeping:
        assert keeping.stdout
        kept: list[str] = []
        reading = threading.Thread(target=lambda: kept.extend(keeping.stdout.read().split()))  # type: ignore[union-attr]
        reading.start()
        while reading.is_alive():
            delivered += taken(tmp_path)
        reading.join()
    delivered += taken(tmp_path)
    assert len(kept) == 3 * count
    assert Counter(delivered) == Counter(kept)
    assert not media_packs.waiting(tmp_path)


def test_a_content_that_waits_is_never_overlooked_while_its_pack_is_sealed(tmp_path: Path) -> None:
    for number in range(200):  # so many that a listing takes several calls
        media_packs.append(tmp_path, f"run {number}", b"", "image/png")
    stop = threading.Event()
    seen: list[bool] = []

    def look() -> None:
        while not stop.is_set():
            seen.append(media_packs.waiting(tmp_path, "run 100"))

    looking = threading.Thread(target=look)
    looking.start()
    assert len(list(media_packs.sealed(tmp_path))) == 200
    stop.set()
    looking.join()
    assert all(seen)


def test_what_was_kept_before_a_kill_is_there(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KEEPING, str(tmp_path), "1000000"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as keeping:
        assert keeping.stdout
        kept = [keeping.stdout.readline().strip() for _ in range(200)]
        os.killpg(keeping.pid, signal.SIGKILL)
        kept += [line for line in keeping.stdout.read().split("\n") if len(line) == 64]
    assert set(kept) <= set(taken(tmp_path))


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_pack_is_read_up_to_where_it_breaks_off(tmp_path: Path, cut: int) -> None:
    first = media_packs.append(tmp_path, "run", b"first", "image/png")
    media_packs.append(tmp_path, "run", b"second", "text/plain")
    (pack,) = media_packs.sealed(tmp_path)
    with pack.open("rb+") as file:
        file.truncate(pack.stat().st_size - cut)
    whole = contents_of(pack)
    assert whole in [("run", [first]), ("run", []), ("", [])]
    if cut < 20:
        assert whole == ("run", [first])


def test_a_damaged_pack_gives_what_is_before_the_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = media_packs.append(tmp_path, "run", b"first", "image/png")
    (pack,) = media_packs.sealed(tmp_path)
    with pack.open("ab") as file:
        file.write(bytes(100))
    assert contents_of(pack) == ("run", [first])
    assert "is damaged behind its first 1 contents" in caplog.text


def test_the_same_bytes_are_in_a_pack_once_and_of_two_kinds_twice(tmp_path: Path) -> None:
    for _ in range(3):
        media_packs.append(tmp_path, "run", b"same", "image/png")
        media_packs.append(tmp_path, "run", b"same", "image/jpeg")
    assert len(taken(tmp_path)) == 2
    media_packs.append(tmp_path, "run", b"same", "image/png")  # it may have been deleted there meanwhile
    assert len(taken(tmp_path)) == 1


def test_a_pack_that_is_held_is_left_alone_and_nobody_waits_for_it(tmp_path: Path) -> None:
    media_packs.append(tmp_path, "run", b"first", "image/png")
    (pack,) = (media_packs.folder_of(tmp_path) / "writing").iterdir()
    with pack.open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        media_packs.append(tmp_path, "run", b"second", "image/png")
        assert [contents_of(path)[1] for path in media_packs.sealed(tmp_path)] == [
            [hashlib.sha256(b"second").hexdigest()]
        ]
    assert len(taken(tmp_path)) == 2


def test_a_disk_without_room_keeps_nothing_of_a_content_and_all_before_it(tmp_path: Path) -> None:
    first = media_packs.append(tmp_path, "run", b"first", "image/png")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            media_packs.append(tmp_path, "run", bytes(10_000), "image/png")
        with pytest.raises(OSError, match="File too large"):
            media_packs.append(tmp_path, "other run", bytes(10_000), "image/png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    second = media_packs.append(tmp_path, "run", b"second", "image/png")
    assert taken(tmp_path) == [first, second]


def test_large_packs_are_followed_by_others_and_sent_in_several_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_packs, "PACK_BYTES", 50_000)
    kept = [media_packs.append(tmp_path, "run", os.urandom(10_000), "image/png") for _ in range(20)]
    packs = list(media_packs.sealed(tmp_path))
    assert [len(contents_of(pack)[1]) for pack in packs] == [5, 5, 5, 5]
    monkeypatch.setattr(media_packs, "BATCH_BYTES", 25_000)
    assert [len(batch.contents) for batch in media_packs.batches(packs[0])[1]] == [2, 2, 1]
    monkeypatch.setattr(media_packs, "BATCH_FILES", 1)
    assert [len(batch.contents) for batch in media_packs.batches(packs[0])[1]] == [1] * 5
    assert sorted(taken(tmp_path)) == sorted(kept)


def test_what_is_refused_is_put_away_under_its_digest_and_what_may_pass_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=str(tmp_path))
    outbox = tmp_path / "outbox"
    sha256, size = media_outbox.keep(settings, "run", b"picture", "image/png")
    assert size == 7
    refused: list[tuple[str, str, bytes]] = []

    def fail(*_: object) -> None:
        raise ServiceException("no", 503)

    def send() -> tuple[int, int]:
        def refuse(run_id: str, path: Path, error: Exception) -> None:
            refused.append((run_id, path.name, path.read_bytes()))
            path.unlink()

        return media_outbox.send_all(
            None,  # type: ignore[arg-type]
            outbox,
            refuse,
            lambda error: getattr(error, "status_code", 0) == 503,
            lambda: False,
        )

    monkeypatch.setattr(media_outbox, "_send_body", fail)
    assert send() == (0, 0)
    assert media_outbox.waiting(outbox, "run")
    assert not media_outbox.waiting(outbox, "another run")
    monkeypatch.setattr(media_outbox, "_send_body", lambda *_: (_ for _ in ()).throw(ValueError("no")))
    assert send() == (0, 1)
    assert refused == [("run", f"{sha256}.png", b"picture")]
    assert not media_outbox.waiting(outbox)
