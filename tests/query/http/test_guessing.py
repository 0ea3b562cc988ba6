"""Who guesses tokens, or asks too often, is slowed down; nobody else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from tests.query.http.owner import OWNER, SAME, bearer, made, status
from tests.query.http.test_api import serving

from runstream_query.http import tokens
from runstream_query.http.context import Server

pytestmark = pytest.mark.attack


async def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(http: httpx.AsyncClient) -> None:
    known = await made(http, "known", role="read")
    assert await status(http, known, "GET", "/api/v1/runs") == 200
    answers = [await status(http, f"rst_{n}", "GET", "/api/v1/runs") for n in range(tokens.FAILURES + 1)]
    assert answers == [401] * tokens.FAILURES + [429]
    assert await status(http, known, "GET", "/api/v1/runs") == 200
    assert await status(http, OWNER, "GET", "/api/v1/runs") == 200


async def test_who_guesses_locks_out_nobody_who_shares_its_address(http: httpx.AsyncClient) -> None:
    new = await made(http, "new", role="read")  # nobody has used it yet
    for number in range(tokens.FAILURES + 5):
        await status(http, f"guess-{number}" if number % 2 else f"rst_{number}", "GET", "/api/v1/runs")
    assert await status(http, "rst_another", "GET", "/api/v1/runs") == 429
    assert await status(http, "weak", "GET", "/api/v1/runs") == 429
    assert await status(http, new, "GET", "/api/v1/runs") == 200
    assert (await http.post("/login", json={"token": "weak"}, headers=SAME)).status_code == 429
    assert (await http.post("/login", json={"token": new}, headers=SAME)).status_code == 200


async def test_one_wrong_token_again_and_again_is_counted_by_itself(http: httpx.AsyncClient) -> None:
    """A program left behind with a token that was revoked takes nothing from others of its address."""
    answers = [await status(http, "rst_revoked", "GET", "/api/v1/runs") for _ in range(tokens.FAILURES + 5)]
    assert answers == [401] * tokens.FAILURES + [429] * 5
    assert await status(http, "rst_mistyped", "GET", "/api/v1/runs") == 401


async def test_the_addresses_of_one_network_are_counted_together(server: Server) -> None:
    """Whoever has one address of IPv6 has 2^64 of them."""
    for number in range(tokens.FAILURES):
        assert await server.tokens.of(f"guess-{number}", f"2001:db8:1:2::{number:x}") is None
    with pytest.raises(tokens.TooManyFailures):
        await server.tokens.of("another", "2001:db8:1:2:ffff::1")
    assert await server.tokens.of("another one", "2001:db8:1:3::1") is None
    for number in range(tokens.FAILURES):
        assert await server.tokens.of(f"{number}th", "::ffff:10.0.0.1" if number % 2 else "10.0.0.1") is None
    with pytest.raises(tokens.TooManyFailures):
        await server.tokens.of("more", "10.0.0.1")


async def test_nobody_chooses_the_address_it_is_counted_by(database: Any) -> None:
    """Only what a trusted proxy says about who asks is believed."""

    async def answers(client: httpx.AsyncClient) -> set[int]:
        statuses = set()
        for number in range(tokens.FAILURES + 2):
            headers = bearer(f"guess-{number}") | {"X-Forwarded-For": f"10.0.0.{number}"}
            statuses.add((await client.get("/api/v1/runs", headers=headers)).status_code)
        return statuses

    async with serving(database, token=OWNER) as client:
        assert await answers(client) == {401, 429}
    database.settings = replace(database.settings, trusted_proxies="127.0.0.1,10.1.2.3")
    async with serving(database, token=OWNER) as client:
        assert await answers(client) == {401}


def test_rate_of_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now)
    rate = tokens.Rate(5.0)
    assert [rate.wait("a") for _ in range(50)] == [0.0] * 50
    assert 0 < rate.wait("a") <= 0.2
    assert rate.wait("b") == 0.0
    now += 1.0
    assert [rate.wait("a") == 0.0 for _ in range(6)] == [True] * 5 + [False]
    assert tokens.Rate(0.0).wait("a") == 0.0
