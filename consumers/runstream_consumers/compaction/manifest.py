"""The manifest: which Parquet files hold which runs. All statements on `files` and `file_runs`, named by what they do.

A file's row goes pending -> live -> trash -> gone. A pending row is also a soft claim on its runs: another compactor leaves
them alone while it is young. Correctness does not rest on that: `publish` deletes exactly the chunks the file was made of,
and fails when one of them is gone.

The order of a run's points is that of `runstream_schemas.order`; `file_runs` says which part of it a file holds. Files
written before that was kept come first, in the order of `created_at, id`: the row is made when its points are picked, and a
merged file takes the place of the first it replaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

import asyncpg

from runstream_schemas.order import Place
from runstream_schemas.parquet.arrow import partition

from .row_groups import RunRows

FORMAT = 1
"""Version of the files' layout; part of their names, so that a new layout never overwrites an old file."""

_LOCK = 0x636F6D70  # advisory lock of those who claim: they look and claim one after another

CLAIM_LOCK = "select pg_advisory_xact_lock($1)"

# Distinct runs of `chunks` by skipping through its primary key: there are few hot runs, and many chunks. A stretch of
# them, so that no look takes longer the more there are.
HOT_RUN_KEYS = """
with recursive hot(run_key) as (
    (select run_key from chunks where run_key > $1 order by run_key limit 1)
    union all
    select (select run_key from chunks where run_key > hot.run_key order by run_key limit 1)
    from hot where hot.run_key is not null
)
select run_key from hot where run_key is not null limit $2"""

HOT_RUNS = """
with idle as (
    select r.key, r.run_id, r.experiment_id, e.name as experiment, r.status, r.settled_at
    from runs r left join experiments e on e.id = r.experiment_id
    where r.key = any($5::bigint[])
      and ($1 or r.settled_at is not null or r.status = any($2::text[]))
      and not exists (
          select from file_runs fr join files f on f.id = fr.file_id
          where fr.run_key = r.key and f.state = 'pending' and f.changed_up > uptime() - $3::float8)
      and r.key <> all($4::bigint[])
)
select idle.*, c.points, c.bytes, c.chunks,
    abs(extract(epoch from now() - settled_at))::float8 as settled_ago,
    abs(extract(epoch from now() - c.newest))::float8 as newest_ago,
    abs(extract(epoch from now() - c.oldest))::float8 as oldest_ago
from idle cross join lateral (
    select sum(points)::bigint as points, sum(octet_length(payload))::bigint as bytes, count(*) as chunks,
        min(created_at) as oldest, max(created_at) as newest
    from chunks where run_key = idle.key
) c
where c.chunks > 0
order by idle.experiment_id, idle.key"""

# What `runstream compact` could not move: of runs that ended, and are being moved or not; of runs that have not ended.
LEFT = """
with hot as (select run_key, sum(points)::bigint as points from chunks group by run_key)
select case
        when r.settled_at is null and not r.status = any($1::text[]) then 'running'
        when exists (
            select from file_runs fr join files f on f.id = fr.file_id where fr.run_key = r.key and f.state = 'pending'
                and f.changed_up > uptime() - $2::float8) then 'moving'
        else 'ended' end as state,
    count(*) as runs, sum(hot.points)::bigint as points
from hot join runs r on r.key = hot.run_key group by 1"""

CHUNKS_OF_RUNS = """
select run_key, source_key, first, points, octet_length(payload) as bytes from chunks where run_key = any($1::bigint[])
order by run_key, source_key, first limit $2"""

# Which of the rare classes any run has; for others no file is claimed.
RARE_CLASSES = """
select cls from unnest($1::int2[]) as rare(cls) where exists (select from series s where s.cls = rare.cls)"""

CLAIM_FILE = """
insert into files (kind, path, state, experiment_id) values ($1, $2, 'pending', $3)
on conflict (path) do nothing returning id"""
CLAIM_RUNS = """
insert into file_runs (file_id, run_key, first_row_group, last_row_group, rows)
select $1, run_key, 0, 0, 0 from unnest($2::bigint[]) as run_key"""

INSTALLATION = "select id::text from installation"
ORDINALS = "select key, ordinal from sources where run_key = any($1::bigint[])"
PAYLOADS = """
select run_key, source_key, first, count, payload
from unnest($1::bigint[], $2::bigint[], $3::bigint[]) as wanted(run_key, source_key, first)
join chunks using (run_key, source_key, first)"""
STILL_CLAIMED = """
update files set changed_at = now(), changed_up = uptime() where id = any($1::bigint[]) and state = 'pending'"""

PUBLISH_FILE = """
update files set state = 'live', tier = $2, rows = $3, bytes = $4, changed_at = now(), changed_up = uptime()
where id = $1 and state = 'pending'
returning id"""
DROP_CLAIM = "delete from files where id = $1 and state = 'pending' returning path"
FORGET_RUNS = "delete from file_runs where file_id = $1"
PUBLISH_RUNS = """
insert into file_runs (file_id, run_key, first_row_group, last_row_group, rows, first_position, end_position, pieces)
select $1, * from unnest($2::bigint[], $3::int[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[])"""
DELETE_CHUNKS = """
delete from chunks c using unnest($1::bigint[], $2::bigint[], $3::bigint[]) as done(run_key, source_key, first)
where c.run_key = done.run_key and c.source_key = done.source_key and c.first = done.first"""

# Live files of an experiment that have enough neighbours of their tier, oldest first.
MERGEABLE = """
select f.kind, f.experiment_id, e.name as experiment, f.tier,
    array_agg(f.id order by f.created_at, f.id) as ids
from files f left join experiments e on e.id = f.experiment_id
where f.state = 'live' and f.kind <> 'runs' and f.tier <= $1 and f.id <> all($3::bigint[])
group by f.kind, f.experiment_id, e.name, f.tier having count(*) >= $2
order by f.tier, f.experiment_id limit 1"""
FILES = """
select id, path, rows, bytes, created_at from files where id = any($1::bigint[]) and state = 'live'
order by created_at, id"""
# Files not among those to be merged that hold a run of theirs: the order of that run's files must survive the merge.
NEIGHBOURS = """
select distinct mine.file_id as candidate, f.created_at, f.id
from file_runs mine
join file_runs other on other.run_key = mine.run_key and other.file_id <> all($1::bigint[])
join files f on f.id = other.file_id and f.state = 'live' and f.kind = $2
where mine.file_id = any($1::bigint[])"""
FILE_RUNS = """
select file_id, run_key, first_position, end_position, pieces from file_runs where file_id = any($1::bigint[])
order by file_id, first_row_group, run_key"""
RUN_IDS = """
select key, run_id from runs where key = any($1::bigint[])
union all
select key, run_id from deleted_runs where key = any($1::bigint[])"""
REPLACE_FILES = """
update files set state = 'trash', changed_at = now(), changed_up = uptime()
where id = any($1::bigint[]) and state = 'live' returning id"""
TAKE_PLACE = "update files set created_at = (select min(created_at) from files where id = any($2::bigint[])) where id = $1"


class ClaimLost(Exception):
    """Another compactor was faster, or a cleaning took the claim for dead. Nothing was published."""


@dataclass(slots=True)
class ClaimedFile:
    """A pending row of the manifest."""

    id: int
    kind: str
    path: str


@dataclass(slots=True)
class WrittenFile:
    """A file that was written and waits to be published.

    Attributes:
        runs, places: by run key.
    """

    claim: ClaimedFile
    rows: int
    bytes: int
    runs: dict[int, RunRows] = field(default_factory=dict)
    places: dict[int, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChunkId:
    """Primary key of a chunk."""

    run_key: int
    source_key: int
    first: int


def columns(chunks: Iterable[ChunkId]) -> tuple[list[int], list[int], list[int]]:
    """Chunk ids as the three arrays the statements take."""
    chunks = list(chunks)
    return [c.run_key for c in chunks], [c.source_key for c in chunks], [c.first for c in chunks]


def file_path(kind: str, experiment: str | None, contents: Iterable[str]) -> str:
    """Path of a file determined by what it holds, so that a repeat overwrites it.

    Args:
        kind: metrics or tables.
        experiment: name of the experiment, None when it is not known.
        contents: names of everything the file is made of, in any order.
    """
    digest = hashlib.blake2b(f"{FORMAT}\n{kind}\n".encode(), digest_size=16)
    for item in sorted(contents):
        digest.update(item.encode() + b"\n")
    return f"{kind}/{partition(experiment)}/{digest.hexdigest()}.parquet"


def tier_of(rows: int) -> int:
    """Tier of a file: 8 files of one tier make one of the next."""
    return int(log(max(rows, 1), 8) + 1e-9)


async def claim_lock(connection: asyncpg.Connection[Any]) -> None:
    """Wait, inside a transaction, until nobody else is looking for something to claim."""
    await connection.execute(CLAIM_LOCK, _LOCK)


async def claim(
    connection: asyncpg.Connection[Any], kind: str, path: str, experiment_id: int | None, runs: Iterable[int]
) -> ClaimedFile | None:
    """Make the pending row of a file and its runs; None when somebody has it already. Call it in a transaction."""
    file_id = await connection.fetchval(CLAIM_FILE, kind, path, experiment_id)
    if file_id is None:
        return None
    await connection.execute(CLAIM_RUNS, file_id, sorted(set(runs)))
    return ClaimedFile(file_id, kind, path)


async def publish(connection: asyncpg.Connection[Any], written: WrittenFile) -> None:
    """Make a pending file live; one without rows is dropped. Call it in the transaction that removes what it replaces.

    Raises:
        ClaimLost: the row is no longer pending.
    """
    claimed = written.claim
    if not written.rows:
        if await connection.execute(DROP_CLAIM, claimed.id) != "DELETE 1":
            raise ClaimLost(f"{claimed.path} was swept before it was published")
        return
    if (
        await connection.fetchval(
            PUBLISH_FILE, claimed.id, tier_of(written.rows), written.rows, written.bytes
        )
        is None
    ):
        raise ClaimLost(f"{claimed.path} was swept before it was published")
    await connection.execute(FORGET_RUNS, claimed.id)
    runs: Mapping[int, RunRows] = written.runs
    places = [written.places[key] for key in runs]
    await connection.execute(
        PUBLISH_RUNS,
        claimed.id,
        list(runs),
        [run.first for run in runs.values()],
        [run.last for run in runs.values()],
        [run.rows for run in runs.values()],
        [place.start for place in places],
        [place.end for place in places],
        [place.pack() for place in places],
    )


async def delete_chunks(connection: asyncpg.Connection[Any], chunks: Sequence[ChunkId]) -> None:
    """Delete exactly these chunks.

    Raises:
        ClaimLost: one of them is gone.
    """
    deleted = int((await connection.execute(DELETE_CHUNKS, *columns(chunks))).split()[-1])
    if deleted != len(chunks):
        raise ClaimLost(f"{len(chunks) - deleted} of {len(chunks)} chunks were moved by another compactor")


async def replace(connection: asyncpg.Connection[Any], new: WrittenFile, old: Sequence[int]) -> None:
    """Publish a merged file and send those it replaces to the trash. Call it in a transaction.

    Raises:
        ClaimLost: one of the old files is no longer live.
    """
    await publish(connection, new)
    await connection.execute(TAKE_PLACE, new.claim.id, list(old))
    gone = await connection.fetch(REPLACE_FILES, list(old))
    if len(gone) != len(old):
        raise ClaimLost(f"{len(old) - len(gone)} of {len(old)} files were merged by somebody else")


# --- the cleaning -------------------------------------------------------------------------------------------------------

ANY_LIVE = "select exists (select from files where state = 'live')"
ABANDONED = "select id from files where state = 'pending' and changed_up <= uptime() - $1::float8"
DROP_ABANDONED = """
delete from files where id = $1 and state = 'pending' and changed_up <= uptime() - $2::float8
returning path"""
# What a snapshot of an Iceberg table shows is kept, and all of it while a backup holds what it may have to copy.
REPLACED = """
select id from files where state = 'trash' and changed_up <= uptime() - $1::float8 and not backup_held()
    and not exists (select from iceberg_files i where i.file_id = files.id)"""
DROP_REPLACED = """
delete from files where id = $1 and state = 'trash' and not backup_held()
    and not exists (select from iceberg_files i where i.file_id = files.id)
returning path"""
STATES = "select path, state from files where path = any($1::text[])"
RESERVE_PATH = """
insert into files (kind, path, state) values ($1, $2, 'pending') on conflict (path) do nothing returning id"""
