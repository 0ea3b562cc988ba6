"""The chaos would notice: what a run that is rewound shows is told apart from all it had after some number of calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from tests.seeds import SEED

from .branch_checks import Branching, check_values
from .branching import FORK_VALUE, NAMES, History, Script, Vectors
from .ways import Wrong

CALLS = 3000


def _listed(script: Script, calls: int, begins_with: Vectors | None = None) -> Vectors:
    """By plain lists, what a run shows after so many calls."""
    points = [
        [name, step, value, 0] for (name, _), shown in (begins_with or {}).items() for step, value in shown
    ]
    rewinds = 0
    for number, call in enumerate(islice(script.calls(), calls)):
        if call.name in NAMES:
            points.append([call.name, call.step, number + (FORK_VALUE if begins_with else 0), 0])
        elif not call.name:
            rewinds += 1
            for point in points:
                if not point[3] and point[1] > call.step:
                    point[3] = rewinds
    vectors: Vectors = {}
    for name, step, value, branch in points:
        vectors.setdefault((name, branch), []).append((step, value))
    return vectors


@pytest.mark.parametrize("calls", [0, 1, 500, 2999])
def test_a_history_is_what_lists_have(calls: int) -> None:
    script = Script(SEED, 400, forks=True)
    history = History(script)
    history.reach(CALLS)
    assert history.vectors(calls) == _listed(script, calls)
    assert history.logged(calls) == sum(map(len, history.vectors(calls).values()))


def test_a_fork_begins_with_what_the_other_run_showed(tmp_path: Path) -> None:
    script = Script(SEED, 400, forks=True)
    fork = script.fork(1, 2000, 300)
    shown = History(script).vectors(2000, former=False)
    begins_with = {key: [point for point in points if point[0] <= 300] for key, points in shown.items()}
    assert History(fork).vectors(0) == {key: points for key, points in begins_with.items() if points}
    assert History(fork).vectors(900) == _listed(fork, 900, begins_with)
    fork.write(tmp_path / "fork.script")
    assert Script.read(tmp_path / "fork.script") == fork
    assert len(json.loads((tmp_path / "fork.script").read_text())) == 4


def test_a_fork_that_shows_nothing_may_be_gone_or_not_there_yet() -> None:
    """Others showed nothing for a while because all was rewound: found where a deleted fork counted as one of these."""
    emptied = 0
    for seed in range(40):
        fork = Script(seed, 400, forks=True).fork(1, 2000, 3)
        history = History(fork)
        assert history.vectors(0)
        emptied += any(not history.vectors(calls, former=False) for calls in range(1, 300))
        for gaps in (False, True):
            assert Branching(fork).check({}, 300, gaps=gaps).least == 0
    assert emptied, "a rewind cuts all off"


def _rewound(calls: int) -> tuple[Branching, Vectors]:
    """A run with a former branch, and what it shows."""
    program = Branching(Script(1, 400))
    return program, History(program.script).vectors(calls)


def _move_last(vectors: Vectors) -> None:
    """The last value that a rewind cut off is still visible."""
    former = next(key for key in vectors if key[1])
    vectors[former[0], 0] = sorted(
        [*vectors.get((former[0], 0), []), vectors[former].pop()], key=lambda p: p[1]
    )


def _double(vectors: Vectors) -> None:
    former = next(key for key in vectors if key[1])
    vectors.setdefault((former[0], 0), []).insert(0, vectors[former][0])


def _lose(vectors: Vectors) -> None:
    vectors[next(key for key in vectors if key[1])].pop(0)


def _step(vectors: Vectors) -> None:
    key = next(iter(vectors))
    vectors[key][3] = (vectors[key][3][0] + 1, vectors[key][3][1])


def _forget(vectors: Vectors) -> None:
    del vectors[next(key for key in vectors if key[1])]


DAMAGE: dict[str, Callable[[Vectors], None]] = {
    "still visible": _move_last,
    "on two branches": _double,
    "lost on a former branch": _lose,
    "another step": _step,
    "a former branch is gone": _forget,
}


@pytest.mark.parametrize("what", list(DAMAGE))
def test_what_cannot_be_is_noticed(what: str) -> None:
    program, vectors = _rewound(CALLS)
    assert any(branch for _, branch in vectors)
    seen = program.check(vectors, CALLS + 500, gaps=False)
    assert seen.least <= CALLS <= seen.most
    program.check(vectors, CALLS, gaps=True)
    DAMAGE[what](vectors)
    with pytest.raises(Wrong):
        program.check(vectors, CALLS + 500, gaps=False)
    # Where values and rewinds may be missing, a value is once and as it was logged all the same.
    if what in ("on two branches", "another step"):
        with pytest.raises(Wrong):
            program.check(vectors, CALLS, gaps=True)


def test_more_than_was_logged_is_noticed() -> None:
    program, vectors = _rewound(CALLS)
    with pytest.raises(Wrong):
        program.check(vectors, CALLS - 500, gaps=False)


def test_a_fork_of_a_run_that_a_full_disk_kept_from_rewinding_begins_with_more() -> None:
    """Its values are told by number and by step; where nothing may be missing, it is noticed."""
    script = Script(1, 400)
    calls = next(n for n in range(CALLS) if any(branch for _, branch in History(script).vectors(n)))
    fork = script.fork(1, calls, 1 << 20)
    program = Branching(fork)
    more: Vectors = {}
    for (name, _), points in sorted(History(script).vectors(calls).items()):
        more[name, 0] = sorted([*more.get((name, 0), []), *points], key=lambda point: point[1])
    values = {key: [value for _, value in points] for key, points in more.items()}
    assert program.check(more, 10, gaps=True).least == check_values(program, values, 10, gaps=True).least == 1
    with pytest.raises(Wrong):
        program.check(more, 10, gaps=False)
