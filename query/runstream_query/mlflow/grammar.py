"""The language of filters and orders: comparisons joined by AND, e.g. `metrics.loss < 0.1 AND tags."a b" LIKE 'x%'`.

sqlparse cuts the text into tokens; what follows what is simple enough to be looked at here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlparse import lexer, tokens

from .errors import MlflowError, invalid

TEXTUAL: Final = frozenset({"=", "!=", "LIKE", "ILIKE"})
NULLS: Final = frozenset({"IS NULL", "IS NOT NULL"})
LISTS: Final = frozenset({"IN", "NOT IN"})
NUMERIC: Final = frozenset({"=", "!=", "<", "<=", ">", ">="})
_WORDS: Final = ("IS NOT NULL", "IS NULL", "NOT IN", "IN", "NOT LIKE", "LIKE", "NOT ILIKE", "ILIKE", "RLIKE")

Token = tuple[Any, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of a filter.

    Attributes:
        kind: what is compared: metric, parameter, tag, attribute ...
        comparator: in capital letters.
        value: None for `IS NULL` and `IS NOT NULL`, a tuple for lists.
    """

    kind: str
    key: str
    comparator: str
    value: str | float | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a filter of one sort of things may name.

    Attributes:
        kinds: the kinds of what is compared, by the words for them.
        attributes: keys of attributes, by the words for them.
        numeric: which of these are numbers.
        listed: keys, of attributes or data sets, that may be compared with a list.
        comparators: what a kind may be compared with; attributes that are numbers: `NUMERIC`.
        ordered: attributes it may be ordered by; None: all.
        numbers: kinds that are numbers.
    """

    kinds: Mapping[str, str]
    attributes: Mapping[str, str]
    numeric: frozenset[str]
    listed: frozenset[str]
    comparators: Mapping[str, frozenset[str]]
    ordered: frozenset[str] | None = None
    numbers: frozenset[str] = frozenset({"metric"})
    inner: Mapping[str, frozenset[str]] | None = None

    def identifier(self, text: str) -> tuple[str, str]:
        """Kind and key of what is compared.

        Raises:
            MlflowError: there is no such kind or attribute.
        """
        word, dot, key = text.partition(".")
        if not dot:
            word, key = "attribute", text
        kind = self.kinds.get(_bare(word))
        if kind is None:
            raise invalid(
                f"Invalid entity type '{_bare(word)}'. Valid values are {sorted(set(self.kinds.values()))}"
            )
        key = _bare(key)
        if kind == "attribute":
            if key not in self.attributes:
                raise invalid(
                    f"Invalid attribute key '{key}' specified. Valid keys are '{set(self.attributes)}'"
                )
            key = self.attributes[key]
        elif self.inner is not None and kind in self.inner and key not in self.inner[kind]:
            raise invalid(f"Invalid {kind} key '{key}' specified. Valid keys are '{set(self.inner[kind])}'")
        return kind, key

    def parse(self, text: str) -> list[Comparison]:
        """The comparisons of a filter, all of which must hold.

        Raises:
            MlflowError: it cannot be understood.
        """
        words = list(_words(text))
        clauses: list[list[Token]] = [[]]
        depth = 0
        for token in words:
            depth += {"(": 1, ")": -1}.get(token[1], 0)
            if token[0] in tokens.Keyword and token[1].upper() == "AND" and not depth:
                clauses.append([])
            else:
                clauses[-1].append(token)
        if not words:
            return []
        return [self._comparison(clause, text) for clause in clauses]

    def _comparison(self, clause: Sequence[Token], text: str) -> Comparison:
        said = " ".join(word for _, word in clause)
        at, comparator, length = _comparator(clause)
        if at <= 0:
            raise invalid(f"Invalid clause(s) in filter string: {said!r}")
        kind, key = self.identifier("".join(word for _, word in clause[:at]))
        rest = list(clause[at + length :])
        numeric = kind in self.numbers or (kind == "attribute" and key in self.numeric)
        allowed = NUMERIC if numeric else self.comparators[kind]
        if comparator not in allowed:
            if comparator in NULLS:
                raise invalid(
                    f"IS NULL / IS NOT NULL is only supported for tags and params, not for '{kind}' '{key}'"
                )
            if comparator not in LISTS or not rest or rest[0][1] != "(":
                raise invalid(f"Invalid comparator '{comparator}' not one of '{set(allowed)}'")
        if comparator in NULLS:
            if rest:
                raise invalid(f"Invalid clause(s) in filter string: {said!r}")
            return Comparison(kind, key, comparator, None)
        if not rest:
            raise invalid(f"Invalid comparison clause. Expected 3 tokens found 2 in {said!r}")
        if numeric:
            return Comparison(kind, key, comparator, _number(kind, key, rest))
        if rest[0][1] == "(":
            if f"{kind}.{key}" not in self.listed:
                only = sorted(name.partition(".")[2] for name in self.listed if name.startswith("attribute."))
                raise invalid(
                    f"Only the {', '.join(map(repr, only)) or 'listed'} attribute supports comparison with a list of "
                    "quoted string values."
                )
            return Comparison(kind, key, comparator, _list(rest, said))
        if comparator in LISTS:
            raise invalid(
                f"While parsing a list in the query, expected a list of string values in parentheses: {said!r}"
            )
        return Comparison(kind, key, comparator, _text(kind, rest, said))

    def order(self, text: str) -> tuple[str, str, bool]:
        """Kind, key and whether descending, of one part of an order.

        Raises:
            MlflowError: it cannot be understood.
        """
        words = list(_words(text))
        descending = False
        if words and words[-1][1].upper() in ("ASC", "DESC") and len(words) > 1:
            descending = words.pop()[1].upper() == "DESC"
        named = "".join(word for _, word in words)
        if not words or (len(words) > 1 and text.strip().split()[0] != named and not _quoted(words)):
            raise invalid(f"Invalid order_by clause '{text}'. Could not be parsed.")
        kind, key = self.identifier(named)
        if kind == "attribute" and self.ordered is not None and key not in self.ordered:
            raise invalid(
                f"Invalid order_by clause '{text}': attribute '{key}' cannot be ordered by; use one of "
                f"{sorted(self.ordered)}"
            )
        return kind, key, descending


def _quoted(words: Sequence[Token]) -> bool:
    return any(word[:1] in '`"' for _, word in words)


def _words(text: str) -> Iterator[Token]:
    """The tokens without spaces."""
    for kind, word in lexer.tokenize(text):  # type: ignore[no-untyped-call]
        if kind in tokens.Error or kind in tokens.Comment:
            raise invalid(f"Invalid filter '{text}'. Could not be parsed.")
        if kind not in tokens.Whitespace and kind not in tokens.Newline:
            yield kind, word


def _comparator(clause: Sequence[Token]) -> tuple[int, str, int]:
    """Place of the comparator, the comparator, and how many tokens it has; place -1: there is none."""
    for at, (kind, word) in enumerate(clause):
        if kind in tokens.Operator.Comparison and word in NUMERIC:
            return at, word, 1
        if at and kind not in tokens.Punctuation and word[:1] not in "`\"'":
            for words in _WORDS:
                for length in range(1, len(words.split()) + 1):  # the lexer takes `NOT NULL` for one word
                    there = " ".join(word for _, token in clause[at : at + length] for word in token.split())
                    if there.upper() == words:
                        return at, words, length
    return -1, "", 0


def _bare(word: str) -> str:
    """A name without the quotes around it."""
    if len(word) >= 2 and word[0] == word[-1] and word[0] in "`\"'":
        return word[1:-1]
    return word


def _number(kind: str, key: str, rest: Sequence[Token]) -> float:
    signs = [word for _, word in rest[:-1]]
    if signs in ([], ["-"], ["+"]) and rest[-1][0] in tokens.Number:
        try:
            return float("".join([*signs, rest[-1][1]]))
        except ValueError:
            pass
    what = f"numeric attribute: {key}" if kind == "attribute" else kind
    raise invalid(f"Expected numeric value type for {what}. Found {' '.join(word for _, word in rest)}")


def _text(kind: str, rest: Sequence[Token], said: str) -> str:
    word = rest[0][1]
    if len(rest) > 1:
        raise invalid(f"Invalid clause(s) in filter string: {said!r}")
    if len(word) >= 2 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1]
    if kind == "attribute":
        raise invalid(f"Expected a quoted string value for attributes. Got value {word}")
    raise invalid(
        f"Expected a quoted string value for {kind} (e.g. 'my-value'). Got value {word}: Parameter value is either not "
        f"quoted or unidentified quote types used for string value {word}. Use either single or double quotes."
    )


def _list(rest: Sequence[Token], said: str) -> tuple[str, ...]:
    inner = [word for _, word in rest[1:-1]]
    values = inner[::2]
    quoted = all(len(word) >= 2 and word[0] == word[-1] and word[0] in "'\"" for word in values)
    if rest[-1][1] != ")" or not values or not quoted or any(word != "," for word in inner[1::2]):
        raise invalid(
            "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different "
            f"type in list: {said!r}"
        )
    if len(inner) % 2 == 0:
        raise invalid(f"While parsing a list in the query, a value is missing after the last comma: {said!r}")
    return tuple(word[1:-1] for word in values)


# --- pages -------------------------------------------------------------------------------------------------------------


def read_token(token: str) -> int:
    """How many results were shown before a page.

    Raises:
        MlflowError: it is none of ours.
    """
    if not token:
        return 0
    try:
        offset = json.loads(base64.b64decode(token, validate=True))["offset"]
        if isinstance(offset, int) and 0 <= offset < 1 << 53:
            return offset
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise _no_token(token)


def _no_token(token: str) -> MlflowError:
    return invalid(
        f"Invalid page token, could not base64-decode: {token!r:.80}; pass the one of the page before, unchanged"
    )


def write_token(offset: int) -> str:
    """What names the page that begins after so many results."""
    return base64.b64encode(json.dumps({"offset": offset}).encode()).decode()
