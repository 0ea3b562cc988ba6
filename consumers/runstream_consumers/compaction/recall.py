"""Points of metrics brought back from files to the hot tier, for a rewind to cut them: see `storing.rewinding`.

A file is written anew without the run, as by a purge, and in the same transaction its points are chunks again, where they
lay in the run's order. The next compaction moves them to a file.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from runstream_schemas.errors import StoreError, lacks_memory
from runstream_schemas.order import BEFORE_ALL, SLOT_BITS, Piece, Place
from runstream_schemas.parquet.arrow import numbers, plain, restore_kinds
from runstream_schemas.parquet.footer_seal import check_footer
from runstream_schemas.series import Kind, SeriesKey
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store, open_store
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.points import I8, U8, Points, order_dtype

from ..storing.queries import CHUNK_COLUMNS
from . import manifest
from .manifest import ClaimLost
from .merge import MergeInput, Merger, find_runs
from .orphans import release
from .purge import TRASH_FILE
from .worker import Worker

log = logging.getLogger("runstream.recall")

CHUNK_POINTS: Final = 1 << 16
"""Points of a chunk that comes back at most."""

PATIENCE: Final = 60.0
"""Seconds a rewind waits for a store that is away, or a file that is restored; then it is a dead letter. Nothing else can be
stored meanwhile."""

FILES: Final = """
select f.id, f.kind, f.path, f.rows, f.experiment_id, e.name as experiment, r.key as run_key, r.run_id,
    fr.first_row_group, fr.last_row_group
from runs r join file_runs fr on fr.run_key = r.key join files f on f.id = fr.file_id
left join experiments e on e.id = f.experiment_id
where r.run_id = any($1::text[]) and f.state = 'live' and f.kind = 'metrics' and f.id <> all($2::bigint[])
order by f.created_at, f.id limit 1"""
SOURCES: Final = "select ordinal, key from sources where run_key = $1 and topic = 'metrics'"
DROP_CLAIMS: Final = """
delete from files f using file_runs fr
where f.state = 'pending' and fr.file_id = f.id and fr.run_key = any($1::bigint[])"""
_OLD_SLOTS: Final = -(1 << 39)  # of what was stored before places were kept: before all others


@dataclass(slots=True)
class _Part:
    """Some points of one series, in order of logging."""

    key: SeriesKey
    steps: I8
    times: I8
    bits: U8
    kinds: NDArray[np.uint8]
    texts: list[str]


@dataclass(slots=True)
class _Stretch:
    """What a file holds of a run between two positions."""

    start: int
    end: int
    parts: list[_Part] = field(default_factory=list)


class Recall:
    """See `storing.rewinding.ColdPoints`. The store is opened when it is needed.

    Args:
        pool: connections to a migrated database.
        settings: `store` is read.
    """

    def __init__(self, pool: asyncpg.Pool[Any], settings: Settings) -> None:
        self._pool, self._settings = pool, settings
        self._store: Store | None = None
        self._failing: dict[str, float] = {}  # since when, in monotonic seconds

    async def hold(self, connection: asyncpg.Connection[Any], run_keys: Sequence[int]) -> None:
        """Keep others from moving points of runs to files until the transaction ends."""
        await manifest.claim_lock(connection)
        await connection.execute(DROP_CLAIMS, run_keys)

    async def recall(self, run_ids: Sequence[str]) -> None:
        """Bring all there are back to the hot tier, a file at a time.

        Raises:
            ConnectionError: the store is away, or a file is damaged: try again.
            StoreError: it was for `PATIENCE`. Whoever asked is not waited for any longer than that.
        """
        worker = Worker()
        try:
            while (file := await self._pool.fetchrow(FILES, run_ids, [])) is not None:
                try:
                    if self._store is None:
                        self._store = await asyncio.to_thread(open_store, self._settings)
                    await self._bring_back(self._store, worker, file)
                except ClaimLost as lost:
                    log.info("recall: %s", lost)
                    await asyncio.sleep(0.05)
                except StoreError as error:
                    since = self._failing.setdefault(file["run_id"], time.monotonic())
                    if time.monotonic() - since > PATIENCE:
                        raise
                    raise ConnectionError(f"run {file['run_id']} cannot be rewound yet: {error}") from error
            for run_id in run_ids:
                self._failing.pop(run_id, None)
        finally:
            worker.close()

    async def _bring_back(self, store: Store, worker: Worker, file: Any) -> None:
        run_key, run_id = file["run_key"], file["run_id"]
        async with self._pool.acquire() as connection, connection.transaction():
            await manifest.claim_lock(connection)
            held = MergeInput(file["id"], file["path"], file["rows"])
            await find_runs(connection, {held.id: held})
            stay = held.runs.keys() - {run_key}
            claimed = None
            if stay:
                # Another path each time: nobody waits for the cleaning of what a crash left.
                named = [file["path"], f"recalled {run_id}", secrets.token_hex(8)]
                path = manifest.file_path(file["kind"], file["experiment"], named)
                claimed = await manifest.claim(connection, file["kind"], path, file["experiment_id"], stay)
                if claimed is None:
                    raise ClaimLost(f"{path} is being made by somebody else, or waits for the cleaning")
            rows = await connection.fetch(manifest.RUN_IDS, list(held.runs))
            sources = {row["ordinal"]: row["key"] for row in await connection.fetch(SOURCES, run_key)}
        try:
            groups = range(file["first_row_group"], file["last_row_group"] + 1)
            chunks = await worker.run(
                _chunks, store, file["path"], groups, run_id, held.runs[run_key], run_key, sources, file["id"]
            )
            written = None
            if claimed is not None:
                run_ids = {row["key"]: row["run_id"] for row in rows}
                merger = Merger(store, claimed, [held], run_ids, frozenset([run_key]))
                written = await worker.run(merger.write)
            async with self._pool.acquire() as connection, connection.transaction():
                if written is not None:
                    await manifest.replace(connection, written, [file["id"]])
                elif await connection.fetchval(TRASH_FILE, file["id"]) is None:
                    raise ClaimLost(f"{file['path']} was replaced by somebody else")
                await connection.copy_records_to_table("chunks", records=chunks, columns=CHUNK_COLUMNS)
        except Exception:
            if claimed is not None:
                await release(self._pool, store, claimed.id)
            raise
        await worker.run(store.retire, file["path"])
        if claimed is not None:
            await worker.run(store.publish, claimed.path)


def _chunks(
    store: Store,
    path: str,
    groups: Sequence[int],
    run_id: str,
    place: Place,
    run_key: int,
    sources: dict[int, int],
    file_id: int,
) -> list[tuple[int, int, int, int, int, bytes]]:
    """The points of a run in a file as rows of `CHUNK_COLUMNS`."""
    stretches: dict[tuple[int, int], _Stretch] = {}
    taken: dict[SeriesKey, int] = {}
    for part in _parts(store, path, groups, run_id):
        at = before = 0
        if place.pieces is None:
            pieces = [Piece(place.start, place.end, len(part.steps))]
        else:  # they follow one another in the rows of a series
            pieces, before = place.pieces.get(part.key, []), taken.get(part.key, 0)
            taken[part.key] = before + len(part.steps)
        for start, stop, rows in pieces:
            left = max(rows - before, 0)
            before = max(before - rows, 0)
            if (end := min(at + left, len(part.steps))) > at:
                stretch = stretches.setdefault((start, stop), _Stretch(start, stop))
                stretch.parts.append(_slice(part, at, end))
                at = end
        if at < len(part.steps):
            raise StoreError(
                f"{path}: the manifest knows fewer points of {part.key.name!r} than the file has; "
                "restore both from one backup"
            )
    return [
        (run_key, *row)
        for stretch in stretches.values()
        for row in _rows_of_stretch(stretch, sources, path, file_id)
    ]


def _rows_of_stretch(
    stretch: _Stretch, sources: dict[int, int], path: str, file_id: int
) -> Iterator[tuple[int, int, int, int, bytes]]:
    if stretch.start == BEFORE_ALL:
        ordinal, first, slots = 0, _OLD_SLOTS + (file_id << 12), 1 << 12
    else:
        ordinal, first = stretch.start >> SLOT_BITS, stretch.start & ((1 << SLOT_BITS) - 1)
        slots = stretch.end - stretch.start
    if ordinal not in sources:
        raise StoreError(
            f"{path}: the database knows no source number {ordinal} of the run whose points it holds; "
            "restore both from one backup"
        )
    batches = _batches(
        stretch.parts, max(CHUNK_POINTS, -(-sum(len(p.steps) for p in stretch.parts) // slots))
    )
    for number, batch in enumerate(batches):
        count = 1 if number < len(batches) - 1 else slots - number
        yield (
            sources[ordinal],
            first + number,
            count,
            sum(len(p.steps) for p in batch),
            _payload(batch, first + number),
        )


def _batches(parts: Sequence[_Part], most: int) -> list[list[_Part]]:
    """Parts in order, in batches of at most so many points."""
    batches: list[list[_Part]] = [[]]
    size = 0
    for part in parts:
        at = 0
        while at < len(part.steps):
            if size >= most:
                batches.append([])
                size = 0
            end = min(at + most - size, len(part.steps))
            batches[-1].append(_slice(part, at, end))
            size, at = size + end - at, end
    return batches


def _payload(parts: Sequence[_Part], slot: int) -> bytes:
    """Points as of a chunk; all of one slot, for which is whose is no longer known."""
    distinct = {(part.key, Kind(int(kind))) for part in parts for kind in np.unique(part.kinds)}
    series = sorted(distinct, key=lambda item: item[1])
    number = {item: i for i, item in enumerate(series)}
    order = np.concatenate(
        [np.array([number.get((part.key, kind), 0) for kind in Kind])[part.kinds] for part in parts]
    )
    grouped = np.argsort(order, kind="stable")
    texts = [text for part in parts for text in part.texts]
    bits = np.concatenate([part.bits for part in parts])[grouped]
    kinds = np.concatenate([part.kinds for part in parts])
    is_text = kinds[grouped] == Kind.TEXT
    places = np.zeros(len(kinds), dtype=np.int64)
    places[kinds == Kind.TEXT] = np.arange(len(texts))
    texts = [texts[i] for i in places[grouped][is_text].tolist()]
    bits[is_text] = np.arange(len(texts), dtype=np.uint64)
    return encode_points(
        Points(
            series,
            order.astype(order_dtype(len(series))),
            np.full(len(order), max(slot, 0), dtype=np.int64),
            np.concatenate([part.steps for part in parts])[grouped],
            np.concatenate([part.times for part in parts])[grouped],
            bits,
            texts,
            np.bincount(order, minlength=len(series)).astype(np.int64),
        )
    )


def _slice(part: _Part, at: int, end: int) -> _Part:
    before = int(np.count_nonzero(part.kinds[:at] == Kind.TEXT))
    texts = part.texts[before : before + int(np.count_nonzero(part.kinds[at:end] == Kind.TEXT))]
    return _Part(
        part.key, part.steps[at:end], part.times[at:end], part.bits[at:end], part.kinds[at:end], texts
    )


def _parts(store: Store, path: str, groups: Sequence[int], run_id: str) -> Iterator[_Part]:
    """The points of a run in some row groups, series by series."""
    source = store.open_input(path)
    try:
        check_footer(source, path)
        file = pq.ParquetFile(source, page_checksum_verification=True)
        for group in groups:
            table = file.read_row_group(group, use_threads=False)
            codes, runs = _codes(table.column("run_id"))
            rows = np.flatnonzero(codes == runs.index(run_id)) if run_id in runs else codes[:0]
            if not len(rows):
                continue
            table = table.slice(
                int(rows[0]), len(rows)
            ).combine_chunks()  # the rows of a run follow one another
            (name_of, names), (class_of, classes) = (
                _codes(table.column(column)) for column in ("name", "cls")
            )
            change = (np.diff(name_of) != 0) | (np.diff(class_of) != 0)
            starts = [0, *(np.flatnonzero(change) + 1).tolist()]
            kinds = restore_kinds(table)
            floats, whole = (kinds == Kind.FLOAT), (kinds == Kind.INT) | (kinds == Kind.BOOL)
            bits = np.zeros(len(kinds), dtype=np.uint64)
            bits[floats] = numbers(table.column("value"), np.float64, np.nan).view(np.uint64)[floats]
            bits[whole] = numbers(table.column("int_value"), np.int64, 0).view(np.uint64)[whole]
            steps, times = (numbers(table.column(name), np.int64) for name in ("step", "time"))
            texts = table.column("text")
            for start, end in zip(starts, [*starts[1:], len(table)], strict=True):
                is_text = np.flatnonzero(kinds[start:end] == Kind.TEXT) + start
                yield _Part(
                    SeriesKey(classes[class_of[start]], names[name_of[start]]),
                    steps[start:end],
                    times[start:end],
                    bits[start:end],
                    kinds[start:end],
                    texts.take(plain(is_text, pa.int64())).to_pylist() if len(is_text) else [],
                )
    except StoreError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        raise StoreError(
            f"{path}: damaged or not Parquet ({type(error).__name__}: {error}); restore it from a backup"
        ) from None
    finally:
        source.close()


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], list[Any]]:
    """A column of keys as numbers, and what they stand for."""
    encoded = (
        column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    ).unify_dictionaries()
    array = encoded.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    return numbers(array.indices, np.int32), array.dictionary.to_pylist()
