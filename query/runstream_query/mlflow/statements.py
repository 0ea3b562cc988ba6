"""Statements of SQL under construction, and comparisons in them. Values are always arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .grammar import Comparison


@dataclass(slots=True)
class Statement:
    """The arguments of a statement."""

    arguments: list[Any] = field(default_factory=list)

    def bind(self, value: Any, kind: str) -> str:
        """The place of a value.

        Args:
            kind: its type in Postgres.
        """
        self.arguments.append(value)
        return f"${len(self.arguments)}::{kind}"


def compared(statement: Statement, value: str, comparison: Comparison) -> str:
    """The condition that a value passes a comparison; one that is not there passes `IS NULL` only.

    Args:
        value: its SQL: a text, or of a number a number.
    """
    asked = comparison.value
    if asked is None:
        return f"{value} {comparison.comparator.lower()}"
    if isinstance(asked, tuple):
        operator = "=" if comparison.comparator == "IN" else "<>"
        among = "any" if operator == "=" else "all"
        return f"{value} {operator} {among}({statement.bind(list(asked), 'text[]')})"
    if isinstance(asked, float):
        return f"{value} {comparison.comparator.replace('!=', '<>')} {statement.bind(asked, 'float8')}"
    operator = comparison.comparator.replace("!=", "<>").lower()
    literal = " escape ''" if operator.endswith("like") else ""  # a backslash is a letter
    return f"{value} {operator} {statement.bind(asked, 'text')}{literal}"


def direction(falls: bool) -> str:
    """How an order is said; what has no value comes last."""
    return "desc nulls last" if falls else "asc nulls last"
