"""Searching logged models: what a filter and an order say, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .errors import invalid
from .grammar import LISTS, TEXTUAL, Comparison, Grammar
from .names import is_number
from .sent import Sent
from .statements import Statement, compared, direction

STATUSES: Final = ("LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED")
"""Statuses of a model; clients count them from 1."""

_TEXTS: Final = {
    "name": "m.name",
    "model_id": "m.model_id",
    "model_type": "coalesce(m.type, '')",
    "status": "replace(m.status, 'LOGGED_MODEL_', '')",
    "source_run_id": "coalesce(m.source_run_id, '')",
}
_NUMBERS: Final = {"creation_timestamp": "m.created_ms", "last_updated_timestamp": "m.changed_ms"}
GRAMMAR: Final = Grammar(
    kinds={
        **dict.fromkeys(("metric", "metrics"), "metric"),
        **dict.fromkeys(("parameter", "parameters", "param", "params"), "parameter"),
        **dict.fromkeys(("tag", "tags"), "tag"),
        **dict.fromkeys(("attribute", "attributes", "attr"), "attribute"),
    },
    attributes={
        **{name: name for name in (*_TEXTS, *_NUMBERS)},
        **dict.fromkeys(("creation_time", "creation_timestamp_ms"), "creation_timestamp"),
        **dict.fromkeys(("last_updated_time", "last_updated_timestamp_ms"), "last_updated_timestamp"),
    },
    numeric=frozenset(_NUMBERS),
    listed=frozenset(f"attribute.{name}" for name in _TEXTS),
    comparators={"parameter": TEXTUAL, "tag": TEXTUAL, "attribute": TEXTUAL | LISTS},
)
DataSet = tuple[str, str | None]
"""Name and digest of a data set; None: any digest."""


def models_sql(
    workspace: str,
    experiment_ids: Sequence[str],
    text: str,
    data_sets: Sequence[DataSet],
    order: Sequence[Sent],
    offset: int,
    limit: int,
) -> tuple[str, list[Any]]:
    """The statement of a page of models' ids, and its arguments.

    Raises:
        MlflowError: a filter or order that cannot be understood.
    """
    statement = Statement()
    where = [f"e.workspace = {statement.bind(workspace, 'text')}", "m.deleted_at is null"]
    numbers = [_number(text_) for text_ in experiment_ids]
    in_default = " or e.name = 'Default'" if 0 in numbers else ""
    where.append(f"(e.id = any({statement.bind(numbers, 'int8[]')}){in_default})")
    comparisons = GRAMMAR.parse(text)
    where += [_passes(statement, comparison, data_sets) for comparison in comparisons]
    if data_sets and not any(comparison.kind == "metric" for comparison in comparisons):
        where.append(
            f"exists (select from logged_model_metrics l where l.model_id = m.model_id{_on(statement, data_sets)})"
        )
    by = [_by(statement, part) for part in order]
    by += ["m.created_ms desc", "m.model_id"]
    sql = (
        f"select m.model_id from logged_models m join experiments e on e.id = m.experiment_id where {' and '.join(where)} "
        f"order by {', '.join(by)} offset {statement.bind(offset, 'int8')} limit {statement.bind(limit, 'int8')}"
    )
    return sql, statement.arguments


def _number(text: str) -> int:
    if not is_number(text):
        raise invalid(f"Invalid experiment ID '{text}'. Experiment ID must be a valid integer.")
    return int(text)


def _on(statement: Statement, data_sets: Sequence[DataSet]) -> str:
    """The condition that a point was measured on one of these data sets."""
    if not data_sets:
        return ""
    choices = []
    for name, digest in data_sets:
        choice = f"l.dataset_name = {statement.bind(name, 'text')}"
        if digest is not None:
            choice += f" and l.dataset_digest = {statement.bind(digest, 'text')}"
        choices.append(f"({choice})")
    return f" and ({' or '.join(choices)})"


def _passes(statement: Statement, comparison: Comparison, data_sets: Sequence[DataSet]) -> str:
    kind, key = comparison.kind, comparison.key
    if kind == "metric":
        named = f"l.model_id = m.model_id and l.name = {statement.bind(key, 'text')}"
        passes = compared(statement, "l.value", comparison)
        return f"exists (select from logged_model_metrics l where {named} and {passes}{_on(statement, data_sets)})"
    if kind == "attribute":
        return compared(statement, (_TEXTS | _NUMBERS)[key], comparison)
    column = "m.params" if kind == "parameter" else "m.tags"
    return compared(statement, f"({column} ->> {statement.bind(key, 'text')})", comparison)


def _by(statement: Statement, part: Sent) -> str:
    field = part.text("field_name", needed=True)
    way = direction(part.has("ascending") and not part.truth("ascending"))
    entity, dot, name = field.partition(".")
    if not dot:
        key = GRAMMAR.attributes.get(field)
        if key is None:
            raise invalid(f"Invalid order by field name: {field}")
        return f"{(_TEXTS | _NUMBERS)[key]} {way}"
    if entity != "metrics":
        raise invalid(f"Invalid order by field name: {field}. Only metrics are supported.")
    data_set = part.text("dataset_name")
    on = _on(statement, [(data_set, part.optional("dataset_digest") or None)] if data_set else [])
    return (
        f"(select l.value from logged_model_metrics l where l.model_id = m.model_id and "
        f"l.name = {statement.bind(name, 'text')}{on} order by l.time_ms desc, l.step desc limit 1) {way}"
    )
