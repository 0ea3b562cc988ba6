"""A home made by an earlier runstream goes on without a step: what lay in it, unread, is stored and read by this one.

`golden/home-of-schema-19.tar.gz` was written by the runstream whose newest migration is 0019, with no service running: one
run that has ended, one whose process was killed, each with every kind of record, and the bytes of a medium in the outbox.
(Databases of before: tests/schemas and tests/query.)
"""

from __future__ import annotations

import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from tests.producers.conftest import serve

from runstream.core import Experiment, Run, Workspace

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("home-*.tar.gz")))
def test_what_lay_unread_in_a_home_of_before_is_all_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="rs-old-", ignore_cleanup_errors=True) as place:
        with tarfile.open(GOLDEN / name) as archive:
            archive.extractall(place)  # our own, and 3.11 had no filter at first
        home = Path(place) / "home"
        monkeypatch.setenv("RUNSTREAM_HOME", str(home))
        with serve(home):
            experiment = Experiment(Workspace.get("default"), "before")
            runs = {run.display_name: run for run in experiment.get_runs()}
            assert runs.keys() == {"ended", "killed"}
            for run in runs.values():
                assert_whole(run)
            assert runs["ended"].get_status() == "Completed"
            assert ends_as(runs["killed"], "Failed")


def assert_whole(run: Run) -> None:
    metrics = run.get_metrics()
    assert metrics["loss"] == [1 / (step + 1) for step in range(200)]
    assert metrics["count"] == list(range(200))
    assert metrics["said"] == "words"
    assert metrics["scores"] == {"who": ["a", "b"], "score": [1.5, 2.5]}
    assert metrics["wide"] == np.arange(1000.0).tolist()
    assert run.get_params() == {"lr": 0.1, "layers": 3}
    assert run.get_tags() == {"team": "vision"}
    (histogram,) = run.get_histograms("weights")
    assert (histogram.step, histogram.count, sum(histogram.counts)) == (4, 100, 100)
    (page,) = run.get_media("page")
    assert (page.step, page.read()) == (2, b"<b>bold</b>")


def ends_as(run: Run, status: str) -> bool:
    """Whether the run gets to a status: a death is noticed after a moment."""
    deadline = time.monotonic() + 30
    while run.get_status() != status and time.monotonic() < deadline:
        time.sleep(0.1)
    return run.get_status() == status
