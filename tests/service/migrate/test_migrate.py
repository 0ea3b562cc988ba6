"""`runstream migrate`: imports change, nothing else does, and what does not carry over is listed with its place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runstream_service.cli.main import main
from runstream_service.migrate import unsupported
from runstream_service.migrate.files import migrate, migrate_source

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import azureml", "import runstream"),
        ("import azureml.core", "import runstream.core"),
        ("from azureml import core", "from runstream import core"),
        ("from azureml.core import *", "from runstream.core import *"),
        ("import os, azureml.core as c, sys", "import os, runstream.core as c, sys"),
        ("from azureml.core import Run", "from runstream.core import Run"),
        ("from azureml.core.run import Run, get_run", "from runstream.core.run import Run, get_run"),
        ("from azureml.train.widgets import RunDetails", "from runstream.train.widgets import RunDetails"),
        ("from \\\n  azureml.core import (Run,\n  Workspace)", "from \\\n  runstream.core import (Run,\n  Workspace)"),
        ("x = 1; from azureml.core import Run", "x = 1; from runstream.core import Run"),
        ("import azureml.core\n'é', azureml.core.VERSION", "import runstream.core\n'é', runstream.core.VERSION"),
        ("import azureml.core as azureml\nazureml.Run", "import runstream.core as azureml\nazureml.Run"),
        ("m = import_module('azureml.core')", "m = import_module('runstream.core')"),
        ("@mock.patch('azureml.core.Run.log')\ndef f(): pass", "@mock.patch('runstream.core.Run.log')\ndef f(): pass"),
        ("def f(run: 'azureml.core.Run') -> None: pass", "def f(run: 'runstream.core.Run') -> None: pass"),
        ("if x:\n\timport azureml.core\nelse:\n\tpass", "if x:\n\timport runstream.core\nelse:\n\tpass"),
        ("import azureml.core\r\nx = 1\r\n", "import runstream.core\r\nx = 1\r\n"),
    ],
)  # fmt: skip
def test_imports_change(before: str, after: str) -> None:
    assert migrate_source(before) == (after, [])


@pytest.mark.parametrize(
    "source",
    [
        "# azureml.core\n'''azureml.core'''",
        "log = 'azureml-logs/70_driver_log.txt'",
        "run.tags['azureml.batch_child_number']",
        "os.environ['AZUREML_RUN_ID']",
        "print('azureml.core')",
        "from .azureml import core",
        "import azuremlish",
        "azureml = 5\nprint(azureml)",
        "x.azureml.core",
        "Dataset.Tabular.from_delimited_files('a.csv')",
        "frame.filter(x); make.build(); polars.download()",
    ],
)
def test_all_else_stays(source: str) -> None:
    assert migrate_source(source) == (source, [])


@pytest.mark.parametrize(
    ("source", "name", "lines"),
    [
        ("from azureml.core import Webservice\n\nWebservice.delete()", "azureml.core.Webservice", (1, 3)),
        ("from azureml.core import (\n  Run,\n  PrivateEndPoint as K)", "azureml.core.PrivateEndPoint", (3,)),
        ("import azureml.pipeline.core", "azureml.pipeline.core", (1,)),
        ("from azureml.train.automl import AutoMLConfig", "azureml.train.automl.AutoMLConfig", (1,)),
        ("import azureml.core\nazureml.core.Webservice", "azureml.core.Webservice", (2,)),
        ("data.to_spark_dataframe()", "TabularDataset.to_spark_dataframe", (1,)),
        ("e = Environment.get(\n  ws, name='AzureML-Minimal')", "AzureML-Minimal", (2,)),
        ("from azureml.core import NoSuchThing", "azureml.core.NoSuchThing", (1,)),
    ],
)
def test_what_is_not_supported_is_named(source: str, name: str, lines: tuple[int, ...]) -> None:
    _, findings = migrate_source(source)
    assert [(finding.name, finding.lines) for finding in findings] == [(name, lines)]
    assert findings[0].instead


def test_modules_that_are_missing_keep_their_name() -> None:
    source = "import azureml.core, azureml.pipeline.core\nazureml.pipeline.core.Pipeline\nazureml.core.Run\n"
    after, findings = migrate_source(source)
    assert after == (
        "import runstream.core, azureml.pipeline.core\nazureml.pipeline.core.Pipeline\nrunstream.core.Run\n"
    )
    assert [finding.name for finding in findings] == ["azureml.pipeline.core"]


def notebook(*sources: str, **more: Any) -> dict[str, Any]:
    cells = [
        {"cell_type": "code", "metadata": {}, "outputs": [], "source": source.splitlines(keepends=True)}
        for source in sources
    ]
    words = {"cell_type": "markdown", "metadata": {}, "source": ["import azureml.core\n"]}
    return {"cells": [words, *cells], "metadata": more, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "my project"
    (place / ".venv").mkdir(parents=True)
    (place / ".venv" / "x.py").write_text("import azureml.core\n")
    (place / "train.py").write_bytes("# -*- coding: latin-1 -*-\nimport azureml.core  # é".encode("latin-1"))
    (place / "train.py").chmod(0o755)
    (place / "old.py").write_text("print 'azureml'\n")
    (place / "other.py").write_text("import os\n")
    (place / "run.sh").write_bytes(b"az ml run list -e \xff\n")
    (place / "requirements.txt").write_text("numpy\nazureml-defaults\n")
    magic = "%matplotlib inline\n!pip install azureml-sdk\nimport azureml.core\nx = !ls"
    (place / "a.ipynb").write_text(
        json.dumps(
            notebook(magic, "%%bash\nazureml", "print(azureml.core.VERSION, 'ü')", "1 +", "azureml ="),
            indent=2,
        )
    )
    return place


def test_folder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert main(["migrate", "my project"]) == 1  # old.py
    said = capsys.readouterr()
    assert {path: path.read_bytes() for path in before} == before, "a dry run changes nothing"
    assert "--- a/my project/train.py\n+++ b/my project/train.py\n" in said.out
    assert "+import runstream.core  # é\n\\ No newline" in said.out
    assert "my project/run.sh:1: az ml: " in said.out
    assert "my project/requirements.txt:2: azureml-defaults: " in said.out
    assert "my project/a.ipynb:cell 2:2: azureml-sdk: " in said.out
    assert "my project/a.ipynb:cell 6:1: syntax error: " in said.out
    assert ".venv" not in said.out
    assert "old.py: left as it is, not Python 3: line 1" in said.err
    patch = said.out.partition("\nnot supported")[0]

    assert main(["migrate", "my project", "--write"]) == 1
    assert "2 files changed" in capsys.readouterr().out
    assert (project / "train.py").read_bytes().endswith("import runstream.core  # é".encode("latin-1"))
    assert (project / "train.py").stat().st_mode & 0o777 == 0o755
    changed = json.loads((project / "a.ipynb").read_text())
    sources = ["".join(cell["source"]) for cell in changed["cells"]]
    assert sources[0] == "import azureml.core\n", "text of a notebook is its author's"
    assert sources[1].endswith("import runstream.core\nx = !ls")
    assert sources[3] == "print(runstream.core.VERSION, 'ü')"
    old, new = (
        text.splitlines() for text in (before[project / "a.ipynb"], (project / "a.ipynb").read_bytes())
    )
    assert sum(line != other for line, other in zip(old, new, strict=True)) == 2
    assert len(re.findall(r"^-[^-]", patch, re.MULTILINE)) == 3
    assert not [file for file in migrate(project) if file.before != file.after], (
        "a second time nothing is left"
    )


def test_what_a_notebook_writes_is_a_file_of_its_own(tmp_path: Path) -> None:
    cells = [
        "azureml = 5",
        "%%writefile $folder/train.py\n\nimport azureml.core\nprint(azureml.core.VERSION)",
        "%%writefile -a 'more train.py'\nfrom azureml.core import Webservice\n",
        "print(azureml)",
        "%%writefile notes.md\nimport azureml.core",
        "%%file conda_env.yml\n- pip:\n  - azureml-sdk",
        "%%bash\npip install -q azureml-core\naz ml run list",
        "data.to_spark_dataframe()",
        "1 +",
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook(*cells)))
    (migrated,) = migrate(path)
    after = ["".join(cell["source"]) for cell in json.loads(migrated.after)["cells"][1:]]
    assert after[1] == "%%writefile $folder/train.py\n\nimport runstream.core\nprint(runstream.core.VERSION)"
    assert after[2] == "%%writefile -a 'more train.py'\nfrom runstream.core import Webservice\n"
    assert [after[n] for n in (0, 3, 4, 5, 6, 7, 8)] == [cells[n] for n in (0, 3, 4, 5, 6, 7, 8)]
    assert [(finding.cell, finding.lines, finding.name) for finding in migrated.findings] == [
        (4, (2,), "azureml.core.Webservice"),
        (7, (3,), "azureml-sdk"),
        (8, (2,), "azureml-core"),
        (8, (3,), "az ml"),
        (9, (1,), "TabularDataset.to_spark_dataframe"),
    ]


def test_diff_can_be_applied(project: Path, tmp_path: Path) -> None:
    (project / "old.py").unlink()
    (project / "train.py").write_text("import azureml.core\nprint(azureml.core.VERSION)\n")
    command = [sys.executable, "-m", "runstream", "migrate", "."]
    said = subprocess.run(command, cwd=project, capture_output=True, check=True, timeout=60).stdout
    subprocess.run(["git", "apply", "-p1", "-"], cwd=project, input=said, check=True, timeout=60)
    assert (project / "train.py").read_text() == "import runstream.core\nprint(runstream.core.VERSION)\n"


def test_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["migrate", "my project/a.ipynb", "-o", "json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["changed"], report["written"]) == (["my project/a.ipynb"], False)
    assert report["unsupported"][0] == {
        "file": "my project/a.ipynb",
        "cell": 2,
        "lines": [2],
        "name": "azureml-sdk",
        "instead": "the package runstream",
    }


@pytest.mark.parametrize("name", ["broken.ipynb", "list.ipynb", "cells.ipynb"])
def test_what_is_no_notebook_is_left(tmp_path: Path, name: str) -> None:
    texts = {
        "broken.ipynb": '{"azureml',
        "list.ipynb": '["azureml"]',
        "cells.ipynb": '{"cells": ["azureml"]}',
    }
    (tmp_path / name).write_text(texts[name])
    (migrated,) = migrate(tmp_path / name)
    assert migrated.problem.startswith("left as it is, not a notebook")
    assert migrated.before == migrated.after


def test_no_such_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "/nowhere/at/all"]) == 1
    assert "/nowhere/at/all: no such file or folder" in capsys.readouterr().err


def test_the_table_names_no_module_that_is_there() -> None:
    assert [module for module in unsupported.MODULES if unsupported.offered(module)] == []


def test_every_refusal_is_in_the_table() -> None:
    for name, instead in unsupported.refusals().items():
        assert len(instead) > 10, name
        assert name in unsupported.table()
