"""What the database's listeners are told: which runs have changed, by topic."""

from __future__ import annotations

import json
from collections.abc import Iterable

from .plan import Accepted

MAX_NOTICE_BYTES = 7000  # Postgres refuses a notification of 8,000


def notices_of(stored: Iterable[Accepted]) -> list[str]:
    """Of what a transaction stores."""
    runs: dict[str, dict[str, None]] = {}
    for accepted in stored:
        runs.setdefault(accepted.change.topic, {})[accepted.event.run_id] = None
    return [notice(topic, list(ids)) for topic, ids in runs.items()]


def notice(topic: str, run_ids: list[str]) -> str:
    """A notification that names the runs; too many to name: `runs` is null, and any run may have changed."""
    text = json.dumps({"topic": topic, "runs": run_ids})
    return text if len(text) <= MAX_NOTICE_BYTES else json.dumps({"topic": topic, "runs": None})
