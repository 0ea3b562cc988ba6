"""Charts of many runs: what is kept of their series draws what the whole vectors draw."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from tests.seeds import SEED

from runstream_consumers.compaction import row_groups
from runstream_query.charts import coarse
from runstream_query.charts.charts import Charts, pack_charts
from runstream_query.charts.held_vectors import HeldVectors
from runstream_schemas.parquet import series_overviews
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

NAMES = ["loss", "back", "int"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are of many points, as small as a test wants them."""
    monkeypatch.setattr(coarse, "MANY_POINTS", 100)
    monkeypatch.setattr(coarse, "AT_ONCE", 500)
    monkeypatch.setattr(series_overviews, "FINENESS", 32)
    monkeypatch.setattr(row_groups, "LEAST_SERIES", 100)
    monkeypatch.setattr(row_groups, "IN_A_BUCKET", 8)


def rows(name: str, steps: Any, values: Any, first: int, kind: Kind = Kind.FLOAT) -> list[Any]:
    key = SeriesKey(SeriesClass.METRIC, name)
    return [
        (key, kind, first + i, int(step), 1_000_000 + first + i, value)
        for i, (step, value) in enumerate(zip(steps, values, strict=True))
    ]


async def add(database: Any, number: int, *, settled: bool = True) -> str:
    """A run with a noisy metric with spikes, one whose steps fall, and one of whole numbers; its id."""
    chance = np.random.default_rng(SEED + number)
    run_id, source, n = f"r{number}", bytes([number]) * 16, 200 + 40 * number
    values = chance.standard_normal(n)
    values[chance.integers(0, n, 3)] = [1e9, np.inf, np.nan]
    key = await database.add_run(run_id, settled_at=datetime.now(UTC) if settled else None)
    back = [*range(60), *range(30, 90)]
    for name, added in {
        "loss": rows("loss", range(number, number + n), values, 0),
        "back": rows("back", back, chance.standard_normal(120), n),
        "int": rows("int", range(150), range(150), n + 120, Kind.INT),
    }.items():
        await database.add_chunk(key, source, added)
        await database.add_summary(key, name, count=len(added))
    return run_id


@pytest.mark.parametrize("in_files", [True, False], ids=["kept in files", "files of before"])
async def test_what_is_kept_draws_what_the_whole_vectors_draw(
    database: Any, monkeypatch: pytest.MonkeyPatch, in_files: bool
) -> None:
    if not in_files:
        monkeypatch.setattr(row_groups, "LEAST_SERIES", 1 << 60)
    runs = [await add(database, number) for number in range(1, 6)] + ["nobody"]
    await database.compact()
    charts, chance = Charts(database.query), np.random.default_rng(SEED)
    for _ in range(30):
        low, high = sorted(int(x) for x in chance.integers(-50, 500, 2))
        ends: dict[str, Any] = {"start": low, "stop": high} if chance.random() < 0.3 else {}
        width = int(chance.integers(1, 80))
        drawn = await charts.read(runs, NAMES, width=width, **ends)
        with monkeypatch.context() as patch:
            patch.setattr(coarse, "MANY_POINTS", 1 << 60)
            expected = await Charts(database.query).read(runs, NAMES, width=width, **ends)
        assert pack_charts(drawn) == pack_charts(expected), (ends, width)


async def test_of_a_chart_whose_buckets_lie_in_files_no_point_is_read(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [await add(database, number) for number in range(1, 6)]
    await database.compact()
    expected = await Charts(database.query).read(runs, NAMES, width=8)

    async def read(*_: Any, **__: Any) -> Any:
        raise AssertionError("points were read")

    monkeypatch.setattr(database.query, "vectors", read)
    drawn = await Charts(database.query).read(runs, NAMES, width=8)
    assert pack_charts(drawn) == pack_charts(expected)
    with pytest.raises(AssertionError, match="points were read"):  # finer than what is kept
        await Charts(database.query).read(runs, NAMES, width=32)


async def test_points_are_read_once_and_let_go(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [await add(database, number) for number in range(1, 6)]
    held: list[int] = []
    read: list[int] = []
    vectors = database.query.vectors

    async def counted(run_ids: Any, **how: Any) -> Any:
        series = await vectors(run_ids, **how)
        read.append(sum(len(each) for each in series))
        return series

    monkeypatch.setattr(database.query, "vectors", counted)
    keep = HeldVectors._read
    monkeypatch.setattr(
        HeldVectors, "_read", lambda self, keys: (held.append(len(keys)), keep(self, keys))[1]
    )
    charts = Charts(database.query)
    for width in (8, 16, 24, 32):
        await charts.read(runs, NAMES, width=width)
    total = sum(200 + 40 * number + 270 for number in range(1, 6))
    assert sum(read) == total
    assert max(read) < total / 2  # a part at a time
    assert not held


async def test_a_run_that_still_logs_is_continued_and_one_that_grew_is_read_again(database: Any) -> None:
    rest, live = await add(database, 1), await add(database, 2, settled=False)
    charts = Charts(database.query)
    first = await charts.read([rest, live], ["loss"], width=16)
    assert [line.total for line in first[0].lines] == [240, 280]
    assert charts._vectors.holds(live, "loss")
    assert not charts._vectors.holds(rest, "loss")
    for run_id, number, n in ((rest, 1, 240), (live, 2, 280)):
        key = await database.pool.fetchval("select key from runs where run_id = $1", run_id)
        more = rows("loss", range(1000, 1010), [7e9] * 10, n + 270)
        await database.add_chunk(key, bytes([number]) * 16, more)
        await database.pool.execute(
            "update live_summaries set count = count + 10 where run_key = $1 "
            "and series_id = (select id from series where name = 'loss' and cls = 0)",
            key,
        )
    [grown] = await charts.read([rest, live], ["loss"], width=16)
    assert [line.total for line in grown.lines] == [250, 290]
    assert all(line.high[-1] == 7e9 for line in grown.lines)
