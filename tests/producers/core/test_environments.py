"""The environment a script runs in: interpreters, requirements that are installed, files that describe it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.producers.core.submitting import DRIVER, text

from runstream.core import Experiment, ScriptRunConfig
from runstream.core._requirements_file import content_of, read_requirements
from runstream.core._submission.environment_build import BuildCanceled, _run
from runstream.core.conda_dependencies import CondaDependencies
from runstream.core.environment import Environment
from runstream.core.runconfig import RunConfiguration
from runstream.exceptions import (
    UserErrorException,
)


def test_an_interpreter_that_is_not_there(
    experiment: Experiment, source: Callable[..., ScriptRunConfig]
) -> None:
    config = source("")
    environment = Environment("user-managed")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = "/nowhere/python"
    config.run_config.environment = environment  # read at submission
    details = experiment.submit(config).wait_for_completion(raise_on_error=False)
    assert "/nowhere/python" in details["error"]["error"]["message"]


def test_pip_requirements_are_installed_once(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    package = tmp_path / "wheel"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "tiny-thing"\nversion = "1.0"\n'
    )
    (package / "tiny_thing.py").write_text("ANSWER = 42\n")
    (tmp_path / "requirements.txt").write_text(f"# ours\ntiny-thing @ file://{package}\nazureml-defaults\n")
    environment = Environment.from_pip_requirements("tiny", tmp_path / "requirements.txt")
    config = source(
        "import sys, tiny_thing\nrun.log('answer', tiny_thing.ANSWER)\nprint(sys.prefix)",
        environment=environment,
    )
    first = experiment.submit(config)
    details = first.wait_for_completion(raise_on_error=False)
    assert details["status"] == "Completed", first.get_details_with_logs()
    assert first.get_metrics() == {"answer": 42}
    assert "Built." in text(first, "azureml-logs/20_image_build_log.txt", tmp_path)
    second = experiment.submit(config)
    second.wait_for_completion()
    assert "azureml-logs/20_image_build_log.txt" not in second.get_file_names()
    assert text(second, DRIVER, tmp_path) == text(first, DRIVER, tmp_path)


def test_requirements_files_stand_for_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "in" / "package"
    package.mkdir(parents=True)
    (package / "module.py").write_text("1\n")
    (tmp_path / "in" / "base.txt").write_text("a==1\n-c bounds.txt\n")
    (tmp_path / "in" / "bounds.txt").write_text("b<2\n")
    (tmp_path / "in" / "all.txt").write_text(
        "# ours\n-r base.txt  # first\n--index-url https://host/x#y\nc>=1 \\\n  --hash=sha256:ab\n"
        "./package[x]; python_version > '3'\n"
    )
    monkeypatch.chdir(tmp_path)
    lines = read_requirements("in/all.txt")
    assert lines == [
        "a==1",
        f"-c {tmp_path}/in/bounds.txt",
        "--index-url https://host/x#y",
        "c>=1    --hash=sha256:ab",
        f"{package}[x]; python_version > '3'",
    ]
    before = content_of(lines)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "module.pyc").write_text("")
    assert content_of(lines) == before
    (package / "module.py").write_text("12\n")
    after = content_of(lines)
    (tmp_path / "in" / "bounds.txt").write_text("b<23\n")
    assert len({before, after, content_of(lines)}) == 3  # an environment of each
    (tmp_path / "in" / "base.txt").write_text("-r all.txt\n")
    with pytest.raises(UserErrorException, match=r"'-r all.txt' leads back"):
        read_requirements("in/all.txt")
    (tmp_path / "in" / "conda.yml").write_text("dependencies:\n- python=3.12\n- pip:\n  - -r none.txt\n")
    with pytest.raises(UserErrorException, match=r"'-r none.txt' names a file that is not there"):
        Environment.from_conda_specification("e", "in/conda.yml")


def test_a_build_is_ended_by_a_cancel(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    code = f"import os, time\nopen({str(marker)!r}, 'w').write(str(os.getpid()))\ntime.sleep(90)"
    with (tmp_path / "log").open("w") as log, pytest.raises(BuildCanceled):
        _run(log, lambda: marker.exists() and marker.read_text() != "", [sys.executable, "-c", code])
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)


def test_run_configurations_as_files(tmp_path: Path) -> None:
    configuration = RunConfiguration(script="train.py", arguments=["--a", 1])
    configuration.environment.python.user_managed_dependencies = True
    configuration.environment.python.conda_dependencies = CondaDependencies.create(
        pip_packages=["scikit-learn"]
    )
    configuration.max_run_duration_seconds = 60
    with pytest.raises(UserErrorException, match="name"):
        configuration.save(str(tmp_path))
    configuration.save(str(tmp_path), "mine")
    lines = (tmp_path / ".azureml" / "mine").read_text().splitlines()
    keys = [line.split(":")[0] for line in lines if line[:1].isalpha()]
    assert keys[:12] == [
        "script", "arguments", "target", "framework", "communicator", "maxRunDurationSeconds", "nodeCount", "priority",
        "environment", "history", "spark", "docker",
    ]  # fmt: skip
    (tmp_path / ".azureml" / "mine").rename(tmp_path / ".azureml" / "mine.runconfig")
    loaded = RunConfiguration.load(str(tmp_path), "mine")
    assert (loaded.script, loaded.arguments, loaded.max_run_duration_seconds) == (
        "train.py",
        ["--a", "1"],
        60,
    )
    assert loaded.environment.python.user_managed_dependencies
    dependencies = loaded.environment.python.conda_dependencies
    assert dependencies is not None
    assert list(dependencies.pip_packages) == ["scikit-learn"]
    assert loaded.history.directories_to_watch == ["logs"]
    with pytest.raises(UserErrorException, match="other"):
        RunConfiguration.load(str(tmp_path), "other")


def test_environments_from_files(tmp_path: Path) -> None:
    (tmp_path / "conda.yml").write_text(
        "name: e\ndependencies:\n- python=3.12\n- numpy>=1.26\n- pip:\n  - pandas==2.2\n"
    )
    environment = Environment.from_conda_specification("e", tmp_path / "conda.yml")
    dependencies = environment.python.conda_dependencies
    assert dependencies is not None
    assert (dependencies.python_version, list(dependencies.pip_packages)) == ("3.12", ["pandas==2.2"])
    assert list(dependencies.conda_packages) == ["python=3.12", "numpy>=1.26"]
    dependencies.add_pip_package("pandas==2.3")
    assert list(dependencies.pip_packages) == ["pandas==2.3"]
    with pytest.raises(FileNotFoundError):
        Environment.from_conda_specification("e", tmp_path / "none.yml")
    (tmp_path / "bad.yml").write_text("- a\n- b\n")
    with pytest.raises(UserErrorException, match="no conda specification"):
        Environment.from_conda_specification("e", tmp_path / "bad.yml")
    with pytest.raises(TypeError):
        Environment(3)  # type: ignore[arg-type]
