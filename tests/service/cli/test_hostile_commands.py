"""Every command, every hostile value for each of its options and words: an exit code, and an `error:` line where it failed;
never a traceback, never a wait."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runstream.core import Experiment
from runstream_service.cli.main import COMMANDS, build_parser, main

HOSTILE = {
    "no text": "\udce9",
    "empty": "",
    "blank": " ",
    "controls": "\x1b[2J\r\n\u2028",
    "dots": "../../x",
    "pipe": "pipe",
    "loop": "loop",
    "folder": "folder",
    "long": "x" * 100_000,
    "formats": "%s{0}$HOME'\"\\",
    "negative": "-1",
    "too wide": "1e999",
    "no number": "nan",
    "pairs": "a=b=c",
    "lists": "[,;",
    "smiley": "🙃",
}
GOOD = {
    "statement": "select 1", "place": "script.py", "shell": "bash", "name": "reader", "id": "none", "script": "script.py",
    "expression": "status:Completed", "run": "RUN", "run_id": "RUN", "run_ids": "RUN",
}  # fmt: skip
ROLES = {
    "up",
    "down",
    "demo",
    "doctor",
    "open",
    "agent",
    "consumer",
    "compactor",
    "compact",
    "server",
    "sync",
}
"""They take settings only (or a run's id as `run show` does), start or end something, and stay."""
SETTINGS = "setting_"
"""How the settings are called: tried with `status` alone, they are the same everywhere."""


def _leaves(
    parser: argparse.ArgumentParser, words: list[str]
) -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words, parser
    for group in groups:
        for name, command in group.choices.items():
            yield from _leaves(command, [*words, name])


def _cases() -> Iterator[tuple[str, str]]:
    for name, _, _ in COMMANDS:
        if name in ROLES:
            continue
        for words, parser in _leaves(build_parser([name]), []):
            if words[0] != name:
                continue
            for action in parser._actions:
                settled = action.dest.startswith(SETTINGS) and name != "status"
                if action.nargs != 0 and action.dest != "help" and not settled:
                    yield " ".join(words), action.dest


@pytest.fixture
def run_id(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RUNSTREAM_WORKSPACE", experiment.workspace.name)
    Path("script.py").write_text("import azureml.core\n")
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    with experiment.start_logging(outputs=False, snapshot_directory=None) as run:
        run.log("loss", 1.0)
    return str(run.id)


def _hangs(*_: object) -> None:
    raise AssertionError("it has not answered for 20 seconds")


@pytest.mark.parametrize(("command", "option"), list(_cases()))
def test_commands(run_id: str, command: str, option: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = command.split()
    parser = next(parser for path, parser in _leaves(build_parser(words), []) if path == words)
    signal.signal(signal.SIGALRM, _hangs)
    try:
        for what, value in HOSTILE.items():
            line = [*words]
            for action in parser._actions:
                good = GOOD.get(action.dest, "x").replace("RUN", run_id)
                given = value if action.dest == option else good
                if not action.option_strings:
                    line.append(given)
                elif action.dest == option or action.required:
                    line.append(f"{action.option_strings[-1]}={given}")
            signal.alarm(20)
            try:
                code = main(line)
            except SystemExit as ended:  # argparse's own
                code = int(ended.code or 0)
            finally:
                signal.alarm(0)
            printed = capfd.readouterr()
            of_shells = (126, 127) if command == "exec" else ()
            assert code in (0, 1, 2, 3, *of_shells), f"{what}: exit code {code}"
            assert "Traceback" not in printed.err, f"{what}: {printed.err[-2000:]!a}"
            assert code in (0, 3) or "error:" in printed.err, (
                f"{what}: exit code {code}, {printed.err[-300:]!a}"
            )
            assert len(printed.err) < 20_000, f"{what}: {len(printed.err)} letters of error"
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
