"""Config files that name a workspace."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runstream_schemas.ownership import is_ours
from runstream_schemas.settings import CONFIG_FOLDERS, PREFIX, Settings, read_config

from ..exceptions import UserErrorException

_FOLDERS = (*CONFIG_FOLDERS, "")
CONFIG_FILES = ("config.json", "project.json")
_said: set[str] = set()


def search(start: Path, files: tuple[str, ...]) -> tuple[Path, dict[str, Any]] | None:
    """The first file that names a workspace, and what it names; see `Workspace.from_config` for the order.

    A file of another user is passed over, with a line on stderr, unless the setting `safe_directory` names its folder.

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
                if not _ours(candidate):
                    continue
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
        raise UserErrorException(f"{file}: cannot be read as JSON ({error}); mend it, or remove it") from None
    if isinstance(document, dict):
        if document.get("workspace_name"):
            return {key: document.get(key) for key in ("subscription_id", "resource_group", "workspace_name")}
        scope = str(document.get("Scope") or "").split("/")
        if len(scope) > 8:
            named = {"subscription_id": scope[2], "resource_group": scope[4], "workspace_name": scope[8]}
            return named | ({"experiment": scope[10]} if len(scope) > 10 and scope[9] == "projects" else {})
        taken, refused = read_config(file)
        if taken or refused:
            return {"workspace_name": taken.get("workspace")}
    if required:
        raise UserErrorException(
            f"{file}: names no workspace; expected the keys subscription_id, resource_group and workspace_name, or Scope, "
            "or runstream's settings such as workspace and home"
        )
    return {}


def settings_with(file: Path | None, given: Mapping[str, Any]) -> Settings:
    """The settings with those of a config file below what was given by hand and the environment.

    What the file may not say (`PROJECT_KEYS`) is passed over, with a line on stderr. A token from the environment is not for
    an address from a file.

    Raises:
        SettingsError: a value that cannot be read.
    """
    taken, refused = read_config(file) if file is not None else ({}, [])
    if refused:
        _say(
            f"{file}: {', '.join(refused)} {'is' if len(refused) == 1 else 'are'} not taken from a project's file; set "
            f"{', '.join(PREFIX + name.upper() for name in refused)} in the environment instead"
        )
    by_hand = {name: value for name, value in given.items() if value is not None}
    own = {
        name: value
        for name, value in taken.items()
        if name not in by_hand and not os.environ.get(PREFIX + name.upper())
    }
    settings = Settings.load(**own, **by_hand)
    if "url" in own and settings.token and not by_hand.keys() & {"token", "token_file"}:
        _say(
            f"RUNSTREAM_TOKEN is not sent to {settings.url}, which {file} names; set RUNSTREAM_URL too if it is meant for it"
        )
        return replace(settings, token="", token_file="")
    return settings


def _ours(file: Path) -> bool:
    """Whether a file may say what this user's programs do: it is theirs or root's, or they said so."""
    if is_ours(file, Settings.load().safe_directory):
        return True
    _say(
        f"{file} belongs to another user and is not used; if you trust it, set RUNSTREAM_SAFE_DIRECTORY={file.parent}, "
        "or name the file: Workspace.from_config(path=...)"
    )
    return False


def _say(text: str) -> None:
    if text not in _said:
        _said.add(text)
        print(f"runstream: {text}", file=sys.stderr)
