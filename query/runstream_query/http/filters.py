"""What several endpoints take in their query: the filters of lists of runs, and the writes a read waits for."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated

import msgspec

from runstream_schemas.errors import QueryError

from ..runs.run_filter import ANY, KeyFilter, MetricFilter, RunFilter
from ..runs.search import search
from .parameters import number

MOST_FILTERS = {"metric": 16, "tag": 64, "property": 64, "status": 64}
"""Filters of a kind in one list: each is a look into another table."""
MAX_SEARCH = 4000
"""Characters of a search."""
MAX_WAIT = 30.0
"""Most seconds a read waits for the caller's own writes."""

Archived = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["0", "1", "all"]})]


class Filters(msgspec.Struct, kw_only=True):
    """Which runs a list has; docs/reference/api.md says what each takes."""

    workspace: str | None = None
    experiment: str | None = None
    status: list[str] = []
    run: list[str] = []
    tag: list[str] = []
    property: list[str] = []
    type: str | None = None
    target: str | None = None
    parent: str | None = None
    ancestor: str | None = None
    started_from: datetime | None = None
    started_to: datetime | None = None
    archived: Archived = "0"
    metric: list[str] = []
    q: str | None = None


class Wait(msgspec.Struct, kw_only=True):
    """The caller's own writes, which a read waits for."""

    wait: list[str] = []
    timeout: float = MAX_WAIT


def run_filter(asked: Filters) -> RunFilter:
    """The filters of a list of runs; see docs/reference/api.md.

    Raises:
        QueryError: one that cannot be understood.
    """
    for name, most in MOST_FILTERS.items():
        if (many := len(getattr(asked, name))) > most:
            raise QueryError(
                f"{name}= is there {many} times, the most is {most}; narrow the list in several steps"
            )
    if (long := len(asked.q or "")) > MAX_SEARCH:
        raise QueryError(f"q= has {long} characters, the most is {MAX_SEARCH}")
    filters = RunFilter(
        workspace=asked.workspace,
        experiment=asked.experiment,
        run_ids=asked.run or None,
        status=asked.status,
        type=asked.type,
        target=asked.target,
        tags=[key_filter(text) for text in asked.tag],
        properties=[key_filter(text) for text in asked.property],
        parent=asked.parent,
        ancestor=asked.ancestor,
        started_from=asked.started_from,
        started_to=asked.started_to,
        archived={"0": False, "1": True, "all": None}.get(asked.archived, False),
        metrics=[metric_filter(text) for text in asked.metric],
    )
    filters = search(asked.q or "", filters)
    if (many := len(filters.metrics)) > MOST_FILTERS["metric"]:
        raise QueryError(f"the list asks for {many} metrics, the most is {MOST_FILTERS['metric']}")
    return filters


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
        left, comparison, value = text.rpartition(operator)
        name, _, stat = left.rpartition(":")
        if comparison and name:
            return MetricFilter(name, stat, operator, number(value, "metric", math.nan))
    raise QueryError(
        f"metric={text!r}: expected NAME:STAT followed by < <= > >= = or != and a number, e.g. loss:min<0.1"
    )
