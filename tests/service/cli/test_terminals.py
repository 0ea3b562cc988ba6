"""Commands on terminals and pipes of every kind, and with every option the original's commands take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

from runstream.core import Experiment, Run, Workspace
from runstream.printable import say, shown_json
from runstream_service.cli.main import build_parser, main

NAME = "Grüße \U0001f642"


@pytest.fixture
def named(experiment: Experiment) -> Run:
    run = experiment.start_logging(
        outputs=False, snapshot_directory=None, display_name=NAME, tags={"ort": "Köln"}
    )
    run.complete()
    run.flush()
    return run


def shell(home: Path, workspace: Workspace, line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell, in which `runstream` is this very code."""
    return subprocess.run(
        ["bash", "-c", f'runstream() {{ "{sys.executable}" -m runstream "$@"; }}; {line}'],
        env=environment(home, RUNSTREAM_WORKSPACE=workspace.name, **more),
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT,
        errors="replace",
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_letters_a_terminal_does_not_have_are_replaced(
    named: Run, served_home: Path, workspace: Workspace, encoding: str
) -> None:
    done = shell(served_home, workspace, "runstream run list -o table", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Gr" in done.stdout
    assert "?" in done.stdout
    for form in ("json", "yaml"):
        done = shell(served_home, workspace, f"runstream run list -o {form}", PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\\ud83d\\ude42" in done.stdout
    if encoding != "latin-1":
        done = shell(served_home, workspace, "runstream run list -o json", PYTHONIOENCODING=encoding)
        assert json.loads(done.stdout)[0]["display_name"] == NAME


@pytest.mark.parametrize(
    "line",
    [
        "runstream run list | true",
        "runstream run list -o json | head -c 1",
        "runstream --help | true",
        "runstream run show -r nothing 2>&1 | true",
        "runstream completion bash | true",
        "runstream sql 'select * from range(100000)' | head -n 1",
    ],
)
def test_a_pipe_that_is_closed_is_no_error(
    named: Run, served_home: Path, workspace: Workspace, line: str
) -> None:
    done = shell(served_home, workspace, f"set -o pipefail; {line}; exit ${{PIPESTATUS[0]}}")
    assert done.stderr == ""
    assert done.returncode == (0 if "nothing" not in line else done.returncode)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed(named: Run, served_home: Path, workspace: Workspace, closed: str) -> None:
    done = shell(served_home, workspace, f"runstream run list {closed}; echo $?")
    assert done.stdout.split()[-1] == "0"
    assert done.stderr == ""


def test_output_that_has_no_room_is_said(
    named: Run, served_home: Path, workspace: Workspace, tmp_path: Path
) -> None:
    done = shell(served_home, workspace, f"ulimit -f 0; runstream run list > {tmp_path}/full")
    assert (done.returncode, done.stderr) == (1, "error: File too large\n")


def test_what_the_sdk_prints_raises_on_no_stream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as narrow:
        monkeypatch.setattr(sys, "stdout", narrow)
        say(NAME)
        assert (tmp_path / "out").read_text() == "Gr??e ?\n"
    say(NAME)  # closed
    monkeypatch.setattr(sys, "stdout", None)
    say(NAME)
    assert json.loads(shown_json(json.dumps(NAME, ensure_ascii=False), "ascii")) == NAME


# --- arguments -------------------------------------------------------------------------------------------------------

GLOBAL = (
    ["-e", "test"], ["--experiment-name", "test"], ["-w", "w"], ["--workspace-name", "w"], ["-g", "g"],
    ["--resource-group", "g"], ["--path", "."], ["--subscription-id", "s"], ["--subscription", "s"], ["-o", "json"],
    ["--output", "yaml"], ["--query", "[]"], ["--debug"], ["--verbose"], ["--only-show-errors"], ["-t", "file"],
    ["--output-metadata-file", "file"],
)  # fmt: skip
COMMANDS = {
    "run list": [], "run show": ["-r", "x"], "run update": ["-r", "x"], "run delete": ["x"], "run cancel": ["-r", "x"],
    "run files": ["-r", "x"], "run download": ["-r", "x", "-d", "."], "run download-logs": ["-r", "x", "-d", "."],
    "run monitor-logs": ["-r", "x"], "run submit-script": [],
    "run submit-hyperdrive": ["--hyperdrive-configuration-name", "x"], "experiment list": [], "folder attach": [],
}  # fmt: skip


def test_the_table_of_commands_has_them_all() -> None:
    parser = build_parser()

    def below(parser: object, words: str = "") -> set[str]:
        options = set()
        for action in parser._actions:  # type: ignore[attr-defined]
            for name, command in (action.choices or {}).items() if hasattr(action.choices, "items") else ():
                options |= below(command, f"{words} {name}".strip())
        return options or {words}

    assert {words for words in below(parser) if words.split()[0] in ("run", "experiment", "folder")} == set(
        COMMANDS
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_every_global_option(command: str) -> None:
    for option in GLOBAL:
        options = build_parser().parse_args([*command.split(), *option, *COMMANDS[command]])
        assert options.command is not None


@pytest.mark.parametrize(
    "words",
    [
        ["run", "show", "-r", "\udcff"], ["run", "list", "-e", "\udcff"], ["run", "list", "-w", "\udcff"],
        ["run", "list", "--search", "\udcff"], ["run", "list", "--tags", "\udcff"], ["run", "files", "-r", "\udcff"],
        ["run", "update", "-r", "RUN", "--add-tag", "k=\udcff"], ["run", "update", "-r", "RUN", "--add-tag", "\udcff=v"],
        ["run", "update", "-r", "RUN", "--display-name", "\udcff"], ["run", "update", "-r", "RUN", "--remove-tag", "\udcff"],
        ["run", "cancel", "-r", "\udcff"], ["run", "delete", "--yes", "\udcff"], ["sql", "select '\udcff'"],
        ["run", "monitor-logs", "-r", "\udcff"], ["run", "download", "-r", "\udcff", "-d", "."],
        ["run", "list", "--query", "\udcff"], ["run", "list", "--order", "tag:\udcff"], ["token", "revoke", "\udcff"],
        ["folder", "attach", "-e", "\udcff"], ["migrate", "\udcff"], ["run", "submit-script", "\udcff.py"],
    ],
    ids=lambda words: " ".join(words).encode("ascii", "backslashreplace").decode(),
)  # fmt: skip
def test_arguments_that_are_no_unicode_are_refused_or_find_nothing(
    named: Run,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    monkeypatch.setenv("RUNSTREAM_WORKSPACE", workspace.name)
    code = main([named.id if word == "RUN" else word for word in words])
    said = capsys.readouterr()
    assert code in (0, 1)
    if code:
        assert said.err.startswith("error: ")
        assert "Traceback" not in said.err
    else:
        assert "list" in words or "sql" in words
    fresh = workspace.get_run(named.id)
    assert (fresh.display_name, fresh.tags) == (NAME, {"ort": "Köln"})
