"""A run's state is computed from its recorded steps, whatever order they came in."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream_schemas.runs.status import RunState, Step, fold
from tests.consumers.logged import T0

from .lives import DIED

A, B = "a" * 32, "b" * 32


def life(*kinds: str | tuple[str, dict[str, Any]], source: str = A) -> list[Step]:
    """Steps one after another, a second apart."""
    steps = []
    for seq, kind in enumerate(kinds):
        name, data = (kind, {}) if isinstance(kind, str) else kind
        steps.append(Step(T0 + seq * 1_000_000, source, seq, name, data))
    return steps


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ([], "NotStarted"),
        (["create"], "NotStarted"),
        (["create", "start"], "Running"),
        (["create", "queued", "preparing", "start", "finalizing", "complete"], "Completed"),
        (["create", "start", "cancel_requested"], "CancelRequested"),
        (["create", "start", "complete", "complete"], "Completed"),
        (["create", "start", "complete", "fail"], "Failed"),
        (["create", "start", "cancel", "fail"], "Failed"),
        (["create", "start", "complete", "cancel"], "Completed"),
        (["create", "start", "fail", "complete"], "Failed"),
        (["create", "start", "complete", "finalizing"], "Completed"),
        (["create", "start", "complete", "start"], "Running"),
        (["create", "complete"], "Completed"),
    ],
)
def test_statuses(kinds: list[str], status: str) -> None:
    assert fold(life(*kinds)).status == status


def test_times_of_start_and_end() -> None:
    state = fold(life("create", "start", "complete", "complete"))
    assert (state.created_us, state.started_us, state.ended_us) == (T0, T0 + 1_000_000, T0 + 2_000_000)
    assert fold(life("create", "start", "complete", "fail")).ended_us == T0 + 3_000_000
    assert fold(life("create", "start", "complete", "start")).ended_us is None
    told = {"ended_us": T0 + 1}  # by who knew the end before writing it
    assert fold(life("create", "start", ("complete", told))).ended_us == T0 + 1
    for wrong in ("soon", 1 << 62, None):
        assert fold(life("create", "start", ("fail", {"ended_us": wrong}))).ended_us == T0 + 2_000_000


def test_an_ignored_ending_is_a_warning() -> None:
    state = fold(life("create", "start", "complete", "cancel"))
    assert [w["message"] for w in state.warnings] == ["cancel ignored: the run was already Completed"]


def test_a_presumed_failure_yields_to_what_the_run_says() -> None:
    started = life("create", "start")
    died = [Step(T0 + 5_000_000, B, 0, "fail", DIED)]
    assert fold(started + died).status == "Failed"
    done = [Step(T0 + 6_000_000, A, 2, "complete")]
    assert (fold(started + died + done).status, fold(started + died + done).error) == ("Completed", None)
    early = [Step(T0 + 4_000_000, A, 2, "complete")]
    assert (fold(started + died + early).status, fold(started + died + early).error) == ("Completed", None)
    assert fold(started + died, last_seen_us=T0 + 6_000_000).status == "Running"
    assert fold(started + died, last_seen_us=T0 + 4_000_000).status == "Failed"


def test_an_error_step_before_a_presumed_failure() -> None:
    died = [Step(T0 + 5_000_000, B, 0, "error", DIED), Step(T0 + 5_000_001, B, 1, "fail")]
    state = fold(life("create", "start", "complete") + died)
    assert (state.status, state.error) == ("Completed", None)
    state = fold(life("create", "start") + died)
    assert (state.status, state.error) == ("Failed", DIED["error"])


def test_a_clock_set_back_does_not_reorder_a_source() -> None:
    steps = [Step(T0 + 10, A, 0, "create"), Step(T0 + 20, A, 1, "start"), Step(T0 + 5, A, 2, "complete")]
    assert fold(steps).status == "Completed"


def test_the_earliest_creation_places_the_run_and_the_latest_value_describes_it() -> None:
    first = ("create", {"experiment": "e", "display_name": "old", "details": {"a": 1, "b": 1}})
    again = ("create", {"experiment": "other", "display_name": "new", "details": {"b": 2}})
    field = Step(T0 + 500_000, A, 0, "field", {"key": "description", "value": "text"}, "tags")
    state = fold([*life(first, again), field])
    assert (state.experiment, state.display_name, state.description) == ("e", "new", "text")
    assert state.details == {"a": 1, "b": 2}


_KINDS = st.sampled_from(
    [("create", {"name": "n"}), ("start", {}), ("complete", {}), ("fail", DIED), ("fail", {}), ("cancel", {}),
     ("heartbeat", {}), ("error", {"error": {"code": "E"}}), ("error", DIED), ("warning", {"message": "w"}),
     ("finalizing", {})]
)  # fmt: skip


@given(
    steps=st.lists(st.tuples(st.integers(0, 50), st.sampled_from([A, B]), _KINDS), max_size=12),
    shuffled=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_does_not_matter(steps: list[Any], shuffled: random.Random) -> None:
    life_ = [Step(T0 + t, source, seq, kind, data) for seq, (t, source, (kind, data)) in enumerate(steps)]
    other = list(life_)
    shuffled.shuffle(other)
    assert fold(life_) == fold(other)


def test_a_state_starts_empty() -> None:
    assert fold([]) == RunState()
