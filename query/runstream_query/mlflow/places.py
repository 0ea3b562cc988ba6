"""Where files lie, as clients know it: `mlflow-artifacts:/<experiment>/<run>/artifacts/<path>`, through this server."""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from .errors import invalid
from .names import check_length

SCHEME: Final = "mlflow-artifacts"
MOST_LOCATION: Final = 2048
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]?")


def artifact_root(location: str | None, experiment_id: str) -> str:
    """Where the files of an experiment's runs lie."""
    return location or f"{SCHEME}:/{experiment_id}"


def below(root: str, *parts: str) -> str:
    """A place below another one: its path grows, the query stays where it is."""
    address = urlsplit(root)
    return urlunsplit(address._replace(path=posixpath.join(address.path, *parts)))


def run_root(location: str | None, experiment_id: str, run_id: str) -> str:
    """Where the files of a run lie."""
    return below(artifact_root(location, experiment_id), run_id, "artifacts")


def check_location(location: str, name: str) -> None:
    """Refuse a place where files of runs cannot lie.

    Raises:
        MlflowError: it leads out of itself, has a fragment, or is too long.
    """
    check_length(name, location, MOST_LOCATION)
    address = urlsplit(location)
    if address.fragment or location.endswith("#"):
        raise invalid(f"'{name}' URL can't include fragments or params.")
    if ".." in unquote(unquote(address.path)).replace("\\", "/").split("/"):
        raise invalid(f"Invalid {name}: '{location}': it may not have '..' in its path")


def safe_path(path: str) -> str:
    """Return `path` if it leads nowhere but down: the check that comes before anything is looked up.

    Raises:
        MlflowError: it is empty, absolute, or leads out.
    """
    plain = path
    for _ in range(5):  # `%252e` is a dot as well
        plain, before = unquote(plain), plain
        if plain == before:
            break
    parts = plain.replace("\\", "/").split("/")
    scheme = urlsplit(plain).scheme
    if (
        ".." in parts
        or plain.startswith(("/", "\\"))
        or any(ord(letter) < 32 for letter in plain)
        or _DRIVE.match(plain)
        or (len(scheme) > 1 and "://" in plain)
        or scheme == "file"
        or "#" in path
    ):
        raise invalid("Invalid path")
    return path
