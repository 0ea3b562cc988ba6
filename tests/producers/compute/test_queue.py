"""The queue of submitted runs: bounded, in order, and there after a kill of whatever carries it out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.producers.conftest import serve

from runstream.client.http import client_for
from runstream.compute import runner as runner_module
from runstream.compute.backend import GROUP, Report, TargetAway, Work
from runstream.compute.job import Job, run_directory, write_job
from runstream.compute.places import places_taken
from runstream.compute.queue import Entry, enqueue, entries, remove, runner_alive
from runstream.compute.registry import TargetRecord, attach, detach, kinds, opener, targets
from runstream.compute.runner import Runner
from runstream.core import Experiment, Run, ScriptRunConfig, Workspace
from runstream.core.compute import ComputeTarget, LocalCompute
from runstream.exceptions import ComputeTargetException, UserErrorException
from runstream_schemas.settings import Settings


@pytest.fixture
def narrow(workspace: Workspace) -> Iterator[str]:
    """A target of one place."""
    attach(workspace._settings, workspace.name, TargetRecord("narrow", "local", concurrency=1))
    yield "narrow"
    detach(workspace._settings, workspace.name, "narrow")


@pytest.fixture
def held(tmp_path: Path, narrow: str) -> Callable[[], ScriptRunConfig]:
    """A script that notes its run id and waits until `tmp_path/go` is there."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text(
        "import os, time\n"
        f"open({str(tmp_path / 'order')!r}, 'a').write(os.environ['AZUREML_RUN_ID'] + '\\n')\n"
        f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)\n"
    )
    return lambda: ScriptRunConfig(str(tmp_path / "project"), "train.py", compute_target=narrow)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def order(tmp_path: Path) -> list[str]:
    path = tmp_path / "order"
    return path.read_text().splitlines() if path.exists() else []


def test_one_place_a_killed_runner_and_a_canceled_run(
    experiment: Experiment, held: Callable[[], ScriptRunConfig], tmp_path: Path
) -> None:
    settings = experiment.workspace._settings
    runs = [experiment.submit(held()) for _ in range(3)]
    assert [run.status for run in runs] == ["Starting", "Queued", "Queued"]
    until(lambda: order(tmp_path) == [runs[0].id])
    assert [run.get_status() for run in runs[1:]] == ["Queued", "Queued"]
    assert runs[2].get_detailed_status() == {
        "status": "Queued",
        "details": "The run waits for a place at the compute target narrow.",
    }

    os.kill(runner(settings), signal.SIGKILL)
    runs[1].cancel()  # nobody is there to see it
    until(lambda: runner_alive(settings))  # the service has started another
    (tmp_path / "go").touch()
    ended = [run.wait_for_completion()["status"] for run in runs]
    assert ended == ["Completed", "Canceled", "Completed"]
    assert order(tmp_path) == [runs[0].id, runs[2].id]  # neither the canceled one, nor one twice
    until(lambda: not [entry for entry in entries(settings).values() if entry.target == "narrow"])


def test_the_queue_outlives_the_service_and_its_runner(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(workspace_name="w")
    settings = workspace._settings
    attach(settings, "w", TargetRecord("narrow", "local", concurrency=1))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)\n"
    )
    config = ScriptRunConfig(str(tmp_path / "project"), "train.py", compute_target="narrow")
    with serve(home) as service:
        runs = [Experiment(workspace, "e").submit(config) for _ in range(2)]
        until(lambda: runs[0].get_status() == "Running")
        service.kill()  # first: it would start another runner
        service.wait()
        os.kill(runner(settings), signal.SIGKILL)
    assert len(entries(settings)) == 2
    with serve(home):
        (tmp_path / "go").touch()
        assert [run.wait_for_completion()["status"] for run in runs] == ["Completed"] * 2
        until(lambda: not entries(settings))


def runner(settings: Settings) -> int:
    """The process that holds the runner's lock."""
    inode = (settings.home_path / "compute" / "runner.lock").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "WRITE" in words and words[-3].endswith(f":{inode}"):
            return int(words[4])
    raise AssertionError("no runner")


def test_places() -> None:
    queue = {
        "1": Entry("parent", "", "parent", "w", "t"),
        "2": Entry("child", "parent", "child", "w", "t"),
        "3": Entry("other", "", "other", "w", "t"),
    }
    assert places_taken(queue, ["1"]) == 0  # it waits for its child
    assert places_taken(queue, ["1", "2", "3"]) == 2
    del queue["2"]
    assert places_taken(queue, ["1", "3"]) == 2


def test_the_queue_keeps_the_order_of_submission(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path))
    for name in ("b", "a", "c"):
        enqueue(settings, Entry(name, "", name, "w", "local"))
    queued = entries(settings)
    assert [entry.run_id for entry in queued.values()] == ["b", "a", "c"]
    (tmp_path / "compute" / "jobs" / "0-broken").write_text("{")  # half of a disk's last breath
    assert entries(settings) == queued
    remove(settings, next(iter(queued)))
    assert [entry.run_id for entry in entries(settings).values()] == ["a", "c"]


def test_targets_of_a_workspace(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path))
    attach(settings, "w", TargetRecord("gpu", "local", concurrency=2))
    assert list(targets(settings, "w")) == ["local", "gpu"]
    assert targets(settings, "w")["gpu"].concurrency == 2
    assert list(targets(settings, "other")) == ["local"]
    assert detach(settings, "w", "gpu")
    assert not detach(settings, "w", "gpu")
    assert "local" in kinds()
    with pytest.raises(
        ComputeTargetException, match=r"no compute target of type 'slurm'.*runstream\.compute_targets"
    ):
        opener("slurm")


def test_compute_targets_by_name(
    workspace: Workspace, experiment: Experiment, held: Callable[[], ScriptRunConfig], tmp_path: Path
) -> None:
    target = ComputeTarget.attach(workspace, "gpu.1", LocalCompute.attach_configuration(concurrency=2))
    assert (target.name, target.type, target.concurrency) == ("gpu.1", "local", 2)
    assert [target.name for target in ComputeTarget.list(workspace)] == ["local", "narrow", "gpu.1"]
    target.detach()
    with pytest.raises(ComputeTargetException, match=r"has no compute target 'gpu.1'; it has: local, narrow"):
        ComputeTarget(workspace, "gpu.1")
    with pytest.raises(ComputeTargetException, match="cannot be detached"):
        ComputeTarget(workspace, "local").detach()
    with pytest.raises(UserErrorException, match=r"compute target name '\.\./x'"):
        ComputeTarget.attach(workspace, "../x", LocalCompute.attach_configuration())
    with pytest.raises(UserErrorException, match="less than 1"):
        ComputeTarget.attach(workspace, "none", LocalCompute.attach_configuration(concurrency=0))
    assert list(workspace.compute_targets) == ["local", "narrow"]
    run, queued = experiment.submit(held(), tags={"a": "1"}), experiment.submit(held())
    narrow = ComputeTarget(workspace, "narrow")
    until(
        lambda: (
            [(run.run_id, run.status) for run in narrow.get_active_runs(status="Running")]
            == [(run.id, "Running")]
        )
    )
    assert [run.run_id for run in Run.list_by_compute(narrow)] == [run.id, queued.id]
    assert [run.run_id for run in Run.list_by_compute(narrow, tags="a")] == [run.id]
    assert list(ComputeTarget(workspace, "local").get_active_runs()) == []
    with pytest.raises(
        UserErrorException, match="'Completed' of an active run: expected one of NotStarted, Queued"
    ):
        narrow.get_active_runs(status="Completed")
    queued.cancel()
    with pytest.raises(ComputeTargetException, match="runs that are queued or running"):
        ComputeTarget(workspace, "narrow").detach()
    (tmp_path / "go").touch()
    assert run.wait_for_completion()["target"] == "narrow"
    assert list(narrow.get_active_runs()) == []


def test_a_target_that_never_comes_back_keeps_no_run_that_has_ended(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        concurrency = None

        def report(self, work: Work) -> Report:
            raise TargetAway("the cluster is gone")

    ended, going_on = experiment.start_logging(outputs=False), experiment.start_logging(outputs=False)
    address = client_for(experiment.workspace._settings).address()
    elsewhere = Settings(home=str(tmp_path / "h"), url=address.url, token=address.token)
    for run in (ended, going_on):
        directory = run_directory(elsewhere, run.id)
        directory.mkdir(parents=True)
        write_job(directory, Job(run.id, "e", "w", "s", "g", [], False, {}, "python"), {})
        enqueue(elsewhere, Entry(run.id, "", directory.name, "w", "t"))
    attach(elsewhere, "w", TargetRecord("t", "local"))
    monkeypatch.setattr(runner_module, "open_backend", lambda record: Gone())
    at_work = Runner(elsewhere)
    ended.fail("lost with the cluster")
    ended.flush()
    at_work.look()
    assert [entry.run_id for entry in entries(elsewhere).values()] == [going_on.id]
    going_on.complete()


def test_a_package_brings_a_kind_of_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site"
    (package / "printer-1.0.dist-info").mkdir(parents=True)
    (package / "printer-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: printer\nVersion: 1.0\n"
    )
    (package / "printer-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{GROUP}]\nprinter = runstream_printer:Printer\n"
    )
    (package / "runstream_printer.py").write_text(
        "from runstream.compute.backend import Report, State, unpack\n"
        "from pathlib import Path\n"
        "class Printer:\n"
        "    concurrency = 1\n"
        "    def __init__(self, options): self.folder = Path(options['folder'])\n"
        "    def start(self, work): unpack(work.bundle(), self.folder / work.run_id)\n"
        "    def report(self, work):\n"
        "        there = (self.folder / work.run_id).exists()\n"
        "        return Report(State.ENDED, 'out of paper') if there else Report(State.NEW)\n"
        "    def cancel(self, work): pass\n"
        "    def close(self): pass\n"
    )
    monkeypatch.syspath_prepend(str(package))
    settings = Settings(home=str(tmp_path / "h"), autostart=False)
    assert "printer" in kinds()
    attach(settings, "w", TargetRecord("p", "printer", {"folder": str(tmp_path / "printed")}))
    directory = run_directory(settings, "r")
    (directory / "code").mkdir(parents=True)
    (directory / "code" / "train.py").write_text("1\n")
    write_job(
        directory,
        Job("r", "e", "w", "s", "g", [], False, {}, "python", submitter_environment=settings.environment()),
        {},
    )
    enqueue(settings, Entry("r", "", "r", "w", "p"))
    runner = Runner(settings)
    runner.look()
    assert (tmp_path / "printed" / "r" / "code" / "train.py").read_text() == "1\n"
    runner.look()
    assert (runner.queue, entries(settings)) == ({}, {})  # its end, and why, are in the spool
