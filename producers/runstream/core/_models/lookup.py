"""Finding registered models: by name, version, run, tags and properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runstream_schemas.errors import brief

from ...client.arguments import text_argument
from ...client.records import Filter, matches
from ...client.session import Session
from .registration import PATH

ModelFilter = Filter | Sequence[str | Sequence[Any]]
"""Tags or properties of models: a name, a dictionary, or a list of names and `[name, value]` pairs; all must match."""


def find_models(
    session: Session,
    name: str | None,
    version: int | None,
    run_id: str | None,
    tags: ModelFilter,
    properties: ModelFilter,
    framework: str | None,
    latest: bool = False,
) -> list[dict[str, Any]]:
    """Records of a workspace's models, the newest first; what is None leaves them all."""
    of_tags, of_properties = _filters("tags", tags), _filters("properties", properties)
    params = [("workspace", session.name)]
    params += [("name", name)] if name else []
    params += [("version", text_argument("version", version))] if version is not None else []
    params += [("run", run_id)] if run_id else []
    params += [("latest", "1")] if latest else []
    return [
        record
        for record in session._client.get_json(PATH, params)["models"]
        if all(matches(filter_, record["tags"]) for filter_ in of_tags)
        and all(matches(filter_, record["properties"]) for filter_ in of_properties)
        and (framework is None or record["details"].get("model_framework") == framework)
    ]


def _filters(what: str, given: ModelFilter) -> list[Filter]:
    """The filters that all have to match.

    Raises:
        ValueError: one of another type.
    """
    if given is None or isinstance(given, (str, Mapping)):
        return [given]
    filters: list[Filter] = []
    for item in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(item, (list, tuple)) and len(item) == 2:
            filters.append({str(item[0]): item[1]})
        elif isinstance(item, str):
            filters.append(item)
        else:
            raise ValueError(
                f"Unknown filter type for model {what}: {brief(item)}; pass a name, a dictionary, or a list of names and "
                "[name, value] pairs"
            )
    return filters
