"""What a training process does when no service is there: start, log, end; and what is refused before anything is written."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runstream.core import Experiment, Run, Workspace
from runstream.core._run.output_capture import OutputCapture
from runstream.core._submission.environment_build import CLIENT_REQUIREMENTS
from runstream.exceptions import AzureMLException, ServiceException, UserErrorException


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("RUNSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNSTREAM_AUTOSTART", "0")
    monkeypatch.setattr("runstream.client.http.AWAY_TIMEOUT", 0.3)
    monkeypatch.chdir(tmp_path)
    return Workspace(workspace_name="w")


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return Experiment(workspace, "offline").start_logging(snapshot_directory=None)


def test_a_run_starts_logs_and_ends(run: Run, tmp_path: Path) -> None:
    assert run.status == "Running"
    assert (tmp_path / "outputs").is_dir()
    run.log("loss", 0.5)
    run.tag("kind", "test")
    child = run.child_run("first")
    assert child.name == f"run_{run.id}>first"
    child.complete()
    run.complete()
    assert (run.status, child.status) == ("Completed", "Completed")
    run.log("loss", 0.25)  # accepted after the end
    run.tag("late", "yes")
    assert run.tags == {"kind": "test", "late": "yes"}
    assert list((tmp_path / "home" / "spool").glob("*/*.seg"))


def test_recording_needs_no_package_that_built_environments_lack(workspace: Workspace) -> None:
    """Of runstream's packages they have the SDK and the schemas, of others what CLIENT_REQUIREMENTS names."""
    script = f"""
import re, sys
from importlib.abc import MetaPathFinder
from importlib.metadata import packages_distributions

allowed = {{re.split("[<>=]", one)[0] for one in {CLIENT_REQUIREMENTS}}}
ours = ("runstream_consumers", "runstream_query", "runstream_service")
lacking = {{package for package, homes in packages_distributions().items() if not allowed & set(homes)}}

class Lacking(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in lacking and top not in ("runstream", "runstream_schemas") or top in ours:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Lacking())
from runstream.core import Experiment, Workspace

run = Experiment(Workspace(), "e").start_logging(outputs=False, snapshot_directory=None)
run.log("loss", 0.5)
run.log_table("table", {{"a": [1, 2]}})
run.log_array("array", [0.5, 0.25])
run.tag("kind", "test")
with run.child_run() as child:
    child.log("loss", 0.25)
run.complete()
print(run.status)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["Completed"]), done.stderr


def test_reading_raises_after_a_bounded_wait(run: Run) -> None:
    began = time.monotonic()
    with pytest.raises(ServiceException, match="runstream up") as away:
        run.get_metrics()
    assert away.value.status_code == 503
    assert time.monotonic() - began < 10


def test_files_that_cannot_be_stored_do_not_fail_the_run(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outputs" / "model.pkl").write_bytes(b"model")
    run.complete()
    assert run.status == "Completed"
    assert "outputs/model.pkl is kept in" in caplog.text


@pytest.mark.parametrize("name", ["ridge", "a", "0x", "A-b_c", "a" * 255])
def test_experiment_names(workspace: Workspace, name: str) -> None:
    assert Experiment(workspace, name).name == name


@pytest.mark.parametrize("name", ["", "-a", "_a", "a b", "a.b", "a/b", "ä", "a" * 256, "a\n", None, 5])
def test_experiment_names_refused(workspace: Workspace, name: Any) -> None:
    with pytest.raises(UserErrorException, match="Experiment name"):
        Experiment(workspace, name)


def test_start_logging_knows_no_properties(workspace: Workspace) -> None:
    with pytest.raises(TypeError):
        Experiment(workspace, "e").start_logging(properties={"a": "b"})  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [[1, 2], range(3), (i for i in range(3))])
def test_log_refuses_several_values(run: Run, value: Any) -> None:
    with pytest.raises(UserErrorException, match="log_list"):
        run.log("a", value)


@pytest.mark.parametrize(
    ("method", "arguments", "error", "text"),
    [
        ("log_list", ("a", [1, {}]), AzureMLException, "is not supported"),
        ("log_list", ("a", [[1]]), AzureMLException, "is not supported"),
        ("log_list", ("a", 5), TypeError, "iterable"),
        ("log_table", ("t", {"x": [1, 2], "y": [1]}), AzureMLException, "Columns must have the same length"),
        ("log_table", ("t", {"x": [{}]}), AzureMLException, "is not supported"),
        ("create_children", (), UserErrorException, "count"),
        ("create_children", (10_001,), UserErrorException, "0 to 10,000"),
        ("create_children", (1, "tag", ["a"]), UserErrorException, "count"),
        ("create_children", (None, "tag"), UserErrorException, "together"),
        ("fail", (5,), TypeError, "error_details"),
        ("upload_files", (["a"], []), TypeError, "names"),
    ],
)
def test_refusals(
    run: Run, method: str, arguments: tuple[Any, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        getattr(run, method)(*arguments)
    assert run.status == "Running"


@pytest.mark.parametrize(
    ("columns", "text"), [({"x": [1]}, "Rows cannot contain list values"), ({"x": {}}, "is not supported")]
)
def test_log_row_refuses(run: Run, columns: dict[str, Any], text: str) -> None:
    with pytest.raises(AzureMLException, match=text):
        run.log_row("t", **columns)


@pytest.mark.parametrize("step", ["x", object(), float("nan"), 2**70])
def test_a_step_that_is_no_integer_is_refused_at_the_call(run: Run, step: Any) -> None:
    with pytest.raises((UserErrorException, ValueError), match="step"):
        run.log("a", 1.0, step=step)


def test_values_of_tags_become_text_with_a_warning(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.tag("rank", 1)
    run.set_tags("flag")
    run.set_tags({5: "five"})  # type: ignore[dict-item]
    assert run.tags == {"rank": "1", "flag": None, "5": "five"}
    assert "converted" in caplog.text
    run.remove_tags(["unknown", "rank"])
    run.remove_tags("flag")
    assert run.tags == {"5": "five"}


def test_properties_cannot_be_changed(run: Run) -> None:
    run.add_properties({"author": "me", "n": 1})
    run.add_properties({"author": "me"})
    run.add_properties({})
    with pytest.raises(ServiceException, match="author") as refused:
        run.add_properties({"other": "x", "author": "you"})
    assert refused.value.status_code == 400
    assert run.properties == {"author": "me", "n": "1"}


@pytest.mark.parametrize("ending", ["complete", "cancel"])
def test_an_ending_after_another_is_ignored_with_a_warning(
    run: Run, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    run.fail("broken")
    getattr(run, ending)()
    assert run.status == "Failed"
    assert "ignored" in caplog.text


def test_fail_overwrites(run: Run) -> None:
    run.complete()
    run.fail(ValueError("late"))
    assert run.status == "Failed"


@pytest.mark.parametrize("code", [None, 0])
def test_sys_exit_0_completes(run: Run, code: Any) -> None:
    with run:
        sys.exit(code)
    assert run.status == "Completed"


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(2)])
def test_an_exception_fails_the_run_and_goes_on(run: Run, error: BaseException) -> None:
    with pytest.raises(type(error)), run:
        raise error
    assert run.status == "Failed"


def test_output_of_a_with_block_is_copied(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sys.stdout
    with contextlib.suppress(ValueError), run:
        print("hello")
        raise ValueError("bad")
    assert sys.stdout is before
    copied = (tmp_path / "logs" / "user_log.txt").read_text()
    assert "hello\n" in copied
    assert "ValueError: bad" in copied
    assert "hello" in capsys.readouterr().out


def test_blocks_that_end_in_any_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    captures = [OutputCapture(tmp_path) for _ in range(3)]
    for capture in captures:
        capture.start()
    for capture, line in zip((captures[1], captures[2], captures[0]), ("one", "two", "three"), strict=True):
        print(line)
        capture.stop()
    print("not copied")
    assert (sys.stdout, sys.stderr) == before
    assert (tmp_path / "user_log.txt").read_text() == "one\ntwo\nthree\n"
    assert capsys.readouterr().out == "one\ntwo\nthree\nnot copied\n"


def test_run_ids_that_cannot_be(workspace: Workspace) -> None:
    with pytest.raises(UserErrorException, match="run id"):
        Experiment(workspace, "e").start_logging(run_id="x" * 300)


def test_filters_of_another_type_are_refused_at_the_call(workspace: Workspace) -> None:
    experiment = Experiment(workspace, "e")
    with pytest.raises(ValueError, match="Unknown filter type for run tags"):
        experiment.get_runs(tags=["a"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Unknown filter type for run properties"):
        Run.list(experiment, properties=5)  # type: ignore[arg-type]


def test_text_of_a_run(run: Run) -> None:
    expected = f"Run(Experiment: offline,\nId: {run.id},\nType: None,\nStatus: Running)"
    assert str(run) == repr(run) == expected
    assert str(run.experiment) == "Experiment(Name: offline,\nWorkspace: w)"


def test_importing_is_light() -> None:
    code = (
        "import sys; before = set(sys.modules); import runstream;"
        "heavy = {'numpy', 'pyarrow', 'aiokafka', 'asyncio', 'duckdb', 'typing', 'http', 'json'};"
        "print(sorted(heavy & set(sys.modules) - before))"
    )
    path = os.pathsep.join(part for part in sys.path if part)
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "[]\n"
