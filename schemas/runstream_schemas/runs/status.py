"""A run's life as a pure function: its recorded steps in, its present state out.

The state is always computed from all steps of the run, ordered by time, never patched by the step that just arrived. So it
does not matter in which order steps arrive, or whether one arrives twice.

Rules (docs/reference: statuses):

- The client is never refused. A repeated ending is a no-op; `fail` after an ending overwrites it; `complete` or `cancel`
  after a different ending is ignored, with a warning on the run.
- A failure that is only presumed (`error.code == "ProcessDied"`: the agent found the process gone) never overwrites an
  ending, and any ending, start or heartbeat after it overwrites it: the process lived after all.
- `start` after an ending opens the run again.
- Any step after an ending other than these leaves the status as it is.
- An ending may say when it was (`ended_us`); else it was when it was written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_args

from ..limits import TIME_MAX_US, TIME_MIN_US
from .definitions import DEFINE_STEP, add_definition
from .record import RunFacts, Status

STATUSES: tuple[Status, ...] = get_args(Status)
"""Every status of a run."""

ENDINGS: dict[str, Status] = {"complete": "Completed", "fail": "Failed", "cancel": "Canceled"}
"""Steps that end a run, and the status each leads to."""

TERMINAL: frozenset[Status] = frozenset(ENDINGS.values())
"""Statuses after which a run is over."""

TERMINAL_SQL = "(" + ", ".join(f"'{status}'" for status in ENDINGS.values()) + ")"
"""The same for `in`, as the index `runs_unsettled` has them."""

ACTIVE = tuple(status for status in STATUSES if status not in TERMINAL)
"""Statuses before the end of a run."""

PRESUMED = "ProcessDied"
"""Error code of a failure the agent only presumes."""

_STATUSES: dict[str, Status] = {
    "queued": "Queued",
    "preparing": "Preparing",
    "provisioning": "Provisioning",
    "starting": "Starting",
    "start": "Running",
    "running": "Running",
    "unapproved": "Unapproved",
    "not_responding": "NotResponding",
    "pausing": "Pausing",
    "paused": "Paused",
    "cancel_requested": "CancelRequested",
    "finalizing": "Finalizing",
}
_FIELDS = ("name", "display_name", "description", "type", "target")
MAX_WARNINGS = 100
"""Warnings shown on a run; the oldest stay."""


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded step: a status operation, or a change of a field (`kind` "field", data {key, value}).

    Attributes:
        source: hex id of the spool writer.
        topic: which topic it came by; a source counts the slots of each on its own.
    """

    time_us: int
    source: str
    seq: int
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    topic: str = "status"


@dataclass(slots=True)
class RunState(RunFacts):
    """What the steps of a run amount to. Times in microseconds since the epoch.

    Attributes:
        ends: per topic and source (hex), until which slot it has to be stored before the run is settled.
    """

    created_us: int | None = None
    started_us: int | None = None
    ended_us: int | None = None
    ends: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        """Whether the run has ended."""
        return self.status in TERMINAL


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Steps by time; those of one source keep their own order even when its clock was set back."""
    latest: dict[str, int] = {}
    keyed = []
    for step in sorted(steps, key=lambda s: (s.source, s.topic, s.seq)):
        clock = f"{step.source}/{step.topic}"
        time_us = max(step.time_us, latest.get(clock, step.time_us))
        latest[clock] = time_us
        keyed.append(((time_us, step.source, step.topic, step.seq), step))
    keyed.sort(key=lambda pair: pair[0])
    return [step for _, step in keyed]


def fold(steps: Iterable[Step], last_seen_us: int | None = None) -> RunState:
    """The state of a run.

    Args:
        steps: all recorded steps of the run but its heartbeats, in any order.
        last_seen_us: time of the latest heartbeat; answers a `not_responding` or a presumed failure before it.
    """
    state = RunState()
    presumed_us: int | None = None
    silent_us: int | None = None
    # Last error body of each source: says whether its `fail` is presumed.
    errors: dict[str, dict[str, Any]] = {}
    for step in in_order(steps):
        data, kind = step.data, step.kind
        if kind == "create":
            _create(state, step)
        elif kind == "field":
            if data.get("key") in _FIELDS:
                setattr(state, data["key"], data.get("value"))
        elif kind == "error":
            body = data.get("error")
            if isinstance(body, dict):
                errors[step.source] = body
                if not (_presumes(body) and state.terminal):
                    state.error = body
        elif kind == "warning":
            _warn(state, step, str(data.get("message", "")))
        elif kind == "describe":
            _describe(state, data)
        elif kind == DEFINE_STEP:
            state.details = add_definition(state.details, data)
        elif kind == "source_done":
            _note_ends(state, data)
        elif kind in ENDINGS:
            _note_ends(state, data)
            body = data.get("error") if isinstance(data.get("error"), dict) else None
            presumes = kind == "fail" and _presumes(body or errors.get(step.source))
            status = ENDINGS[kind]
            if not state.terminal or (presumed_us is not None and not presumes):
                if presumed_us is not None and _presumes(state.error):
                    state.error = None
                state.status, state.ended_us = status, _ended_us(step)
                presumed_us = step.time_us if presumes else None
            elif presumes or state.status == status:
                continue
            elif kind == "fail":
                state.status, state.ended_us = status, _ended_us(step)
            else:
                _warn(state, step, f"{kind} ignored: the run was already {state.status}")
                continue
            if body is not None:
                state.error = body
        elif kind in _STATUSES:
            if state.terminal and kind != "start":
                continue
            if state.terminal:
                state.ended_us = state.error = presumed_us = None
            if kind == "start" and state.started_us is None:
                state.started_us = step.time_us
            state.status = _STATUSES[kind]
            silent_us = step.time_us if kind == "not_responding" else None
    if last_seen_us is not None:
        if state.status == "NotResponding" and silent_us is not None and last_seen_us > silent_us:
            state.status = "Running"
        if presumed_us is not None and last_seen_us > presumed_us:
            state.status, state.ended_us, state.error = "Running", None, None
    return state


def _create(state: RunState, step: Step) -> None:
    data = step.data
    if state.created_us is None:
        state.created_us = step.time_us
    for key in ("workspace", "experiment", "parent_run_id", "root_run_id"):
        value = data.get(key)
        if isinstance(value, str) and value and getattr(state, key) is None:
            setattr(state, key, value)
    for key in _FIELDS:
        if isinstance(data.get(key), str):
            setattr(state, key, data[key])
    if isinstance(data.get("details"), dict):
        state.details = {**state.details, **data["details"]}


def _describe(state: RunState, data: dict[str, Any]) -> None:
    name, text = data.get("name"), data.get("text")
    if isinstance(name, str) and isinstance(text, str):
        texts = state.details.get("metric_descriptions")
        # The first text of a name stays.
        state.details["metric_descriptions"] = {name: text, **(texts if isinstance(texts, dict) else {})}


def _ended_us(step: Step) -> int:
    """When a run ended: when that was written, unless whoever wrote it knows better."""
    told = step.data.get("ended_us")
    if isinstance(told, int) and TIME_MIN_US <= told <= TIME_MAX_US:
        return told
    return step.time_us


def _presumes(body: dict[str, Any] | None) -> bool:
    return body is not None and body.get("code") == PRESUMED


def _note_ends(state: RunState, data: dict[str, Any]) -> None:
    for key, next_ in _ends(data):
        state.ends[key] = max(next_, state.ends.get(key, 0))


def _ends(data: dict[str, Any]) -> list[tuple[tuple[str, str], int]]:
    """((topic, source), next slot) of an ending step; what is not of that shape is passed over."""
    rows = []
    for field_, topic in (("ends", "metrics"), ("tag_ends", "tags")):
        ends = data.get(field_)
        if isinstance(ends, dict):
            rows += [
                ((topic, source), next_)
                for source, next_ in ends.items()
                if _is_source(source) and isinstance(next_, int)
            ]
    return rows


def _is_source(text: Any) -> bool:
    if not isinstance(text, str) or len(text) != 32:
        return False
    try:
        bytes.fromhex(text)
    except ValueError:
        return False
    return True


def _warn(state: RunState, step: Step, message: str) -> None:
    if len(state.warnings) < MAX_WARNINGS:
        state.warnings.append({"time_us": step.time_us, "message": message})
