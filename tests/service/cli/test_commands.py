"""Every command of the original's CLI on `runstream`, against a real service: options, shapes, exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.producers.conftest import environment
from tests.service.cli.conftest import Cli

from runstream.core import Experiment, Run, Workspace
from runstream_service.cli.main import main

Commands = Callable[..., Any]


def test_files(cli: Cli, experiment: Experiment, tmp_path: Path) -> None:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    (tmp_path / "a.txt").write_text("one")
    run.upload_file("outputs/deep/a.txt", "a.txt")
    run.upload_file("b.txt", "a.txt")
    run.complete()
    assert [file["path"] for file in cli.json("run", "files", "-r", run.id)] == [
        "b.txt",
        "outputs/deep/a.txt",
    ]
    (written,) = cli.json("run", "download", "-r", run.id, "-d", "results", "--prefix", "outputs/")
    assert Path(written).read_text() == "one"
    assert written == str(Path("results", "outputs", "deep", "a.txt"))
    cli("run", "download", "-r", run.id, "-d", "results", "--prefix", "nothing/", exit_code=1)
    assert "no files below nothing/" in cli.stderr


def test_result_in_a_file_too(cli: Cli, runs: list[Run], tmp_path: Path) -> None:
    printed = cli.json("run", "list", "--query", "[].run_id", "-t", "out.json")
    assert [run["run_id"] for run in json.loads((tmp_path / "out.json").read_text())] == printed
    cli("run", "list", "-t", "out.json", exit_code=1)
    assert "out.json: there is such a file already" in cli.stderr


def test_folder_attach(
    cli: Cli, runs: list[Run], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNSTREAM_WORKSPACE")
    words = ("folder", "attach", "-w", workspace.name, "-g", "group", "--subscription-id", "sub")
    made = cli.json(*words, "-e", "test", "--path", "new/project")
    project = tmp_path / "new" / "project"
    assert made == {
        "Experiment name": "test",
        "Subscription id": "sub",
        "Resource group": "group",
        "Workspace name": workspace.name,
        "Project path": str(project),
    }
    config = project / ".azureml" / "config.json"
    assert json.loads(config.read_text())["Id"] == "test"
    assert json.loads(config.read_text())["Scope"].endswith(f"/workspaces/{workspace.name}/projects/test")
    assert {path.name for path in config.parent.iterdir()} == {
        "config.json",
        "conda_dependencies.yml",
        "local",
        "docker",
    }
    assert ".ipynb_checkpoints" in (project / ".amlignore").read_text().splitlines()
    attached = Workspace.from_config(project)
    assert (attached.name, attached.resource_group, attached.subscription_id) == (
        workspace.name,
        "group",
        "sub",
    )

    assert len(cli.json("run", "list", "--path", "new/project")) == 3
    cli.json(*words, "--path", "new/project", "-e", "renamed")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"port": 1}))
    (project / ".amlignore").write_text("mine\n")
    monkeypatch.chdir(project)
    assert cli.json("run", "list") == [], "of the attached experiment"
    assert len(cli.json("run", "list", "--all-experiments")) == 3
    assert cli.json(*words)["Experiment name"] == "project"
    assert json.loads(config.read_text())["port"] == 1
    assert (project / ".amlignore").read_text() == "mine\n"
    monkeypatch.chdir(tmp_path)
    cli("folder", "attach", "-w", "w", "--path", "not a name", exit_code=1)
    assert "choose one with --experiment-name" in cli.stderr
    for name in ("", "a/b"):
        cli("folder", "attach", "-w", name, "-e", "e", "--path", "none", exit_code=1)
        assert f"-w {name!r}: expected a name without slashes" in cli.stderr
    assert not (tmp_path / "none").exists()


@pytest.fixture
def project(tmp_path: Path, served_home: Path, workspace: Workspace) -> Commands:
    """Runs the command line as a process, in a directory with train.py."""
    (tmp_path / "train.py").write_text(
        "import sys, time\nfrom runstream.core import Run\nrun = Run.get_context()\nrun.log('x', 1)\n"
        "print('arguments', sys.argv[1:], flush=True)\ntime.sleep(60 if 'long' in sys.argv else 0)\n"
        "sys.exit('fails' in sys.argv)\n"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runstream", "run", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment(served_home, RUNSTREAM_WORKSPACE=workspace.name),
            timeout=90,
            check=False,
        )

    return run


def test_submit_script(project: Commands, cli: Cli, tmp_path: Path) -> None:
    done = project(
        "submit-script", "-e", "sub", "--query", "run_id", "-o", "tsv", "train.py", "--alpha", "-o", "x y"
    )
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.strip()
    assert re.fullmatch(r"sub_\d+_\w{8}", run_id)
    assert "arguments ['--alpha', '-o', 'x y']" in done.stderr
    record = cli.json("run", "show", "-r", run_id)
    assert (record["status"], record["run_type"], record["experiment"]) == (
        "Completed",
        "azureml.scriptrun",
        "sub",
    )
    assert record["run_type_v2"]["orchestrator"] == "Execution"

    failed = project("submit-script", "-e", "sub", "train.py", "fails")
    assert failed.returncode == 1
    assert "Streaming azureml-logs/70_driver_log.txt" in failed.stdout
    assert "SystemExit" in failed.stderr
    missing = project("submit-script", "-c", "nowhere", "train.py")
    assert (missing.returncode, "run configuration nowhere" in missing.stderr) == (1, True)
    nothing = project("submit-script")
    assert (nothing.returncode, "no script" in nothing.stderr) == (1, True)


HYPERDRIVE = """
sampling:
  type: grid
  parameter_space:
    - {name: --x, expression: choice, values: [3, 5]}
policy: {type: BanditPolicy, evaluation_interval: 1, slack_factor: 0.2}
primary_metric_name: x
primary_metric_goal: Maximize
max_total_runs: 8
max_concurrent_runs: 2
max_duration_minutes: 100
"""


def test_submit_hyperdrive(project: Commands, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / ".azureml").mkdir()
    (tmp_path / ".azureml/grid.yml").write_text(HYPERDRIVE)
    submit = ("submit-hyperdrive", "-e", "hd", "--hyperdrive-configuration-name")
    done = project(*submit, "grid", "--query", "run_id", "-o", "tsv", "train.py", "--alpha", "1")
    assert done.returncode == 0, done.stderr
    assert "trial 1 Completed: x 1" in done.stderr
    run_id = done.stdout.strip()
    record = cli.json("run", "show", "-r", run_id)
    assert (record["status"], record["run_type"]) == ("Completed", "hyperdrive")
    assert json.loads(record["properties"]["policy_config"])["properties"]["slack_factor"] == 0.2
    log = cli.json("run", "show", "-r", f"{run_id}_1")["details"]["runDefinition"]["arguments"]
    assert list(map(str, log)) == ["--alpha", "1", "--x", "5"]
    for wrong, message in (
        ("type: grid", "type 'greedy': expected random, grid or bayesian"),
        ("expression: choice", "expression 'choose': expected one of choice"),
        ("values: [3, 5]", "choice: there is nothing to choose from; give a value"),
        ("type: BanditPolicy", "policy: type 'Robber'"),
        ("slack_factor", "got an unexpected keyword argument 'slack'"),
        ("primary_metric_name", "'metric' is no key; use sampling"),
        ("Maximize", "goal 'most': expected 'maximize' or 'minimize'"),
        ("max_total_runs: 8", "max_total_runs 0: expected a whole number of 1 or more"),
        ("sampling:", "the file: expected keys and values, got list"),
    ):
        other = {
            "type: grid": "type: greedy", "expression: choice": "expression: choose", "values: [3, 5]": "values: []",
            "type: BanditPolicy": "type: Robber", "slack_factor": "slack", "primary_metric_name": "metric",
            "Maximize": "most", "max_total_runs: 8": "max_total_runs: 0",
        }.get(wrong)  # fmt: skip
        (tmp_path / "wrong.yml").write_text(HYPERDRIVE.replace(wrong, other) if other else "[1]")
        refused = project(*submit, "wrong.yml", "train.py")
        assert refused.returncode == 1
        assert message in refused.stderr
    missing = project(*submit, "nowhere", "train.py")
    assert "there is no such file" in missing.stderr


def test_logs_and_cancel(project: Commands, cli: Cli, tmp_path: Path) -> None:
    started = json.loads(project("submit-script", "-e", "sub", "--async", "train.py", "long").stdout)
    run_id = started["run_id"]
    assert started["status"] not in ("Completed", "Failed")
    following = subprocess.Popen(
        [sys.executable, "-m", "runstream", "run", "monitor-logs", "-r", run_id],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(Path(os.environ["RUNSTREAM_HOME"])),
        start_new_session=True,
    )
    assert following.stdout is not None
    for line in following.stdout:
        if line.startswith("arguments"):
            break
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=60)
    assert following.returncode == 130
    assert "Traceback" not in said
    assert f"runstream run cancel -r {run_id}" in said
    assert cli("run", "cancel", "-r", run_id, "-e", "sub") == "Experiment run canceled successfully.\n"
    assert cli.json("run", "monitor-logs", "-r", run_id, "-o", "json")["status"] == "Canceled"
    written = cli.json("run", "download-logs", "-r", run_id, "-d", "logs")
    assert any("arguments ['long']" in Path(path).read_text() for path in written)


def test_wrong_command_lines(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ("run", "list", "--status", "Done"),
        ("run", "list", "--last", "x"),
        ("run", "list", "ridge"),
        ("run", "cancel"),
        ("run", "download-logs", "-r", "x"),
        ("run", "show", "-o", "xml"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert "usage: runstream" in capsys.readouterr().err
    for words, text in (
        (("run", "list", "--last", "0"), "--last 0: expected a number"),
        (("run", "list", "--tags", "=x"), "--tags '=x': expected KEY"),
        (("run", "list", "-t", "nowhere/x.json"), "nowhere/x.json: there is no such directory"),
        (("run", "show", "-r", "a/b"), "no run 'a/b'"),
        (("run", "download-logs", "-r", "a/b", "-d", "x"), "no run 'a/b'"),
        (("run", "submit-script", "-d", "nowhere.yml", "x.py"), "nowhere.yml: No such file or directory"),
    ):
        cli(*words, exit_code=1)
        assert text in cli.stderr


def on_terminal(words: tuple[str, ...], cwd: Path, env: dict[str, str], **more: str) -> Iterator[str]:
    """A command's output on a terminal of 100 columns, as it comes."""
    child, descriptor = pty.fork()
    if not child:
        os.chdir(cwd)
        os.execve(sys.executable, [sys.executable, "-m", "runstream", *words], env | more)
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        deadline = time.monotonic() + 60
        while select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
            try:
                piece = os.read(descriptor, 65536)
            except OSError:  # Linux's end of a terminal
                break
            if not piece:
                break
            yield piece.decode()
    finally:
        os.close(descriptor)
        os.waitpid(child, 0)


def test_table_on_a_terminal(
    runs: list[Run], workspace: Workspace, served_home: Path, tmp_path: Path
) -> None:
    env = environment(served_home, RUNSTREAM_WORKSPACE=workspace.name, TERM="xterm", COLUMNS="100")
    said = "".join(on_terminal(("run", "list"), tmp_path, env))
    assert "\x1b[32mCompleted" in said
    plain = re.sub(r"\x1b\[[\d;]*m", "", said)
    assert runs[2].id in plain, "an id is never cut"
    table, note = plain.splitlines()[:-1], plain.splitlines()[-1]
    assert max(len(line) for line in table) <= 100
    assert note.startswith("(no room for ")


def complete(line: str, env: dict[str, str], cwd: Path) -> list[str]:
    """What bash would offer after a line."""
    read, write = os.pipe()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os; os.dup2({write}, 8); from runstream_service.cli.main import main; main()",
        ],
        env=env
        | {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"},
        pass_fds=(write,),
        cwd=cwd,
        capture_output=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    with os.fdopen(read) as answer:
        offered = answer.read().split("\n")
    assert done.returncode == 0, done.stderr
    return [word.strip() for word in offered]


def test_completion(
    runs: list[Run], workspace: Workspace, served_home: Path, tmp_path: Path, cli: Cli
) -> None:
    env = environment(served_home, RUNSTREAM_WORKSPACE=workspace.name)
    assert complete("runstream ru", env, tmp_path) == ["run"]
    assert {"list", "show", "update"} <= set(complete("runstream run ", env, tmp_path))
    assert complete("runstream run list --stat", env, tmp_path) == ["--status"]
    assert complete("runstream run list --status Fa", env, tmp_path) == ["Failed"]
    assert set(complete("runstream run show -r ", env, tmp_path)) == {run.id for run in runs}
    assert complete("runstream run list -e te", env, tmp_path) == ["test"]
    away = environment(tmp_path / "no-home")
    assert complete("runstream run show -r ", away, tmp_path) == [""]
    assert not (tmp_path / "no-home").exists()
    for shell, mark in (("bash", "complete "), ("zsh", "compdef"), ("fish", "complete --command runstream")):
        assert mark in cli("completion", shell)


@pytest.mark.parametrize("format", ["bundle", "tensorboard", "mlflow"])
def test_export_says_what_it_wrote_and_again_what_it_left(
    cli: Cli, runs: list[Run], experiment: Experiment, tmp_path: Path, format: str
) -> None:
    out = tmp_path / "out"
    text = cli("export", format, str(out), "-e", experiment.name)
    assert text.startswith(f"4 runs written, 0 unchanged, in {out}")
    assert len(list(out.rglob("runstream.json"))) == 4
    (report,) = cli.json("export", format, str(out), runs[0].id, "-o", "json")
    assert (report["run_id"], report["outcome"]) == (runs[0].id, "unchanged")
    reports = cli.json("export", format, str(tmp_path / "other"), runs[2].id, "--children", "-o", "json")
    assert len(reports) == 2
    cli("export", format, str(out), runs[0].id, "-e", experiment.name, exit_code=1)
    assert "name one of the two" in cli.stderr
