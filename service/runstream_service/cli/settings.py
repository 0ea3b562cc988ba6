"""Settings as options of a command: which there are, and what a command line makes of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from runstream_schemas.settings import PREFIX, Settings

WHERE = ("home", "url", "token", "workspace", "log_level")
"""Settings that say which service a reading command asks."""


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings a command line asks for: its options over the environment over config.json over the defaults."""
    from runstream.home.workspace_config import CONFIG_FILES, search, settings_with

    given = {item.name: getattr(options, f"setting_{item.name}", None) for item in fields(Settings)}
    config = search(Path(getattr(options, "path", ".")), CONFIG_FILES)
    if config is None:
        return settings_with(None, given)
    file, named = config
    if given["workspace"] is None and not os.environ.get(f"{PREFIX}WORKSPACE"):
        given["workspace"] = named.get("workspace_name")
    return settings_with(file, given)


def add_settings(parser: argparse.ArgumentParser, names: Sequence[str] | None = None) -> None:
    """Add settings as options: these, or all."""
    group = parser.add_argument_group("settings")
    for item in fields(Settings):
        if names is not None and item.name not in names:
            continue
        text = item.metadata["doc"].replace("%", "%%")
        if item.default not in ("", None):
            text += f" [{item.default}]"
        option = "--" + item.name.replace("_", "-")
        destination = f"setting_{item.name}"
        if isinstance(item.default, bool):
            group.add_argument(
                option, dest=destination, action=argparse.BooleanOptionalAction, help=text, default=None
            )
        else:
            # Text, and not the setting's type: `Settings.load` reads it and says what it expected.
            group.add_argument(option, dest=destination, metavar=_metavar(item.default), help=text)


def _metavar(default: object) -> str:
    return {int: "N", float: "SECONDS"}.get(type(default), "TEXT")
