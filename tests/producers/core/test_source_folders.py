"""What of a source folder is copied and what stays behind; what can be no source."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.producers.core.submitting import DRIVER, text

from runstream.client.source_folder import IgnoreRules, copy_source
from runstream.core import Experiment, ScriptRunConfig
from runstream.exceptions import (
    SnapshotException,
)


def test_ignored_files_stay_behind(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    config = source("import os\nfor d, _, fs in os.walk('.'):\n  for f in fs: print(os.path.join(d, f)[2:])")
    project = tmp_path / "project"
    for name in ("data/big.bin", "data/keep.bin", "a.tmp", "sub/b.tmp", ".git/config", "c.py"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).touch()
    (project / ".amlignore").write_text("# what is large\n*.tmp\ndata/*\n!data/keep.bin\n.git/\n")
    (project / ".gitignore").write_text("c.py\n")
    (project / "link").symlink_to("/etc/hostname")
    run = experiment.submit(config)
    run.wait_for_completion()
    assert sorted(text(run, DRIVER, tmp_path).split()) == [
        ".amlignore",
        ".gitignore",
        "c.py",
        "data/keep.bin",
        "train.py",
    ]


def test_the_home_is_not_part_of_a_project_it_lies_in(tmp_path: Path) -> None:
    for name in ("train.py", "home/store/x", "home/runs/1/code/train.py", "homely/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    copied = tmp_path / "home" / "runs" / "2"
    assert copy_source(tmp_path, copied, tmp_path / "home") == 2
    assert sorted(path.name for path in copied.rglob("*") if path.is_file()) == ["train.py", "y"]


@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("*.pyc", "a/b.pyc", True),
        ("/a.py", "b/a.py", False),
        ("/a.py", "a.py", True),
        ("doc/*.txt", "doc/a.txt", True),
        ("doc/*.txt", "doc/sub/a.txt", False),
        ("**/tmp", "a/b/tmp", True),
        ("a/**/z", "a/z", True),
        ("a/**", "a/b/c", True),
        ("[ab].x", "b.x", True),
        ("[!ab].x", "b.x", False),
        ("\\#odd", "#odd", True),
        ("# comment", "# comment", False),
        ("dir/", "dir", False),  # a file of that name
    ],
)
def test_patterns_of_ignore_files(tmp_path: Path, pattern: str, path: str, ignored: bool) -> None:
    (tmp_path / ".amlignore").write_text(pattern + "\n")
    assert bool(IgnoreRules.read(tmp_path).said_of(path, False)) is ignored


@pytest.mark.attack
@pytest.mark.parametrize("folder", ["/", "~"])
def test_a_home_and_the_root_are_no_source(experiment: Experiment, folder: str) -> None:
    config = ScriptRunConfig(folder, command=["true"])
    with pytest.raises(SnapshotException, match="is a home directory or the root, no source folder"):
        experiment.submit(config)
    run = experiment.start_logging(snapshot_directory=os.path.expanduser(folder), outputs=False)
    run.complete()
    assert run.get_snapshot_id() is None
