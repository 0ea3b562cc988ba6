"""The way of a point, step 8 of 10: of a run that ended it moves from the hot tier to a sorted Parquet file.

One file is made in five steps, and may be broken off after any of them:

1. claim: pending rows in the manifest name the file (by what it will hold) and its runs;
2. the chunks are read, sorted and written to the store, where nobody looks yet;
3. the summaries are checked against the points;
4. ONE transaction makes the file live and deletes exactly the chunks it was made of;
5. on a local store the file is renamed to where plain globs find it.

Until 4 every point is in the hot tier and the file is an orphan that the cleaning removes; from 4 on every point is in the
file, and the cleaning completes 5. Late points of a run become another file.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from runstream_schemas.errors import CorruptEvent
from runstream_schemas.order import Place
from runstream_schemas.parquet.arrow import SCHEMAS
from runstream_schemas.runs.status import TERMINAL
from runstream_schemas.settings import Settings
from runstream_schemas.store import NewFile, Store
from runstream_schemas.values.typed_values import RARE_CLASSES
from runstream_schemas.wire.events import StatusOp
from runstream_schemas.wire.payload_reading import decode_points

from ..storing.run_states import RunChanges, store_run_changes
from . import manifest, selection, verification
from .manifest import ChunkId, ClaimedFile, ClaimLost, WrittenFile
from .orphans import release
from .packing import lock_and_unpack
from .row_groups import RowGroups
from .short_runs import Chunk, is_short, place, sort_runs
from .sorted_points import SourcePoints, sort_points
from .verification import Found, find_summaries
from .worker import Worker

log = logging.getLogger("runstream.compaction")

LOOK_RUNS = 4 * selection.CLAIM_RUNS
"""Hot runs that are looked at together."""

_READ_BYTES = 32 << 20  # chunks held in memory at once
_CLAIM_CHUNKS = 20_000
_FEW = 8  # short runs that are worth being sorted together
_QUARANTINE = 3600.0  # seconds until a run with a corrupt chunk is tried again


@dataclass(slots=True)
class Report:
    """What a compaction did."""

    files: int = 0
    runs: int = 0
    points: int = 0
    bytes: int = 0
    summaries_corrected: int = 0
    lost_claims: int = 0
    corrupt_runs: list[str] = field(default_factory=list)
    seconds: float = 0.0


class _Encoder:
    """Writes the files of one claim; lives in the worker's thread."""

    def __init__(self, store: Store, files: Sequence[ClaimedFile]) -> None:
        self._store = store
        self._claims = {claimed.kind: claimed for claimed in files}
        self._open: dict[str, tuple[NewFile, RowGroups]] = {}
        self._places: dict[str, dict[int, Place]] = {kind: {} for kind in self._claims}
        self.found: dict[int, list[Found]] = {}
        self.corrupt: dict[int, str] = {}
        self.points = 0

    def add_runs(self, run_ids: Mapping[int, str], payloads: dict[int, list[Chunk]]) -> None:
        """Add the points of some runs, by key; takes them out of `payloads`."""
        short = {
            key: chunks
            for key, some in payloads.items()
            if is_short(chunks := sorted(some, key=lambda chunk: chunk[1]))
        }
        if len(short) >= _FEW:
            for key in self._add_short_runs(run_ids, short):
                del payloads[key]
        for run_key in list(payloads):
            self._add_run(run_key, run_ids[run_key], payloads.pop(run_key))

    def _add_short_runs(self, run_ids: Mapping[int, str], runs: Mapping[int, Sequence[Chunk]]) -> list[int]:
        """Add those of these runs that can be added together, and say which they were."""
        done = sort_runs(runs)
        if not done.runs:
            return []
        self._groups("metrics").add_runs(done.runs, done.metrics_table(run_ids), done.ends)
        summaries = find_summaries(done.points)
        at = 0
        for key, end in zip(done.runs, done.series_ends.tolist(), strict=True):
            self.found[key] = summaries[at:end]
            self._places["metrics"][key] = place(runs[key])
            at = end
        self.points += len(done.points)
        return done.runs

    def _add_run(self, run_key: int, run_id: str, chunks: Sequence[Chunk]) -> None:
        try:
            decoded = [
                SourcePoints(ordinal, first, slots, decode_points(payload))
                for ordinal, first, slots, payload in chunks
            ]
        except CorruptEvent as error:
            self.corrupt[run_key] = str(error)
            return
        summaries: list[Found] = []
        for kind, points in sort_points(run_id, decoded).items():
            if not len(points):
                continue
            self._groups(kind).add(run_key, points.table(kind), points.ends)
            self._places[kind][run_key] = points.place
            summaries += find_summaries(points)
            self.points += len(points)
        self.found[run_key] = summaries

    def _groups(self, kind: str) -> RowGroups:
        if kind not in self._open:
            new = self._store.stage(self._claims[kind].path)
            self._open[kind] = (new, RowGroups(new.stream, SCHEMAS[kind]))
        return self._open[kind][1]

    def finish(self) -> list[WrittenFile]:
        """Make the files durable."""
        written = []
        for kind, claimed in self._claims.items():
            if kind not in self._open:
                written.append(WrittenFile(claimed, 0, 0))
                continue
            new, groups = self._open[kind]
            groups.close()
            written.append(WrittenFile(claimed, groups.rows, new.commit(), groups.runs, self._places[kind]))
        return written

    def abort(self) -> None:
        """Throw away what is not finished."""
        for new, _ in self._open.values():
            new.abort()


@dataclass(slots=True)
class _Work:
    """A claim: the chunks to move, by run, and the files they go to."""

    runs: dict[int, str]
    chunks: dict[int, list[ChunkId]]
    bytes: dict[int, int]
    whole: set[int]
    files: list[ClaimedFile]


class _Taken(Exception):
    """The file's name is taken: by a compactor that died, until the cleaning."""


@dataclass(slots=True)
class Compactor:
    """Compacts; remembers which runs to leave alone for a while.

    Attributes:
        avoided: run keys and until when (monotonic seconds) they are left alone.
    """

    pool: asyncpg.Pool[Any]
    store: Store
    settings: Settings
    worker: Worker
    avoided: dict[int, float] = field(default_factory=dict)
    installation: str = ""

    async def compact(
        self, *, now: bool = False, running: bool = True, stop: asyncio.Event | None = None
    ) -> Report:
        """Move everything that is due, file by file.

        Args:
            now: do not wait for `compact_after` and the like with runs that ended.
            running: look at runs that have not ended, too.
            stop: set: no further file is begun.
        """
        report, began = Report(), time.monotonic()
        if not self.installation:
            self.installation = await self.pool.fetchval(manifest.INSTALLATION)
        after = 0
        while not (stop is not None and stop.is_set()):
            keys = [row["run_key"] for row in await self.pool.fetch(manifest.HOT_RUN_KEYS, after, LOOK_RUNS)]
            if not keys:
                break
            after = keys[-1]
            async with self.pool.acquire() as connection:
                due = await self._due(connection, keys, now=now, running=running)
            for chosen in selection.one_file_each(due):
                await self._compact_runs(
                    [row["key"] for row in chosen], report, now=now, running=running, stop=stop
                )
        report.seconds = time.monotonic() - began
        return report

    async def _compact_runs(
        self, keys: Sequence[int], report: Report, *, now: bool, running: bool, stop: asyncio.Event | None
    ) -> None:
        """Move what is due of a few runs; several files, if one cannot hold it."""
        while not (stop is not None and stop.is_set()):
            try:
                work = await self._claim(keys, now=now, running=running)
                if work is None:
                    return
                if work.files:
                    await self._move(work, report)
            except ClaimLost as lost:
                log.info("compaction: %s; nothing is lost", lost)
                report.lost_claims += 1

    def _avoid(self, run_keys: Sequence[int], seconds: float) -> None:
        until = time.monotonic() + seconds
        self.avoided.update(dict.fromkeys(run_keys, until))

    async def _due(
        self, connection: asyncpg.Connection[Any], keys: Sequence[int], *, now: bool, running: bool
    ) -> list[asyncpg.Record]:
        """Those of these hot runs that are due and nobody's, by experiment."""
        present = time.monotonic()
        self.avoided = {key: until for key, until in self.avoided.items() if until > present}
        rows = await connection.fetch(
            manifest.HOT_RUNS,
            running,
            sorted(TERMINAL),
            self.settings.compact_claim_grace,
            list(self.avoided),
            list(keys),
        )
        return [row for row in rows if selection.is_due(row, self.settings, now=now)]

    async def _claim(self, keys: Sequence[int], *, now: bool, running: bool) -> _Work | None:
        async with self.pool.acquire() as connection:
            chosen: list[asyncpg.Record] = []
            try:
                async with connection.transaction():
                    await manifest.claim_lock(connection)
                    chosen = await self._due(connection, keys, now=now, running=running)
                    if not chosen:
                        return None
                    return await self._claim_runs(connection, chosen)
            except _Taken as taken:
                log.info(
                    "compaction: %s is being made by another compactor, or waits for the cleaning", taken
                )
                self._avoid([row["key"] for row in chosen], self.settings.compact_claim_grace)
                return _Work({}, {}, {}, set(), [])

    async def _claim_runs(self, connection: asyncpg.Connection[Any], runs: Sequence[asyncpg.Record]) -> _Work:
        run_ids = {row["key"]: row["run_id"] for row in runs}
        rows = await connection.fetch(manifest.CHUNKS_OF_RUNS, list(run_ids), _CLAIM_CHUNKS)
        work = _Work({}, {}, {}, set(), [])
        points = size = 0
        contents: list[str] = []
        for row in rows:
            if contents and (
                points + row["points"] > selection.FILE_POINTS or size + row["bytes"] > selection.FILE_BYTES
            ):
                break
            points, size = points + row["points"], size + row["bytes"]
            run_key = row["run_key"]
            work.chunks.setdefault(run_key, []).append(ChunkId(run_key, row["source_key"], row["first"]))
            work.bytes[run_key] = work.bytes.get(run_key, 0) + row["bytes"]
            contents.append(
                f"{self.installation}/{run_ids[run_key]}/{row['source_key']}/{row['first']}/{row['points']}"
            )
        work.runs = {key: run_ids[key] for key in work.chunks}
        work.whole = {row["key"] for row in runs if len(work.chunks.get(row["key"], ())) == row["chunks"]}
        rare = [row["cls"] for row in await connection.fetch(manifest.RARE_CLASSES, [*RARE_CLASSES])]
        for kind in ("metrics", "tables", *(RARE_CLASSES[cls] for cls in rare)):
            path = manifest.file_path(kind, runs[0]["experiment"], contents)
            claimed = await manifest.claim(connection, kind, path, runs[0]["experiment_id"], work.runs)
            if claimed is None:
                raise _Taken(path)
            work.files.append(claimed)
        return work

    async def _move(self, work: _Work, report: Report) -> None:
        encoder = _Encoder(self.store, work.files)
        try:
            await self._encode(work, encoder)
            written = await self.worker.run(encoder.finish)
            corrections = await self._verify(work, encoder)
            chunks = [chunk for key in encoder.found for chunk in work.chunks[key]]
            async with self.pool.acquire() as connection, connection.transaction():
                for file in written:
                    await manifest.publish(connection, file)
                await manifest.delete_chunks(connection, chunks)
                if corrections:
                    await lock_and_unpack(connection, sorted({item.run_key for item in corrections}))
                report.summaries_corrected += await verification.correct(connection, corrections)
        except BaseException as error:
            # Not awaited: this may be a cancellation. The thread does it next.
            self.worker.submit(encoder.abort)
            if isinstance(error, Exception):  # else the cleaning does it
                for claimed in work.files:
                    await release(self.pool, self.store, claimed.id)
            raise
        for file in written:
            if file.rows:
                await self.worker.run(self.store.publish, file.claim.path)
        for run_key, reason in encoder.corrupt.items():
            log.error(
                "compaction: run %s has a damaged chunk (%s); its points stay in the hot tier",
                work.runs[run_key],
                reason,
            )
            report.corrupt_runs.append(work.runs[run_key])
            await self._say_unreadable(run_key, reason)
        self._avoid(list(encoder.corrupt), _QUARANTINE)
        report.files += sum(1 for file in written if file.rows)
        report.bytes += sum(file.bytes for file in written)
        report.runs += len(encoder.found)
        report.points += encoder.points

    async def _say_unreadable(self, run_key: int, reason: str) -> None:
        """A warning on a run that has a chunk nobody can read; however often that is found, it is said once."""
        message = (
            f"Points of this run cannot be read and are left out ({reason:.300}). Its others stay in the hot tier, where "
            "readers find them; restore the database, or delete that row of `chunks`."
        )
        changes = RunChanges()
        step = StatusOp(0, time.time_ns() // 1000, "warning", {"message": message})
        changes.add_status(run_key, bytes(16), step, "unreadable")
        async with self.pool.acquire() as connection, connection.transaction():
            await store_run_changes(connection, changes)

    async def _encode(self, work: _Work, encoder: _Encoder) -> None:
        ordinals = {
            row["key"]: row["ordinal"] for row in await self.pool.fetch(manifest.ORDINALS, list(work.runs))
        }
        for run_keys in _batches(work):
            chunks = [chunk for key in run_keys for chunk in work.chunks[key]]
            rows = await self.pool.fetch(manifest.PAYLOADS, *manifest.columns(chunks))
            if len(rows) != len(chunks):
                raise ClaimLost(
                    f"{len(chunks) - len(rows)} of {len(chunks)} chunks were moved by another compactor"
                )
            payloads: dict[int, list[Chunk]] = {key: [] for key in run_keys}
            for row in rows:
                payloads[row["run_key"]].append(
                    (ordinals.get(row["source_key"], 0), row["first"], row["count"], row["payload"])
                )
            del rows
            await self.worker.run(encoder.add_runs, work.runs, payloads)
            still = await self.pool.execute(manifest.STILL_CLAIMED, [file.id for file in work.files])
            if still != f"UPDATE {len(work.files)}":
                raise ClaimLost("the claim was swept while its file was written")

    async def _verify(self, work: _Work, encoder: _Encoder) -> list[verification.Correction]:
        """What the stored summaries should say, for runs all of whose points are in this claim."""
        whole = [key for key in encoder.found if key in work.whole]
        rows = await self.pool.fetch(
            verification.SUMMARIES_OF_WHOLE_RUNS, whole, [len(work.chunks[k]) for k in whole]
        )
        summaries = {key: encoder.found[key] for key in whole}
        return await self.worker.run(verification.compare, summaries, rows, work.runs)


def _batches(work: _Work) -> list[list[int]]:
    """Runs to read together: many small ones, or one large one."""
    batches: list[list[int]] = []
    size = _READ_BYTES
    for key in work.runs:
        if size + work.bytes[key] > _READ_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(key)
        size += work.bytes[key]
    return batches
