"""Searching experiments: what a filter and an order say, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .grammar import TEXTUAL, Comparison, Grammar
from .statements import Statement, compared, direction

GRAMMAR: Final = Grammar(
    kinds={
        **dict.fromkeys(("attribute", "attr", "attributes"), "attribute"),
        **dict.fromkeys(("tag", "tags"), "tag"),
    },
    attributes={name: name for name in ("name", "creation_time", "last_update_time", "experiment_id")},
    numeric=frozenset({"creation_time", "last_update_time"}),
    listed=frozenset(),
    comparators={"attribute": TEXTUAL, "tag": TEXTUAL | {"IS NULL", "IS NOT NULL"}},
    ordered=frozenset({"name", "experiment_id", "creation_time", "last_update_time"}),
)

_MILLIS: Final = "floor(extract(epoch from {}) * 1000)::int8"
_ATTRIBUTES: Final = {
    "name": "e.name",
    "experiment_id": "(case when e.name = 'Default' then 0 else e.id end)",
    "creation_time": _MILLIS.format("e.created_at"),
    "last_update_time": _MILLIS.format("coalesce(e.changed_at, e.created_at)"),
}


def experiments_sql(
    workspace: str, text: str, order: Sequence[str], deleted: bool | None, offset: int, limit: int
) -> tuple[str, list[Any]]:
    """The statement of a page of experiments, with a place for its columns, and its arguments.

    Raises:
        MlflowError: a filter or order that cannot be understood.
    """
    statement = Statement()
    where = [f"e.workspace = {statement.bind(workspace, 'text')}"]
    if deleted is not None:
        where.append(f"e.archived_at is {'not ' if deleted else ''}null")
    where += [_passes(statement, comparison) for comparison in GRAMMAR.parse(text)]
    ordered = [GRAMMAR.order(part) for part in order]
    by = [f"{_ATTRIBUTES[key]} {direction(falls)}" for _, key, falls in ordered]
    if not ordered:
        by.append(f"{_ATTRIBUTES['creation_time']} desc")
    if "experiment_id" not in {key for _, key, _ in ordered}:
        by.append(
            f"{_ATTRIBUTES['experiment_id']} desc" if not ordered else f"{_ATTRIBUTES['experiment_id']} asc"
        )
    sql = (
        f"select {{columns}} from experiments e where {' and '.join(where)} order by {', '.join(by)} "
        f"offset {statement.bind(offset, 'int8')} limit {statement.bind(limit, 'int8')}"
    )
    return sql, statement.arguments


def _passes(statement: Statement, comparison: Comparison) -> str:
    if comparison.kind == "tag":
        value = f"(e.tags ->> {statement.bind(comparison.key, 'text')})"
        return compared(statement, value, comparison)
    return compared(statement, _ATTRIBUTES[comparison.key], comparison)
