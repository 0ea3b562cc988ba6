"""Summaries are checked against the points; damaged chunks stay where they are, and are named."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

import pytest

from runstream_consumers.compaction.hot_to_parquet import Compactor
from runstream_consumers.compaction.worker import Worker
from runstream_schemas.series import Kind, SeriesClass, SeriesKey
from runstream_schemas.wire.events import summarize
from runstream_schemas.wire.points import build_points

from .conftest import START, Pipeline, Row, floats

NAN = float("nan")


async def _summarise(pipeline: Pipeline, run_id: str, rows: list[Row], **wrong: Any) -> None:
    """Store what a writer would store, or something wrong."""
    points = build_points(rows)
    summary = summarize(points)
    for i, (key, kind) in enumerate(points.series):
        series = await pipeline.pool.fetchval(
            'insert into series (cls, name, "column") values ($1, $2, $3) returning id',
            key.cls,
            key.name,
            key.column,
        )
        number = kind < Kind.TEXT
        low, high = float(summary.min[i]), float(summary.max[i])
        row = {
            "kind": int(kind),
            "count": int(summary.count[i]),
            "finite": int(summary.finite[i]),
            "first": float(summary.first[i]) if number else None,
            "last": float(summary.last[i]) if number else None,
            "min": None if low != low else low,
            "max": None if high != high else high,
            "sum": float(summary.sum[i]),
            "first_time": int(summary.first_time[i]),
            "last_step": int(summary.last_step[i]),
            "last_time": int(summary.last_time[i]),
            "last_text": summary.texts.get(i),
        } | wrong
        places = ", ".join(f"${n + 3}" for n in range(len(row)))
        await pipeline.pool.execute(
            f"insert into live_summaries (run_key, series_id, {', '.join(row)}) values ($1, $2, {places})",
            pipeline.run_keys[run_id],
            series,
            *row.values(),
        )


ROWS = [
    *floats("x", [3.0, NAN, 1.0, float("inf"), 2.5]),
    *floats("all nan", [NAN, NAN], slot=5),
    (SeriesKey(SeriesClass.METRIC, "n"), Kind.INT, 7, 3, START, -7),
    (SeriesKey(SeriesClass.METRIC, "text"), Kind.TEXT, 8, 4, START, "hello"),
    (SeriesKey(SeriesClass.METRIC, "flag"), Kind.BOOL, 9, 4, START, True),
    (SeriesKey(SeriesClass.METRIC, "nothing"), Kind.NULL, 10, 4, START, None),
    (SeriesKey(SeriesClass.TABLE, "t", "c"), Kind.FLOAT, 11, 0, START, 1.5),
    (SeriesKey(SeriesClass.TABLE, "t", "c"), Kind.FLOAT, 12, 1, START, 2.5),
]


async def test_right_summaries_are_left_alone(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    await pipeline.add_run("run")
    await pipeline.add_chunk("run", ROWS)
    await _summarise(pipeline, "run", ROWS)
    with caplog.at_level(logging.WARNING):
        assert (await pipeline.compact()).summaries_corrected == 0
    assert caplog.text == ""


@pytest.mark.parametrize(
    "wrong",
    [{"count": 4}, {"finite": 1}, {"sum": 7.0}, {"min": 0.5}, {"max": None}, {"last": 9.0}, {"last_step": 9}],
)
async def test_a_wrong_summary_is_corrected_and_logged(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any]
) -> None:
    rows = floats("x", [3.0, 1.0, 2.5])
    await pipeline.add_run("run")
    await pipeline.add_chunk("run", rows)
    await _summarise(pipeline, "run", rows, **wrong)
    with caplog.at_level(logging.WARNING):
        assert (await pipeline.compact()).summaries_corrected == 1
    assert "run run: 1 of its series" in caplog.text
    assert "'x': " in caplog.text
    row = await pipeline.pool.fetchrow("select * from summaries")
    assert (row["count"], row["finite"], row["sum"], row["min"], row["max"]) == (3, 3, 6.5, 1.0, 3.0)
    assert (row["first"], row["last"], row["last_step"]) == (3.0, 2.5, 2)


async def test_summaries_of_a_run_with_points_elsewhere_are_not_judged(pipeline: Pipeline) -> None:
    rows = floats("x", [3.0, 1.0])
    await pipeline.add_run("run")
    await pipeline.add_chunk("run", rows)
    await pipeline.compact()
    later = floats("x", [2.0], slot=2, step=2)
    await pipeline.add_chunk("run", later)
    await _summarise(pipeline, "run", [*rows, *later])
    assert (await pipeline.compact()).summaries_corrected == 0


async def test_a_damaged_chunk_stays_hot_and_holds_up_nobody_else(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    for run in ("good", "bad", "fine"):
        await pipeline.add_run(run)
        await pipeline.add_chunk(run, floats("x", range(50)))
    await pipeline.pool.execute(
        "update chunks set payload = set_byte(payload, 40, 255) where run_key = $1", pipeline.run_keys["bad"]
    )
    worker = Worker()
    compactor = Compactor(pipeline.pool, pipeline.store, pipeline.settings, worker)
    report = await compactor.compact()
    assert (report.runs, report.corrupt_runs) == (2, ["bad"])
    assert "run bad has a damaged chunk" in caplog.text
    assert [row["run_key"] for row in await pipeline.pool.fetch("select run_key from chunks")] == [
        pipeline.run_keys["bad"]
    ]
    assert {cell[0] for cell in await pipeline.cold()} == {"good", "fine"}
    assert (await compactor.compact()).corrupt_runs == []  # not tried again at once
    await compactor._say_unreadable(pipeline.run_keys["bad"], "the same again, later")
    told = {
        row["run_id"]: json.loads(row["warnings"])
        for row in await pipeline.pool.fetch("select run_id, warnings from runs")
    }
    assert [len(told[run]) for run in ("good", "bad", "fine")] == [0, 1, 0]  # however often it was found
    assert "cannot be read and are left out" in told["bad"][0]["message"]
    worker.close()


async def test_a_run_of_many_tiny_chunks_and_many_series(pipeline: Pipeline) -> None:
    await pipeline.add_run("run")
    names = [f"série/{uuid.uuid4()}" for _ in range(30)]
    for part in range(40):
        rows = [
            row
            for i, name in enumerate(names)
            for row in floats(name, [part + i], slot=30 * part + i, step=part)
        ]
        await pipeline.add_chunk("run", rows)
    assert (await pipeline.compact()).points == 1200
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged
