"""Secrets by files: each can be given that way, one way at a time, and is handed on by the file's name."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

from runstream.core import Workspace
from runstream.home.autostart import environment
from runstream.home.workspace_config import settings_with
from runstream_schemas.errors import SettingsError
from runstream_schemas.settings import PREFIX, SECRETS, Settings, read_config

pytestmark = pytest.mark.attack


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("postgresql://u:p@h/d\n")
    file.chmod(0o400)
    return file


@pytest.mark.parametrize("name", SECRETS)
def test_each_secret_can_lie_in_a_file(name: str, secret: Path) -> None:
    settings = Settings.load({f"{PREFIX}{name.upper()}_FILE": str(secret)})
    assert getattr(settings, name) == "postgresql://u:p@h/d"
    assert getattr(Settings.load({}, **{f"{name}_file": str(secret)}), name) == "postgresql://u:p@h/d"


def test_every_setting_that_is_a_secret_is_one_of_them() -> None:
    named = {
        item.name
        for item in fields(Settings)
        if any(word in item.name for word in ("token", "password", "secret"))
    }
    assert named - {"allow_no_token"} <= {*SECRETS, *(f"{name}_file" for name in SECRETS)}


def test_one_way_at_a_time_and_the_nearer_one_wins(secret: Path) -> None:
    by_file, plain = {"RUNSTREAM_TOKEN_FILE": str(secret)}, {"RUNSTREAM_TOKEN": "plain"}
    with pytest.raises(
        SettingsError, match="RUNSTREAM_TOKEN and RUNSTREAM_TOKEN_FILE are both set; leave one of them"
    ):
        Settings.load(by_file | plain)
    with pytest.raises(SettingsError, match="token and token_file are both set"):
        Settings.load({}, token="a", token_file=str(secret))
    assert Settings.load(by_file, token="by hand").token == "by hand"
    assert Settings.load(plain, token_file=str(secret)).token == "postgresql://u:p@h/d"


def test_what_is_no_secret_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(SettingsError, match=r"RUNSTREAM_TOKEN_FILE=.*/secret: cannot be read \(No such file"):
        Settings.load({"RUNSTREAM_TOKEN_FILE": str(file)})
    for content in (b"", b"\n", b"two\nlines\n", b"\xff", b"a\0b", b"x" * 70_000):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match="expected a file with one line, which is the secret"):
            Settings.load({"RUNSTREAM_TOKEN_FILE": str(file)})
    with pytest.raises(SettingsError, match="name a file that holds the secret"):
        Settings.load({"RUNSTREAM_TOKEN_FILE": str(tmp_path)})
    file.write_text("a-token")
    file.chmod(0o666)
    with pytest.raises(
        SettingsError, match="anyone may write to this file, and so choose the secret; chmod 600 it"
    ):
        Settings.load({"RUNSTREAM_TOKEN_FILE": str(file)})


def test_processes_are_given_the_files_name_and_other_machines_the_secret(secret: Path) -> None:
    settings = Settings.load({"RUNSTREAM_TOKEN_FILE": str(secret)})
    handed_on = environment(settings)
    assert handed_on["RUNSTREAM_TOKEN_FILE"] == str(secret)
    assert handed_on["RUNSTREAM_TOKEN"] == ""
    # Also to those whose environment gives it the other way.
    assert Settings.load({"RUNSTREAM_TOKEN": "another"} | settings.environment()).token == settings.token
    plain = Settings.load({"RUNSTREAM_TOKEN": "plain"}).environment()
    assert Settings.load({"RUNSTREAM_TOKEN_FILE": str(secret)} | plain).token == "plain"
    assert Settings.load(handed_on) == replace(settings, home=handed_on["RUNSTREAM_HOME"])
    elsewhere = settings.with_secrets_in_place().environment()
    assert (elsewhere["RUNSTREAM_TOKEN"], elsewhere["RUNSTREAM_TOKEN_FILE"]) == ("postgresql://u:p@h/d", "")


def test_a_path_is_seen_from_where_the_program_began(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNSTREAM_TOKEN_FILE", "secret")
    assert Settings.load().token_file == str(secret)
    monkeypatch.chdir("/")
    assert (Settings.load().token, os.environ["RUNSTREAM_TOKEN_FILE"]) == (
        "postgresql://u:p@h/d",
        str(secret),
    )


def test_a_projects_file_names_no_secret_and_gets_none(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"token_file": "/etc/passwd", "url": "http://elsewhere.example"}')
    assert read_config(file) == ({"url": "http://elsewhere.example"}, ["token_file"])
    monkeypatch.setenv("RUNSTREAM_TOKEN_FILE", str(secret))
    settings = settings_with(file, {})
    assert (settings.url, settings.token, settings.token_file) == ("http://elsewhere.example", "", "")


def test_the_sdk_asks_with_it(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("RUNSTREAM_TOKEN_FILE", str(secret))
    assert Workspace(workspace_name="w")._settings.token == "postgresql://u:p@h/d"
