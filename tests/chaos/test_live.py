"""The page that stays open during a trial, against a real service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runstream.core import Experiment, Workspace

from .api import ask
from .live import Page


def test_a_page_that_reads_all_anew_finds_runs_that_left_no_notes(home: Path) -> None:
    """A trainer killed in the middle of its run's creation: found where such a run counted as a change nobody told of."""
    subprocess.run([sys.executable, "-m", "runstream", "up"], check=True, timeout=60)
    workspace = Workspace.get("default")
    runs = [Experiment(workspace, "chaos").start_logging(snapshot_directory=None) for _ in range(3)]
    for number, run in enumerate(runs):
        for step in range(number):
            run.log("int", step)
        run.complete()
        run.get_metrics()
    assert not list(home.glob("*.progress"))
    page = Page(home)
    page._told("change", {"runs": [runs[2].id]})
    assert page.shown == {runs[2].id: (2, "Completed")}
    page._told("reset", {})
    assert page.shown == {run.id: (number, "Completed") for number, run in enumerate(runs)}
    ask(home, f"/api/v1/runs/{runs[2].id}", {"force": "1"}, method="DELETE")
    page._told("reset", {})
    assert set(page.shown) == {run.id for run in runs[:2]}
