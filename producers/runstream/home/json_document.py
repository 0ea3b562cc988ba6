"""A JSON object in a file of the home that several processes read and change: whole at every moment, for its owner only."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runstream_schemas.locks import locked
from runstream_schemas.ownership import make_private

from ..exceptions import UserErrorException


def read(path: Path) -> dict[str, Any]:
    """The object in `path`; {} when there is no such file.

    Raises:
        UserErrorException: it cannot be read, or is no JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserErrorException(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise UserErrorException(f"{path}: expected a JSON object")
    return document


def encode(what: str, document: Any, indent: int | None = None) -> bytes:
    """A document as JSON.

    Raises:
        UserErrorException: something in it has no form in JSON.
    """
    try:
        return json.dumps(document, indent=indent, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        problem = "a text in it is not valid unicode; remove lone surrogates"
    except RecursionError:
        problem = "it is nested too deep"
    except (TypeError, ValueError) as error:
        problem = str(error)
    raise UserErrorException(f"{what} cannot be written as JSON: {problem}; convert it first")


@contextlib.contextmanager
def change(path: Path) -> Iterator[dict[str, Any]]:
    """The object in `path`, to be changed; written when the block ends well. One process at a time gets it.

    Raises:
        UserErrorException: it cannot be read, or is no JSON object.
    """
    make_private(path.parent)
    # The lock lies beside the file, which is replaced at every change.
    with locked(path.with_suffix(".lock")):
        document = read(path)
        yield document
        text = encode(path.name, document, indent=2)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.unlink(missing_ok=True)
        writing = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(writing, "wb") as stream:
            stream.write(text)
        draft.replace(path)
