"""Records of event files that grow, are cut or damaged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from runstream.tensorboard import records
from runstream.tensorboard.records import RecordFile, frame, masked_crc
from tests.producers.tensorboard.oracle import flipped, scalar_event, write_events

CONTENTS = [b"first", b"", b"second " * 30, bytes(range(256)), b"last"]


def read_all(file: RecordFile) -> list[bytes]:
    contents: list[bytes] = []
    while more := file.read():
        contents += more
    return contents


def test_the_checksum_is_that_of_the_format() -> None:
    # RFC 3720, B.4: 32 bytes of zeros.
    assert records.crc32c(bytes(32)) == 0x8A9136AA
    assert masked_crc(bytes(32)) == ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_records_that_tensorboard_writes(tmp_path: Path) -> None:
    events = [scalar_event("loss", step / 3, step, 1e9 + step) for step in range(50)]
    file = RecordFile(write_events(tmp_path, events))
    contents = read_all(file)
    assert contents[1:] == [event.SerializeToString() for event in events]
    assert (file.position, file.damage) == (file.path.stat().st_size, [])


def test_a_file_cut_at_any_byte_gives_its_whole_records_and_the_rest_when_it_grows(tmp_path: Path) -> None:
    whole = b"".join(map(frame, CONTENTS))
    path = tmp_path / "f"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        file = RecordFile(path)
        first = read_all(file)
        assert first == CONTENTS[: len(first)]
        assert file.position == sum(len(frame(content)) for content in first)
        path.write_bytes(whole)
        assert first + read_all(file) == CONTENTS
        assert file.damage == []


def test_a_bit_turned_over_costs_the_record_it_is_in(tmp_path: Path) -> None:
    contents = [b"first", b"second " * 3, b"third", b"last"]
    whole = b"".join(map(frame, contents))
    path = tmp_path / "f"
    ends = [sum(len(frame(content)) for content in contents[: n + 1]) for n in range(len(contents))]
    for place, content in enumerate(flipped(whole)):
        path.write_bytes(content)
        file = RecordFile(path)
        hit = next(n for n, end in enumerate(ends) if place < end)
        assert read_all(file) == [content for n, content in enumerate(contents) if n != hit], place
        # Of the last one nobody knows whether its writer is still at it.
        assert len(file.damage) == (0 if hit == len(contents) - 1 else 1)


def test_damage_is_not_passed_over_when_it_is_not_to_be(tmp_path: Path) -> None:
    path = tmp_path / "f"
    whole = bytearray(b"".join(map(frame, CONTENTS)))
    whole[14] ^= 1
    path.write_bytes(whole)
    file = RecordFile(path)
    assert file.read(past_damage=False) == []
    assert file.position == 0
    path.write_bytes(b"".join(map(frame, CONTENTS)))
    assert read_all(file) == CONTENTS


def test_a_record_behind_damage_that_is_not_whole_yet_is_read_when_it_is(tmp_path: Path) -> None:
    path = tmp_path / "f"
    damaged, behind = bytearray(frame(b"damaged")), frame(b"x" * 500) + frame(b"y")
    damaged[13] ^= 1
    path.write_bytes(bytes(damaged) + behind[:100])
    file = RecordFile(path)
    assert file.read() == []
    path.write_bytes(bytes(damaged) + behind)
    assert read_all(file) == [b"x" * 500, b"y"]
    assert [(hole.start, hole.size) for hole in file.damage] == [(0, len(damaged))]


def test_zeros_of_a_lost_page_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(frame(b"before") + bytes(4096) + frame(b"behind"))
    file = RecordFile(path)
    assert read_all(file) == [b"before", b"behind"]
    assert file.damage[0].size == 4096


def test_records_larger_than_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CHUNK_BYTES", 64)
    contents = [bytes(random.Random(1).randbytes(n)) for n in (10, 60, 64, 200, 3)]
    path = tmp_path / "f"
    path.write_bytes(b"".join(map(frame, contents)))
    assert read_all(RecordFile(path)) == contents
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 100)
    file = RecordFile(path)
    assert read_all(file) == [content for content in contents if len(content) <= 100]
    assert [hole.size for hole in file.damage] == [216]


def test_a_file_of_many_gigabytes_takes_a_few_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as stream:
        stream.write(frame(b"first"))
        stream.truncate(10 << 30)  # a hole: it takes no room on the disk
    file = RecordFile(path)
    assert file.read() == [b"first"]
    # What is behind is not read as a whole before anything is said of it.
    assert file.read(past_damage=False) == []
