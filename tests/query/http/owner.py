"""The owner's token, and others that it makes."""

from __future__ import annotations

from typing import Any

import httpx

OWNER = "the-token-of-this-server"
HERE = "http://127.0.0.1"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def made(http: httpx.AsyncClient, name: str, **more: Any) -> str:
    answer = await http.post("/api/v1/tokens", json={"name": name, **more}, headers=bearer(OWNER))
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["token"])


async def status(http: httpx.AsyncClient, token: str, method: str, path: str, document: Any = None) -> int:
    return (await http.request(method, path, json=document, headers=bearer(token))).status_code


SAME = {"sec-fetch-site": "same-origin"}
