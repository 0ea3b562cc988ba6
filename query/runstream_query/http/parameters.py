"""What a request says: its query parameters and its JSON body, checked and turned into values."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from runstream_schemas import strict_json
from runstream_schemas.errors import QueryError

from ..runs.run_filter import ANY, KeyFilter, MetricFilter, RunFilter
from ..runs.search import search

MAX_BODY_BYTES = 2 << 20
"""Longest JSON body."""
MOST_FILTERS = {"metric": 16, "tag": 64, "property": 64, "status": 64}
"""Filters of a kind in one list: each is a look into another table."""
MAX_SEARCH = 4000
"""Characters of a search."""
PARSED_ASIDE = 64 << 10
"""Bytes of a body from which it is parsed beside the event loop."""
MAX_IDS = 20_000
"""Most run ids of one request."""


def integer(text: str | None, name: str, default: int | None) -> int | None:
    """A whole number of 64 bits.

    Raises:
        QueryError: it is none.
    """
    if text is None or text == "":
        return default
    try:
        value = int(text)
    except ValueError:
        raise QueryError(f"{name}={text!r:.80}: expected a whole number") from None
    if not -(1 << 63) <= value < 1 << 63:
        raise QueryError(f"{name}={text!r:.80}: does not fit in 64 bits")
    return value


def number(text: str | None, name: str, default: float) -> float:
    """A number.

    Raises:
        QueryError: it is none.
    """
    if text is None or text == "":
        return default
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"{name}={text!r:.80}: expected a number") from None


def moment(text: str | None, name: str) -> datetime | None:
    """A time; one without a zone is UTC.

    Raises:
        QueryError: it is none.
    """
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(
            f"{name}={text!r:.80}: expected an ISO 8601 time, e.g. 2026-01-31T12:00:00Z"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def flag(text: str | None) -> bool:
    """Whether a parameter is `1`."""
    return text == "1"


def run_filter(request: Request) -> RunFilter:
    """The filters of a list of runs; see docs/reference/api.md.

    Raises:
        QueryError: one that cannot be understood.
    """
    parameters = request.query_params
    for name, most in MOST_FILTERS.items():
        if (many := len(parameters.getlist(name))) > most:
            raise QueryError(
                f"{name}= is there {many} times, the most is {most}; narrow the list in several steps"
            )
    if (long := len(parameters.get("q") or "")) > MAX_SEARCH:
        raise QueryError(f"q= has {long} characters, the most is {MAX_SEARCH}")
    wanted = RunFilter(
        workspace=parameters.get("workspace"),
        experiment=parameters.get("experiment"),
        run_ids=parameters.getlist("run") or None,
        status=parameters.getlist("status"),
        type=parameters.get("type"),
        target=parameters.get("target"),
        tags=[key_filter(text) for text in parameters.getlist("tag")],
        properties=[key_filter(text) for text in parameters.getlist("property")],
        parent=parameters.get("parent"),
        ancestor=parameters.get("ancestor"),
        started_from=moment(parameters.get("started_from"), "started_from"),
        started_to=moment(parameters.get("started_to"), "started_to"),
        archived={"0": False, "1": True, "all": None}.get(parameters.get("archived", "0"), False),
        metrics=[metric_filter(text) for text in parameters.getlist("metric")],
    )
    wanted = search(parameters.get("q") or "", wanted)
    if (many := len(wanted.metrics)) > MOST_FILTERS["metric"]:
        raise QueryError(f"the list asks for {many} metrics, the most is {MOST_FILTERS['metric']}")
    return wanted


def key_filter(text: str) -> KeyFilter:
    """`key` has the key; `key=value` equals; `key=` alone cannot be told from an empty value and means that."""
    key, separator, value = text.partition("=")
    return (key, value if separator else ANY)


def metric_filter(text: str) -> MetricFilter:
    """`NAME:STAT<VALUE`, with any of < <= > >= = !=.

    Raises:
        QueryError: it has another shape.
    """
    for operator in ("<=", ">=", "!=", "<", ">", "="):
        left, found, value = text.rpartition(operator)
        name, _, stat = left.rpartition(":")
        if found and name:
            return MetricFilter(name, stat, operator, number(value, "metric", math.nan))
    raise QueryError(
        f"metric={text!r}: expected NAME:STAT followed by < <= > >= = or != and a number, e.g. loss:min<0.1"
    )


def chosen(wanted: RunFilter, run_ids: list[str]) -> RunFilter:
    """The same filter over these runs only."""
    return replace(wanted, run_ids=run_ids)


# --- JSON bodies -----------------------------------------------------------------------------------------------------


async def json_body(
    request: Request, known: set[str] | None = None, most: int = MAX_BODY_BYTES
) -> dict[str, Any]:
    """The request's JSON object.

    Args:
        known: keys it may have; another one is a mistake worth telling. None: any.
        most: bytes it may have.

    Raises:
        HTTPException: not sent as JSON (415), or too long (413).
        QueryError: no JSON object, or unknown keys.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        # A page of another site can send text/plain without being asked for leave; it cannot send JSON.
        raise HTTPException(415, "send the body as application/json")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise HTTPException(413, f"the body has at most {most} bytes")
    try:
        document = (
            strict_json.loads(body)
            if len(body) < PARSED_ASIDE
            else await asyncio.to_thread(strict_json.loads, body)
        )
    except ValueError as error:
        raise QueryError(f"the body is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise QueryError("the body is no JSON object")
    if known is not None and (unknown := document.keys() - known):
        raise QueryError(
            f"the body has {', '.join(sorted(map(repr, unknown)))[:200]}; it may have {', '.join(sorted(known))}"
        )
    return document


def run_ids(document: Mapping[str, Any]) -> list[str]:
    """The runs a bulk request names.

    Raises:
        QueryError: none, too many, or not texts.
    """
    found = document.get("runs")
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found) or not found:
        raise QueryError('"runs": expected a list of run ids')
    if len(found) > MAX_IDS:
        raise QueryError(f'"runs": {len(found)} run ids, the most is {MAX_IDS}; send several requests')
    return list(dict.fromkeys(found))


def boolean(document: Mapping[str, Any], name: str, default: bool | None) -> bool | None:
    """A key of a body that is true or false.

    Raises:
        QueryError: it is something else.
    """
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise QueryError(f'"{name}": expected true or false')
    return value


def text_or_none(document: Mapping[str, Any], name: str) -> str | None:
    """A key of a body that is a text, or null.

    Raises:
        QueryError: it is something else.
    """
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise QueryError(f'"{name}": expected a text or null')
    return value
