"""What is asked for is not there, or is nothing whoever asks may know of."""

from __future__ import annotations

from runstream_schemas.errors import QueryError


class NotThere(QueryError):
    """What is asked for does not exist."""


def no_run(run_id: str) -> NotThere:
    """What is said of a run that is not there, and of one whoever asks may not know of: the same, word for word."""
    return NotThere(
        f"no run {run_id!r:.200}: its first record may not have arrived yet, or it was deleted, or is of a workspace that "
        "the token is not for; list the runs to see those there are"
    )
