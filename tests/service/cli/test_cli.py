"""The command line as a user meets it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runstream_schemas.settings import PATHS, SECRETS, Settings
from runstream_service.cli.main import build_parser, main
from runstream_service.cli.settings import settings_of

if TYPE_CHECKING:
    from conftest import Shell

COMMANDS = (
    "up", "down", "status", "open", "doctor", "demo", "sql", "run", "experiment", "folder", "migrate", "completion", "token",
    "sync", "compact", "agent", "consumer", "compactor", "server",
)  # fmt: skip


def test_help_teaches(shell: Shell) -> None:
    said = shell.run("--help").stdout
    for command in COMMANDS:
        assert f"\n    {command}" in said
    for lesson in ("start_logging", "runstream doctor", "RUNSTREAM_HOME", "SELECT"):
        assert lesson in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "usage: runstream " + command in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["run"], ["experiment"], ["folder"]])
def test_no_command_shows_the_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "commands" in capsys.readouterr().out


def test_help_loads_nothing_heavy(shell: Shell) -> None:
    code = (
        "import sys; from runstream_service.cli.main import build_parser; build_parser().format_help(); "
        "print([m for m in ('asyncio', 'numpy', 'aiokafka', 'uvloop', 'http.client', 'msgpack', "
        "'rich', 'jmespath', 'argcomplete') if m in sys.modules])"
    )
    assert shell.python(code).stdout.strip() == "[]"


def test_a_command_line_loads_the_commands_it_names_and_no_others(shell: Shell) -> None:
    code = (
        "import sys; from runstream_service.cli.main import build_parser; build_parser({words}).format_help(); "
        "print([m for m in ('runs', 'submit', 'service', 'roles', 'sql') if f'runstream_service.cli.{{m}}' in sys.modules])"
    )
    loaded = {
        words: shell.python(code.format(words=words.split())).stdout.strip() for words in ("--help", "sql x")
    }
    assert loaded == {"--help": "[]", "sql x": "['sql']"}
    assert shell.python(code.format(words=["run", "list"])).stdout.strip() == "['runs', 'submit']"


def test_every_command_is_in_the_help_without_being_loaded() -> None:
    assert build_parser(["--help"]).format_help() == build_parser().format_help()


def test_the_shell_completes_words_of_the_command_it_has(shell: Shell, tmp_path: Path) -> None:
    def completed(line: str) -> set[str]:
        answer = tmp_path / "answer"
        shell.variables |= {
            "_ARGCOMPLETE": "1",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        }
        shell.run(check=False)
        return {word.strip() for word in answer.read_text().splitlines()}

    assert {"run", "sql", "doctor"} <= completed("runstream ")
    assert completed("runstream run sh") == {"show"}
    assert completed("runstream run show --only") == {"--only-show-errors"}
    assert completed("runstream token create x --role ") == {"read", "write", "admin"}


@pytest.mark.parametrize("command", ["up", "agent", "consumer", "compactor", "server"])
def test_every_setting_is_an_option(command: str) -> None:
    words = [command]
    instead = {f"{name}_file" for name in SECRETS}  # a secret is given, or the file that holds it
    for item in fields(Settings):
        option = "--" + item.name.replace("_", "-")
        if item.name in instead:
            assert build_parser([command]).parse_args([command, option, "/text"])
            continue
        words += (
            [option] if item.default is True or item.default is False else [option, _sample(item.default)]
        )
    settings = settings_of(build_parser().parse_args(words))
    for item in (item for item in fields(Settings) if item.name not in instead):
        sample = _sample(item.default)
        expected = os.path.abspath(sample) if item.name in PATHS else sample
        assert str(getattr(settings, item.name)) in (expected, "True"), item.name


def _sample(default: object) -> str:
    return {int: "7", float: "7.5"}.get(type(default), "/text")


def test_option_wins_over_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_PORT", "1")
    assert settings_of(argparse.Namespace()).port == 1
    assert settings_of(build_parser().parse_args(["up", "--port", "2"])).port == 2
    assert settings_of(build_parser().parse_args(["up", "--no-autostart"])).autostart is False


def test_bad_values_are_named(shell: Shell) -> None:
    done = shell.run("status", "--log-level", "x", check=False)
    assert done.returncode == 3
    done = shell.run("up", "--port", "many", check=False)
    assert done.returncode == 1
    assert done.stderr == "error: port='many': expected a whole number\n"


def test_roles_without_their_servers_say_what_to_set(shell: Shell) -> None:
    assert "RUNSTREAM_KAFKA" in shell.run("agent", check=False).stderr
    for role in ("consumer", "compactor", "server"):
        done = shell.run(role, check=False)
        assert done.returncode == 1
        assert "RUNSTREAM_DATABASE" in done.stderr
        assert "Traceback" not in done.stderr


def test_sync_of_nothing_is_named(shell: Shell) -> None:
    done = shell.run("sync", "/nowhere/at/all", check=False)
    assert done.returncode == 1
    assert "/nowhere/at/all is no directory" in done.stderr


def test_down_without_a_service_is_no_error(shell: Shell) -> None:
    assert "nothing runs" in shell.run("down").stdout
    assert not shell.root.exists()


def test_doctor_before_the_first_use(shell: Shell) -> None:
    findings = {item["check"]: item for item in shell.json("doctor")}
    assert findings["service"]["result"] == "note"
    assert findings["home"]["result"] == "ok"
    assert not shell.root.exists()


def test_doctor_names_what_is_away(shell: Shell) -> None:
    shell.variables |= {
        "RUNSTREAM_URL": "http://127.0.0.1:9",
        "RUNSTREAM_DATABASE": "postgresql://me:secret@127.0.0.1:9/x",
        "RUNSTREAM_KAFKA": "127.0.0.1:9",
    }
    done = shell.run("doctor", check=False)
    assert done.returncode == 1
    for remedy in ("check RUNSTREAM_URL", "RUNSTREAM_DATABASE is right", "check RUNSTREAM_KAFKA"):
        assert remedy in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_reader_that_has_enough_is_no_error(shell: Shell) -> None:
    done = subprocess.run(
        f"{sys.executable} -m runstream up --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
        env=shell.environment(),
        timeout=30,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_config_file_is_read_below_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".runstream").mkdir()
    (tmp_path / ".runstream" / "config.json").write_text(
        '{"workspace_name": "team", "url": "http://a:1", "local_runs": 7}'
    )
    below = tmp_path / "deeper" / "down"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.delenv("RUNSTREAM_HOME", raising=False)
    settings = settings_of(argparse.Namespace())
    assert (settings.workspace, settings.url, settings.local_runs) == ("team", "http://a:1", 7)
    monkeypatch.setenv("RUNSTREAM_LOCAL_RUNS", "8")
    assert settings_of(argparse.Namespace()).local_runs == 8
    assert settings_of(build_parser().parse_args(["up", "--home", "/y"])).home == "/y"
