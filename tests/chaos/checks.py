"""What has to be true when everything has come to rest: of what readers see, of the database, and of the files."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from runstream_consumers.compaction.orphans import KINDS, clean_files
from runstream_schemas.database import connect, create_pool
from runstream_schemas.runs.status import TERMINAL
from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store, open_store

from .api import Away, overdue
from .branch_checks import Branching, BranchLook, check_branches
from .edits import OUTSIDE, OutsideTag
from .programs import Program
from .ways import vectors_of

REST_SECONDS = 240.0
"""How long the compactors may take until all is in files."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a trainer noted of a run, and what happened to it.

    Attributes:
        least, most: calls that had returned, and that had begun, when it ended or was killed.
        statuses: which it may have.
        gaps: a topic was deleted with what it held, so that values may be missing where the run says so.
        drops: the disk was full, so that values may be missing if the run counts them.
        outside: what its tag that is set from outside may be.
        optional: there need not be such a run.
        parent: id of the run it is a child of.
        part: a fork that may have a part of what it begins with, and failed.
    """

    run_id: str
    program: Program | Branching
    least: int
    most: int
    statuses: tuple[str, ...]
    gaps: bool = False
    drops: bool = False
    outside: OutsideTag | None = None
    optional: bool = False
    parent: str | None = None
    part: bool = False

    @property
    def complete(self) -> bool:
        """Whether no value may be missing."""
        return not self.gaps and not self.drops


def check_run(run: Any, expected: Expected, home: Path) -> dict[str, list[Any]]:
    """One settled run as the SDK shows it.

    Returns:
        Every series as a list, a table's columns as `name.column`, former branches as `name.branch`.

    Raises:
        AssertionError: something is lost, doubled, out of order, or other than it was written.
    """
    program = expected.program
    if isinstance(program, Branching):
        notes = home / f"{expected.run_id}.progress"
        look = BranchLook(home, expected.run_id, notes, not expected.complete, random.Random(), program)
        vectors = patiently(
            lambda: check_branches(run, look, expected.least, expected.most, part=expected.part)
        )
    else:
        vectors = _check_program(run, expected, program)
    _check_tags(run, expected)
    return vectors


def _check_program(run: Any, expected: Expected, program: Program) -> dict[str, list[Any]]:
    vectors = vectors_of(patiently(run.get_metrics))
    name = expected.run_id
    problem = program.impossible(vectors, expected.most, gaps=not expected.complete)
    assert not problem, f"{name}: {problem}"
    if expected.complete:
        for series, count in program.counts(expected.least).items():
            stored = len(vectors.get(series, []))
            assert stored >= count, (
                f"{name}: {count} values of {series} were acknowledged, {stored} are there"
            )
    return vectors


def _check_tags(run: Any, expected: Expected) -> None:
    name, program = expected.run_id, expected.program
    if expected.complete:
        tags, least, most = run.get_tags(), program.tags(expected.least), program.tags(expected.most)
        for key in ("latest", "odd"):
            assert tags.get(key) in (least.get(key), most.get(key)), (
                f"{name}: tag {key} is {tags.get(key)}, set were {least.get(key)} and {most.get(key)}"
            )
        outside = expected.outside or OutsideTag()
        assert outside.allows(tags.get(OUTSIDE)), (
            f"{name}: tag {OUTSIDE} is {tags.get(OUTSIDE)}, not {outside}"
        )
    parent = run.parent.id if run.parent else None
    assert expected.gaps or parent == expected.parent, (
        f"{name}: its parent is {parent}, not {expected.parent}"
    )


def patiently(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is read, asked again while the machine is too busy with other trials for an answer in time."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        try:
            return read()
        except Exception as error:
            if not (overdue(error) or isinstance(error, Away)) or time.monotonic() >= deadline:
                raise


def is_settled(settings: Settings, run_id: str) -> bool:
    """Whether all that the ended run's sources have is stored."""

    async def whole() -> bool:
        connection = await connect(settings)
        try:
            return bool(await connection.fetchval("select settled_at from runs where run_id = $1", run_id))
        finally:
            await connection.close()

    return asyncio.run(whole())


def wait_for_rest(settings: Settings) -> None:
    """Until nothing was stored for ten seconds."""

    async def whole() -> None:
        connection = await connect(settings)
        try:
            before, since, deadline = -1, time.monotonic(), time.monotonic() + REST_SECONDS
            while time.monotonic() - since < 10.0:
                assert time.monotonic() < deadline, (
                    f"after {REST_SECONDS:.0f} s points are still being stored"
                )
                now = await connection.fetchval("select coalesce(sum(count), 0)::bigint from summaries")
                if now != before:
                    before, since = now, time.monotonic()
                await asyncio.sleep(0.3)
        finally:
            await connection.close()

    asyncio.run(whole())


def check_stored(settings: Settings, runs: list[Expected], vectors: dict[str, dict[str, list[Any]]]) -> None:
    """The database, the manifest and the files.

    Args:
        settings: of the home, with the address of the database.
        vectors: run id to what readers saw.

    Raises:
        AssertionError: summaries that are not those of the vectors, points in two places or in none, a file nobody
            knows, a drop that nobody explains.
    """
    asyncio.run(_check_stored(settings, runs, vectors))


async def _check_stored(
    settings: Settings, runs: list[Expected], vectors: dict[str, dict[str, list[Any]]]
) -> None:
    store = open_store(settings)
    async with await create_pool(settings) as pool:
        if not any(expected.gaps for expected in runs):  # else they wait for what will never come
            await _until(lambda: _at_rest(pool), "points are in the hot tier, or a claim is open")
        for expected in runs:
            await _check_row(pool, expected, vectors[expected.run_id])
        await clean_files(pool, store, grace=0.0, keep=0.0)
        if any(expected.gaps for expected in runs):
            return
        live = {row["path"] for row in await pool.fetch("select path from files where state = 'live'")}
        there = {path for kind in KINDS for path in _files(store, kind)}
        assert there == {path for path in live if not path.startswith("runs")}, (
            f"files without a row: {sorted(there - live)}; rows without a file: {sorted(live - there)}"
        )


async def _check_row(pool: asyncpg.Pool[Any], expected: Expected, vectors: dict[str, list[Any]]) -> None:
    name = expected.run_id
    run = await pool.fetchrow(
        "select *, (select count(*) from gaps g where g.run_key = r.key) as gaps"
        " from runs r where run_id = $1",
        name,
    )
    assert run is not None, f"{name}: no row"
    sampled = 0  # by the node, of the run's processes: no program foretells it
    for row in await pool.fetch(
        'select x.cls, x.name, x."column", s.* from summaries s join series x on x.id = s.series_id where run_key = $1',
        run["key"],
    ):
        if row["cls"] == SeriesClass.SYSTEM:
            sampled += row["count"]
            continue
        series = f"{row['name']}.{row['column']}" if row["column"] else row["name"]
        values = vectors.pop(series)
        assert row["count"] == len(values), (
            f"{name}: {series} has {len(values)} values, its summary {row['count']}"
        )
        if isinstance(values[0], (int, float)):
            facts = [values[0], values[-1], min(values), max(values), math.fsum(values)]
            shown = [row["first"], row["last"], row["min"], row["max"], row["sum"]]
            assert all(map(math.isclose, facts, shown)), (
                f"{name}: summary of {series} {shown}, values say {facts}"
            )
        vectors[series] = values
    points = sum(len(values) for values in vectors.values())
    rows = await pool.fetchval(
        "select (select coalesce(sum(fr.rows), 0) from file_runs fr join files f on f.id = fr.file_id"
        " where f.state = 'live' and run_key = $1)"
        " + (select coalesce(sum(points), 0) from chunks where run_key = $1)",
        run["key"],
    )
    assert rows == points + sampled, (
        f"{name}: {points} points are read and {sampled} sampled, {rows} are in files and in the hot tier"
    )
    waiting = await pool.fetchval(
        "select count(*) from sources where run_key = $1 and ahead <> '{}'", run["key"]
    )
    if not expected.gaps:
        assert (run["gaps"], waiting) == (0, 0), f"{name}: {run['gaps']} gaps, {waiting} sources beyond one"
    assert run["settled_at"] or run["status"] not in TERMINAL, f"{name}: {run['status']}, and never settled"
    if not expected.drops:
        assert run["dropped"] == 0, f"{name}: {run['dropped']} points dropped without a reason"
    if not run["gaps"]:
        # Every point is there or counted as dropped, to the call. A tag that found no room until the end counts as one.
        if isinstance(expected.program, Branching):
            least, most = expected.program.bounds(expected.least, expected.most, exact=expected.complete)
        else:
            least, most = (expected.program.points(calls) for calls in (expected.least, expected.most))
        most += expected.program.tag_calls(expected.most) + 2 if run["dropped"] else 0
        assert least <= points + run["dropped"] <= most, (
            f"{name}: {points} points and {run['dropped']} drops, {least} to {most} were logged"
        )


def check_deleted(settings: Settings, run_ids: list[str], children: list[str]) -> None:
    """Of deleted runs nothing is left, nor of their children.

    Args:
        children: how the ids of children begin.

    Raises:
        AssertionError: a row, a chunk or a point in a file.
    """
    if not run_ids:
        return

    async def whole() -> None:
        connection = await connect(settings)
        try:
            left = await connection.fetch(
                "select run_id from runs where run_id = any($1::text[]) or exists"
                " (select from unnest($2::text[]) as c(start) where starts_with(run_id, c.start))",
                run_ids,
                children,
            )
            assert not left, f"deleted, and still there: {[row['run_id'] for row in left]}"
            orphans = await connection.fetchval(
                "select count(*) from chunks c where not exists (select from runs r where r.key = c.run_key)"
            )
            assert not orphans, f"{orphans} chunks of runs that are no more"
        finally:
            await connection.close()

    asyncio.run(whole())


async def _at_rest(pool: asyncpg.Pool[Any]) -> bool:
    hot = await pool.fetchval("select count(*) from chunks")
    return not hot and not await pool.fetchval(
        "select count(*) from files where state <> 'live' and kind <> 'runs'"
    )


async def _until(condition: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    deadline = time.monotonic() + REST_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"after {REST_SECONDS:.0f} s {otherwise}"
        await asyncio.sleep(0.3)


def _files(store: Store, kind: str) -> list[str]:
    return [entry.path for entry in store.list(kind) if entry.path.endswith(".parquet")]


def check_files(store: Path, counts: dict[str, int], patience: float = 60.0) -> None:
    """A plain glob over the Parquet files shows every point of every run exactly once.

    Args:
        store: root of the files.
        counts: run id to values of the series `int`.
        patience: seconds until what was deleted is in no file any more.
    """
    import duckdb

    query = f"""
        select run_id, count(*), count(distinct int_value) from '{store / "metrics" / "**" / "*.parquet"}'
        where name = 'int' group by run_id
    """
    expected = {run_id: (n, n) for run_id, n in counts.items() if n}
    deadline = time.monotonic() + patience
    while True:
        try:
            rows = duckdb.connect().execute(query).fetchall()
        except duckdb.IOException:  # a file was replaced meanwhile
            rows = []
        shown = {run_id: (total, distinct) for run_id, total, distinct in rows}
        if shown == expected:
            return
        assert time.monotonic() < deadline, f"files show (rows, values) {shown}, logged were {expected}"
        time.sleep(0.5)
