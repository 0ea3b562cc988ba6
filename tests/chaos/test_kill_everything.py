"""Every process is killed, stopped or hindered at random moments; nothing is lost, doubled or impossible to a reader.

Each run of the tests takes new seeds and prints them; `CHAOS_SEED` repeats one, `CHAOS_SECONDS` takes longer.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from .trial import TRAINERS, run_trial

SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.mark.timeout(SECONDS + 500)
@pytest.mark.parametrize(
    ("kind", "share"),
    [
        pytest.param("embedded", 1.0, id="embedded"),
        pytest.param("kafka", 1.0, id="kafka", marks=pytest.mark.kafka),
        pytest.param("network", 0.5, id="network", marks=pytest.mark.kafka),
        pytest.param("topics", 0.5, id="topics", marks=pytest.mark.kafka),
        pytest.param(
            "disk", 0.5, id="disk",
            marks=pytest.mark.skipif(not ROOT, reason="mounts a small disk, which only root can do"),
        ),
    ],
)  # fmt: skip
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the processes to kill in /proc")
def test_every_acknowledged_value_is_there_exactly_once(
    kind: str, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    with capsys.disabled():
        print(f" [CHAOS_SEED={seed}]", end="", flush=True)
    evidence = Path(".bench", "chaos", f"tests-{kind}-{seed}").resolve()
    counts = run_trial(SECONDS * share, seed, kind, evidence)
    assert len(counts) >= TRAINERS
    assert sum(counts.values()) > 1000
