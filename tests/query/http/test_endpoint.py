"""What an endpoint declares is what it takes: values of declared types, and refusals that name what does not fit."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request

from runstream_query.http import openapi
from runstream_query.http.bodies import Content, typed
from runstream_query.http.endpoint import BINARY, Door, Reach, endpoint
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
    parameters = asked(
        "run=a&run=b&name=n&limit=7&from=-3&smooth=0.25&since=2026-01-02&force=1&format=parquet&q="
    )
    assert parameters == Asked(
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
    version: int = 0
    after: int | None = None
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
        ({"name": "n", "version": False}, "version: expected a whole number"),
        ({"name": "n", "after": 0.5}, "after: expected a whole number or null"),
        ({"name": "n", "runs": "r"}, "runs: expected a list of texts"),
        ({"name": "n", "runs": [1]}, "runs: expected a list of texts"),
        ({"name": "n", "details": []}, "details: expected an object"),
        ({"name": "n", "tags": None}, "tags: expected an object {set}"),
        ({"name": "n", "tags": {"set": {"a": 1}}}, "tags.set: expected an object of texts and nulls"),
        ({"name": "n", "tags": {"x": 1}}, "tags has 'x'; it may have set"),
        ({"name": "n", "files": [{"x": 1}]}, "files: expected a list of {set}"),
        (
            {"name": "n", "x": 1},
            "the body has 'x'; it may have after, archived, days, details, files, name, note, runs, tags, version",
        ),
        ({"name": "n", "x` - at `$.y": 1}, None),
    ],
)
def test_a_value_of_a_body_that_does_not_fit_is_named(document: dict[str, Any], said: str | None) -> None:
    with pytest.raises(QueryError) as caught:
        typed(document, Body)
    assert said is None or str(caught.value) == said


@pytest.mark.parametrize(
    "body",
    sorted(
        {
            declared.body
            for declared in ENDPOINTS
            if isinstance(declared.body, msgspec.StructMeta) and declared._parse is None
        },
        key=lambda body: body.__name__,
    ),
)
def test_whatever_a_body_holds_is_taken_or_refused_in_words(body: Any) -> None:
    """Values of every kind at every place of every body there is: `{"version": false}` of a note was a fault of ours."""
    plain: list[Any] = [None, False, 3, 2.5, "x", [], {}]
    names = {part.encode_name for part in msgspec.structs.fields(body)}
    for part in msgspec.structs.fields(body):
        for kind in (
            part.type,
            *get_args(part.type),
            *(deep for k in get_args(part.type) for deep in get_args(k)),
        ):
            names |= set(getattr(kind, "__struct_fields__", ()))
    held = plain + [{name: value} for name in sorted(names) for value in plain]
    refused = list[str]()
    for name in sorted(names):
        for value in [*held, *([value] for value in held)]:
            try:
                typed({name: value}, body)
            except QueryError as error:
                refused.append(str(error))
    assert refused
    assert all(re.search("expected|missing|it may have", words) for words in refused)


def test_a_handler_takes_names_of_its_path_only() -> None:
    async def handler(request: Request, other: str) -> None: ...

    with pytest.raises(TypeError, match=r"other.* is not in the path /api/v1/x/{name}"):
        endpoint("GET /api/v1/x/{name}", Role.READ, Reach.ALL, "x")(handler)


def test_reading_changes_nothing_and_deleting_needs_its_role() -> None:
    """What a slip in a declaration would open."""
    own = {
        "/api/v1/views/{view_id}": Role.WRITE,
        "/api/v1/alert-rules/{name}": Role.WRITE,
        "/api/v1/reports/{report_id}": Role.WRITE,
        "/api/v1/sessions/{id}": Role.READ,
    }
    posts_that_read = {"/api/v1/sql", "/api/v1/tickets"}
    of_mlflow = {"POST": set[str](), "PUT": set[str](), "PATCH": set[str](), "DELETE": set[str]()}
    for declared in ENDPOINTS:
        if isinstance(declared.needs, Door):
            assert not declared.path.startswith("/api/"), declared.path
        elif declared.dialect is not None:
            least = Role.ADMIN if declared.method == "DELETE" else Role.WRITE
            if declared.method != "GET" and declared.needs < least:
                of_mlflow[declared.method].add(declared.path_format.partition("/mlflow/")[2])
        elif declared.method == "DELETE":
            assert declared.needs == own.get(declared.path_format, Role.ADMIN), declared.path
        elif declared.method != "GET" and declared.path not in posts_that_read:
            assert declared.needs >= Role.WRITE, (declared.method, declared.path)
    anything = {"{rest}"}  # which is answered as a call there is not
    assert of_mlflow == {
        "POST": anything | {
            "experiments/search", "experiments/search-datasets", "runs/search", "logged-models/search",
            "registered-models/get-latest-versions",
        },
        "PUT": anything,
        "PATCH": anything,
        # Of what is set, not of what was recorded; a logged model that is deleted is kept.
        "DELETE": anything | {
            "logged-models/{model_id}", "logged-models/{model_id}/tags/{tag_key}", "registered-models/delete-tag",
            "registered-models/alias", "model-versions/delete-tag",
        },
    }  # fmt: skip


def test_no_handler_reads_its_request_by_itself() -> None:
    """What is not declared is in no document, in no type of the pages, and checked by nobody."""
    read = {"stream", "body", "json", "form", "query_params"}
    declared = {"endpoint", "bodies", "routing", "gate", "access", "caching"}
    for file in Path(openapi.__file__).parent.glob("*.py"):
        if file.stem in declared:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in read:
                assert not (isinstance(node.value, ast.Name) and node.value.id == "request"), (
                    f"{file.name}:{node.lineno} reads request.{node.attr}; declare it"
                )


def test_a_name_stands_in_the_path_or_in_the_query() -> None:
    """The pages give both in one object."""
    for declared in ENDPOINTS:
        assert not {item.name for item in declared.parameters} & set(declared.param_convertors), declared.path


async def test_a_body_that_may_be_left_out_is_checked_where_it_is_sent() -> None:
    @endpoint("POST /api/v1/x", Role.READ, Reach.ALL, "x")
    async def handler(request: Request, body: Part | None) -> dict[str, Any]:
        return {"set": None if body is None else body.set}

    assert (handler.body, handler.body_needed) == (Part, False)
    app = Starlette(routes=[handler])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        assert (await http.post("/api/v1/x")).json() == {"set": None}
        assert (await http.post("/api/v1/x", json={"set": {"a": "b"}})).json() == {"set": {"a": "b"}}
        with pytest.raises(QueryError, match="the body has 'x'; it may have set"):
            await http.post("/api/v1/x", json={"x": 1})


async def test_bytes_come_as_they_are_sent_and_a_long_list_is_parsed_by_what_is_declared() -> None:
    @endpoint("PUT /api/v1/x", Role.WRITE, Reach.ALL, "x")
    async def stored(request: Request, body: Content) -> dict[str, int]:
        return {"bytes": sum([len(piece) async for piece in body])}

    @endpoint(
        "POST /api/v1/x", Role.WRITE, Reach.ALL, "x", most=4, parse=lambda text: Part({"a": text.decode()})
    )
    async def parsed(request: Request, body: Part) -> dict[str, Any]:
        return {"set": body.set}

    assert (stored.body, stored.body_needed, parsed.body) == (BINARY, True, Part)
    app = Starlette(routes=[stored, parsed])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        assert (await http.put("/api/v1/x", content=b"abc")).json() == {"bytes": 3}
        json_ = {"Content-Type": "application/json"}
        assert (await http.post("/api/v1/x", content=b"1234", headers=json_)).json() == {"set": {"a": "1234"}}
        assert (await http.post("/api/v1/x", content=b"12345", headers=json_)).status_code == 413
        assert (await http.post("/api/v1/x", content=b"1234")).status_code == 415


def test_an_endpoint_held_by_a_parameter_or_a_name_has_it() -> None:
    for declared in ENDPOINTS:
        names = {item.name for item in declared.parameters}
        if declared.reach is Reach.WORKSPACE:
            assert "workspace" in names, declared.path
        elif declared.reach is Reach.RUNS:
            assert "run" in names, declared.path
        elif declared.reach in (Reach.RUN, Reach.RUN_TO_COME):
            assert "run_id" in declared.param_convertors, declared.path
