"""Damaged files: Parquet and segments of the spool. Each is refused with our error, or read as it was; nothing else."""

from __future__ import annotations

import contextlib
import io
import ntpath
import os
import posixpath
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream.client.files import inside
from runstream.exceptions import UserErrorException
from runstream.spool import segment
from runstream.spool.collecting.collector import Collector
from runstream.spool.writing import writer as spool
from runstream_consumers.compaction.row_groups import RowGroups
from runstream_consumers.compaction.sorted_points import SourcePoints, sort_points
from runstream_query.files.artifacts import check_path
from runstream_query.files.zip_stream import Member, zip_pieces
from runstream_query.points.parquet import METRICS, ParquetFiles
from runstream_schemas.errors import QueryError, StoreError
from runstream_schemas.parquet.arrow import SCHEMAS
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.settings import Settings
from runstream_schemas.source_snapshot import path_problem
from runstream_schemas.store import open_store
from runstream_schemas.wire.points import build_points
from tests.fuzz import TIMES
from tests.producers.reading import drain, logged, settings_for
from tests.seeds import new_random

pytestmark = pytest.mark.attack

# --- Parquet ---------------------------------------------------------------------------------------------------------


def _parquet() -> bytes:
    rows: list[Any] = []
    for i in range(400):
        rows.append((SeriesKey(0, "loss"), Kind.FLOAT, i, i, 10**15 + i * 997, i / 3))
        rows.append((SeriesKey(0, "epoch"), Kind.INT, i, i, 10**15 + i * 997, i * i))
        rows.append((SeriesKey(0, "note"), Kind.TEXT, i, i, 10**15 + i * 997, f"ü {i % 7}"))
    metrics = sort_points("run", [SourcePoints(0, 0, 400, build_points(rows))])["metrics"]
    sink = io.BytesIO()
    groups = RowGroups(sink, SCHEMAS["metrics"])
    groups.add(1, metrics.metrics_table(), metrics.ends)
    groups.close()
    return sink.getvalue()


COLUMNS = ("steps", "times", "values")


def _read(files: ParquetFiles, path: str) -> dict[str, list[Any]]:
    vectors = files.read(path, METRICS, {0: ["run"]})
    return {
        key.name: [
            *(
                b"".join(np.asarray(getattr(part, column)).tobytes() for part in segments)
                for column in COLUMNS
            ),
            *(text for part in segments for text in part.texts),
        ]
        for key, segments in vectors.get("run", {}).items()
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[ParquetFiles, Path, bytes]:
    root = tmp_path_factory.mktemp("store")
    settings = Settings.load({}, store=str(root), home=str(root / "home"))
    return ParquetFiles(open_store(settings)), root, _parquet()


def test_damaged_pages_are_never_misread(place: tuple[ParquetFiles, Path, bytes]) -> None:
    files, root, good = place
    (root / "metrics").mkdir(exist_ok=True)
    (root / "metrics" / "good.parquet").write_bytes(good)
    whole = _read(files, "metrics/good.parquet")
    assert {name: len(columns[0]) // 8 for name, columns in whole.items()} == {
        "loss": 400,
        "epoch": 400,
        "note": 400,
    }
    footer = int.from_bytes(good[-8:-4], "little") + 8
    chance = new_random(5)
    refused = 0
    for number in range(300 * TIMES):
        damaged = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(4, len(good) - footer)] ^= 1 << chance.randrange(8)
        path = f"metrics/pages-{number}.parquet"
        (root / path).write_bytes(bytes(damaged))
        try:
            assert _read(files, path) == whole  # the index of pages and the like is not read
        except StoreError:
            refused += 1
    assert refused > 200 * TIMES


def test_damaged_footers_and_cut_files_are_never_misread(place: tuple[ParquetFiles, Path, bytes]) -> None:
    """Of a footer that is wrong pyarrow may end the process, and leave rows out whose range it says is another."""
    files, root, good = place
    (root / "metrics").mkdir(exist_ok=True)
    (root / "metrics" / "whole.parquet").write_bytes(good)
    whole = _read(files, "metrics/whole.parquet")
    footer = int.from_bytes(good[-8:-4], "little") + 8
    chance = new_random(6)
    refused = 0
    for number in range(300 * TIMES):
        damaged = bytearray(good)
        if number % 3:
            damaged[chance.randrange(len(good) - footer - 8, len(good))] ^= 1 << chance.randrange(8)
        else:
            damaged = damaged[: chance.randrange(len(good))]
        path = f"metrics/footer-{number}.parquet"
        (root / path).write_bytes(bytes(damaged))
        try:
            assert _read(files, path) == whole  # only the mark of the checksum itself was hit
        except StoreError:
            refused += 1
    assert refused > 280 * TIMES


# --- names and zips --------------------------------------------------------------------------------------------------

_NAMES = st.lists(
    st.sampled_from(
        ["..", ".", "/", "\\", "a", "C:", "~", "%2e", "\0", "\n", "\x1b", " ", "ü", "\ud800", "\u202e", "\u2215", ":x",
         "con", "nul", ".part-", "x" * 239, "*", "-rf", "$(id)", "`id`", "'", '"', "<b>", "&"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@settings(max_examples=500 * TIMES, deadline=None)
@given(st.one_of(_NAMES, st.text(max_size=40)))
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    root = "/store/of/all"
    with contextlib.suppress(QueryError):
        path = check_path(name)
        assert posixpath.normpath(f"{root}/{path}").startswith(root + "/")
        assert ntpath.normpath(f"C:\\store\\{path}").lower().startswith("c:\\store\\")
        assert path == check_path(path)
    if path_problem(name) is None:
        assert posixpath.normpath(posixpath.join(root, name)).startswith(root + "/")
        assert ntpath.normpath(ntpath.join("D:\\store", name)).lower().startswith("d:\\store\\")
    with contextlib.suppress(UserErrorException):
        assert posixpath.normpath(inside(Path(root), name)).startswith(root + "/")


def test_any_names_in_a_zip_come_out_below_its_folder(tmp_path: Path) -> None:
    store = open_store(Settings.load({}, store=str(tmp_path / "store"), home=str(tmp_path)))
    with store.create("one") as file:
        file.stream.write(b"content")
    names: set[str] = set()

    @settings(max_examples=100 * TIMES, deadline=None, database=None)
    @given(_NAMES)
    def collect(name: str) -> None:
        with contextlib.suppress(QueryError):
            names.add(check_path(name))

    collect()
    assert names
    packed = b"".join(zip_pieces(store, [Member(name, "one", 7) for name in sorted(names)]))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert set(archive.namelist()) == names
        for member in archive.namelist():
            assert os.path.realpath(tmp_path / "out" / member).startswith(
                f"{os.path.realpath(tmp_path)}/out/"
            )
            assert archive.read(member) == b"content"


# --- the spool -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Any, list[Any]]]:
    """A spool of one closed run, and what reading it whole gives."""
    directory = tmp_path_factory.mktemp("spool") / "spool"
    writer = spool.RunWriter(settings_for(directory), "run")
    for i in range(1500):
        writer.log("x", float(i))
        if i % 50 == 0:
            writer.log("text", f"value {i}")
    writer.log_array("array", np.arange(3000.0))
    writer.tag("key", "value")
    writer.status("complete")
    writer.close()
    copy = directory.parent / "whole"
    shutil.copytree(directory, copy)
    return directory, logged(drain(Collector(settings_for(copy))))


def _damaged_spool(
    written: tuple[Path, dict[Any, list[Any]]], tmp_path: Path, number: int, damage: Any
) -> Any:
    copy = tmp_path / f"spool-{number}"
    shutil.copytree(written[0], copy)
    segments = sorted(copy.glob("*/*.seg"))
    assert len(segments) > 1
    damage(segments)
    values = logged(drain(Collector(settings_for(copy))))
    shutil.rmtree(copy, ignore_errors=True)
    return values


def test_pages_lost_to_a_power_cut_leave_holes_and_no_wrong_value(
    written: tuple[Path, dict[Any, list[Any]]], tmp_path: Path
) -> None:
    chance = new_random(7)

    def lose(segments: list[Path]) -> None:
        path = chance.choice(segments)
        with open(path, "r+b") as file:
            at = 4096 * chance.randrange(1, max(2, path.stat().st_size // 4096))
            file.seek(at)
            file.write(b"\0" * min(4096, path.stat().st_size - at))

    for number in range(25 * TIMES):
        series_values = _damaged_spool(written, tmp_path, number, lose)
        for series, values in series_values.items():
            whole = iter(written[1][series])
            assert all(value in whole for value in values)  # in order, each once


def test_garbage_in_segments_never_stops_the_reader(
    written: tuple[Path, dict[Any, list[Any]]], tmp_path: Path
) -> None:
    chance = new_random(8)

    def spoil(segments: list[Path]) -> None:
        path = chance.choice(segments)
        size = path.stat().st_size
        what = chance.randrange(3)
        with open(path, "r+b") as file:
            if what == 0:
                file.truncate(chance.randrange(size))
                return
            for _ in range(chance.randint(1, 20)):
                at = chance.randrange(segment.HEADER_BYTES)
                if what == 2:  # the words that say what a slot or a record is
                    slot = chance.randrange((size - segment.HEADER_BYTES) // segment.SLOT)
                    at = segment.HEADER_BYTES + segment.SLOT * slot + 16 + chance.randrange(16)
                file.seek(at)
                file.write(bytes([chance.choice((chance.randrange(256), chance.randrange(8)))]))

    for number in range(50 * TIMES):
        _damaged_spool(written, tmp_path, number, spoil)
