"""Merging small files of an experiment in tiers: eight of one tier become one of the next.

A file is merged about log8 of its size times, whatever the number of runs. Whole row groups are copied through as they
come; only runs that lie in several of the files are put together series by series. Memory is bounded by one row group of
each file and the row group being written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runstream_schemas.errors import CorruptEvent, StoreError, lacks_memory
from runstream_schemas.order import Piece, Place, joined, merged_place, unpack_place
from runstream_schemas.parquet.arrow import SCHEMAS
from runstream_schemas.parquet.footer_seal import check_footer
from runstream_schemas.series import SeriesKey
from runstream_schemas.store import Store
from runstream_schemas.values.typed_values import second_key, series_key
from runstream_schemas.wire.points import I8

from . import manifest
from .manifest import ClaimedFile, ClaimLost, WrittenFile
from .orphans import release
from .row_groups import RowGroups
from .worker import Worker

log = logging.getLogger("runstream.merge")

FANOUT = 8
"""Files of one tier that are merged."""

TOP_TIER = 6
"""The highest tier that is merged: files of 256 Ki to 2 Mi rows. Larger ones are large enough."""

MERGED_ROWS = 8 << 20
"""Rows of a merged file at most."""


@dataclass(slots=True)
class MergeReport:
    """What merging did."""

    merged: int = 0
    files: int = 0
    rows: int = 0
    lost_claims: int = 0


@dataclass(slots=True)
class MergeInput:
    """A file to be merged: where it lies and what it holds, by run in the order of its rows."""

    id: int
    path: str
    rows: int
    runs: dict[int, Place] = field(default_factory=dict)


async def merge_small_files(
    pool: asyncpg.Pool[Any], store: Store, worker: Worker, *, stop: asyncio.Event | None = None
) -> MergeReport:
    """Merge until no tier of any experiment holds `FANOUT` files.

    Args:
        stop: set: no further merge is begun.

    Raises:
        StoreError: a file is missing or damaged; the files stay as they were.
    """
    report = MergeReport()
    skipped: set[int] = set()
    while not (stop is not None and stop.is_set()):
        try:
            if not await _merge_one(pool, store, worker, report, skipped):
                break
        except ClaimLost as lost:
            log.info("merge: %s", lost)
            report.lost_claims += 1
    return report


async def _merge_one(
    pool: asyncpg.Pool[Any], store: Store, worker: Worker, report: MergeReport, skipped: set[int]
) -> bool:
    async with pool.acquire() as connection, connection.transaction():
        await manifest.claim_lock(connection)
        row = await connection.fetchrow(manifest.MERGEABLE, TOP_TIER, FANOUT, list(skipped))
        if row is None:
            return False
        inputs = await _choose(connection, row["kind"], row["ids"])
        if len(inputs) < 2:
            skipped.add(row["ids"][0])  # the next round begins behind it
            return True
        run_ids = await _run_ids(connection, inputs)
        path = manifest.file_path(row["kind"], row["experiment"], [item.path for item in inputs])
        claimed = await manifest.claim(connection, row["kind"], path, row["experiment_id"], run_ids)
        if claimed is None:  # being merged by somebody else, or left over until the cleaning
            skipped.update(item.id for item in inputs)
            return True
    merger = Merger(store, claimed, inputs, run_ids)
    try:
        written = await worker.run(merger.write)
        async with pool.acquire() as connection, connection.transaction():
            await manifest.replace(connection, written, [item.id for item in inputs])
    except Exception:
        await release(pool, store, claimed.id)
        raise
    # Out with the old before in with the new: a glob in between misses points for an instant, and counts none twice.
    for item in inputs:
        await worker.run(store.retire, item.path)
    await worker.run(store.publish, path)
    report.merged += 1
    report.files += len(inputs)
    report.rows += written.rows
    return True


async def _choose(connection: asyncpg.Connection[Any], kind: str, ids: Sequence[int]) -> list[MergeInput]:
    """The oldest files of `ids` that can become one file, without changing the order of any run's files."""
    files = await connection.fetch(manifest.FILES, ids[:FANOUT])
    neighbours = await connection.fetch(manifest.NEIGHBOURS, ids[:FANOUT], kind)
    chosen: list[MergeInput] = []
    rows = 0
    for file in files:
        first = (files[0]["created_at"], files[0]["id"])
        between = any(
            row["candidate"] == file["id"]
            and first < (row["created_at"], row["id"]) < (file["created_at"], file["id"])
            for row in neighbours
        )
        if rows + file["rows"] > MERGED_ROWS:
            break
        if not between:
            chosen.append(MergeInput(file["id"], file["path"], file["rows"]))
            rows += file["rows"]
    by_id = {item.id: item for item in chosen}
    await find_runs(connection, by_id)
    return chosen


async def find_runs(connection: asyncpg.Connection[Any], inputs: Mapping[int, MergeInput]) -> None:
    """Note which runs files hold, and which part of them.

    Args:
        inputs: the files by their id.
    """
    for row in await connection.fetch(manifest.FILE_RUNS, list(inputs)):
        place = unpack_place(row["first_position"], row["end_position"], row["pieces"])
        inputs[row["file_id"]].runs[row["run_key"]] = place


async def _run_ids(connection: asyncpg.Connection[Any], inputs: Sequence[MergeInput]) -> dict[int, str]:
    keys = list({key for item in inputs for key in item.runs})
    return {row["key"]: row["run_id"] for row in await connection.fetch(manifest.RUN_IDS, keys)}


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rows of one run in one row group of one file, and where its series end in them."""

    file: int
    group: int
    start: int
    ends: I8
    names: list[tuple[str, Any]]


class Merger:
    """Writes the merged file; lives in the worker's thread.

    Args:
        inputs: the files, in the order of their making.
        run_ids: ids of all their runs, by key.
        without: runs that are left out.
    """

    def __init__(
        self,
        store: Store,
        claimed: ClaimedFile,
        inputs: Sequence[MergeInput],
        run_ids: Mapping[int, str],
        without: frozenset[int] = frozenset(),
    ) -> None:
        self._store, self._claimed, self._inputs = store, claimed, inputs
        self._run_keys = {run_id: key for key, run_id in run_ids.items()}
        self._without = without
        self._keys = ("name", second_key(claimed.kind))
        self._files: list[pq.ParquetFile] = []
        self._held: dict[tuple[int, int], pa.Table] = {}

    def write(self) -> WrittenFile:
        """Write the file and make it durable."""
        sources = [self._store.open_input(item.path) for item in self._inputs]
        try:
            for item, source in zip(self._inputs, sources, strict=True):
                try:
                    check_footer(source, item.path)
                    self._files.append(pq.ParquetFile(source, page_checksum_verification=True))
                except (pa.ArrowException, OSError) as error:
                    if lacks_memory(error):
                        raise
                    raise self._damaged(item.path, error) from None
            runs: dict[int, list[_Stretch]] = {}
            left_out = 0
            for number in range(len(self._files)):
                for run_key, stretch in self._stretches(number):
                    if run_key in self._without:
                        left_out += int(stretch.ends[-1])
                    else:
                        runs.setdefault(run_key, []).append(stretch)
            places: dict[int, Place] = {}
            new = self._store.stage(self._claimed.path)
            with new:
                groups = RowGroups(new.stream, SCHEMAS[self._claimed.kind])
                for run_key, stretches in runs.items():
                    if len({stretch.file for stretch in stretches}) == 1:
                        for stretch in stretches:
                            self._forget_files_before(stretch.file)
                            groups.add(run_key, self._rows(stretch, 0, int(stretch.ends[-1])), stretch.ends)
                        places[run_key] = self._inputs[stretches[0].file].runs[run_key]
                    else:
                        places[run_key] = self._put_together(groups, run_key, stretches)
                groups.close()
                size = new.stream.tell()
        finally:
            for source in sources:
                source.close()
        expected = sum(item.rows for item in self._inputs) - left_out
        if groups.rows != expected:
            raise StoreError(
                f"merging {self._inputs[0].path} and {len(self._inputs) - 1} more: {groups.rows} rows in the files, "
                f"{expected} in the manifest; a file was replaced from outside: restore the store from a backup"
            )
        return WrittenFile(self._claimed, groups.rows, size, groups.runs, places)

    def _damaged(self, path: str, error: Exception) -> StoreError:
        return StoreError(
            f"{path}: damaged or not Parquet ({error}); restore it in {self._store.root} from a backup"
        )

    def _read(self, file: int, group: int, columns: list[str] | None = None) -> pa.Table:
        try:
            return self._files[file].read_row_group(group, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            if lacks_memory(error):
                raise
            raise self._damaged(self._inputs[file].path, error) from None

    def _stretches(self, file: int) -> Iterable[tuple[int, _Stretch]]:
        """Runs and series of a file, by its key columns."""
        for group in range(self._files[file].num_row_groups):
            keys = self._read(file, group, ["run_id", *self._keys])
            codes, dictionaries = zip(*(_codes(keys.column(i)) for i in range(3)), strict=True)
            change = np.zeros(len(keys), dtype=bool)
            for code in codes:
                change[1:] |= np.diff(code) != 0
            change[:1] = True
            starts = np.flatnonzero(change)
            ends = np.append(starts[1:], len(keys))
            run_of = codes[0][starts]
            borders = np.append(np.flatnonzero(np.append(True, np.diff(run_of) != 0)), len(starts))
            for a, b in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
                names = [
                    (dictionaries[1][codes[1][s]], dictionaries[2][codes[2][s]]) for s in starts[a:b].tolist()
                ]
                start = int(starts[a])
                run_id = dictionaries[0][run_of[a]]
                yield self._run_keys[run_id], _Stretch(file, group, start, ends[a:b] - start, names)

    def _rows(self, stretch: _Stretch, a: int, b: int) -> pa.Table:
        """Rows a to b of a stretch; the last row group read of each file is kept."""
        key = (stretch.file, stretch.group)
        table = self._held.get(key)
        if table is None:
            for other in [held for held in self._held if held[0] == stretch.file]:
                del self._held[other]
            table = self._held[key] = self._read(*key)
        return table.slice(stretch.start + a, b - a)

    def _forget_files_before(self, file: int) -> None:
        for held in [held for held in self._held if held[0] < file]:
            del self._held[held]

    def _put_together(self, groups: RowGroups, run_key: int, stretches: Sequence[_Stretch]) -> Place:
        """Write one run that lies in several files, each series in the order of its points; returns its place."""
        parts: dict[SeriesKey, list[tuple[_Stretch, int, int]]] = {}
        for stretch in stretches:
            a = 0
            for name, end in zip(stretch.names, stretch.ends.tolist(), strict=True):
                key = series_key(self._claimed.kind, *name)
                parts.setdefault(key, []).append((stretch, a, end))
                a = end
        pieces: dict[SeriesKey, list[Piece]] = {}
        for key, parts_of_key in parts.items():
            cuts: list[tuple[int, _Stretch, int, int]] = []
            held: list[Piece] = []
            for file in dict.fromkeys(stretch.file for stretch, _, _ in parts_of_key):
                mine = [part for part in parts_of_key if part[0].file == file]
                place = self._inputs[file].runs[run_key]
                try:
                    known = place.of(key, sum(end - a for _, a, end in mine))
                except CorruptEvent as error:
                    raise self._damaged(self._inputs[file].path, error) from None
                cuts += _cuts(known, mine)
                held += known
            for _, stretch, a, b in sorted(cuts, key=lambda cut: cut[0]):
                groups.add(run_key, self._rows(stretch, a, b), np.array([b - a]))
            pieces[key] = joined(sorted(held, key=lambda piece: piece.start))
        files = dict.fromkeys(stretch.file for stretch in stretches)
        return merged_place([self._inputs[file].runs[run_key] for file in files], pieces)


def _cuts(
    pieces: Iterable[Piece], parts: Iterable[tuple[_Stretch, int, int]]
) -> Iterable[tuple[int, _Stretch, int, int]]:
    """Where the pieces of a series lie in the stretches of one file: (position, stretch, first row, end)."""
    places = iter(parts)
    stretch, a, end = next(places)
    for piece in pieces:
        left = piece.rows
        while left:
            if a == end:
                stretch, a, end = next(places)
            rows = min(left, end - a)
            yield piece.start, stretch, a, a + rows
            a, left = a + rows, left - rows


def _codes(column: pa.ChunkedArray) -> tuple[Any, list[Any]]:
    """A key column as numbers and what they stand for."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    return array.indices.to_numpy(zero_copy_only=False), array.dictionary.to_pylist()
