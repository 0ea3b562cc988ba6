"""Every process is killed with -9, or stopped for a while, at random moments; nothing is lost or doubled.

`CHAOS_SECONDS` and `CHAOS_SEED` change the length and repeat a trial.
"""

from __future__ import annotations

import os
import random

import pytest

from .nemesis import TRAINERS, run_trial

SECONDS = float(os.environ.get("CHAOS_SECONDS", "40"))


@pytest.mark.timeout(SECONDS + 500)
@pytest.mark.parametrize(
    "kafka", [False, pytest.param(True, marks=pytest.mark.kafka)], ids=["embedded", "kafka"]
)
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the processes to kill in /proc")
def test_every_acknowledged_value_is_there_exactly_once(
    kafka: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    with capsys.disabled():
        print(f" [CHAOS_SEED={seed}]", end="", flush=True)
    counts = run_trial(SECONDS, seed, kafka=kafka)
    assert len(counts) >= TRAINERS
    assert sum(counts.values()) > 1000


@pytest.mark.timeout(SECONDS + 500)
@pytest.mark.kafka
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the processes to kill in /proc")
def test_slow_and_broken_connections_lose_nothing_either(capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    with capsys.disabled():
        print(f" [CHAOS_SEED={seed}]", end="", flush=True)
    counts = run_trial(SECONDS / 2, seed, kafka=True, network=True)
    assert sum(counts.values()) > 1000
