"""The OpenAPI document is true: it names every route, and schemathesis finds no answer that contradicts it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from runstream_query.http.app import create_app
from runstream_query.http.context import Server
from runstream_query.http.openapi import described, document, page
from runstream_schemas.series import Kind, SeriesClass, SeriesKey

from .test_api import LOSS, SOURCE, serving

pytestmark = pytest.mark.attack

TIMES = int(os.environ.get("RUNSTREAM_TEST_API_TIMES", "1"))
EXAMPLES = {GenerationMode.POSITIVE: 3 * TIMES, GenerationMode.NEGATIVE: 2 * TIMES}
"""Requests of each operation: as described, and not as described."""
THERE = {
    "run": ["r"],
    "run_id": ["r"],
    "name": ["loss", "t", "e"],
    "path": ["model"],
    "experiment": ["e"],
    "x": ["metric:loss"],
}
"""What reading requests find, else all answers were 404."""

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = {"/api/v1/events"}
OURS = {"/api/v1/tickets", "/api/v1/sessions", "/api/v1/sessions/{id}"}
"""Between our own parts."""


def routed(database: Any) -> set[tuple[str, str]]:
    server = Server(database.pool, database.store, database.settings)
    routes: Iterable[Any] = create_app(server).routes
    pairs = set()
    for route in routes:
        assert isinstance(route, Route)
        path = re.sub(r":\w+}", "}", route.path)
        if path.startswith("/api/") or path in ("/healthz", "/readyz", "/metrics"):
            pairs |= {(method, path) for method in (route.methods or set()) - {"HEAD"}}
    return {(method, path) for method, path in pairs if path not in OURS}


async def test_every_route_is_described_and_every_description_has_a_route(database: Any) -> None:
    paths = [(route.method, route.path_format) for route in described()]
    assert len(paths) == len(set(paths))
    assert set(paths) == routed(database)


async def test_it_is_served_with_its_page(database: Any) -> None:
    from jsonschema import Draft202012Validator  # the import takes two seconds

    async with serving(database, token="the-token-of-this-server") as http:
        assert (await http.get("/api/v1/openapi.json")).json() == document()
        shown = await http.get("/docs", headers={"Authorization": ""})
        assert shown.status_code == 200
        assert shown.text == page()
        assert "<script" not in page()
        assert "default-src 'none'" in shown.headers["content-security-policy"]
    Draft202012Validator.check_schema({"$defs": document()["components"]["schemas"]})


async def test_a_conflict_is_as_described(database: Any) -> None:
    """It says more than other problems, and leaves out what they say."""
    from jsonschema import Draft202012Validator

    problem = Draft202012Validator(document()["components"]["schemas"]["Problem"])
    async with serving(database) as http:
        for method, path in (
            ("POST", "runs/r/files/a?append_at=5"),
            ("PATCH", f"uploads/{'0' * 64}?offset=5"),
        ):
            answer = await http.request(method, f"/api/v1/{path}", content=b"x")
            assert answer.status_code == 409
            problem.validate(answer.json())


async def test_no_request_makes_it_fail_and_every_answer_is_as_described(database: Any) -> None:
    key = await database.add_run("r")
    await database.add_summary(key, "loss")
    table = SeriesKey(SeriesClass.TABLE, "t", "x")
    rows = [(LOSS, Kind.FLOAT, n, n, n, float(n)) for n in range(9)]
    await database.add_chunk(key, SOURCE, [*rows, (table, Kind.INT, 9, 0, 9, 1)])
    async with serving(database) as http:
        base = str(http.base_url)
        await asyncio.to_thread(_try_everything, base)
        # Whatever was asked and changed, it still answers.
        assert (await http.get("/readyz")).status_code == 200


def aimed() -> dict[str, Any]:
    """The document, with parameters of reading requests that name what is there."""
    whole: dict[str, Any] = json.loads(json.dumps(document()))
    for path in whole["paths"].values():
        for parameter in path.get("get", {}).get("parameters", ()):
            if parameter["name"] in THERE:
                schema = parameter["schema"].get("items", parameter["schema"])
                schema["enum"] = THERE[parameter["name"]]
    return whole


def _try_everything(base: str) -> None:
    schema = schemathesis.openapi.from_dict(aimed())
    failures = []
    for operation in (result.ok() for result in schema.get_all_operations()):
        for mode, examples in EXAMPLES.items() if operation.path not in ENDLESS else ():
            answers = operation.as_strategy(generation_mode=mode)

            @settings(
                max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(case=answers)
            def ask(case: Any) -> None:
                answer = case.call(base_url=base, timeout=60)
                case.validate_response(answer, checks=CHECKS)

            try:
                ask()
            except Unsatisfiable:
                assert mode == GenerationMode.NEGATIVE  # nothing can be sent that is not as described
            except (Exception, FailureGroup) as error:
                failures.append(f"{operation.method} {operation.path}: {error}")
    assert not failures, "\n\n".join(failures)
