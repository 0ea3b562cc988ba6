"""The settings of W&B that mean something here, from arguments and `WANDB_` variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

_VARIABLES = {
    "WANDB_PROJECT": "project", "WANDB_ENTITY": "entity", "WANDB_NAME": "run_name", "WANDB_RUN_NAME": "run_name",
    "WANDB_RUN_ID": "run_id", "WANDB_RUN_GROUP": "run_group", "WANDB_JOB_TYPE": "run_job_type", "WANDB_TAGS": "run_tags",
    "WANDB_NOTES": "run_notes", "WANDB_RESUME": "resume", "WANDB_MODE": "mode", "WANDB_DIR": "root_dir",
    "WANDB_DISABLED": "disabled", "WANDB_SAVE_CODE": "save_code", "WANDB_REINIT": "reinit",
}  # fmt: skip
_TRUE = frozenset({"1", "true", "yes", "on"})
_MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")


class Settings:
    """Settings by name; those that mean nothing here are kept and change nothing."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)

    run_tags: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


def settings_of(given: Settings | Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> Settings:
    """What holds of a run: variables, over these what `settings=` says, over these the arguments of `init`.

    Raises:
        ValueError: a mode that is none of W&B's.
    """
    values: dict[str, Any] = {}
    for variable, name in _VARIABLES.items():
        if text := os.environ.get(variable):
            values[name] = text.split(",") if name == "run_tags" else text
    more = (
        given.__dict__
        if isinstance(given, Settings)
        else vars(given)
        if hasattr(given, "__dict__")
        else given or {}
    )
    values.update({name: value for name, value in more.items() if value is not None})
    values.update({name: value for name, value in arguments.items() if value is not None})
    mode = values.get("mode") or "online"
    if mode not in _MODES:
        raise ValueError(f"mode {mode!r:.80}: expected one of {', '.join(_MODES[:4])}")
    if str(values.get("disabled", "")).lower() in _TRUE:
        mode = "disabled"
    values["mode"] = mode
    return Settings(**values)


def is_true(value: Any) -> bool:
    """Whether a setting is set; variables are texts."""
    return value.lower() in _TRUE if isinstance(value, str) else bool(value)
