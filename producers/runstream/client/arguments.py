"""Arguments of public calls, refused in words before anything is done with them: texts, paths, files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from runstream_schemas.errors import brief

from ..exceptions import UserErrorException
from ..spool.values import check_text

_EXPERIMENT_NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,254}", re.ASCII)


def experiment_name_argument(name: object, remedy: str = "") -> None:
    """Refuse what no experiment can be called.

    Args:
        remedy: what to do instead, where that is known.

    Raises:
        UserErrorException: the name is not of the form.
    """
    if not isinstance(name, str) or _EXPERIMENT_NAME.fullmatch(name) is None:
        raise UserErrorException(
            f"Experiment name {brief(name, 300)} is not valid: 1 to 255 letters, digits, underscores or dashes, "
            f"the first a letter or a digit{remedy}"
        )


def text_argument(what: str, value: object) -> str:
    """A text, or an integer as one.

    Raises:
        UserErrorException: neither, or not valid unicode.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 64:
        return str(int(value))
    return check_text(what, value)


def texts_argument(what: str, value: object) -> list[str]:
    """Several texts; a single one counts as a list of one.

    Raises:
        UserErrorException: something else, or not valid unicode.
    """
    if isinstance(value, str):
        return [check_text(what, value)]
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise UserErrorException(f"{what}: expected texts, got {type(value).__name__}")
    return [text_argument(what, item) for item in value]


def path_argument(what: str, value: object) -> Path:
    """A path of this machine, which need not exist.

    Raises:
        UserErrorException: no path, or one that no file can have.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise UserErrorException(f"{what}: expected a path, got {type(value).__name__}")
    path = Path(value)
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise UserErrorException(
            f"{what} {brief(str(path))}: no file can have this name ({error.reason}); remove lone surrogates"
        ) from None
    if b"\0" in encoded:
        raise UserErrorException(f"{what} {brief(str(path))}: no file can have a NUL in its name; remove it")
    return path


def read_text_file(what: str, value: object) -> str:
    """The text of a regular file; a byte order mark is left out.

    Raises:
        FileNotFoundError: there is no such file.
        UserErrorException: no regular file (a pipe would be waited for without end), or no UTF-8.
    """
    path = path_argument(what, value)
    path.stat()  # FileNotFoundError names it
    if not path.is_file():
        raise UserErrorException(f"{what} {path}: expected a file, and it is none that can be read to an end")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserErrorException(f"{what} {path}: not UTF-8 ({error}); save it as UTF-8") from None


def write_text_file(what: str, path: Path, text: str) -> None:
    """Write a file; its directories are made.

    Raises:
        UserErrorException: a name no file can have, or something that is no regular file lies there.
    """
    path = path_argument(what, path)
    if path.exists() and not path.is_file():
        raise UserErrorException(
            f"{what} {path}: something that is no regular file lies there; choose another path"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
