"""The protocol holds in every order of its steps, and each of its safeguards is needed."""

from __future__ import annotations

import pytest

from tests.seeds import SEED

from .state import Broken
from .world import World, run_schedules

SCHEDULES = 1500
"""In the test run; `python -m tests.simulation --schedules 200000` runs as many as you have time for."""


def test_no_schedule_loses_doubles_or_settles_early() -> None:
    seed = run_schedules(SEED, SCHEDULES)
    assert seed is None, f"python -m tests.simulation --schedules 1 --seed {seed}"


@pytest.mark.parametrize("safeguard", list(Broken), ids=lambda safeguard: safeguard.name.lower())
def test_each_safeguard_is_missed(safeguard: Broken) -> None:
    assert run_schedules(0, 3000, frozenset({safeguard})) is not None


def test_a_seed_repeats_its_schedule() -> None:
    def ends(seed: int) -> tuple[int, dict[tuple[str, int], int]]:
        world = World(seed)
        world.run()
        return world.now, world.database.offsets

    assert ends(7) == ends(7)
    assert ends(7) != ends(8)
