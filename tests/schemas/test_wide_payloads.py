"""Payloads of a thousand series and more: the same points; names are compressed, and one is found without the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runstream_schemas.errors import CorruptEvent
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.wire.payload import PREFIX, WIDE, encode_points
from runstream_schemas.wire.payload_index import read_index
from runstream_schemas.wire.payload_reading import decode_points
from runstream_schemas.wire.points import Points, build_points
from tests.seeds import new_random

GOLDEN = Path(__file__).parent / "golden" / "wide.v2.bin"
VALUES: dict[Kind, Any] = {Kind.FLOAT: 0.5, Kind.INT: -3, Kind.BOOL: True, Kind.TEXT: "é", Kind.NULL: None}


def wide(name: str = "layer.{}/norm") -> Points:
    """Two points each of `WIDE` series, of every kind; one name is that of a metric and of two columns of a table."""
    kinds = [*Kind]
    keys = [SeriesKey(0, name.format(number)) for number in range(WIDE)]
    keys += [SeriesKey(1, name.format(7), column) for column in "ab"]
    points = [(key, kinds[number % 5], step) for step in range(2) for number, key in enumerate(keys)]
    return build_points(
        (key, kind, seq, step, 1_700_000_000_000_000 + seq, VALUES[kind])
        for seq, (key, kind, step) in enumerate(points)
    )


def equal(left: Points, right: Points) -> bool:
    columns = ("order", "seqs", "steps", "times", "values", "counts")
    return (left.series, left.texts) == (right.series, right.texts) and all(
        np.array_equal(getattr(left, name), getattr(right, name)) for name in columns
    )


@pytest.mark.parametrize("name", ["layer.{}/norm", "layer\0{}", "{}" + "日本" * 20])
def test_they_round_trip(name: str) -> None:
    points = wide(name)
    assert equal(decode_points(encode_points(points)), points)


def test_what_an_earlier_version_wrote_is_read() -> None:
    golden = GOLDEN.read_bytes()
    assert (golden[2], equal(decode_points(golden), wide())) == (2, True)


def test_batches_that_are_not_wide_are_as_they_were() -> None:
    few = build_points((SeriesKey(0, f"{i}"), Kind.INT, i, 0, i, i) for i in range(WIDE - 1))
    assert encode_points(few)[2] == 1


@pytest.mark.parametrize("name", ["layer.{}/norm", "layer\0{}"])
def test_a_name_is_found_wherever_it_is(name: str) -> None:
    index = read_index(encode_points(wide(name)))
    for names in (
        {name.format(7)},
        {name.format(0), name.format(WIDE - 1)},
        {name.format(i) for i in range(9)},
    ):
        expected = [(i, key) for i, (key, _) in enumerate(index.series) if key.name in names]
        fresh = read_index(encode_points(wide(name)))
        numbers, keys = fresh.named(names)
        assert list(zip(numbers, keys, strict=True)) == expected
    for absent in ("layer.1", "norm", "", "layer.1/norm\0layer.2/norm", "layer.1023/norm\0"):
        assert read_index(encode_points(wide(name))).named({absent})[0] == []


def test_damage_is_refused_or_gives_points_that_are_well_formed() -> None:
    random, payload = new_random(), encode_points(wide())
    header = PREFIX.unpack_from(payload)[3]
    for _ in range(300):
        damaged = bytearray(payload)
        for _ in range(random.randrange(1, 4)):
            damaged[random.randrange(PREFIX.size + header)] = random.randrange(256)
        cut = random.randrange(len(payload))
        for bytes_ in (bytes(damaged), payload[:cut]):
            try:
                points = decode_points(bytes_)
                names = {key.name for key, _ in points.series}
            except CorruptEvent:
                continue
            assert names
            assert len(points.order) == len(points.steps) == len(points.values) == int(points.counts.sum())
