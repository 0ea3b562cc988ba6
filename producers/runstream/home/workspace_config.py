"""Config files that name a workspace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runstream_schemas.settings import CONFIG_FOLDERS, read_config

from ..exceptions import UserErrorException

_FOLDERS = (*CONFIG_FOLDERS, "")
CONFIG_FILES = ("config.json", "project.json")


def search(start: Path, files: tuple[str, ...]) -> tuple[Path, dict[str, Any]] | None:
    """The first file that names a workspace, and what it names; see `Workspace.from_config` for the order.

    Raises:
        UserErrorException: a file in a folder for such files names none.
    """
    try:
        here = start.absolute()
    except FileNotFoundError:  # the working directory was deleted
        return None
    folders = [here, *here.parents]
    for subfolder in _FOLDERS:
        for name in files:
            for candidate in _existing(folders, subfolder, name):
                named = read_workspace(candidate, required=bool(subfolder))
                if named:
                    return candidate, named
    return None


def _existing(folders: list[Path], subfolder: str, name: str) -> Iterator[Path]:
    return (folder / subfolder / name for folder in folders if (folder / subfolder / name).is_file())


def read_workspace(file: Path, required: bool = True) -> dict[str, Any]:
    """The workspace a file names; {} for a file of another purpose (many tools have a config.json) unless `required`.

    Raises:
        UserErrorException: it names none, and `required` is set.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        if not required:
            return {}
        raise UserErrorException(f"{file}: cannot be read as JSON ({error})") from None
    if isinstance(document, dict):
        if document.get("workspace_name"):
            return {key: document.get(key) for key in ("subscription_id", "resource_group", "workspace_name")}
        scope = str(document.get("Scope") or "").split("/")
        if len(scope) > 8:
            named = {"subscription_id": scope[2], "resource_group": scope[4], "workspace_name": scope[8]}
            return named | ({"experiment": scope[10]} if len(scope) > 10 and scope[9] == "projects" else {})
        if settings := read_config(file):
            return {"workspace_name": settings.get("workspace"), "settings": settings}
    if required:
        raise UserErrorException(
            f"{file}: names no workspace; expected the keys subscription_id, resource_group and workspace_name, or Scope, "
            "or runstream's settings such as workspace and home"
        )
    return {}
