"""Every operation of the API, as its own description makes requests, with a token of every role, and an oracle that knows
what each may see: schemathesis is as broad as a scanner, and aimed at what is another workspace's.

A token of `ada` never gets a text of `bob`, and changes nothing that is there. One that may read only changes nothing at
all; one that may not delete makes nothing go. No answer is a failure, and each is as described.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.seeds import SEED

from runstream_query.http.openapi import document
from runstream_schemas.series import Kind, SeriesKey

from .granted import MARKS, state_of
from .kinds import KINDS, server_of
from .test_openapi import ENDLESS, TIMES

pytestmark = pytest.mark.attack

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
AIMED: dict[str, list[Any]] = {
    "run": ["ada-run", "bob-run", "nobody"],
    "run_id": ["ada-run", "bob-run", "nobody"],
    "runs": ["ada-run", "bob-run"],
    "parent": ["bob-run", "ada-run"],
    "ancestor": ["bob-run"],
    "name": ["e", "m", "env", "bob-token", "bob", "loss"],
    "version": ["1", "latest"],
    "path": ["outputs/a", "w", "outputs"],
    "experiment": ["e"],
    "workspace": ["bob", "ada"],
    "role": ["admin", "read"],
}
"""What requests name: what is there, of both workspaces."""
_FILL = """
insert into experiments (workspace, name, description)
values ('ada', 'e', 'zebra-ada-5f1c'), ('bob', 'e', 'walrus-bob-93c1');
insert into runs (run_id, experiment_id, status, created_at, description, target)
select workspace || '-run', id, 'Running', now(), description, 'local' from experiments where name = 'e';
"""
_GIVEN_OUT = """
select coalesce(jsonb_agg(to_jsonb(t) - 'used_at' order by id), '[]')::text from access_tokens t where name <> $1
"""


@dataclass(slots=True)
class Asker:
    """A token, and what its role lets it do."""

    role: str
    workspace: str | None
    secret: str

    @property
    def unseen(self) -> set[str]:
        """Workspaces it must neither read nor change."""
        return set() if self.workspace is None else set(MARKS) - {self.workspace}


async def fill(database: Any, http: httpx.AsyncClient) -> None:
    """The same in both workspaces: a run with points and a file, a model, an environment, each text with its mark."""
    await database.pool.execute(_FILL)
    for number, (workspace, mark) in enumerate(MARKS.items()):
        key = await database.pool.fetchval("select key from runs where run_id = $1", f"{workspace}-run")
        await database.add_summary(key, f"loss {mark}")
        rows = [(SeriesKey(0, f"loss {mark}"), Kind.FLOAT, n, n, n, float(n)) for n in range(3)]
        await database.add_chunk(key, bytes([number + 1]) * 16, rows)
        of = f"workspace={workspace}"
        for method, path, body in (
            ("PATCH", f"runs/{workspace}-run", {"tags": {"set": {"t": mark}}}),
            ("PUT", f"runs/{workspace}-run/files/outputs/a", mark),
            ("POST", f"environments?{of}", {"name": "env", "document": {"packages": [mark]}}),
            (
                "POST",
                f"models?{of}",
                {
                    "name": "m",
                    "token": f"7c0c64ee-6f2b-4f24-a6a4-0de68d3c2c9{number}",
                    "run_id": f"{workspace}-run",
                    "path": "outputs/a",
                    "description": mark,
                },
            ),
            ("PUT", f"workspaces/{workspace}", {"description": mark}),
            ("POST", "tokens", {"name": f"{workspace}-token", "role": "admin", "workspace": workspace}),
        ):
            sent = {"content": body} if isinstance(body, str) else {"json": body}
            answer = await http.request(method, f"/api/v1/{path}", **sent)
            assert answer.status_code < 300, (path, answer.text)


def aimed() -> dict[str, Any]:
    """The document, with parameters, and keys of bodies, that name what is there."""
    whole: dict[str, Any] = json.loads(json.dumps(document()))
    for path in whole["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in AIMED:
                    _aim(parameter["schema"], parameter["name"])
            content = operation.get("requestBody", {}).get("content", {})
            for name, schema in (
                content.get("application/json", {}).get("schema", {}).get("properties", {}).items()
            ):
                if name in AIMED:
                    _aim(schema, name)
    return whole


def _aim(schema: dict[str, Any], name: str) -> None:
    schema = schema.get("items", schema)
    if schema.get("type") == "string":
        schema.setdefault("enum", AIMED[name])


class Oracle:
    """Holds each answer and its effect against what the asker may."""

    def __init__(self, database: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._database, self._loop = database, loop
        self.statuses: dict[int, int] = {}

    def state(self) -> dict[str, str]:
        """What each workspace has, and the tokens."""

        async def read() -> dict[str, str]:
            state = await state_of(self._database.pool)
            return state | {"tokens": str(await self._database.pool.fetchval(_GIVEN_OUT, "asker"))}

        return asyncio.run_coroutine_threadsafe(read(), self._loop).result(60)

    def check(self, asker: Asker, case: Any, answer: Any, before: dict[str, str]) -> None:
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        said = answer.content + str(answer.headers).encode()
        for workspace in asker.unseen:
            assert MARKS[workspace].encode() not in said, f"a text of {workspace}: {said[:300]!r}"
        after = self.state()
        for what, state in after.items():
            if asker.role == "read" or what in asker.unseen or (what == "tokens" and asker.workspace):
                assert state == before[what], f"changed something of {what}"
        if asker.role == "write":
            assert after["tokens"] == before["tokens"]
            for workspace in MARKS:
                held, now = json.loads(before[workspace]), json.loads(after[workspace])
                for kind in ("runs", "models", "experiments", "environments"):
                    assert len(now[kind] or ()) >= len(held[kind] or ()), f"{kind} of {workspace} went"


def _ask_everything(base: str, asker: Asker, oracle: Oracle) -> list[str]:
    schema = schemathesis.openapi.from_dict(aimed())
    failures = []
    headers = {"Authorization": f"Bearer {asker.secret}", "Accept-Encoding": "identity"}
    for operation in (result.ok() for result in schema.get_all_operations()):
        for mode in (
            (GenerationMode.POSITIVE, GenerationMode.NEGATIVE) if operation.path not in ENDLESS else ()
        ):
            if mode is GenerationMode.NEGATIVE and TIMES == 1:
                continue  # test_openapi sends these, too

            @settings(
                max_examples=2 * TIMES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                before = oracle.state()
                answer = case.call(base_url=base, headers=headers, timeout=60)
                oracle.check(asker, case, answer, before)
                case.validate_response(answer, checks=CHECKS)

            try:
                ask()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE
            except (Exception, FailureGroup) as error:
                failures.append(
                    f"{asker.role} of {asker.workspace}: {operation.method} {operation.path}: {error}"
                )
    return failures


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(180 + 180 * TIMES)
async def test_no_role_sees_or_changes_more_than_it_may(database: Any, kind: str) -> None:
    async with server_of(kind, database) as (base, owner):
        headers = {"Authorization": f"Bearer {owner}"}
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=30) as http:
            await fill(database, http)
            oracle = Oracle(database, asyncio.get_running_loop())
            # Those who may least come first: what they are after is still there.
            for workspace in ("ada", None):
                for role in ("read", "write", "admin"):
                    made = {"name": "asker", "role": role, "workspace": workspace}
                    secret = (await http.post("/api/v1/tokens", json=made)).json()["token"]
                    asker = Asker(role, workspace, secret)
                    failures = await asyncio.to_thread(_ask_everything, base, asker, oracle)
                    assert not failures, "\n\n".join([f"seed {SEED}", *failures])
                    await http.delete("/api/v1/tokens/asker")
            assert (await http.get("/readyz")).status_code == 200
    # It tried what is let through as well as what is not.
    assert all(oracle.statuses.get(status, 0) > 20 for status in (200, 400, 403, 404)), oracle.statuses
