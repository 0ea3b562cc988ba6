"""Overviews of long series: whatever lies in whichever row group, they draw what the whole vector draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.seeds import SEED

from runstream_consumers.compaction import row_groups
from runstream_query.charts import overview
from runstream_query.charts.charts import Charts, pack_charts
from runstream_query.charts.overview import Overviews
from runstream_query.charts.stored_series import stored_series
from runstream_query.points.parquet import ParquetFiles
from runstream_schemas.parquet import overviews
from runstream_schemas.series import Kind, SeriesClass, SeriesKey


def rows(name: str, steps: Any, values: Any, *, first: int, kind: Kind = Kind.FLOAT) -> list[Any]:
    key = SeriesKey(SeriesClass.METRIC, name)
    return [
        (key, kind, first + i, int(step), 1_000_000 + first + i, value)
        for i, (step, value) in enumerate(zip(steps, values, strict=True))
    ]


async def store(database: Any, run: int, source: bytes, name: str, parts: list[list[Any]]) -> None:
    for part in parts:
        await database.add_chunk(run, source, part)
    await database.add_summary(run, name, count=sum(len(part) for part in parts))


@pytest.fixture(params=[True, False], ids=["in the file", "made by the reader"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Row groups, and series that are long, as small as a test wants them; whether files keep overviews."""
    kept = bool(request.param)
    for module in (row_groups, overview):
        monkeypatch.setattr(module, "LEAST_POINTS", 120 if kept else 1 << 60)
    monkeypatch.setattr(overviews, "FINENESS", 16)
    monkeypatch.setattr(row_groups, "MIN_ROWS", 150)
    monkeypatch.setattr(row_groups, "MAX_ROWS", 400)
    monkeypatch.setattr(overview, "LONG", 300)
    monkeypatch.setattr(overview, "FINE", 64)
    return kept


async def test_an_overview_draws_what_the_whole_vector_draws(
    database: Any, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(SEED)

    def noisy(n: int) -> Any:
        values = chance.standard_normal(n)
        values[chance.integers(0, n, 3)] = [1e9, -1e9, np.inf]  # spikes of a single step
        values[n // 2 : n // 2 + 90] = np.nan
        return values

    a, b = await database.add_run("a"), await database.add_run("b")
    gaps = np.cumsum(chance.integers(0, 9, 900)) - 500  # some steps several times, some never
    await store(database, a, b"1" * 16, "even", [rows("even", range(1700), noisy(1700), first=0)])
    await store(database, a, b"1" * 16, "gaps", [rows("gaps", gaps, noisy(900), first=1700)])
    await store(database, a, b"1" * 16, "short", [rows("short", range(9), noisy(9), first=2600)])
    back = [*range(400), *range(200, 500)]
    await store(database, a, b"1" * 16, "back", [rows("back", back, noisy(700), first=2609)])
    await store(
        database, b, b"2" * 16, "even", [rows("even", range(50, 650), range(600), first=0, kind=Kind.INT)]
    )
    await database.compact()
    # More of a series in a file of its own, as of a run that outgrew its bound.
    await database.add_chunk(b, b"2" * 16, rows("even", range(650, 1000), noisy(350), first=600))
    await database.pool.execute("update live_summaries set count = 950 where run_key = $1", b)
    await database.compact()

    runs, names = ["a", "b", "nobody"], ["even", "gaps", "short", "back"]
    stored = await stored_series(database.pool, runs, names)
    overviews = await Overviews(database.query).get(stored, lambda run_id, name: False)
    assert {key: overview.total for key, overview in overviews.items()} == {
        ("a", "even"): 1700,
        ("a", "gaps"): 900,
        ("b", "even"): 950,
    }
    groups = [part for overview in overviews.values() for part in overview._parts]
    assert {part.held is None for part in groups} == {True, False}  # of one series, and of several
    assert any(part.kept is not None for part in groups) == small
    assert not overviews["a", "gaps"].each_step
    assert overviews["a", "even"].each_step
    assert overviews["b", "even"].each_step
    charts, shown = Charts(database.query), 0
    for _ in range(40):
        low, high = sorted(int(x) for x in chance.integers(-700, 2200, 2))
        ends: dict[str, Any] = {"start": low, "stop": high} if chance.random() < 0.8 else {}
        width = int(chance.integers(1, 300))
        drawn = await charts.read(runs, names, width=width, **ends)
        with monkeypatch.context() as patch:
            patch.setattr(overview, "LONG", 1 << 60)
            expected = await Charts(database.query).read(runs, names, width=width, **ends)
        assert pack_charts(drawn) == pack_charts(expected), (low, high, width)
        shown += sum(len(line.x) for chart in drawn for line in chart.lines)
    assert shown > 3000


@pytest.mark.usefixtures("small")
async def test_an_overview_is_made_anew_when_files_or_points_changed(database: Any) -> None:
    key = await database.add_run("r")
    await store(database, key, b"1" * 16, "loss", [rows("loss", range(500), np.zeros(500), first=0)])
    charts = Charts(database.query)
    assert (await charts.read(["r"], ["loss"]))[0].lines[0].total == 500  # hot: a held vector
    await database.compact()
    charts = Charts(database.query)
    for _ in range(2):
        assert (await charts.read(["r"], ["loss"]))[0].lines[0].high.max() == 0
    await database.add_chunk(key, b"1" * 16, rows("loss", range(500, 700), np.ones(200), first=500))
    await database.pool.execute("update live_summaries set count = 700")
    assert (await charts.read(["r"], ["loss"]))[0].lines[0].total == 700
    await database.compact()
    charts = Charts(database.query)
    [chart] = await charts.read(["r"], ["loss"])
    assert (chart.lines[0].total, chart.lines[0].high.max(), chart.last) == (700, 1, 699)


@pytest.mark.usefixtures("small")
async def test_a_first_look_reads_no_points_where_the_files_keep_overviews(
    database: Any, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await database.add_run("r")
    await store(database, key, b"1" * 16, "loss", [rows("loss", range(1200), np.sin(range(1200)), first=0)])
    await database.compact()
    read: list[int] = []
    points = ParquetFiles.points
    monkeypatch.setattr(
        ParquetFiles,
        "points",
        lambda self, path, number: (read.append(number), points(self, path, number))[1],
    )
    [chart] = await Charts(database.query).read(["r"], ["loss"], width=20)
    assert (chart.lines[0].total, bool(read)) == (1200, not small)
