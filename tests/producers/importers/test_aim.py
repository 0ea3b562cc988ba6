"""`runstream import aim` where there is no Aim, or no repository: it says what to do. What it reads: heavy.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runstream.core import Workspace
from runstream.importers.aim import series_name
from tests.producers.conftest import environment


def importing(
    home: Path, workspace: Workspace, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runstream", "import", "aim", *words, "--workspace", workspace.name]
    return subprocess.run(
        command,
        env=environment(home, PYTHONWARNINGS="default", **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("what", ["nothing", "a folder"])
def test_what_is_no_repository_is_said(
    what: str, served_home: Path, workspace: Workspace, tmp_path: Path
) -> None:
    place = tmp_path / "gone" if what == "nothing" else tmp_path
    done = importing(served_home, workspace, str(place))
    assert done.returncode == 1
    assert f"{place}: there is no .aim in it; name the folder that `aim init` was called in" in done.stderr


def test_without_aim_it_is_said_how_to_get_it(
    served_home: Path, workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / ".aim").mkdir()
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "aim.py").write_text("import a_part_of_aim_that_is_not_there\n")
    path = f"{modules}:{environment(served_home)['PYTHONPATH']}"
    done = importing(served_home, workspace, str(tmp_path), PYTHONPATH=path)
    assert done.returncode == 1
    assert "which cannot be imported (No module named 'a_part_of_aim_that_is_not_there')" in done.stderr
    assert "`pip install aim` brings it for Python 3.11 and 3.12" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["", ".aim"])
def test_a_repository_that_aim_cannot_open_is_said(
    name: str, served_home: Path, workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / ".aim").mkdir()
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "aim.py").write_text(
        "class Repo:\n"
        "    @staticmethod\n"
        "    def from_path(path):\n"
        "        raise RuntimeError('of a newer version')\n"
    )
    path = f"{modules}:{environment(served_home)['PYTHONPATH']}"
    done = importing(served_home, workspace, str(tmp_path / name), PYTHONPATH=path)
    assert done.returncode == 1
    assert f"{tmp_path}: Aim cannot open this repository (of a newer version)" in done.stderr


@pytest.mark.parametrize(
    ("context", "name"),
    [
        ({}, "loss"),
        ({"subset": "val", "fold": 1}, "loss {fold=1, subset=val}"),
        ({"fold": "1"}, 'loss {fold="1"}'),
        ({"deep": {"a": [True, None]}}, 'loss {deep={"a": [true, null]}}'),
    ],
)
def test_a_context_is_part_of_the_name_and_no_two_have_one(context: dict[str, object], name: str) -> None:
    assert series_name("loss", context) == name
