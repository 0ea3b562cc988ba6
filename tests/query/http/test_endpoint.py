"""What an endpoint declares is what it takes: values of declared types, and refusals that name what does not fit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest
from starlette.datastructures import QueryParams
from starlette.requests import Request

from runstream_query.http.bodies import typed
from runstream_query.http.endpoint import Door, Reach, endpoint
from runstream_query.http.openapi import ENDPOINTS
from runstream_query.http.parameters import ByteCount, Position, parameters_of, read
from runstream_query.http.tokens import Role
from runstream_schemas.errors import QueryError


class Asked(msgspec.Struct, kw_only=True):
    run: list[str]
    name: str
    limit: int = 50
    offset: Position = 0
    size: ByteCount = 0
    start: int | None = msgspec.field(default=None, name="from")
    smooth: float = 0.5
    since: datetime | None = None
    force: bool = False
    format: Literal["csv", "parquet"] = "csv"
    q: str | None = None
    order: str = "-start_time"


def asked(query: str) -> Asked:
    return read(Asked, parameters_of(Asked), QueryParams(query))


def test_a_query_becomes_values() -> None:
    found = asked("run=a&run=b&name=n&limit=7&from=-3&smooth=0.25&since=2026-01-02&force=1&format=parquet&q=")
    assert found == Asked(
        run=["a", "b"],
        name="n",
        limit=7,
        start=-3,
        smooth=0.25,
        since=datetime(2026, 1, 2, tzinfo=UTC),
        force=True,
        format="parquet",
        q="",
    )


def test_what_is_left_out_or_empty_takes_its_default() -> None:
    assert asked("run=a&name=n&limit=&order=&format=&of_a_later_version=1") == Asked(run=["a"], name="n")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("run=a", "run= and name= are needed, each once or more"),
        ("run=a&name=", "run= and name= are needed, each once or more"),
        ("run=a&name=n&limit=x", "limit='x': expected a whole number"),
        (f"run=a&name=n&limit={1 << 63}", f"limit='{1 << 63}': does not fit in 64 bits"),
        (f"run=a&name=n&offset={1 << 62}", f"offset='{1 << 62}': too large; give a smaller one"),
        ("run=a&name=n&size=-1", "size='-1': expected a number of bytes"),
        ("run=a&name=n&from=1.5", "from='1.5': expected a whole number"),
        ("run=a&name=n&smooth=x", "smooth='x': expected a number"),
        ("run=a&name=n&since=x", "since='x': expected an ISO 8601 time, e.g. 2026-01-31T12:00:00Z"),
        ("run=a&name=n&format=pdf", "format='pdf': expected one of csv, parquet"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(query: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        asked(query)
    assert str(caught.value) == said


class Part(msgspec.Struct, forbid_unknown_fields=True):
    set: dict[str, str | None] = {}


class Body(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    note: str | None = None
    archived: bool | None = None
    days: float | None = None
    runs: Annotated[list[str], msgspec.Meta(extra_json_schema={"minItems": 1})] = []
    details: dict[str, Any] = {}
    tags: Part | msgspec.UnsetType = msgspec.UNSET
    files: list[Part] | None = None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "name is missing; send it"),
        ({"name": 1}, "name: expected a text"),
        ({"name": "n", "note": 1}, "note: expected a text or null"),
        ({"name": "n", "archived": "yes"}, "archived: expected true or false"),
        ({"name": "n", "days": True}, "days: expected a number"),
        ({"name": "n", "runs": "r"}, "runs: expected a list of texts"),
        ({"name": "n", "runs": [1]}, "runs: expected a list of texts"),
        ({"name": "n", "details": []}, "details: expected an object"),
        ({"name": "n", "tags": None}, "tags: expected an object {set}"),
        ({"name": "n", "tags": {"set": {"a": 1}}}, "tags.set: expected an object of texts and nulls"),
        ({"name": "n", "tags": {"x": 1}}, "tags has 'x'; it may have set"),
        ({"name": "n", "files": [{"x": 1}]}, "files: expected a list of {set}"),
        (
            {"name": "n", "x": 1},
            "the body has 'x'; it may have archived, days, details, files, name, note, runs, tags",
        ),
        ({"name": "n", "x` - at `$.y": 1}, None),
    ],
)
def test_a_value_of_a_body_that_does_not_fit_is_named(document: dict[str, Any], said: str | None) -> None:
    with pytest.raises(QueryError) as caught:
        typed(document, Body)
    assert said is None or str(caught.value) == said


def test_a_handler_takes_names_of_its_path_only() -> None:
    async def handler(request: Request, other: str) -> None: ...

    with pytest.raises(TypeError, match=r"other.* is not in the path /api/v1/x/{name}"):
        endpoint("GET /api/v1/x/{name}", Role.READ, Reach.ALL, "x")(handler)


def test_reading_changes_nothing_and_deleting_needs_its_role() -> None:
    """What a slip in a declaration would open."""
    own = {"/api/v1/views/{view_id}": Role.WRITE, "/api/v1/sessions/{id}": Role.READ}
    posts_that_read = {"/api/v1/sql", "/api/v1/tickets"}
    for one in ENDPOINTS:
        if isinstance(one.needs, Door):
            assert not one.path.startswith("/api/"), one.path
        elif one.method == "DELETE":
            assert one.needs == own.get(one.path_format, Role.ADMIN), one.path
        elif one.method != "GET" and one.path not in posts_that_read:
            assert one.needs >= Role.WRITE, (one.method, one.path)


def test_an_endpoint_held_by_a_parameter_or_a_name_has_it() -> None:
    for one in ENDPOINTS:
        names = {item.name for item in one.parameters}
        if one.reach is Reach.WORKSPACE:
            assert "workspace" in names, one.path
        elif one.reach is Reach.RUNS:
            assert "run" in names, one.path
        elif one.reach in (Reach.RUN, Reach.RUN_TO_COME):
            assert "run_id" in one.param_convertors, one.path
