"""What a process remembers of the runs it wrote, and what it does about them when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.producers.reading import drain, settings_for, steps_of_life

from runstream.spool import live_runs
from runstream.spool.collecting.collector import Collector
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


def test_what_is_recorded_by_a_writer_alone_is_waited_for(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path), spool=str(tmp_path / "spool"))
    writer = live_runs.open_live(settings, "made and let go").writer
    writer.status("create", {"experiment": "e"})
    live = live_runs.find_live(settings, "made and let go")
    assert live is not None
    assert [key.partition(".")[2] for key in live.unconfirmed()] == ["status@made%20and%20let%20go"]
    log = live_runs.open_live(settings, "logged to").writer.log
    log("loss", 0.5)
    waits = live_runs.unconfirmed(settings)
    assert live.unconfirmed().items() <= waits.items()
    assert [end for key, end in waits.items() if key.endswith("@logged%20to")] == [3]


_OPEN = """
import os, signal, sys
from runstream_schemas.settings import Settings
from runstream.spool.live_runs import open_live
live = open_live(Settings.load({}, spool=sys.argv[1]), "run", owner=True)
live.start({"experiment": "e"})
live.writer.log("x", 1)
"""

_KEPT = {
    "in a global": "",
    "in a module that goes last": "import builtins; builtins.kept = live; del live\n",
    "in a cycle": "class Cycle: pass\ncycle = Cycle(); cycle.self, cycle.live = cycle, live; del cycle, live\n",
    "by a second writer": "other = open_live(live.settings, 'other'); other.writer.log('x', 1)\n",
}

_ENDS = {
    "its last line": ("", 0, ""),
    "an exception": ("raise ValueError('meant')", 1, "ValueError: meant"),
    "sys.exit": ("sys.exit('meant')", 1, "meant"),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT)", -2, "KeyboardInterrupt"),
}


def _run(directory: Path, body: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _OPEN + body, str(directory)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60
    )


@pytest.mark.parametrize("kept", _KEPT)
@pytest.mark.parametrize("how", _ENDS)
def test_a_program_that_leaves_a_run_open_ends_it_and_prints_nothing(
    directory: Path, how: str, kept: str
) -> None:
    line, code, said = _ENDS[how]
    program = _run(directory, _KEPT[kept] + line)
    assert "ignored" not in program.stderr
    assert (program.returncode, *program.stderr.splitlines()[-1:]) == (code, *([said] if said else []))
    steps = steps_of_life(drain(Collector(settings_for(directory))))
    assert {run: kind for run, kind, _ in steps if run == "run"} == {"run": "fail" if code else "complete"}


def test_a_run_whose_end_was_interrupted_is_ended_as_the_program_ends(directory: Path) -> None:
    body = (
        "status = live.writer.status\n"
        "def interrupted(kind): raise KeyboardInterrupt\nlive.writer.status = interrupted\n"
        "try: live.end('complete')\nexcept KeyboardInterrupt: live.writer.status = status\n"
    )
    assert _run(directory, body).returncode == 0
    kinds = [kind for _, kind, _ in steps_of_life(drain(Collector(settings_for(directory))))]
    assert kinds == ["create", "start", "complete"]
