"""Many short runs: however many are due, a claim, a look and a file hold a bounded number of them."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import asyncpg
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from runstream_consumers.compaction import hot_to_parquet, manifest, row_groups, selection
from runstream_consumers.compaction.hot_to_parquet import Compactor
from runstream_consumers.compaction.manifest import ClaimedFile
from runstream_consumers.compaction.role import compact_once
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.payload import encode_points
from runstream_schemas.wire.points import build_points

from .conftest import START, Pipeline, Row, rounds

RUNS_IN_FILES = (
    "select count(*) from file_runs fr join files f on f.id = fr.file_id and f.state = 'live' group by f.id"
)


@pytest.fixture
def small_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "CLAIM_RUNS", 4)
    monkeypatch.setattr(hot_to_parquet, "LOOK_RUNS", 7)


@pytest.fixture
async def sweep(pipeline: Pipeline) -> Pipeline:
    """25 runs of two experiments, in turn."""
    for number in range(25):
        await pipeline.add_run(f"run_{number:02}", f"exp_{number % 2}")
        await pipeline.add_chunk(f"run_{number:02}", rounds(["a", "b"], 3))
    return pipeline


async def test_no_file_holds_more_runs_than_a_claim_may(sweep: Pipeline, small_claims: None) -> None:
    await sweep.compact()
    held = [row["count"] for row in await sweep.pool.fetch(RUNS_IN_FILES)]
    assert sum(held) == 25
    assert max(held) == 4
    assert await sweep.both_tiers() == sweep.globbed() == sweep.logged


async def test_no_look_takes_more_runs_than_it_may(
    sweep: Pipeline, small_claims: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    due = Compactor._due

    async def counted(
        self: Compactor, connection: asyncpg.Connection, keys: list[int], **options: bool
    ) -> object:
        looks.append(len(keys))
        return await due(self, connection, keys, **options)

    monkeypatch.setattr(Compactor, "_due", counted)
    await sweep.compact()
    assert max(looks) == 7
    assert not await sweep.hot()


async def test_files_appear_one_after_the_other(
    sweep: Pipeline, small_claims: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to stop at the first file, the compactor leaves that one finished and all others' runs hot."""
    stop = asyncio.Event()
    publish = manifest.publish

    async def stop_then_publish(*args: object) -> None:
        stop.set()
        await publish(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(manifest, "publish", stop_then_publish)
    report = await compact_once(sweep.pool, sweep.store, sweep.settings, stop=stop)
    assert (report.files, report.runs) == (1, 4)
    assert await sweep.cold() == sweep.globbed()
    assert sum((await sweep.hot()).values()) == 21 * 6
    assert await sweep.both_tiers() == sweep.logged


async def test_a_run_that_fills_several_files_is_moved_whole(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "FILE_POINTS", 30)
    await pipeline.add_run("long")
    for number in range(5):
        await pipeline.add_chunk("long", rounds(["a", "b"], 10, slot=20 * number))
    await pipeline.add_run("short")
    await pipeline.add_chunk("short", rounds(["a"], 3))
    report = await pipeline.compact()
    assert not await pipeline.hot()
    assert report.files > 2
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


def _odd(number: int) -> list[list[Row]]:
    """Chunks of a run: what is common in short runs, and now and then what is rare."""
    random = Random(number)
    names = [f"m{i}" for i in range(1 + number % 4)]
    chunks: list[list[Row]] = []
    slot = 0
    for _ in range(1 + number % 3):
        rows: list[Row] = []
        for _ in range(1 + number % 5):
            for name in random.sample(names, len(names)):
                kind = Kind.FLOAT if name != "m1" else random.choice([Kind.FLOAT, Kind.INT, Kind.BOOL])
                value: Any = random.choice([random.random(), float("nan"), 1e300, -0.0])
                if kind != Kind.FLOAT:
                    value = (
                        random.randrange(2) if kind == Kind.BOOL else random.randrange(-(1 << 60), 1 << 60)
                    )
                if number % 11 == 3:
                    kind, value = Kind.TEXT, f"text {value}"
                elif number % 13 == 5:
                    kind, value = Kind.NULL, None
                key = SeriesKey(SeriesClass.METRIC, name)
                if number % 7 == 2:
                    key = SeriesKey(SeriesClass.TABLE, name, "column")
                step = slot if key.cls == SeriesClass.TABLE else random.choice([slot, 0, 1 << 62, -5])
                rows.append((key, kind, slot, step, START + random.randrange(10**9), value))
                slot += 1
        chunks.append(rows)
    return chunks


async def _fill(pipeline: Pipeline) -> None:
    for number in range(60):
        await pipeline.add_run(f"run_{number:02}")
        for source in range(2 if number % 9 == 4 else 1):
            for rows in _odd(number):
                await pipeline.add_chunk(f"run_{number:02}", rows, source=source)


async def test_short_runs_are_the_same_whether_they_are_sorted_together_or_one_by_one(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are named by what they hold, so both ways write the same bytes under the same name."""
    encoders = []
    for few in (1, 1_000_000):
        monkeypatch.setattr(hot_to_parquet, "_FEW", few)
        claimed = [
            ClaimedFile(n, kind, f"{kind}/x-{few}.parquet") for n, kind in enumerate(("metrics", "tables"))
        ]
        encoder = hot_to_parquet._Encoder(pipeline.store, claimed)
        payloads = {
            number: [
                (source, rows[0][2], len(rows), encode_points(build_points(rows)))
                for source in range(2 if number % 9 == 4 else 1)
                for rows in _odd(number)
            ]
            for number in range(60)
        }
        encoder.add_runs({number: f"run_{number:02}" for number in range(60)}, payloads)
        assert not payloads
        for written in encoder.finish():
            pipeline.store.publish(written.claim.path)
        encoders.append(encoder)
    together, alone = encoders
    assert repr(sorted(together.found.items())) == repr(sorted(alone.found.items()))
    assert together.points == alone.points
    for kind in ("metrics", "tables"):
        tables = []
        for few in (1, 1_000_000):
            table = pq.read_table(pipeline.store.locate(f"{kind}/x-{few}.parquet"), partitioning=None)
            runs = {}
            for run_id in table.column("run_id").unique().to_pylist():
                rows = table.filter(pc.equal(table.column("run_id"), run_id))
                runs[run_id] = repr(rows.to_pylist())
            tables.append(runs)
        assert tables[0] == tables[1]


async def test_no_point_is_lost_or_doubled_of_odd_short_runs(pipeline: Pipeline) -> None:
    await _fill(pipeline)
    report = await pipeline.compact()
    assert report.runs == 60
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged


async def test_a_damaged_short_run_keeps_to_itself(pipeline: Pipeline) -> None:
    for number in range(20):
        await pipeline.add_run(f"run_{number:02}")
        await pipeline.add_chunk(f"run_{number:02}", rounds(["a", "b"], 40))
    await pipeline.pool.execute(
        "update chunks set payload = substr(payload, 1, length(payload) - 9) where run_key = $1",
        pipeline.run_keys["run_07"],
    )
    report = await pipeline.compact()
    assert (report.runs, report.corrupt_runs) == (19, ["run_07"])
    assert await pipeline.pool.fetchval("select count(*) from chunks") == 1


async def test_a_row_group_ends_between_two_short_runs(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_groups, "MIN_ROWS", 50)
    for number in range(20):
        await pipeline.add_run(f"run_{number:02}")
        await pipeline.add_chunk(f"run_{number:02}", rounds(["a", "b"], 1 + number))
    await pipeline.compact()
    (path,) = await pipeline.files()
    file = pq.ParquetFile(pipeline.store.locate(path))
    runs = await pipeline.pool.fetch("select run_id, f.* from file_runs f join runs r on r.key = f.run_key")
    assert file.num_row_groups > 4
    for row in runs:
        group = file.read_row_group(row["first_row_group"])
        assert row["first_row_group"] == row["last_row_group"]
        assert group.column("run_id").to_pylist().count(row["run_id"]) == row["rows"]
    assert await pipeline.both_tiers() == pipeline.logged
