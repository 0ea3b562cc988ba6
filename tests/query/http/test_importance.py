"""Importance over HTTP: what is asked for wrongly is refused in words, and nobody learns of what is another's."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import uuid
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.query.http.owner import OWNER

from runstream_query.http.context import Server
from runstream_schemas.runs.params import as_stored

PATH = "/api/v1/param-importance"


async def ask(http: httpx.AsyncClient, query: str, token: str = OWNER) -> httpx.Response:
    return await http.get(f"{PATH}?{query}", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
async def filled(server: Server, database: Any) -> Server:
    """Ten runs of a workspace each, with a parameter of its own name."""
    # Loading scikit-learn takes its time on a busy machine.
    server.settings = replace(server.settings, query_timeout=60.0)
    for workspace in ("default", "other"):
        experiment = await server.pool.fetchval("select id from experiments where workspace = $1", workspace)
        for number in range(10):
            run = await database.add_run(f"{workspace}-{number}", experiment_id=experiment)
            await database.add_summary(run, "loss", last=float(number), min=1.0, max=float("nan"), first=1.0)
            await server.pool.execute(
                "insert into params (run_key, name, kind, text, number, origin, time_us, source, seq) "
                "values ($1, $2, $3, $4, $5, 2, 0, $6, 0)",
                run,
                f"lr of {workspace}",
                *as_stored(json.dumps(number)),
                uuid.uuid4(),
            )
    return server


async def test_the_answer_is_as_the_reference_has_it(filled: Server, http: httpx.AsyncClient) -> None:
    answer = await ask(http, "name=loss&workspace=other")
    assert answer.status_code == 200
    weighed = answer.json()
    assert (weighed["runs"], weighed["considered"], weighed["total"]) == (10, 11, 11)
    (param,) = weighed["params"]
    assert param | {"importance": 1.0, "correlation": pytest.approx(1.0)} == param
    assert (param["name"], param["kind"], param["runs"], param["values"]) == ("lr of other", "number", 10, 10)


async def test_a_token_of_one_workspace_learns_nothing_of_another(
    filled: Server, http: httpx.AsyncClient
) -> None:
    sent = {"name": "narrow", "role": "read", "workspace": "default"}
    made = await http.post("/api/v1/tokens", json=sent, headers={"Authorization": f"Bearer {OWNER}"})
    token = made.json()["token"]
    assert (await ask(http, "name=loss&workspace=other", token)).status_code == 403
    for query in ("name=loss&stat=max", "name=loss&stat=max&run=other-1&archived=all"):
        answer = await ask(http, query, token)
        assert answer.status_code == 200
        assert "lr of other" not in answer.text
        assert answer.json()["considered"] in (0, 11)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 400, "name= is needed"),
        ("name=loss&stat=median", 400, "expected one of last, min, max, mean, first, best"),
        ("name=loss&stat=__class__", 400, "expected one of"),
        ("name=loss&q=loss%3Cabc", 400, "abc"),
        ("name=loss&q=" + "a" * 5000, 400, "q= has 5000 characters"),
        ("name=loss&metric=loss", 400, "expected NAME:STAT"),
        ("name=%00", 400, "NUL"),
        ("name=" + quote("'; drop table runs; --"), 200, "8 are needed"),
        ("name=" + quote("{run}{0}%s"), 200, "8 are needed"),
        ("name=" + "x" * 9000, 200, "8 are needed"),
        ("name=loss&stat=max", 200, "0 of 22 runs have a finite number"),
        ("name=loss&stat=min", 200, "the same number"),
        ("name=loss&run=nobody", 200, "No run passes the filter"),
    ],
)  # fmt: skip
async def test_hostile_and_hopeless_questions_are_answered_in_words(
    filled: Server, http: httpx.AsyncClient, query: str, status: int, said: str
) -> None:
    answer = await ask(http, query)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text[:500]


async def test_without_the_library_the_answer_names_the_command(
    filled: Server, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    answer = await ask(http, "name=loss&workspace=default")
    assert answer.status_code == 501
    assert "pip install 'runstream[importance]'" in answer.json()["detail"]


async def test_one_that_finds_no_place_in_time_is_told_so(filled: Server, http: httpx.AsyncClient) -> None:
    filled.settings = replace(filled.settings, query_timeout=0.2)
    filled.forests = asyncio.Semaphore(0)
    answer = await ask(http, "name=loss&workspace=default")
    assert answer.status_code == 504
    assert "RUNSTREAM_QUERY_TIMEOUT" in answer.json()["detail"]
