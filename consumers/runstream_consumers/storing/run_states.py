"""Storing what happened to runs: steps of their life, tags, properties, fields. Called inside the writer's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from runstream_schemas.runs import life as run_life
from runstream_schemas.runs.params import Origin, ParamWrite, decode, encode, given, of_sweep
from runstream_schemas.runs.status import RunState, Step, fold
from runstream_schemas.wire.events import StatusOp, TagOp

from . import queries
from .params import Name, store_params

DEFAULT_WORKSPACE, DEFAULT_EXPERIMENT = "default", "Default"
MOST_LEVELS = 64
"""Levels of nested details that are kept: JSON is encoded and decoded by recursion, here and at each reader."""
_ENCODER = json.JSONEncoder(allow_nan=False)
CREATE_SEQ = -1
"""Slot given to the tags a run was created with: at equal times a tag set explicitly wins."""


@dataclass(slots=True)
class TagChange:
    """A tag set or removed. Changes of one tag are ordered by (time, source, slot); the latest holds."""

    run_key: int
    key: str
    value: str | None
    removed: bool
    time_us: int
    source: UUID
    seq: int


@dataclass(slots=True)
class RunChanges:
    """What a commit changes about runs, gathered from its events."""

    steps: list[tuple[int, Step]] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)
    tags: dict[tuple[int, str], TagChange] = field(default_factory=dict)
    properties: dict[tuple[int, str], TagChange] = field(default_factory=dict)
    params: dict[Name, list[ParamWrite]] = field(default_factory=dict)

    def add_status(self, run_key: int, source: bytes, op: StatusOp, topic: str = "status") -> None:
        """Take one status operation; `topic` tells apart what a source numbers on its own."""
        if op.kind != "heartbeat":
            self.steps.append((run_key, Step(op.time_us, source.hex(), op.seq, op.kind, op.data, topic)))
        if op.kind in ("heartbeat", "start", "create"):
            self.seen[run_key] = max(op.time_us, self.seen.get(run_key, op.time_us))
        for name, (origin, text) in given(op.data.get("details"), op.data.get("properties")).items():
            self._param(run_key, name, ParamWrite(text, origin, op.time_us, source.hex(), op.seq))
        if op.kind == "create":
            who = UUID(bytes=source)
            for key, value in _texts(op.data.get("tags")):
                self._tag(TagChange(run_key, key, value, False, op.time_us, who, CREATE_SEQ))
            for key, value in _texts(op.data.get("properties")):
                self._property(TagChange(run_key, key, value, False, op.time_us, who, CREATE_SEQ))

    def add_tag(self, run_key: int, source: bytes, op: TagOp) -> None:
        """Take one operation on a tag, property, field or parameter."""
        if op.op in ("param", "overwrite"):
            origin = Origin.OVERWRITTEN if op.op == "overwrite" else Origin.LOGGED
            text, author = encode(decode(op.value or "")), op.author and storable(op.author)
            self._param(run_key, op.key, ParamWrite(text, origin, op.time_us, source.hex(), op.seq, author))
            return
        if op.op == "field":
            data = {"key": op.key, "value": op.value}
            self.steps.append((run_key, Step(op.time_us, source.hex(), op.seq, "field", data, "tags")))
            return
        removed = op.op == "remove"
        value = None if removed or op.value is None else storable(op.value)
        change = TagChange(run_key, storable(op.key), value, removed, op.time_us, UUID(bytes=source), op.seq)
        if op.op == "property":
            self._property(change)
            for name, text in of_sweep(op.value if op.key == "sweep_parameters" else None).items():
                self._param(run_key, name, ParamWrite(text, Origin.SWEEP, op.time_us, source.hex(), op.seq))
        else:
            self._tag(change)

    def _tag(self, change: TagChange) -> None:
        held = self.tags.get((change.run_key, change.key))
        if held is None or _age(change) > _age(held):
            self.tags[change.run_key, change.key] = change

    def _param(self, run_key: int, name: str, write: ParamWrite) -> None:
        self.params.setdefault((run_key, name), []).append(write)

    def _property(self, change: TagChange) -> None:
        held = self.properties.get((change.run_key, change.key))
        if held is None or _age(change) < _age(held):
            self.properties[change.run_key, change.key] = change


async def store_run_changes(connection: asyncpg.Connection[Any], changes: RunChanges) -> list[int]:
    """Write `changes`; returns the keys of the runs whose place in a family may have changed (see `queries.ADOPT`)."""
    await _store_properties(connection, changes.properties)
    touched = {key for key, _ in changes.steps}
    tagged = {key for key, _ in changes.tags}
    with_params = {key for key, _ in changes.params}
    if not touched and not changes.seen and not tagged and not with_params:
        return []
    keys = touched | tagged | with_params | changes.seen.keys()
    locked = await connection.fetch(run_life.LOCK_RUNS, sorted(keys))
    await store_params(connection, changes.params)
    await _store_tags(connection, changes.tags)
    # Of runs with other steps too, it is stored with their states.
    if seen := {key: when for key, when in changes.seen.items() if key not in touched}:
        rows = await connection.fetch(queries.SEEN, list(seen), list(seen.values()))
        touched.update(row["key"] for row in rows)  # the heartbeat contradicts what their status says
    if tagged - touched:
        await connection.execute(run_life.RENEW_TEXTS, sorted(tagged - touched))
    if not touched:
        return []
    await _add_transitions(connection, changes.steps)
    steps: dict[int, list[Step]] = {key: [] for key in touched}
    for row in await connection.fetch(run_life.TRANSITIONS, sorted(touched)):
        steps[row["run_key"]].append(
            Step(
                row["time_us"],
                row["source"].hex,
                row["seq"],
                row["kind"],
                json.loads(row["data"]),
                row["topic"],
            )
        )
    states = {}
    for row in locked:
        if row["key"] in touched:
            last_seen = max(
                (t for t in (row["last_seen_us"], changes.seen.get(row["key"])) if t is not None),
                default=None,
            )
            states[row["key"]] = fold(steps[row["key"]], last_seen)
    return await _store_states(connection, states, {row["key"]: row for row in locked}, changes.seen)


async def store_labels(connection: asyncpg.Connection[Any], changes: RunChanges) -> None:
    """Write the properties, parameters and tags of runs, under their lock."""
    await _store_properties(connection, changes.properties)
    await store_params(connection, changes.params)
    await _store_tags(connection, changes.tags)


async def _store_properties(
    connection: asyncpg.Connection[Any], properties: Mapping[tuple[int, str], TagChange]
) -> None:
    if properties:
        listed = [properties[at] for at in sorted(properties)]
        await connection.execute(
            queries.ADD_PROPERTIES,
            [p.run_key for p in listed],
            [p.key for p in listed],
            [p.value for p in listed],
            [p.time_us for p in listed],
            [p.source for p in listed],
            [p.seq for p in listed],
        )


async def _store_tags(connection: asyncpg.Connection[Any], tags: Mapping[tuple[int, str], TagChange]) -> None:
    if tags:
        listed = [tags[at] for at in sorted(tags)]
        await connection.execute(
            run_life.SET_TAGS,
            [t.run_key for t in listed],
            [t.key for t in listed],
            [t.value for t in listed],
            [t.removed for t in listed],
            [t.time_us for t in listed],
            [t.source for t in listed],
            [t.seq for t in listed],
        )


async def _add_transitions(connection: asyncpg.Connection[Any], steps: Sequence[tuple[int, Step]]) -> None:
    if steps:
        await connection.execute(
            run_life.ADD_TRANSITIONS,
            [key for key, _ in steps],
            [s.topic for _, s in steps],
            [UUID(hex=s.source) for _, s in steps],
            [s.seq for _, s in steps],
            [s.time_us for _, s in steps],
            [storable(s.kind) for _, s in steps],
            [to_json(s.data) for _, s in steps],
        )


async def _store_states(
    connection: asyncpg.Connection[Any],
    states: Mapping[int, RunState],
    rows: Mapping[int, Any],
    seen: Mapping[int, int],
) -> list[int]:
    new = {key: state for key, state in states.items() if rows[key]["experiment_id"] is None}
    experiments = await place_in_experiments(connection, new)
    roots = await roots_of(connection, states.values())
    columns: list[tuple[Any, ...]] = []
    ends: list[tuple[int, str, UUID, int]] = []
    created = []
    for key, state in sorted(states.items()):
        experiment_id, number = experiments.get(key, (rows[key]["experiment_id"], rows[key]["number"]))
        root = state.root_run_id or roots.get(state.parent_run_id) or state.parent_run_id
        if root is None and state.created_us is not None:
            root = rows[key]["run_id"]
        if state.created_us is not None:
            created.append(key)
        columns.append(
            (
                key,
                experiment_id,
                number,
                state.parent_run_id,
                root,
                state.name,
                state.display_name,
                state.description,
                state.type,
                state.target,
                state.status,
                state.created_us,
                state.started_us,
                state.ended_us,
                None if state.error is None else to_json(state.error),
                to_json(state.warnings),
                to_json(state.details),
                seen.get(key),
            )
        )
        ends.extend(
            (key, topic, UUID(hex=source), next_) for (topic, source), next_ in sorted(state.ends.items())
        )
    await connection.execute(queries.SET_STATES, *(list(column) for column in zip(*columns, strict=True)))
    await connection.execute(run_life.RENEW_TEXTS, sorted(states))
    if experiments:
        await connection.execute(queries.SETTLE_CLAIMS, sorted(experiments))
    if ends:
        await connection.execute(queries.SET_ENDS, *(list(column) for column in zip(*ends, strict=True)))
    return created


async def roots_of(connection: asyncpg.Connection[Any], states: Iterable[RunState]) -> dict[str | None, str]:
    """Run ids of the roots of those parents of runs that are there."""
    parents = sorted({state.parent_run_id for state in states if state.parent_run_id})
    if not parents:
        return {}
    return {row["run_id"]: row["root"] for row in await connection.fetch(queries.ROOTS, parents)}


async def place_in_experiments(
    connection: asyncpg.Connection[Any], states: Mapping[int, RunState]
) -> dict[int, tuple[int, int]]:
    """Experiment and number of those runs that are created, and had none; numbers follow the time of creation within
    a commit."""
    waiting: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for key, state in states.items():
        if state.created_us is not None:
            name = (
                storable(state.workspace or DEFAULT_WORKSPACE),
                storable(state.experiment or DEFAULT_EXPERIMENT),
            )
            waiting.setdefault(name, []).append((state.created_us, key))
    if not waiting:
        return {}
    names = sorted(waiting)
    columns = [workspace for workspace, _ in names], [name for _, name in names]
    await connection.execute(queries.ADD_EXPERIMENTS, *columns)
    placed: dict[int, tuple[int, int]] = {}
    counts: list[tuple[int, int]] = []
    for row in await connection.fetch(queries.LOCK_EXPERIMENTS, *columns):
        number = row["run_count"]
        for _, key in sorted(waiting[row["workspace"], row["name"]]):
            number += 1
            placed[key] = (row["id"], number)
        counts.append((row["id"], number))
    await connection.execute(queries.COUNT_EXPERIMENT_RUNS, [i for i, _ in counts], [n for _, n in counts])
    return placed


def storable(text: str) -> str:
    """Postgres' text holds any character but U+0000; that one is shown by its symbol."""
    return text.replace("\0", "\u2400") if "\0" in text else text


def to_json(value: Any) -> str:
    """JSON that Postgres and every reader take: no U+0000, no NaN or infinity (they become strings), nothing below
    `MOST_LEVELS` (it becomes `"..."`)."""
    try:
        text = _ENCODER.encode(value)
    except (ValueError, TypeError, RecursionError):
        return json.dumps(_jsonable(value))
    # A look at every level takes as long as the rest: what has few brackets has few levels.
    deep = text.count("{") + text.count("[") >= MOST_LEVELS and _nested_too_deeply(value)
    return json.dumps(_jsonable(value)) if deep or "\\u0000" in text else text


def _nested_too_deeply(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return False
    return True


def _inner(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()


def _jsonable(value: Any, levels: int = MOST_LEVELS) -> Any:
    if isinstance(value, (dict, list, tuple)) and not levels:
        return "..."
    if isinstance(value, dict):
        return {storable(str(key)): _jsonable(item, levels - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item, levels - 1) for item in value]
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _texts(mapping: Any) -> Iterable[tuple[str, str | None]]:
    if isinstance(mapping, dict):
        for key, value in mapping.items():
            yield storable(str(key)), None if value is None else storable(str(value))


def _age(change: TagChange) -> tuple[int, bytes, int]:
    return change.time_us, change.source.bytes, change.seq
