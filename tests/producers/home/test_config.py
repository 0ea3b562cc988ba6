"""`Workspace.from_config`: where it looks, and which shapes it reads."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest

from runstream.core import Workspace
from runstream.exceptions import AzureMLException, UserErrorException
from runstream_schemas.settings import Settings
from runstream_service.cli.settings import settings_of

NAMED = {"subscription_id": "s", "resource_group": "g", "workspace_name": "named"}
SCOPE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/scoped/projects/e"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNSTREAM_HOME", str(tmp_path / "home"))
    for name in ("RUNSTREAM_URL", "RUNSTREAM_TOKEN", "RUNSTREAM_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (NAMED, ("named", "s", "g")),
        ({"Id": None, "Scope": SCOPE}, ("scoped", "s", "g")),
        ({"workspace": "ours"}, ("ours", "local", "local")),
    ],
)
@pytest.mark.parametrize(
    "place", [".runstream/config.json", ".azureml/config.json", "aml_config/project.json", "config.json"]
)
def test_shapes_and_places(
    tmp_path: Path, content: dict[str, Any], expected: tuple[str, str, str], place: str
) -> None:
    write(tmp_path / "project" / place, content)
    workspace = Workspace.from_config(tmp_path / "project")
    assert (workspace.name, workspace.subscription_id, workspace.resource_group) == expected


def test_a_parents_folder_wins_over_a_plain_file_here(tmp_path: Path) -> None:
    write(tmp_path / ".azureml" / "config.json", NAMED)
    write(tmp_path / "below" / "config.json", {**NAMED, "workspace_name": "plain"})
    assert Workspace.from_config(tmp_path / "below").name == "named"


def test_the_nearest_of_one_kind_wins(tmp_path: Path) -> None:
    write(tmp_path / ".azureml" / "config.json", NAMED)
    write(tmp_path / "below" / ".azureml" / "config.json", {**NAMED, "workspace_name": "near"})
    assert Workspace.from_config(tmp_path / "below").name == "near"


def test_a_config_json_of_another_tool_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "below" / "config.json", {"hidden_size": 768})
    write(tmp_path / "config.json", NAMED)
    assert Workspace.from_config(tmp_path / "below").name == "named"


def test_a_file_given(tmp_path: Path) -> None:
    assert Workspace.from_config(write(tmp_path / "any.json", NAMED)).name == "named"


def test_settings_in_the_file_reach_the_workspace_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "c.json", {**NAMED, "url": "http://here:1", "local_runs": 3})
    workspace = Workspace.from_config(file)
    assert (workspace._settings.url, workspace._settings.local_runs) == ("http://here:1", 3)
    monkeypatch.setenv("RUNSTREAM_URL", "http://there:2")
    assert Workspace.from_config(file)._settings.url == "http://there:2"


@pytest.mark.attack
def test_a_projects_file_does_not_say_where_data_and_secrets_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = {
        "home": "/tmp/theirs", "host": "0.0.0.0", "store": "s3://theirs", "database": "postgresql://theirs/x",
        "token": "theirs", "kafka": "theirs:9092", "spool": "/tmp/s",
    }  # fmt: skip
    file = write(tmp_path / ".runstream" / "config.json", {"workspace": "ours", **hostile})
    workspace = Workspace.from_config(tmp_path)
    default = Settings.load()
    assert workspace.name == "ours"
    assert {name: getattr(workspace._settings, name) for name in hostile} == {
        name: getattr(default, name) for name in hostile
    }
    said = capsys.readouterr().err
    assert (
        f"{file}: database, home, host, kafka, spool, store, token are not taken from a project's file"
        in said
    )
    assert "set RUNSTREAM_DATABASE, RUNSTREAM_HOME" in said


@pytest.mark.attack
def test_a_token_from_the_environment_is_not_for_an_address_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNSTREAM_TOKEN", "s3cret")
    file = write(tmp_path / "config.json", {**NAMED, "url": "http://theirs:1"})
    settings = Workspace.from_config(tmp_path)._settings
    assert (settings.url, settings.token) == ("http://theirs:1", "")
    assert f"RUNSTREAM_TOKEN is not sent to http://theirs:1, which {file} names" in capsys.readouterr().err
    monkeypatch.setenv("RUNSTREAM_URL", "http://theirs:1")
    assert Workspace.from_config(tmp_path)._settings.token == "s3cret"
    options = argparse.Namespace(path=str(tmp_path), setting_token="given")
    monkeypatch.delenv("RUNSTREAM_URL")
    assert settings_of(options).token == "given"
    assert settings_of(argparse.Namespace(path=str(tmp_path))).token == ""


@pytest.mark.attack
def test_a_file_of_another_user_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / ".azureml" / "config.json", NAMED)
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4711)  # as if we were somebody else
    if os.getuid() == 0:
        os.chown(file, 4712, 4712)
    monkeypatch.chdir(below)
    assert Workspace.from_config().name == "default"
    said = capsys.readouterr().err
    assert f"{file} belongs to another user and is not used" in said
    assert f"set RUNSTREAM_SAFE_DIRECTORY={file.parent}" in said
    with pytest.raises(UserErrorException, match="could not be found"):
        Workspace.from_config(below)
    assert Workspace.from_config(file).name == "named"  # to name it is to say so
    for safe in (str(tmp_path), f"/elsewhere:{file.parent}", "*"):
        monkeypatch.setenv("RUNSTREAM_SAFE_DIRECTORY", safe)
        assert Workspace.from_config().name == "named"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"hidden_size": 1}'])
def test_an_explicit_file_of_another_shape_is_refused(tmp_path: Path, content: str) -> None:
    file = write(tmp_path / "c.json", content)
    with pytest.raises(AzureMLException, match=r"c\.json") as refused:
        Workspace.from_config(file)
    assert isinstance(refused.value, UserErrorException)


def test_an_explicit_path_holding_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserErrorException, match=r"config\.json, could not be found"):
        Workspace.from_config(tmp_path)


def test_none_found_takes_the_local_workspace_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Workspace.from_config().name == "default"
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "local workspace 'default'" in line


def test_what_write_config_writes_is_found_again(tmp_path: Path) -> None:
    Workspace("s", "g", "mine").write_config(tmp_path)
    assert json.loads((tmp_path / ".runstream" / "config.json").read_text())["Id"] is None
    workspace = Workspace.from_config(tmp_path)
    assert (workspace.name, workspace.subscription_id, workspace.resource_group) == ("mine", "s", "g")


def test_arguments_in_any_order() -> None:
    workspace = Workspace(workspace_name="w", resource_group="g", subscription_id="s")
    assert repr(workspace) == "Workspace.create(name='w', subscription_id='s', resource_group='g')"
