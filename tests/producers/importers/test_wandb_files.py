"""The log format of `.wandb` files: whole, growing, torn and damaged, in pieces of any size."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import pytest

from runstream.importers.wandb_files import BLOCK_BYTES, HEADER, WandbFile

RECORDS = [random.Random(1).randbytes(size) for size in (1, 10, 100, 3000, 40_000, 200_000) * 8]


def written(records: list[bytes]) -> bytes:
    """A file that holds these records."""
    out = bytearray(HEADER)
    for record in records:
        first, rest = True, record
        while first or rest:
            left = BLOCK_BYTES - len(out) % BLOCK_BYTES
            if left < 7:
                out += bytes(left)
                continue
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (2 if rest else 1) if first else (3 if rest else 4)
            out += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            first = False
    return bytes(out)


def rest_of(file: WandbFile, end: int | None = None, **options: int) -> list[bytes]:
    records: list[bytes] = []
    while more := file.read(end, **options):
        records += more
    return records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "run.wandb").write_bytes(written(RECORDS))
    return tmp_path / "run.wandb"


@pytest.mark.parametrize("size", [1, 100, BLOCK_BYTES, 1 << 30])
def test_in_pieces_of_any_size(path: Path, size: int) -> None:
    file = WandbFile(path)
    assert rest_of(file, size=size) == RECORDS
    assert file.position == path.stat().st_size
    assert not file.damage


def test_a_file_that_grows(path: Path) -> None:
    content, dice = path.read_bytes(), random.Random(2)
    for _ in range(20):
        file, records = WandbFile(path), []
        cuts = sorted(dice.randrange(len(HEADER), len(content)) for _ in range(5))
        for cut in [*cuts, len(content)]:
            path.write_bytes(content[:cut])
            records += rest_of(file, past_damage=dice.random() < 0.5)
        assert records == RECORDS, cuts
        assert not file.damage


def test_flipped_bits_cost_what_lies_around_them(path: Path) -> None:
    """And whoever reads the same bytes again, batch by batch, finds the same records: a kill doubles nothing."""
    content, dice = path.read_bytes(), random.Random(3)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(dice.choice([1, 1, 3])):
            damaged[dice.randrange(len(HEADER), len(damaged))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        file, records = WandbFile(path), []
        while True:
            start = file.position
            batch = file.read(size=100_000)
            if file.position == start:
                break
            assert rest_of(WandbFile(path, start), file.position) == batch
            records += batch
        kept = iter(RECORDS)
        assert all(any(record == other for other in kept) for record in records)
        assert len(records) >= len(RECORDS) - 15
        assert file.damage or file.position < len(content)
