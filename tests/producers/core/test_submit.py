"""Submitted scripts: real processes of their own, their logs, files and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.producers.conftest import environment
from tests.producers.core.submitting import DRIVER, text, until

from runstream.client import files
from runstream.compute.job import run_directory
from runstream.compute.script_outcome import error_of
from runstream.core import Experiment, Run, ScriptRun, ScriptRunConfig, Workspace
from runstream.core.conda_dependencies import CondaDependencies
from runstream.core.environment import Environment
from runstream.core.runconfig import RunConfiguration
from runstream.exceptions import (
    ActivityFailedException,
    AzureMLException,
    ExperimentExecutionException,
    RunEnvironmentException,
    ServiceException,
    UserErrorException,
)


def test_a_script_with_a_helper_module(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    config = source(
        """
import mylib, os, sys
assert run is Run.get_context()
for i in range(3):
    run.log("x", i)
run.tag("argv", "|".join(sys.argv[1:]))
open("outputs/model.txt", "w").write(mylib.MODEL)
open("logs/own.log", "w").write("line\\n")
print("héllo")
run.complete()
run.log("after", run.parent is None)
""",
        "--alpha",
        0.5,
        3,
        "a b",
    )
    (tmp_path / "project" / "mylib.py").write_text("MODEL = 'ridge'\n")
    run = experiment.submit(config, tags={"k": "v"})
    assert isinstance(run, ScriptRun)
    assert re.fullmatch(r"test_\d{10}_[0-9a-f]{8}", run.id)
    details = run.wait_for_completion()
    assert (details["status"], run.type, details["target"]) == ("Completed", "azureml.scriptrun", "local")
    assert details["runDefinition"]["script"] == "train.py"
    assert details["runDefinition"]["arguments"] == ["--alpha", "0.5", "3", "a b"]
    assert details["properties"]["_azureml.ComputeTargetType"] == "local"
    process = {f"azureml-logs/process_{name}.json" for name in ("info", "status")}
    assert set(details["logFiles"]) == {DRIVER, "logs/own.log", "user_logs/std_log.txt", *process}
    assert json.loads(text(run, "azureml-logs/process_status.json", tmp_path))["exitCode"] == 0
    assert run.get_metrics() == {"x": [0, 1, 2], "after": True}
    assert run.get_tags() == {"k": "v", "argv": "--alpha|0.5|3|a b"}
    assert text(run, "outputs/model.txt", tmp_path) == "ridge"
    assert text(run, DRIVER, tmp_path) == text(run, "user_logs/std_log.txt", tmp_path) == "héllo\n"
    assert not (tmp_path / "outputs").exists()  # relative paths are those of the copy
    assert run.get_details_with_logs()["logFiles"][DRIVER] == "héllo\n"
    assert sorted(run.get_all_logs()) == sorted(f"assets/{run.id}/{name}" for name in details["logFiles"])
    again = next(iter(experiment.get_runs(type="azureml.scriptrun")))
    assert isinstance(again, ScriptRun)
    assert type(Run(experiment, run.id)) is Run


def test_streaming(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment.submit(source("import time\nfor i in range(3): print('line', i); time.sleep(0.6)"))
    assert run.wait_for_completion(show_output=True)["status"] == "Completed"
    printed = capsys.readouterr().out
    page = run.get_portal_url()
    assert printed.startswith(f"RunId: {run.id}\nWeb View: {page}\n\nStreaming {DRIVER}\n=====")
    assert printed.count("line") == 3
    assert printed.endswith(
        f"line 2\n\nExecution Summary\n=================\nRunId: {run.id}\nWeb View: {page}\n\n"
    )


def test_streaming_a_failing_run(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment.submit(source("print('line'); raise ValueError('bad')"))
    assert run.wait_for_completion(show_output=True, raise_on_error=False)["status"] == "Failed"
    printed = capsys.readouterr().out
    assert f"Streaming {DRIVER}" in printed
    assert "ValueError: bad" in printed  # the traceback is in the log
    assert re.search(r'Execution Summary\n=+\nRunId: .*\nError:\n\{\n    "error": \{\n', printed, re.DOTALL)
    with pytest.raises(ActivityFailedException, match="User program failed with ValueError: bad"):
        run.wait_for_completion(show_output=True)


def test_ctrl_c_while_streaming_leaves_the_run_going(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    config = source(
        f"import os, time\nprint('begun', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    )
    run = experiment.submit(config)
    until(lambda: run.get_status() == "Running", 60)
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(
        ExperimentExecutionException, match="the run is still executing on the compute target"
    ):
        run.wait_for_completion(show_output=True)
    interrupt.join()
    assert run.get_status() == "Running"
    go.touch()
    assert run.wait_for_completion()["status"] == "Completed"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('bad\\nthing')", "User program failed with ValueError: bad\nthing"),
        ("class Own(Exception): pass\nraise Own", "User program failed with Own: "),
        ("import sys; sys.exit(3)", "User program failed with SystemExit: 3"),
        ("mylib.go()", "User program failed with NameError: name 'mylib' is not defined"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "User program was killed by SIGKILL (9)"),
    ],
)
def test_a_failing_script_keeps_its_files_and_metrics(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path, code: str, message: str
) -> None:
    run = experiment.submit(source("run.log('a', 1)\nopen('outputs/part', 'w').write('half')\n" + code))
    with pytest.raises(ActivityFailedException, match="Activity Failed:") as raised:
        run.wait_for_completion()
    assert "User program" in raised.value.message
    details = run.wait_for_completion(raise_on_error=False)
    assert details["error"] == {"error": {"code": "UserError", "message": message}}
    assert text(run, "outputs/part", tmp_path) == "half"
    until(lambda: run.get_metrics() == {"a": 1})


@pytest.mark.parametrize(
    ("status", "log", "message"),
    [
        (
            1,
            '  File "train.py", line 1\n    def (:\nSyntaxError: invalid syntax\n',
            "SyntaxError: invalid syntax",
        ),
        (3, "Traceback (most recent call last):\nValueError: dealt with\ngoing on\n", "SystemExit: 3"),
        (1, "SyntaxError is a word\nno more\n", "SystemExit: 1"),
        (1, "", "SystemExit: 1"),
    ],
)
def test_why_a_script_failed(tmp_path: Path, status: int, log: str, message: str) -> None:
    (tmp_path / "log").write_text(log)
    assert error_of(status, tmp_path / "log")["message"] == f"User program failed with {message}"


def test_fail_and_with_inside_the_script_leave_the_outcome_to_its_end(
    experiment: Experiment, source: Callable[..., ScriptRunConfig]
) -> None:
    run = experiment.submit(
        source(
            """
with run:
    run.log("a", 1)
try:
    with run:
        raise ValueError("goes on")
except ValueError:
    run.log("b", 2)
run.cancel()
run.fail("noted", "Mine")
import sys; sys.exit(0)
"""
        )
    )
    details = run.wait_for_completion()
    assert details["status"] == "Completed"
    assert details["error"] == {"error": {"code": "Mine", "message": "noted"}}
    assert run.get_metrics() == {"a": 1, "b": 2}


def test_cancel_ends_the_whole_tree(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    config = source(
        f"""
import os, subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{inner.pid}}\\n")
time.sleep(60)
"""
    )
    run = experiment.submit(config)
    until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("\n"))
    run.cancel()
    assert run.get_status() == "Canceled"
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        until(
            lambda pid=pid: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()
        )  # type: ignore[misc]
    assert run.wait_for_completion(wait_post_processing=True)["status"] == "Canceled"


def test_a_run_canceled_from_elsewhere_ends_too(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    run = experiment.submit(
        source(f"import os, time; open({str(pid)!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(60)")
    )
    until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    run._live().writer.status("cancel")  # as another machine would
    until(lambda: not Path("/proc", pid.read_text().strip()).exists())


def test_the_time_limit(experiment: Experiment, source: Callable[..., ScriptRunConfig]) -> None:
    run = experiment.submit(source("import time; time.sleep(60)", max_run_duration_seconds=1))
    details = run.wait_for_completion(wait_post_processing=True)
    assert details["status"] == "Canceled"
    assert "max_run_duration_seconds" in str(details["warnings"])


def test_a_killed_wrapper_fails_the_run_and_ends_the_script(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    run = experiment.submit(
        source(f"import os, time; open({str(pid)!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(60)")
    )
    until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    directory = run_directory(experiment.workspace._settings, run.id)
    wrapper = int((directory / "wrapper.pid").read_text().split('"pid": ')[1].split(",")[0])
    os.kill(wrapper, signal.SIGKILL)
    details = run.wait_for_completion(raise_on_error=False)
    assert details["error"]["error"]["code"] == "ProcessDied"
    until(lambda: not Path("/proc", pid.read_text().strip()).exists())


def test_a_script_submits_children(experiment: Experiment, source: Callable[..., ScriptRunConfig]) -> None:
    config = source(
        """
import os, sys
from runstream.core import ScriptRunConfig
if sys.argv[1:] == ["child"]:
    run.parent.log("from child", os.environ["AZUREML_RUN_ID"] == run.id)
else:
    child = run.submit_child(ScriptRunConfig(".", "train.py", ["child"]), tags={"k": "v"})
    child.wait_for_completion()
"""
    )
    run = experiment.submit(config)
    run.wait_for_completion()
    (child,) = run.get_children()
    assert isinstance(child, ScriptRun)
    assert (child.status, child.tags, child.parent and child.parent.id) == ("Completed", {"k": "v"}, run.id)
    assert run.get_metrics() == {"from child": True}


def test_commands_and_variables(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    source("")
    configuration = RunConfiguration(
        command=["echo", "$MINE", "$EXAMPLE_ENV_VAR", "&&", "echo", "$AZUREML_ARM_PROJECT_NAME"]
    )
    configuration.environment_variables["MINE"] = "own"
    run = experiment.submit(ScriptRunConfig(str(tmp_path / "project"), run_config=configuration))
    run.wait_for_completion()
    assert text(run, DRIVER, tmp_path) == "own EXAMPLE_VALUE\ntest\n"


@pytest.mark.attack
def test_variables_that_hold_secrets_are_masked_where_others_read_them(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    config = source(
        "import os; print(os.environ['HF_TOKEN'], os.environ['DB_PASSWORD'], os.environ['TOKENIZER'][0])"
    )
    config.run_config.environment_variables = {"HF_TOKEN": "hf_1", "BATCH": "8", "TOKENIZER": "bpe"}
    config.run_config.environment.environment_variables = {"DB_PASSWORD": "pw_1"}
    run = experiment.submit(config)
    run.wait_for_completion()
    assert text(run, DRIVER, tmp_path).split() == ["hf_1", "pw_1", "b"]
    definition = Run(experiment, run.id).get_details()["runDefinition"]
    assert definition["environmentVariables"] == {"HF_TOKEN": "***", "BATCH": "8", "TOKENIZER": "***"}
    assert definition["environment"]["environmentVariables"] == {"DB_PASSWORD": "***"}


def test_what_is_refused(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = source("")
    with pytest.raises(
        ExperimentExecutionException, match=r"script path doesn't exist\. The script should be inside"
    ):
        experiment.submit(ScriptRunConfig(config.source_directory, "other.py"))
    with pytest.raises(ExperimentExecutionException, match="should be inside the project folder"):
        experiment.submit(ScriptRunConfig(config.source_directory, "../test"))
    with pytest.raises(AzureMLException, match="Method to be submitted has not been registered"):
        experiment.submit("train.py")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="show_output"):
        experiment.submit(config, show_output=True)
    with pytest.raises(UserErrorException, match="exclusive"):
        ScriptRunConfig(".", "train.py", command="ls")
    with pytest.raises(ServiceException, match="Unknown compute target 'cpu-cluster'"):
        experiment.submit(source("", compute_target="cpu-cluster"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    needs_conda = Environment("e")
    needs_conda.python.conda_dependencies = CondaDependencies.create(conda_packages=["scikit-learn"])
    with pytest.raises(RunEnvironmentException, match="conda packages scikit-learn, but none of micromamba"):
        experiment.submit(source("", environment=needs_conda))


def test_a_run_of_a_workspace_is_found_again(
    workspace: Workspace, experiment: Experiment, source: Callable[..., ScriptRunConfig]
) -> None:
    run = experiment.submit(source(""), run_id=f"mine-{time.time_ns()}")
    run.wait_for_completion()
    assert isinstance(workspace.get_run(run.id), ScriptRun)
    with pytest.raises(UserErrorException, match="submitted before"):
        experiment.submit(source(""), run_id=run.id)


def test_the_example(workspace: Workspace, tmp_path: Path, served_home: Path) -> None:
    example = Path(__file__).parents[3] / "examples" / "submitted_ridge" / "submit.py"
    done = subprocess.run(
        [sys.executable, str(example)],
        env=environment(served_home),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "alpha 0.40: mean squared error" in done.stdout
    assert re.search(r"\n2\d files\n$", done.stdout)  # 20 models, their table, and the logs


def test_commands(
    served_home: Path, workspace: Workspace, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    def runstream(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runstream", "run", *words],
            env=environment(served_home),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    source("import sys; print(sys.argv[1:]); sys.exit(int(sys.argv[-1]))")
    submit = ("submit-script", "-e", "cli", "--source-directory", "project")
    done = runstream(*submit, "train.py", "--alpha", "0")
    assert done.returncode == 0, done.stderr
    assert "['--alpha', '0']" in done.stdout
    failed = runstream(*submit, "train.py", "3")
    assert failed.returncode == 1
    assert "User program failed with SystemExit: 3" in failed.stderr
    missing = runstream(*submit, "other.py")
    assert (missing.returncode, "script path doesn't exist" in missing.stderr) == (1, True)
    source("import time; print('up', flush=True); time.sleep(60)")
    run_id = runstream(*submit, "--async", "--query", "run_id", "-o", "tsv", "train.py").stdout.strip()
    canceled = runstream("cancel", "-r", run_id)
    assert canceled.stdout == "Experiment run canceled successfully.\n", canceled.stderr
    followed = runstream("monitor-logs", "-r", run_id)
    assert followed.returncode == 0
    assert followed.stdout.startswith(f"RunId: {run_id}\n")
    assert runstream("download-logs", "-r", run_id, "-d", "logs").returncode == 0


def test_a_file_that_grows(workspace: Workspace, experiment: Experiment, tmp_path: Path) -> None:
    run = experiment.start_logging(outputs=False)
    client = workspace._client
    assert files.append(client, run.id, "logs/a.txt", 0, b"one\n") == 4
    assert files.append(client, run.id, "logs/a.txt", 4, b"two\n") == 8
    assert files.append(client, run.id, "logs/a.txt", 4, b"two\n") == 8  # repeated after a lost answer
    assert files.append(client, run.id, "logs/a.txt", 100, b"far") == 8
    assert text(run, "logs/a.txt", tmp_path) == "one\ntwo\n"
    with pytest.raises(ServiceException, match="16777216"):
        files.append(client, run.id, "logs/a.txt", 8, bytes(17 << 20))
    with pytest.raises(ServiceException):
        files.append(client, run.id, "logs/a.txt/b", 0, b"below a file")
    run.complete()
