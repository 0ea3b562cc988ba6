"""What the service knows of a run, how its tags and properties are given, and the filters its lists take."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from runstream_schemas.errors import brief
from runstream_schemas.runs.record import RunRecord as RunRecord
from runstream_schemas.runs.status import ACTIVE as ACTIVE
from runstream_schemas.runs.status import STATUSES as STATUSES
from runstream_schemas.runs.status import TERMINAL as TERMINAL

from ..exceptions import UserErrorException
from ..spool.values import NotADictionary, check_name, check_text, text_of
from .http import Params, ServiceClient

if TYPE_CHECKING:
    from datetime import datetime

SCRIPT_RUN = "azureml.scriptrun"
"""Type of submitted runs."""

PAGE = 500
"""Runs fetched in one request of a list."""

Filter = Mapping[str, Any] | str | None
Statuses = str | Sequence[str] | None
Moment: TypeAlias = "datetime | str | None"

_log = logging.getLogger("runstream")


def as_texts(what: str, pairs: Mapping[Any, Any]) -> dict[str, str | None]:
    """Names and values of tags or properties as texts, with a warning for a value that was none.

    Raises:
        NotADictionary: not a mapping.
        LimitExceeded: a name or text that cannot be held.
    """
    if not isinstance(pairs, Mapping):
        raise NotADictionary(
            f"expected a dictionary of {what} names and values, got {type(pairs).__name__}: {brief(pairs)}"
        )
    result: dict[str, str | None] = {}
    for key, value in pairs.items():
        name = check_name(what, text_of(what, key))
        if value is not None and not isinstance(value, str):
            _log.warning("%s %r: value %s was converted to a string", what, name, brief(value))
            value = text_of(f"{what} {name!r:.60}", value)
        result[name] = None if value is None else check_text(f"{what} {name!r:.60}", value)
    return result


def check_filter(what: str, value: Filter) -> None:
    """Refuse a filter of tags or properties that is neither a name nor a mapping.

    Raises:
        ValueError: it is something else.
    """
    if value is not None and not isinstance(value, (str, Mapping)):
        raise ValueError(
            f"Unknown filter type for run {what}: {type(value).__name__}; pass a name or a dictionary"
        )


def filter_params(kind: str, value: Filter) -> list[tuple[str, str]]:
    """The part of a filter the service evaluates; `matches` does the rest (an exact None, names that contain `=`)."""
    if value is None:
        return []
    filters: Mapping[str, Any] = {value: None} if isinstance(value, str) else value
    return [
        (kind, str(key) if content is None else f"{key}={content}")
        for key, content in filters.items()
        if "=" not in str(key)
    ]


def matches(filter_: Filter, have: Mapping[str, str | None]) -> bool:
    """Whether tags or properties satisfy a filter: a name is present, or every pair is equal as text."""
    if filter_ is None:
        return True
    if isinstance(filter_, str):
        return filter_ in have
    for key, value in filter_.items():
        name = str(key)
        if name not in have or have[name] != (None if value is None else str(value)):
            return False
    return True


def check_filters(tags: Filter, properties: Filter, status: Statuses) -> None:
    """Refuse filters of runs that can match none.

    Raises:
        ValueError: a filter of tags or properties of another type, or a status there is not.
    """
    check_filter("tags", tags)
    check_filter("properties", properties)
    for name in statuses(status):
        if name not in STATUSES:
            raise ValueError(f"Unknown run status {brief(name)}; the statuses are {', '.join(STATUSES)}")


def statuses(status: Statuses) -> tuple[str, ...]:
    """One status, several, or none, as a tuple."""
    return () if status is None else (status,) if isinstance(status, str) else tuple(status)


def run_params(
    tags: Filter,
    properties: Filter,
    type: str | None,
    status: Statuses,
    started_from: Moment = None,
    started_to: Moment = None,
) -> list[tuple[str, str]]:
    """The part of a filter of runs the service evaluates; `fits` does the rest."""
    params = [*filter_params("tag", tags), *filter_params("property", properties)]
    params += [("status", name) for name in statuses(status)]
    params += [("type", type)] if type else []
    bounds = (("started_from", started_from), ("started_to", started_to))
    return [*params, *((name, _iso(moment)) for name, moment in bounds if moment is not None)]


def fits(record: RunRecord, tags: Filter, properties: Filter, type: str | None, status: Statuses) -> bool:
    """Whether a run passes what `run_params` cannot say."""
    return (
        (type is None or type in (record.type, record.properties.get("azureml.runsource")))
        and (status is None or record.status in statuses(status))
        and matches(tags, record.tags)
        and matches(properties, record.properties)
    )


def _iso(moment: datetime | str) -> str:
    from datetime import UTC, datetime

    if isinstance(moment, str):
        return moment
    if not isinstance(moment, datetime):
        raise UserErrorException(f"{brief(moment)} is no time; pass a datetime, or ISO 8601 text")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def list_records(client: ServiceClient, params: Params, page: int = PAGE) -> Iterator[RunRecord]:
    """Records of a list, fetched page by page (of `page` runs) as they are asked for."""
    cursor: str | None = None
    while True:
        answer = client.get_json(
            "/api/v1/runs", [*params, ("limit", str(page)), *([("after", cursor)] if cursor else [])]
        )
        yield from map(RunRecord.from_json, answer["runs"])
        cursor = answer.get("next")
        if not cursor:
            return
