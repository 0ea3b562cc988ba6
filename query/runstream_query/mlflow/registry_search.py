"""Searching registered models and their versions: what a filter and an order say, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .grammar import LISTS, TEXTUAL, Comparison, Grammar
from .statements import Statement, compared, direction

PROMPT: Final = "mlflow.prompt.is_prompt"
"""The tag of what is a prompt and no model; such are shown to those who ask for them."""
_MILLIS: Final = "floor(extract(epoch from {}) * 1000)::int8"
_KINDS: Final = {
    **dict.fromkeys(("attribute", "attributes", "attr"), "attribute"),
    **dict.fromkeys(("tag", "tags"), "tag"),
}
NAMES: Final = Grammar(
    kinds=_KINDS,
    attributes={
        "name": "name",
        "timestamp": "last_updated_timestamp",
        "last_updated_timestamp": "last_updated_timestamp",
        "creation_timestamp": "creation_timestamp",
    },
    numeric=frozenset({"last_updated_timestamp", "creation_timestamp"}),
    listed=frozenset(),
    comparators={"attribute": TEXTUAL, "tag": TEXTUAL},
)
_NAMES: Final = {
    "name": "n.name",
    "last_updated_timestamp": _MILLIS.format("n.changed_at"),
    "creation_timestamp": _MILLIS.format("n.created_at"),
}
_VERSIONS: Final = {
    "name": "m.name",
    "version_number": "m.version",
    "run_id": "coalesce(m.source_run, m.run_id, '')",
    "source_path": "coalesce(m.source, '')",
    "creation_timestamp": _MILLIS.format("m.created_at"),
    "last_updated_timestamp": _MILLIS.format("coalesce(m.changed_at, m.created_at)"),
    "current_stage": "m.stage",
}
VERSIONS: Final = Grammar(
    kinds=_KINDS,
    attributes={**{name: name for name in _VERSIONS}, "version": "version_number", "source": "source_path"},
    numeric=frozenset({"version_number", "creation_timestamp", "last_updated_timestamp"}),
    listed=frozenset({"attribute.run_id"}),
    comparators={"attribute": TEXTUAL | LISTS, "tag": TEXTUAL},
)


def names_sql(
    workspace: str, text: str, order: Sequence[str], offset: int, limit: int
) -> tuple[str, list[Any]]:
    """The statement of a page of names, and its arguments.

    Raises:
        MlflowError: a filter or order that cannot be understood.
    """
    statement = Statement()
    comparisons = NAMES.parse(text)
    where = [f"n.workspace = {statement.bind(workspace, 'text')}", "n.registered"]
    where += _conditions(statement, comparisons, _NAMES, "n.tags")
    by = _order(NAMES, order, _NAMES)
    if not any(key.startswith("n.name") for key in by):
        by.append("n.name asc")
    return _page("n.name", "model_names n", where, by, statement, offset, limit)


def versions_sql(
    workspace: str, text: str, order: Sequence[str], offset: int, limit: int
) -> tuple[str, list[Any]]:
    """The statement of a page of versions' ids, and its arguments.

    Raises:
        MlflowError: a filter or order that cannot be understood.
    """
    statement = Statement()
    comparisons = VERSIONS.parse(text)
    where = [f"m.workspace = {statement.bind(workspace, 'text')}"]
    where += _conditions(statement, comparisons, _VERSIONS, "m.tags")
    by = _order(VERSIONS, order or ["last_updated_timestamp DESC"], _VERSIONS)
    by += ["m.name asc", "m.version desc"]
    return _page("m.id", "models m", where, by, statement, offset, limit)


def _conditions(
    statement: Statement, comparisons: Sequence[Comparison], columns: dict[str, str], tags: str
) -> list[str]:
    where = []
    for comparison in comparisons:
        if comparison.kind == "tag":
            value = f"({tags} ->> {statement.bind(comparison.key, 'text')})"
            if comparison.key == PROMPT:  # clients ask for what is none by `!= 'true'`
                value = f"coalesce(lower({value}), 'false')"
        else:
            value = columns[comparison.key]
        where.append(compared(statement, value, comparison))
    if not any(comparison.kind == "tag" and comparison.key == PROMPT for comparison in comparisons):
        where.append(f"coalesce(lower({tags} ->> '{PROMPT}'), 'false') <> 'true'")
    return where


def _order(grammar: Grammar, order: Sequence[str], columns: dict[str, str]) -> list[str]:
    ordered = [grammar.order(part) for part in order]
    return [f"{columns[key]} {direction(falls)}" for kind, key, falls in ordered if kind == "attribute"]


def _page(
    column: str, table: str, where: list[str], by: list[str], statement: Statement, offset: int, limit: int
) -> tuple[str, list[Any]]:
    sql = (
        f"select {column} from {table} where {' and '.join(where)} order by {', '.join(by)} "
        f"offset {statement.bind(offset, 'int8')} limit {statement.bind(limit, 'int8')}"
    )
    return sql, statement.arguments
