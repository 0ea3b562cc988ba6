"""Which of a run's logs is shown first, and what stands there while there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_PREFIX = re.compile(r"(?:^|/)(\d+)_[^/]*$")


def choose_log(names: Iterable[str]) -> str | None:
    """The log of the latest phase: names carry a number that grows (`55_execution`, `70_driver_log`). Without numbers the
    last name; None without logs."""
    return max(names, key=lambda name: (_phase(name), name), default=None)


def _phase(name: str) -> int:
    match = _PREFIX.search(name)
    return int(match[1]) if match and name.startswith("azureml-logs/") else -1


def log_note(status: str, error: Mapping[str, Any] | None, empty: bool) -> str:
    """What the widget says of a run's log beside its text: that it is waited for, what went wrong, that it is complete.

    Args:
        status: the run's status.
        error: the run's error, if any.
        empty: whether the log holds nothing yet.
    """
    said = []
    if status == "Failed" or error:
        body = (error or {}).get("error", error) or {}
        said.append(f"Error occurred: {body.get('message') or body.get('code') or 'no details were given'}")
    if status == "Completed":
        said.append("Run is completed.")
    elif status == "Canceled":
        said.append("Run is canceled.")
    elif empty and not said:
        said.append("Your job is submitted; monitoring to get logs ...")
    return "\n".join(said)
