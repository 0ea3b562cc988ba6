"""Importance of the parameters of stored runs: what is taken, what is left out, and when there is nothing to say."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import random
import uuid
from typing import Any

import pytest
from tests.query.conftest import utc

from runstream_query.importance import importance
from runstream_query.importance.forest_process import NotInstalled, weigh_apart
from runstream_query.importance.importance import Importance, param_importance
from runstream_query.importance.run_table import MOST_CATEGORIES, MOST_PARAMS, RunTable, table_of
from runstream_query.runs.run_filter import RunFilter
from runstream_query.runs.runs import Run
from runstream_query.runs.search import search
from runstream_schemas.runs.params import as_stored


async def add(
    database: Any, name: str, loss: float | None, params: dict[str, object], **columns: object
) -> None:
    """A run with its parameters and a loss: `last` as given, `min` its negative."""
    run = await database.add_run(name, **columns)
    if loss is not None:
        await database.add_summary(run, "loss", first=loss, last=loss, min=-loss, max=loss, sum=loss)
    await database.pool.executemany(
        "insert into params (run_key, name, kind, text, number, origin, time_us, source, seq) "
        "values ($1, $2, $3, $4, $5, 2, 0, $6, 0)",
        [(run, key, *as_stored(json.dumps(value)), uuid.UUID(int=run)) for key, value in params.items()],
    )


async def ask(database: Any, text: str = "", stat: Any = "last", metric: str = "loss") -> Importance:
    return await param_importance(database.pool, search(text, RunFilter()), metric, stat, timeout=60)


@pytest.fixture
async def sweep(database: Any) -> Any:
    """Forty runs: the learning rate makes the loss; a seed, an optimizer, a momentum some lack, one batch size for all."""
    dice = random.Random(3)
    for number in range(40):
        rate = 10 ** dice.uniform(-4, -1)
        given = {
            "lr": rate,
            "seed": dice.randrange(1 << 30),
            "optimizer": dice.choice(["adam", "sgd"]),
            "batch": 32,
        }
        momentum = {"momentum": 0.9 + number / 1000} if number % 3 else {}
        await add(database, f"r{number}", math.log10(rate), {**given, **momentum}, start_time=utc(number))
    await add(database, "diverged", math.nan, {"lr": 10.0, "seed": 1, "batch": 64}, start_time=utc(100))
    await add(database, "no-loss", None, {"lr": 1.0, "seed": 2, "batch": 32}, start_time=utc(101))
    return database


async def test_the_parameter_that_makes_the_metric_comes_first(sweep: Any) -> None:
    weighed = await ask(sweep)
    assert weighed["params"][0]["name"] == "lr"
    of = {param["name"]: param for param in weighed["params"]}
    assert of["lr"]["importance"] > 0.8
    assert of["lr"]["correlation"] == pytest.approx(1)
    assert of["seed"]["importance"] < 0.1
    assert (of["optimizer"]["kind"], of["optimizer"]["values"], of["optimizer"]["correlation"]) == (
        "category",
        2,
        None,
    )
    assert of["momentum"]["runs"] == 26  # some have none
    assert sum(param["importance"] for param in weighed["params"]) == pytest.approx(1)
    assert weighed["r2"] is not None
    assert weighed["r2"] > 0.8
    assert weighed["refusal"] is None


async def test_runs_without_a_finite_number_are_told_and_not_taken(sweep: Any) -> None:
    weighed = await ask(sweep)
    assert (weighed["runs"], weighed["considered"], weighed["total"]) == (40, 42, 42)
    assert weighed["constant"] == ["batch"]  # but for the run that diverged


async def test_the_filter_is_that_of_lists_and_the_statistic_the_one_asked_for(sweep: Any) -> None:
    weighed = await ask(sweep, "param:optimizer=adam", stat="min")
    assert weighed["runs"] < 40
    assert "optimizer" in weighed["constant"]
    (rate,) = [param for param in weighed["params"] if param["name"] == "lr"]
    assert rate["correlation"] == pytest.approx(-1)


async def test_the_newest_are_looked_at_and_it_says_of_how_many(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "MOST_RUNS", 12)
    weighed = await ask(sweep)
    assert (weighed["runs"], weighed["considered"], weighed["total"]) == (10, 12, 42)


async def test_the_best_is_the_good_end_that_the_newest_run_defines(database: Any) -> None:
    for number in range(10):
        details = {"metric_definitions": {"lo*": {"goal": "max" if number < 9 else "min"}}}
        await add(
            database,
            f"r{number}",
            float(number),
            {"lr": number},
            details=json.dumps(details),
            created_at=utc(number),
            start_time=utc(number),
        )
    weighed = await ask(database, stat="best")
    assert weighed["stat"] == "min"
    assert weighed["params"][0]["correlation"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], "No run passes the filter"),
        ([(1.0, {"lr": 1.0}), (2.0, {"lr": 2.0})], "2 of 2 runs have a finite number as last of 'loss'; 8 are needed"),
        ([(math.nan, {"lr": float(n)}) for n in range(9)], "0 of 9 runs have a finite number"),
        ([(1.0, {"lr": float(n)}) for n in range(9)], "All 9 runs have the same number"),
        ([(float(n), {"lr": 1.0}) for n in range(9)], "do not differ in a parameter"),
        ([(float(n), {}) for n in range(9)], "do not differ in a parameter"),
    ],
    ids=["none", "two", "all NaN", "one number", "constant", "no parameters"],
)  # fmt: skip
async def test_where_there_is_nothing_to_say_words_say_why(
    database: Any, runs: list[tuple[float, dict[str, object]]], said: str
) -> None:
    for number, (loss, params) in enumerate(runs):
        await add(database, f"r{number}", loss, params, start_time=utc(number))
    weighed = await ask(database)
    assert weighed["refusal"] is not None
    assert said in weighed["refusal"]
    assert (weighed["params"], weighed["r2"]) == ([], None)


async def test_a_good_end_nobody_defines_is_asked_for(sweep: Any) -> None:
    assert "ask for min or max" in str((await ask(sweep, stat="best"))["refusal"])


def run(number: int, **params: Any) -> Run:
    """A run without a database."""
    stored = {
        name: {"kind": "text" if isinstance(value, str) else "float", "text": str(value)}
        for name, value in params.items()
    }
    times: dict[str, Any] = dict.fromkeys(("created", "start_time", "end_time", "last_seen", "archived"))
    made = Run(key=number, run_id=str(number), **times)
    made.params, made.summaries = stored, {"m": Number(float(number))}
    return made


class Number:
    """A summary with one number."""

    def __init__(self, last: float) -> None:
        self.last = last


def test_texts_that_are_numbers_are_numbers_and_names_of_runs_explain_nothing() -> None:
    """MLflow's parameters are all texts."""
    runs = [
        run(number, lr=f"1e-{number}", mixed="x" if number else "1", path=f"/data/{number}")
        for number in range(MOST_CATEGORIES + 9)
    ]
    table = table_of(runs, "m", "last")
    assert [(column.name, column.kind) for column in table.columns] == [
        ("lr", "number"),
        ("mixed", "category"),
    ]
    assert table.left_out == ["path"]


def test_of_very_many_parameters_those_most_runs_have_are_weighed() -> None:
    all_, few = ([f"p{place:03}" for place in range(count)] for count in (MOST_PARAMS + 5, 7))
    runs = [run(number, **dict.fromkeys(all_ if number else few, number)) for number in range(9)]
    table = table_of(runs, "m", "last")
    assert len(table.columns) == MOST_PARAMS
    assert [column.name for column in table.columns[:8]] == [f"p{place:03}" for place in range(8)]
    assert len(table.left_out) == 5


async def test_without_scikit_learn_the_command_that_brings_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NotInstalled, match=r"pip install 'runstream\[importance\]'"):
        await weigh_apart(RunTable(), 1.0)


async def test_a_forest_that_is_late_is_ended() -> None:
    before = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await weigh_apart(RunTable([1.0, 2.0] * 500, []), 0.01)
    assert asyncio.get_running_loop().time() - before < 10
