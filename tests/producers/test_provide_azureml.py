"""Scripts written for azureml-core, as they are: `import azureml` where azureml-core is not installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runstream import sweep
from runstream.core import Experiment, ScriptRunConfig
from runstream.stand_in.finder import DIRECTORY, add_to_path
from tests.producers.conftest import environment

Python = Callable[..., str]

HUGGING_FACE = """
import importlib.util

def is_azureml_available():
    if importlib.util.find_spec("azureml") is None:
        return False
    if importlib.util.find_spec("azureml.core") is None:
        return False
    return importlib.util.find_spec("azureml.core.run") is not None
"""
"""How transformers 5 asks for it."""


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Runs Python source in a process of its own, with `azureml` on its path if so wished; gives back what it printed."""

    def run(code: str, *, on_path: bool = False, cwd: Path | None = None) -> str:
        (cwd or tmp_path).mkdir(exist_ok=True)
        script = (cwd or tmp_path) / "script.py"
        script.write_text(code)
        variables = environment(tmp_path / "home")
        if on_path:
            add_to_path(variables)
        done = subprocess.run(
            [sys.executable, str(script)],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def installed(root: Path, *modules: str) -> str:
    """A directory with packages laid out as Microsoft's wheels are, each module a line that says where it is from."""
    for module in ("azureml", *modules):
        folder = root.joinpath(*module.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text("ORIGIN = 'Microsoft'\n")
    (root / "azureml/__init__.py").write_text(
        "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
    )
    return str(root)


@pytest.mark.parametrize("on_path", [True, False], ids=["on the path", "by the call"])
def test_the_modules_are_runstreams_own(python: Python, on_path: bool) -> None:
    python(
        ("" if on_path else "import runstream; assert runstream.provide_azureml() is True\n")
        + """
import azureml.core
from azureml.core import Environment, Experiment, Model, ScriptRunConfig, Workspace
from azureml.core.run import Run, get_run
from azureml.core.conda_dependencies import CondaDependencies
from azureml.data.dataset_consumption_config import DatasetConsumptionConfig
from azureml.exceptions import UserErrorException
from azureml.train.widgets import RunDetails
from azureml import widgets
import importlib, pickle, sys
import runstream.core.run, runstream.exceptions

assert azureml.core is runstream.core and azureml.core.run is runstream.core.run is sys.modules["azureml.core.run"]
assert azureml.core.run.__spec__.name == azureml.core.run.__name__ == "runstream.core.run"
assert Run is runstream.core.run.Run and widgets.RunDetails is RunDetails
assert azureml.core.VERSION and not hasattr(azureml, "sql")
try:
    runstream.core.Experiment(None, "a name")
except UserErrorException as error:
    assert isinstance(pickle.loads(pickle.dumps(error)), runstream.exceptions.UserErrorException)
assert pickle.loads(b"cazureml.core.run\\nRun\\n.") is Run  # a pickle of the original
assert importlib.reload(azureml.core.run) is runstream.core.run is azureml.core.run is sys.modules["azureml.core.run"]
importlib.reload(azureml)
assert runstream.provide_azureml() is True
copies = [name for name, module in sys.modules.items() if name.startswith("azureml.") and "azureml" in module.__name__]
assert copies == [], copies
""",
        on_path=on_path,
    )


def test_what_runstream_has_not_is_refused_with_what_to_do(python: Python) -> None:
    python(
        HUGGING_FACE
        + """
assert not is_azureml_available()
import runstream
runstream.provide_azureml()
assert is_azureml_available()
for name, text in {
    "azureml.pipeline.core": "submit the steps one after the other",
    "azureml._restclient.clientbase": "private to azureml-core",
    "azureml.core._metrics": "private to azureml-core",
    "azureml.core._submitted_run": "private to azureml-core",
    "azureml.sql": "runstream has no such module",
    "azureml.core.nothing": "runstream has no such module",
}.items():
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        assert name.startswith(error.name), error.name
        assert text in str(error), error
    else:
        raise AssertionError(name)
for name in ("azureml.pipeline", "azureml._restclient", "azureml.sql", "azureml.core.nothing"):
    assert importlib.util.find_spec(name) is None, name
"""
    )


def test_imports_of_many_threads_at_once(python: Python) -> None:
    python(
        """
import importlib, sys, threading
import runstream
runstream.provide_azureml()
sys.setswitchinterval(1e-6)
NAMES = ["core", "core.run", "core.experiment", "core.workspace", "data", "exceptions", "core.environment", "core.model"]
start, wrong = threading.Barrier(16), []

def work(number):
    start.wait()
    for name in NAMES[number % 8:] + NAMES[:number % 8]:
        exec(f"import azureml.{name} as module, runstream.{name} as own", space := {})
        if space["module"] is not space["own"] or space["own"].__spec__.name != f"runstream.{name}":
            wrong.append(name)
        if not hasattr(space["module"], "__all__") and name != "exceptions":
            wrong.append(name)

threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert wrong == [], wrong
"""
    )


@pytest.mark.parametrize("on_path", [True, False], ids=["on the path", "by the call"])
def test_azureml_core_wins_where_it_is_installed(python: Python, tmp_path: Path, on_path: bool) -> None:
    site = installed(tmp_path / "site", "azureml.core", "azureml.core.run", "azureml.mlflow")
    python(
        f"""
import sys
sys.path.append({site!r})
import importlib.util
import runstream
{"" if on_path else "assert runstream.provide_azureml() is False"}
from azureml.core.run import ORIGIN
import azureml.mlflow
assert azureml.mlflow.ORIGIN == ORIGIN == "Microsoft" and azureml.core.__name__ == "azureml.core"
assert importlib.util.find_spec("azureml.widgets") is None  # of a package that is not installed
assert runstream.provide_azureml() is False
""",
        on_path=on_path,
    )


def test_another_package_of_microsofts_without_azureml_core(python: Python, tmp_path: Path) -> None:
    site = installed(tmp_path / "site", "azureml.mlflow", "azureml.train", "azureml.train.automl")
    for on_path in (True, False):
        python(
            f"""
import sys
sys.path.append({site!r})
{"" if on_path else "import runstream; assert runstream.provide_azureml() is True"}
import azureml.mlflow, azureml.train.automl
from azureml.train.widgets import RunDetails
from azureml.core.run import Run
assert azureml.mlflow.ORIGIN == azureml.train.automl.ORIGIN == "Microsoft"
assert Run.__module__ == "runstream.core.run"
""",
            on_path=on_path,
        )


def test_a_project_has_modules_of_that_name_itself(python: Python, tmp_path: Path) -> None:
    project = tmp_path / "project"
    installed(project, "azureml.core")
    python("from azureml.core import ORIGIN", on_path=True, cwd=project)


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_of_multiprocessing(python: Python, method: str) -> None:
    printed = python(
        f"""
import multiprocessing, runstream
if multiprocessing.parent_process() is None:
    runstream.provide_azureml()

def work(_):
    from azureml.core import Run
    return Run.__module__

if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        print(*pool.map(work, [1]))
"""
    )
    assert printed == "runstream.core.run\n"


def test_a_python_without_runstream_finds_an_empty_package() -> None:
    code = HUGGING_FACE + "assert not is_azureml_available()\nimport azureml"
    subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": DIRECTORY}, check=True, timeout=60)


def test_nothing_runs_at_the_start_of_a_process(python: Python) -> None:
    python("import sys; assert not {'runstream', 'azureml'} & set(sys.modules)", on_path=True)


SCRIPT = """
import subprocess, sys
from azureml.core.run import Run
{checks}
run = Run.get_context()
run.log("loss", 0.5, description="loss")
child = "from azureml.core import Run; Run.get_context().log('child', 1)"
subprocess.run([sys.executable, "-c", child], check=True)
"""


def test_a_submitted_script_and_what_it_starts(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/train.py").write_text(
        SCRIPT.format(checks=HUGGING_FACE + "assert is_azureml_available()")
    )
    run = experiment.submit(ScriptRunConfig(str(tmp_path / "project"), "train.py"))
    run.wait_for_completion(show_output=True)
    assert run.get_metrics() == {"loss": 0.5, "child": 1}


def test_the_setting_leaves_it_out(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNSTREAM_PROVIDE_AZUREML", "0")
    (tmp_path / "train.py").write_text("import azureml.core")
    other = Experiment(type(experiment.workspace)(workspace_name=experiment.workspace.name), "test")
    run = other.submit(ScriptRunConfig(str(tmp_path), "train.py"))
    details = run.wait_for_completion(raise_on_error=False)
    assert "No module named 'azureml'" in details["error"]["error"]["message"]


def test_trials_of_a_sweep(experiment: Experiment) -> None:
    def objective(run, x):  # type: ignore[no-untyped-def]
        import subprocess
        import sys

        from azureml.core import Run

        assert isinstance(run, Run)
        subprocess.run([sys.executable, "-c", "import azureml.core"], check=True)
        return x

    swept = sweep.run(experiment, objective, {"x": [1]}, metric="loss", method="grid", concurrency=1)
    assert [trial.status for trial in swept.trials] == ["Completed"]


def test_hugging_faces_callback(python: Python) -> None:
    """Its calls, one by one; the callback itself brings 300 MB of packages."""
    printed = python(
        HUGGING_FACE
        + """
if not is_azureml_available():
    raise RuntimeError("AzureMLCallback requires azureml to be installed. Run `pip install azureml-sdk`.")
from azureml.core.run import Run
run = Run.get_context()
for k, v in {"loss": 0.5, "epoch": 1, "name": "text"}.items():
    if isinstance(v, (int, float)):
        run.log(k, v, description=k)
""",
        on_path=True,
    )
    assert "loss" in printed
    assert "text" not in printed
