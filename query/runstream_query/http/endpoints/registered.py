"""What requests about experiments, environments and models have alike: their workspace, tags and properties, names."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name, check_text

MOST_TEXTS = 1000
"""Tags or properties of one change."""
MAX_BODY_BYTES = 8 << 20
"""Longest JSON body: a model may have many files."""

Texts = dict[str, str | None] | None


class InWorkspace(msgspec.Struct, kw_only=True):
    workspace: str = "default"


def checked_texts(name: str, texts: Texts) -> Mapping[str, str | None]:
    """Tags or properties; none: an empty mapping.

    Raises:
        QueryError: too many, or one that cannot be kept.
    """
    texts = texts or {}
    if len(texts) > MOST_TEXTS:
        raise QueryError(f"{name}: {len(texts)} of them, the most is {MOST_TEXTS}; send several requests")
    for key, value in texts.items():
        check_name(f"name of {name}", key)
        check_text(f"value of {name} {key!r:.40}", value or "")
        if "\0" in key or "\0" in (value or ""):
            raise QueryError(f"{name} {key!r:.40}: the character NUL cannot be kept; remove it")
    return texts


def needed(name: str, text: str) -> str:
    """A text that has to be sent.

    Raises:
        QueryError: it is empty.
    """
    if not text:
        raise QueryError(f"{name} is missing; send it")
    return text
