"""Every process is killed, stopped or hindered at random moments; nothing is lost, doubled or impossible to a reader.

Each run of the tests takes a new seed (`tests.seeds`); `CHAOS_SECONDS` takes longer.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.seeds import SEED

from .trial import run_trial

SECONDS = float(os.environ.get("CHAOS_SECONDS", "20"))
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.mark.timeout(SECONDS + 500)
@pytest.mark.parametrize(
    ("kind", "share"),
    [
        pytest.param("embedded", 1.0, id="embedded"),
        pytest.param("kafka", 1.0, id="kafka", marks=pytest.mark.kafka),
        pytest.param("network", 0.6, id="network", marks=pytest.mark.kafka),
        pytest.param("topics", 0.6, id="topics", marks=pytest.mark.kafka),
        pytest.param(
            "disk",
            0.6,
            id="disk",
            marks=pytest.mark.skipif(not ROOT, reason="mounts a small disk, which only root can do"),
        ),
    ],
)
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the processes to kill in /proc")
def test_every_acknowledged_value_is_there_exactly_once(kind: str, share: float) -> None:
    evidence = Path(".bench", "chaos", f"tests-{kind}-{SEED}").resolve()
    counts = run_trial(SECONDS * share, SEED, kind, evidence)
    assert sum(counts.values()) > 1000
