"""What a process remembers of the runs it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from runstream.spool import live_runs
from runstream_schemas.settings import Settings


def test_of_a_sweep_the_newest_runs_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_runs, "MOST_LEFT", 30)
    settings = Settings(home=str(tmp_path), spool=str(tmp_path / "spool"))
    newest: dict[str, int] = {}
    for number in range(100):
        live = live_runs.open_live(settings, f"run {number}", owner=True)
        live.start({"name": "short"})
        live.writer.log("loss", 0.5)
        live.end("complete")
        newest = live.unconfirmed()
        del live
    left = live_runs.unconfirmed(settings)
    assert len(left) <= 30
    assert newest
    assert newest.items() <= left.items()
