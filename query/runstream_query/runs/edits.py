"""Changes people make to runs: names, descriptions, tags, the archive, and asking a run to stop.

An edit is one more write in the order the training processes' writes have: a tag change by (time, source, slot), a name or
status a step of the run's life, from all of which the state is computed anew. So it does not matter whether an edit or a
late event of the process is stored first. Who edits has seen what is stored, so an edit's time is never before it, also when
the process's clock is ahead of the server's.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runstream_schemas.limits import check_name, check_text
from runstream_schemas.runs import life as run_life
from runstream_schemas.runs.status import TERMINAL, RunState, Step, fold

from ..json_values import from_json
from . import queries
from .runs import Connection

MAX_NOTICE_BYTES = 7000
"""Longest notification; Postgres takes 8,000 bytes."""
MANAGED_TYPES = frozenset({"azureml.scriptrun", "hyperdrive"})
"""Runs somebody looks after, who ends their processes when a cancel is requested."""
_DIRECT = frozenset({"NotStarted", "Queued", "NotResponding", "CancelRequested", "Unapproved"})


class _Unchanged:
    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED = _Unchanged()
"""Stands for "leave it as it is", where None means "none"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEdit:
    """What to change about runs.

    Attributes:
        set_tags: tags to set; a value of None is a tag without a value.
        remove_tags: tags to remove; missing ones are no error.
        archived: True: into the archive, False: out of it, None: as it is.
    """

    display_name: str | _Unchanged | None = UNCHANGED
    description: str | _Unchanged | None = UNCHANGED
    set_tags: Mapping[str, str | None] = field(default_factory=dict)
    remove_tags: Sequence[str] = ()
    archived: bool | None = None

    def check(self) -> None:
        """Refuse what cannot be stored.

        Raises:
            LimitExceeded: a name or text that is too long, or no text.
        """
        for key, value in self.set_tags.items():
            check_name("tag", key)
            if value is not None:
                check_text(f"tag {key[:40]!r}", value)
        for key in self.remove_tags:
            check_name("tag", key)
        for what, text in self.fields().items():
            if text is not None:
                check_text(what, text)

    def fields(self) -> dict[str, str | None]:
        """The fields that change."""
        pairs = {"display_name": self.display_name, "description": self.description}
        return {key: value for key, value in pairs.items() if not isinstance(value, _Unchanged)}


async def edit_runs(connection: Connection, run_ids: Iterable[str], changes: RunEdit) -> list[str]:
    """Change runs, all in one transaction; returns the ids of those that exist.

    Raises:
        LimitExceeded: a change that cannot be stored; nothing is changed.
    """
    changes.check()
    async with connection.transaction():
        rows = await connection.fetch(queries.FIND_RUNS, list(run_ids))
        keys = [row["key"] for row in rows]
        ids = [row["run_id"] for row in rows]
        if not keys:
            return []
        if changes.set_tags or changes.remove_tags:
            await _set_tags(connection, keys, changes)
        if fields := changes.fields():
            steps = [("field", {"key": key, "value": value}, "tags") for key, value in fields.items()]
            await _add_steps(connection, dict.fromkeys(keys, steps))
        if changes.archived is not None:
            await connection.execute(queries.ARCHIVE, keys, changes.archived)
        await connection.execute(run_life.RENEW_TEXTS, keys)
        await notify(connection, "tags", ids)
    return ids


async def cancel_runs(
    connection: Connection, run_ids: Iterable[str], *, descendants: bool = True
) -> dict[str, str]:
    """Ask runs to stop; returns the new status of each that was active.

    Who looks after a submitted run (its wrapper, a sweep's controller) sees `CancelRequested`, ends the processes and then
    the run. A run that nobody looks after, or that was asked before, is ended as `Canceled` at once.

    Args:
        descendants: also their active descendants.
    """
    async with connection.transaction():
        ids = list(run_ids)
        if descendants:
            ids = [row["run_id"] for row in await connection.fetch(queries.WITH_DESCENDANTS, ids)]
        live = [
            row for row in await connection.fetch(queries.FIND_RUNS, ids) if row["status"] not in TERMINAL
        ]
        if not live:
            return {}
        steps: dict[int, list[tuple[str, dict[str, Any], str]]] = {}
        for row in live:
            asks = row["type"] in MANAGED_TYPES and row["status"] not in _DIRECT
            steps[row["key"]] = [("cancel_requested" if asks else "cancel", {}, "status")]
        states = await _add_steps(connection, steps)
        await notify(connection, "status", [row["run_id"] for row in live])
        return {row["run_id"]: states[row["key"]].status for row in live}


async def add_steps(
    connection: Connection,
    steps: Mapping[int, Sequence[tuple[str, dict[str, Any], str]]],
    run_ids: Sequence[str],
) -> None:
    """Add steps (kind, data, topic) to the lives of runs, within a transaction, and tell pages and readers.

    Args:
        steps: by the keys of the runs.
        run_ids: the ids of these.
    """
    await _add_steps(connection, steps)
    await notify(connection, "status", run_ids)


async def notify(connection: Connection, topic: str, run_ids: Sequence[str]) -> None:
    """Tell pages and waiting readers, once the transaction is committed; too many runs to name: any may have changed."""
    notice = json.dumps({"topic": topic, "runs": list(run_ids)})
    if len(notice) > MAX_NOTICE_BYTES:
        notice = json.dumps({"topic": topic, "runs": None})
    await connection.execute(queries.NOTIFY, notice)


async def _set_tags(connection: Connection, keys: Sequence[int], changes: RunEdit) -> None:
    values: dict[str, tuple[str | None, bool]] = dict.fromkeys(changes.remove_tags, (None, True))
    values |= {key: (value, False) for key, value in changes.set_tags.items()}
    # The locks make the times read here those the statement meets.
    await connection.fetch(run_life.LOCK_RUNS, list(keys))
    stored = {
        (row["run_key"], row["key"]): row["time_us"]
        for row in await connection.fetch(queries.TAG_TIMES, list(keys), list(values))
    }
    now, source = time.time_ns() // 1000, uuid.uuid4()
    rows = [
        (run, key, value, removed, max(now, stored.get((run, key), 0) + 1), source, seq)
        for run in sorted(keys)
        for seq, (key, (value, removed)) in enumerate(sorted(values.items()))
    ]
    await connection.execute(run_life.SET_TAGS, *(list(column) for column in zip(*rows, strict=True)))


async def _add_steps(
    connection: Connection, new: Mapping[int, Sequence[tuple[str, dict[str, Any], str]]]
) -> dict[int, RunState]:
    """Add steps (kind, data, topic) to the lives of runs, and store what they amount to."""
    locked = await connection.fetch(run_life.LOCK_RUNS, sorted(new))
    steps: dict[int, list[Step]] = {row["key"]: [] for row in locked}
    for row in await connection.fetch(run_life.TRANSITIONS, list(steps)):
        data = from_json(row["data"])
        steps[row["run_key"]].append(
            Step(row["time_us"], row["source"].hex, row["seq"], row["kind"], data, row["topic"])
        )
    now, source = time.time_ns() // 1000, uuid.uuid4()
    columns = []
    for key in steps:
        at = max([now, *(step.time_us + 1 for step in steps[key])])
        for seq, (kind, data, topic) in enumerate(new[key]):
            steps[key].append(Step(at, source.hex, seq, kind, data, topic))
            columns.append((key, topic, source, seq, at, kind, json.dumps(data)))
    await connection.execute(
        run_life.ADD_TRANSITIONS, *(list(column) for column in zip(*columns, strict=True))
    )
    states = {row["key"]: fold(steps[row["key"]], row["last_seen_us"]) for row in locked}
    rows = [
        (
            key,
            state.display_name,
            state.description,
            state.status,
            None if state.error is None else json.dumps(state.error),
            json.dumps(state.warnings),
            state.ended_us,
        )
        for key, state in sorted(states.items())
    ]
    await connection.execute(queries.SET_STATES, *(list(column) for column in zip(*rows, strict=True)))
    return states
