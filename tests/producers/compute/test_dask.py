"""The compute target `dask`: a real scheduler with worker processes, their logs, cancel, and the loss of a worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.producers.conftest import environment

from runstream.compute.backend import Work
from runstream.compute.dask_worker import _lay_out, _variables
from runstream.compute.job import Job, read_job, write_job
from runstream.compute.queue import entries
from runstream.core import Experiment, Run, ScriptRunConfig, Workspace
from runstream.core.compute import AttachConfiguration, ComputeTarget, DaskCompute
from runstream.exceptions import ComputeTargetException

from .test_queue import runner, until

CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
DRIVER = "azureml-logs/70_driver_log.txt"


@pytest.fixture(scope="module")
def scheduler(served_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a scheduler with two worker processes of one thread each."""
    folder = tmp_path_factory.mktemp("dask")
    (folder / "cluster.py").write_text(CLUSTER)
    variables = environment(served_home, DASK_TEMPORARY_DIRECTORY=str(folder))
    del variables["PYTHONWARNINGS"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, str(folder / "cluster.py")],
            env=variables,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as cluster,
    ):
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        assert address, (folder / "log").read_text()
        yield address
        below = psutil.Process(cluster.pid).children(recursive=True)
        cluster.communicate(timeout=60)
        for process in psutil.wait_procs(below, timeout=30)[1]:
            process.kill()


@pytest.fixture
def cluster(workspace: Workspace, scheduler: str) -> Iterator[str]:
    """The scheduler as a target of the test's workspace."""
    yield ComputeTarget.attach(workspace, "cluster", DaskCompute.attach_configuration(scheduler)).name
    until(
        lambda: (
            not [
                entry for entry in entries(workspace._settings).values() if entry.workspace == workspace.name
            ]
        )
    )


@pytest.fixture
def source(tmp_path: Path, cluster: str) -> Callable[..., ScriptRunConfig]:
    """Writes `train.py` to a project and returns a configuration for it on the cluster."""

    def write(code: str, *arguments: object) -> ScriptRunConfig:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(
            "import os, sys, time\nfrom runstream.core import Run, ScriptRunConfig\nrun = Run.get_context()\n"
            + code
        )
        return ScriptRunConfig(str(folder), "train.py", list(arguments), compute_target=cluster)

    return write


def pids(path: Path) -> list[int]:
    """Process ids a script has written, once it has written all of them."""
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return [int(word) for word in path.read_text().split()]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_runs_on_workers(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    config = source(
        f"run.log('worker', os.getppid())\nprint('begun', flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.05)\n"
        "run.log('done', sys.argv[1])\nopen('outputs/model', 'w').write('m')\n"
    )
    runs = [
        experiment.submit(ScriptRunConfig(config.source_directory, "train.py", [n], compute_target="cluster"))
        for n in range(3)
    ]
    assert [run.status for run in runs] == ["Queued"] * 3
    until(lambda: [run.get_status() for run in runs[:2]] == ["Running"] * 2)
    assert runs[2].get_status() == "Queued"  # the workers have two threads
    until(lambda: runs[0].get_details_with_logs()["logFiles"].get(DRIVER) == "begun\n")  # live
    os.kill(runner(experiment.workspace._settings), signal.SIGKILL)  # what is handed over is found again
    go.touch()
    details = [run.wait_for_completion() for run in runs]
    assert [(detail["status"], detail["target"]) for detail in details] == [("Completed", "cluster")] * 3
    assert [run.get_metrics()["done"] for run in runs] == ["0", "1", "2"]
    assert details[0]["properties"]["_azureml.ComputeTargetType"] == "dask"
    assert "outputs/model" in runs[2].get_file_names()


def test_cancel_kills_the_tree_on_the_worker_and_a_queued_run_never_begins(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    config = source(
        f"import subprocess\ninner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(90)'])\n"
        f"open({str(tmp_path)!r} + '/' + run.id, 'w').write(f'{{os.getpid()}} {{inner.pid}}\\n')\ntime.sleep(90)\n"
    )
    running = [experiment.submit(config) for _ in range(2)]
    processes = [pid for run in running for pid in pids(tmp_path / run.id)]
    queued = experiment.submit(config)
    queued.cancel()
    for run in running:
        run.cancel()
    until(lambda: all(gone(pid) for pid in processes))
    assert [run.wait_for_completion(wait_post_processing=True)["status"] for run in [*running, queued]] == [
        "Canceled"
    ] * 3
    assert not (tmp_path / queued.id).exists()


def test_a_lost_worker_fails_its_run(
    experiment: Experiment, source: Callable[..., ScriptRunConfig], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    config = source(
        f"path = {str(marks)!r} + '/' + run.id\nassert not os.path.exists(path)\n"
        "open(path, 'w').write(f'{os.getpid()} {os.getppid()}\\n')\ntime.sleep(90)\n"
    )
    run = experiment.submit(config)
    script, wrapper = pids(marks / run.id)
    worker = psutil.Process(wrapper).ppid()
    os.kill(worker, signal.SIGKILL)
    details = run.wait_for_completion(raise_on_error=False)
    error = details["error"]["error"]
    assert (details["status"], error["code"]) == ("Failed", "WorkerLost")
    assert error["message"].startswith("Dask worker tcp://127.0.0.1:")
    assert error["message"].endswith("was lost while it executed the run")
    until(lambda: gone(script) and gone(wrapper))
    # The scheduler gives the task to another worker: it does not begin the run again, and continues with others.
    after = experiment.submit(source("run.log('a', 1)"))
    assert after.wait_for_completion()["status"] == "Completed"
    assert run.get_status() == "Failed"
    assert DRIVER in run.get_details()["logFiles"]


def test_parents_that_wait_for_children_leave_their_threads(
    experiment: Experiment, source: Callable[..., ScriptRunConfig]
) -> None:
    config = source(
        "if sys.argv[1:]:\n    run.parent.log('child', sys.argv[1])\n"
        "else:\n"
        "    config = ScriptRunConfig('.', 'train.py', ['x'], compute_target='cluster')\n"
        "    run.submit_child(config).wait_for_completion()\n"
    )
    parents = [experiment.submit(config) for _ in range(2)]  # as many as there are threads
    for parent in parents:
        parent.wait_for_completion()
        assert parent.get_metrics() == {"child": "x"}


def test_a_worker_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted = tmp_path / "submitter" / "runs" / "r"
    (submitted / "code" / "sub").mkdir(parents=True)
    (submitted / "code" / "sub" / "run.sh").write_text("echo 1\n")
    (submitted / "code" / "sub" / "run.sh").chmod(0o755)
    variables = {"RUNSTREAM_HOME": str(tmp_path / "submitter"), "AWS_SECRET_ACCESS_KEY": "s"}
    job = Job("r", "e", "w", "s", "g", [], False, {}, "python", submitter_environment=variables)
    write_job(submitted, job, {})
    monkeypatch.setenv("RUNSTREAM_HOME", str(tmp_path / "worker"))

    _, problem = _lay_out("r", submitted, "another", None)
    assert "does not see" in problem
    here, problem = _lay_out("r", submitted, "another", Work.of(submitted).bundle())
    assert "set RUNSTREAM_URL and RUNSTREAM_KAFKA where the run is submitted" in problem
    assert here == tmp_path / "worker" / "runs" / "r"
    assert (here / "code" / "sub" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert read_job(here).submitter_environment == {}

    shutil.rmtree(here)
    job.submitter_environment |= {"RUNSTREAM_URL": "http://server:1", "RUNSTREAM_KAFKA": "broker:1"}
    shutil.rmtree(submitted)
    (submitted / "code").mkdir(parents=True)
    write_job(submitted, job, {})
    assert _lay_out("r", submitted, "another", Work.of(submitted).bundle()) == (here, "")
    variables = _variables(here, at_home=False)
    assert (variables["RUNSTREAM_URL"], variables["RUNSTREAM_HOME"]) == (
        "http://server:1",
        str(tmp_path / "worker"),
    )
    _, problem = _lay_out("r", submitted, "another", Work.of(submitted).bundle())
    assert "cannot be laid out" in problem  # somebody carries it out there already


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("nowhere", {}, r"address 'nowhere' .* such as tcp://host:8786"),
        ("tcp://h:1", {"adress": "x"}, "has no option adress; there are address, resources, tls_ca_file"),
    ],
)
def test_what_is_refused(workspace: Workspace, address: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ComputeTargetException, match=message):
        ComputeTarget.attach(workspace, "c", AttachConfiguration("dask", {"address": address, **options}))


def test_a_scheduler_that_is_away_keeps_runs_queued(
    workspace: Workspace, experiment: Experiment, tmp_path: Path
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text("1\n")
    ComputeTarget.attach(workspace, "away", DaskCompute.attach_configuration("tcp://127.0.0.1:9"))
    run: Run = experiment.submit(
        ScriptRunConfig(str(tmp_path / "project"), "train.py", compute_target="away")
    )
    local = experiment.submit(ScriptRunConfig(str(tmp_path / "project"), "train.py"))
    assert local.wait_for_completion()["status"] == "Completed"  # other targets continue
    assert run.get_status() == "Queued"
    run.cancel()
    until(lambda: not [entry for entry in entries(workspace._settings).values() if entry.target == "away"])
    assert run.get_status() == "Canceled"
