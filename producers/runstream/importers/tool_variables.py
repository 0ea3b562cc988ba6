"""The environment of a command whose tools are followed (see `tool_follower`); loaded before the command starts."""

from __future__ import annotations

from pathlib import Path


def add_wandb(variables: dict[str, str], directory: Path) -> Path | None:
    """Have W&B write files that can be followed; where it will write them, or None: it is off.

    Args:
        variables: those of the command; what they say of W&B stays.
        directory: for the files, if the variables name none.
    """
    mode = variables.setdefault("WANDB_MODE", "offline")
    if mode == "disabled" or variables.get("WANDB_DISABLED", "").lower() in ("1", "true"):
        return None
    variables.setdefault("WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL", "0.5")
    if "WANDB_DIR" not in variables:
        directory.mkdir(parents=True, exist_ok=True)
        variables["WANDB_DIR"] = str(directory)
    return Path(variables["WANDB_DIR"]) / "wandb"
