"""Rewinds against a list model: real spool writers, the writer, compaction and merges in any order; every reader agrees."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.producers.reading import drain, settings_for
from tests.seeds import new_random

from runstream.spool.collecting.collector import Collector
from runstream.spool.writing.writer import RunWriter
from runstream_consumers.compaction import recall
from runstream_consumers.compaction.recall import Recall
from runstream_consumers.compaction.role import compact_once
from runstream_consumers.sources.source import Fetched, Partition
from runstream_consumers.storing.again import store_again
from runstream_consumers.storing.writer import Writer
from runstream_query.charts.held_vectors import HeldVectors
from runstream_query.sql.sql import run_sql
from runstream_schemas.series import SeriesClass
from runstream_schemas.wire.event_reading import decode_event

NAMES = ("loss", "accuracy", "text")


@dataclass
class Logged:
    """A point as it was logged, and the branch it belongs to: 0 is the visible one."""

    name: str
    step: int
    value: Any
    writer: int
    at: int
    branch: int = 0
    stored: bool = False


@dataclass
class Rewound:
    writer: int
    at: int
    step: int
    number: int = 0


@dataclass
class Model:
    """Lists: what was logged, and rewinds; a process's place in the order is known once something of it is stored."""

    points: list[Logged] = field(default_factory=list)
    rewinds: list[Rewound] = field(default_factory=list)
    ordinals: dict[int, int] = field(default_factory=dict)
    clock: int = 0

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def store(self) -> None:
        """All that was logged is stored now."""
        for item in sorted((*self.points, *self.rewinds), key=lambda item: item.at):
            self.ordinals.setdefault(item.writer, len(self.ordinals))
        new = sorted((r for r in self.rewinds if not r.number), key=self.position)
        for rewind in new:
            rewind.number = max(r.number for r in self.rewinds) + 1
        cuts = sorted(self.rewinds, key=self.position)
        for point in self.points:
            if not point.branch:
                hiding = (c for c in cuts if self.position(c) > self.position(point) and point.step > c.step)
                point.branch = next((cut.number for cut in hiding), 0)
            point.stored = True

    def position(self, item: Logged | Rewound) -> tuple[int, int]:
        return self.ordinals[item.writer], item.at

    def vector(self, name: str, branch: int = 0) -> list[tuple[int, Any]]:
        mine = [p for p in self.points if p.stored and (p.name, p.branch) == (name, branch)]
        return [(p.step, p.value) for p in sorted(mine, key=self.position)]

    def branches(self) -> set[tuple[str, int]]:
        return {(p.name, p.branch) for p in self.points if p.stored}


class Trial:
    """Writers of one run, and what stores and moves their points."""

    def __init__(self, database: Any, directory: Path, randomly: random.Random, run_id: str) -> None:
        self.database, self.random, self.run_id = database, randomly, run_id
        self.settings = settings_for(directory / f"spool-{run_id}")
        self.collector = Collector(self.settings)
        self.cold = Recall(database.pool, database.settings)
        self.writer = Writer(database.pool, database.settings, cold=self.cold)
        self.held = HeldVectors(database.query)
        self.model = Model()
        self.writers: list[RunWriter] = []
        self.numbers: list[int] = []
        self.stored = 0
        self.begin()

    def begin(self) -> None:
        """One more process."""
        self.writers.append(RunWriter(self.settings, self.run_id))
        self.numbers.append(max(self.numbers, default=-1) + 1)

    def log(self) -> None:
        which = self.random.randrange(len(self.writers))
        name = self.random.choice(NAMES)
        start = self.random.randrange(12)
        for step in range(start, start + self.random.randint(1, 6)):
            value: Any = f"v{self.model.clock}" if name == "text" else float(self.model.clock)
            if name == "accuracy" and self.random.random() < 0.3:
                value = self.model.clock
            self.writers[which].log(name, value, "", step)
            self.model.points.append(Logged(name, step, value, self.numbers[which], self.model.tick()))

    def rewind(self) -> None:
        which = self.random.randrange(len(self.writers))
        step = self.random.randint(-1, 14)
        self.writers[which].rewind(step)
        self.model.rewinds.append(Rewound(self.numbers[which], self.model.tick(), step))

    async def store(self) -> None:
        events = drain(self.collector)
        if events:
            partition = Partition("cluster", f"topic of {self.run_id}", "metrics", 0)
            await self.writer.store([Fetched(partition, self.stored, self.stored + len(events), events)])
            self.stored += len(events)
        self.model.store()

    async def compact(self) -> None:
        await self.store()
        await self.database.pool.execute(
            "update runs set settled_at = now(), status = 'Completed' where run_id = $1", self.run_id
        )
        await compact_once(self.database.pool, self.database.store, self.database.settings, now=True)

    async def check(self) -> None:
        await self.store()
        vectors = await self.database.query.vectors([self.run_id])
        read = {
            (series.name, int(series.key.column or 0)): list(
                zip(series.steps.tolist(), series.python_values(), strict=True)
            )
            for series in vectors
        }
        expected = {key: self.model.vector(*key) for key in self.model.branches()}
        assert read == expected
        rows = await self.database.pool.fetch(
            "select s.name, s.cls, m.* from summaries m join series s on s.id = m.series_id "
            "join runs r on r.key = m.run_key where r.run_id = $1 and s.cls = 0",
            self.run_id,
        )
        visible = {name: points for (name, branch), points in expected.items() if not branch}
        assert {row["name"]: (row["count"], row["last_step"]) for row in rows} == {
            name: (len(points), points[-1][0]) for name, points in visible.items()
        }
        for row in rows:
            numbers = [float(value) for _, value in visible[row["name"]] if not isinstance(value, str)]
            if numbers:
                assert (row["first"], row["last"]) == (numbers[0], numbers[-1])
                assert (row["min"], row["max"], row["sum"]) == (min(numbers), max(numbers), sum(numbers))
            else:
                assert row["last_text"] == visible[row["name"]][-1][1]
        held = await self.held.get([self.run_id], NAMES)
        assert {name: len(vector) for (_, name), vector in held.items()} == {
            name: len(points) for name, points in visible.items()
        }
        for (_, name), vector in held.items():
            assert vector.steps.tolist() == [step for step, _ in visible[name]]


async def _trial(database: Any, tmp_path: Path, number: int) -> None:
    randomly = new_random(number)
    run_id = f"run-{number}"
    await database.add_run(run_id, status="Running")
    trial = Trial(database, tmp_path, randomly, run_id)
    for _ in range(randomly.randint(5, 25)):
        what = randomly.random()
        if what < 0.45:
            trial.log()
        elif what < 0.6:
            trial.rewind()
        elif what < 0.68 and len(trial.writers) < 3:
            trial.begin()
        elif what < 0.72:
            trial.writers[0].close()
            trial.writers = [RunWriter(trial.settings, run_id)]
            trial.numbers = [1000 + trial.model.tick()]
        elif what < 0.84:
            await trial.store()
        elif what < 0.92:
            await trial.compact()
        else:
            await trial.check()
    await trial.check()
    await trial.compact()
    await trial.check()
    await _check_sql(database, trial)


async def _check_sql(database: Any, trial: Trial) -> None:
    for view, branch, of_view in (
        ("metrics", "0", lambda number: not number),
        ("former_metrics", "branch", bool),
    ):
        table = await run_sql(
            database.pool,
            database.store,
            database.settings,
            f"select name, {branch} as branch, step, coalesce(text, value::varchar) as value "
            f"from {view} where run_id = '{trial.run_id}'",
        )
        read_back: dict[tuple[str, int], list[int]] = defaultdict(list)
        for row in table.to_pylist():
            read_back[row["name"], int(row["branch"])].append(row["step"])
        expected = {
            key: sorted(step for step, _ in trial.model.vector(*key))
            for key in trial.model.branches()
            if of_view(key[1])
        }
        assert {key: sorted(steps) for key, steps in read_back.items()} == expected


async def test_every_reader_shows_what_a_list_would(database: Any, tmp_path: Path) -> None:
    for number in range(int(os.environ.get("RUNSTREAM_TEST_REWINDS", "3"))):
        await _trial(database, tmp_path, number)


async def test_the_points_of_others_in_its_file_stay_and_a_claim_of_a_compactor_is_lost(
    database: Any, tmp_path: Path
) -> None:
    trials = []
    for run_id in ("rewound", "beside"):
        await database.add_run(run_id, status="Running")
        trials.append(Trial(database, tmp_path, new_random(), run_id))
        for step in range(6):
            trials[-1].writers[0].log("loss", float(step), "", step)
        await trials[-1].store()
    await database.pool.execute("update runs set settled_at = now(), status = 'Completed'")
    await compact_once(database.pool, database.store, database.settings, now=True)
    assert await database.pool.fetchval("select count(*) from files where state = 'live'") == 1
    assert await database.pool.fetchval("select count(*) from chunks") == 0
    await database.pool.execute("insert into files (kind, path, state) values ('metrics', 'x', 'pending')")
    await database.pool.execute(
        "insert into file_runs (file_id, run_key, first_row_group, last_row_group, rows) "
        "select f.id, r.key, 0, 0, 0 from files f, runs r where f.state = 'pending' and r.run_id = 'rewound'"
    )
    trials[0].writers[0].rewind(2)
    trials[0].writers[0].log("loss", 30.0, "", 3)
    await trials[0].store()
    assert await database.pool.fetchval("select count(*) from files where state = 'pending'") == 0
    vectors = await database.query.vectors(["rewound", "beside"], cls=(SeriesClass.METRIC,))
    assert [series.floats().tolist() for series in vectors] == [[0, 1, 2, 30], [0, 1, 2, 3, 4, 5]]
    await compact_once(database.pool, database.store, database.settings, now=True)
    vectors = await database.query.vectors(["rewound"])
    assert [series.floats().tolist() for series in vectors] == [[0, 1, 2, 30], [3, 4, 5]]


async def test_values_without_a_step_are_numbered_on_behind_a_rewind(database: Any, tmp_path: Path) -> None:
    await database.add_run("run", status="Running")
    trial = Trial(database, tmp_path, new_random(), "run")
    writer = trial.writers[0]
    for i in range(10):
        writer.log("a", float(i))
    writer.log("b", 0.0)
    writer.rewind(4)
    for i in range(3):
        writer.log("a", 100.0 + i)
        writer.log("b", 100.0 + i)
    await trial.store()
    vectors = await database.query.vectors(["run"], cls=(SeriesClass.METRIC,))
    a, b = vectors.get("a"), vectors.get("b")
    assert a.steps.tolist() == list(range(8))
    assert np.array_equal(a.floats(), [0, 1, 2, 3, 4, 100, 101, 102])
    assert b.steps.tolist() == [0, 1, 2, 3]
    former = await database.query.vectors(["run"], cls=(SeriesClass.FORMER,))
    assert [(s.name, s.key.column, s.steps.tolist()) for s in former] == [("a", "1", [5, 6, 7, 8, 9])]


async def test_a_file_that_is_gone_is_waited_for_and_then_the_rewind_is_a_dead_letter(
    database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.add_run("run", status="Running")
    trial = Trial(database, tmp_path, new_random(), "run")
    trial.writers[0].log("loss", 1.0, "", 1)
    await trial.compact()
    monkeypatch.setattr(recall, "PATIENCE", 0.3)
    for path in (tmp_path / "store").rglob("*.parquet"):
        path.rename(path.with_suffix(".away"))
    letters: list[Any] = []

    async def reject(dead: Any) -> None:
        letters.extend(dead)

    trial.writer = Writer(database.pool, database.settings, reject, cold=trial.cold)
    trial.writers[0].rewind(0)
    trial.writers[0].log("loss", 2.0, "", 1)
    await trial.store()
    assert "cannot" in letters[0].reason or "Error" in letters[0].reason
    for path in (tmp_path / "store").rglob("*.away"):
        path.rename(path.with_suffix(".parquet"))
    (series,) = await database.query.vectors(["run"])
    assert series.floats().tolist() == [1.0]
    trial.writers[0].log("loss", 3.0, "", 2)
    await trial.store()
    await trial.compact()
    event = decode_event(letters[0].value)
    assert await store_again(database.pool, database.settings, event, trial.cold) == ""
    shown = {series.key.cls: series.floats().tolist() for series in await database.query.vectors(["run"])}
    assert shown == {SeriesClass.METRIC: [2.0, 3.0], SeriesClass.FORMER: [1.0]}
