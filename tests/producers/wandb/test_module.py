"""What `runstream.wandb` does beyond what W&B's offline mode can show."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runstream.wandb as wandb
from runstream.core import Experiment, Run, Workspace
from tests.producers.conftest import environment


@pytest.fixture(autouse=True)
def own_workspace(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RUNSTREAM_WORKSPACE", workspace.name)
    yield
    wandb.finish()


def points(run_id: str, name: str) -> list[tuple[int, Any]]:
    (run,) = wandb.Api().runs("p", {"name": run_id})
    return [(row["_step"], row[name]) for row in run.scan_history([name, "_step"])]


def test_importing_it_loads_next_to_nothing(tmp_path: Path) -> None:
    code = "import sys, runstream.wandb; print([name for name in ('numpy', 'runstream.core') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_before_init_and_after_finish_the_module_says_so() -> None:
    for call in (
        lambda: wandb.log({"a": 1}),
        lambda: wandb.config.lr,
        lambda: wandb.summary["a"],
        lambda: wandb.save("x"),
    ):
        with pytest.raises(wandb.Error, match=r"must call wandb\.init\(\)"):
            call()
    assert wandb.run is None
    run = wandb.init(project="p")
    assert wandb.run is run
    assert wandb.init() is run
    wandb.finish()
    assert wandb.run is None
    with pytest.raises(wandb.Error, match="is finished"):
        run.log({"a": 1})


def test_a_goal_is_kept_and_says_which_end_is_the_best(workspace: Workspace) -> None:
    with wandb.init(project="p") as run:
        assert run.define_metric("acc", summary="best", goal="maximize").goal == "max"
        wandb.define_metric(
            "err/*", step_metric=run.define_metric("epoch"), summary="best,copy", goal="minimize"
        )
        for value in (1, 3, 2):
            run.log({"acc": value, "err/a": value, "epoch": value})
        assert dict(run.summary["acc"]) == {"best": 3}
        assert dict(run.summary["err/a"]) == {"best": 1}
        with pytest.raises(wandb.Error, match="goal: up; expected minimize or maximize"):
            run.define_metric("acc", goal="up")
    stored = Run.get(workspace, run.id)
    stored.flush()
    details = workspace._client.get_json(f"/api/v1/runs/{run.id}")["details"]
    assert details["metric_definitions"] == {
        "epoch": {},
        "acc": {"summary": ["best"], "goal": "max"},
        "err/*": {"step_metric": "epoch", "summary": ["best"], "goal": "min"},
    }


def test_a_run_in_a_with_block_fails_by_an_exception(workspace: Workspace) -> None:
    with pytest.raises(RuntimeError), wandb.init(project="p") as run:
        raise RuntimeError("no")
    assert Run.get(workspace, run.id).get_status() == "Failed"


def test_disabled_records_nothing(workspace: Workspace) -> None:
    run = wandb.init(project="p", mode="disabled", config={"lr": 1})
    wandb.log({"a": 1})
    wandb.config.update({"x": 2})
    wandb.summary["b"] = 3
    assert (run.disabled, wandb.config.lr, wandb.summary["b"]) == (True, 1, 3)
    wandb.finish()
    assert list(Experiment.list(workspace)) == []


def test_variables_stand_for_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PROJECT": "p", "NAME": "n", "TAGS": "a,b", "RUN_GROUP": "g", "ENTITY": "e"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    run = wandb.init(name="argument")
    assert (run.project, run.name, run.tags, run.group, run.path) == (
        "p",
        "argument",
        ("a", "b"),
        "g",
        f"e/p/{run.id}",
    )


def test_an_id_is_continued_or_kept_apart() -> None:
    wandb.init(project="p", id="kept", config={"opt": {"lr": 0.1}})
    wandb.log({"loss": 3})
    wandb.log({"loss": 2})
    wandb.summary["best"] = 2
    wandb.finish()
    with wandb.init(project="p", id="kept") as other:
        assert other.id.startswith("kept-")
    with wandb.init(project="p", id="kept", resume="must") as run:
        assert (run.resumed, run.step, run.config["opt"], run.summary["best"]) == (True, 2, {"lr": 0.1}, 2)
        run.log({"loss": 1})
    assert points("kept", "loss") == [(0, 3), (1, 2), (2, 1)]
    with pytest.raises(wandb.UsageError, match="never"):
        wandb.init(project="p", id="kept", resume="never")
    with pytest.raises(wandb.UsageError, match="must"):
        wandb.init(project="p", id="nothing", resume="must")


def test_many_threads_log_each_row_at_a_step_of_its_own() -> None:
    run = wandb.init(project="p", id="threads")
    threads = [
        threading.Thread(target=lambda: [run.log({"a": 1, "b": 2.0}) for _ in range(200)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    assert [step for step, _ in points("threads", "a")] == list(range(800))


def test_what_cannot_be_held_costs_a_warning_and_no_training(caplog: pytest.LogCaptureFixture) -> None:
    with wandb.init(project="p", id="odd") as run:
        run.log({"loss": 1, "text": "\ud800"})
        run.log({"loss": 2**80, "n" * 2000: 1})
        run.log({"loss": 3})
        run.config.update({"k" * 2000: 1, "fine": 2})
    assert points("odd", "loss") == [(0, 1), (1, float(2**80)), (2, 3)]
    assert (
        len({record.getMessage() for record in caplog.records if "not recorded" in record.getMessage()}) == 3
    )


def test_media_that_are_broken_are_an_error_of_the_call() -> None:
    with wandb.init(project="p") as run:
        with pytest.raises(ValueError, match="sample_rate"):
            wandb.Audio(np.zeros(10))
        with pytest.raises(ValueError, match="3 columns"):
            wandb.Table(data=[[1]])
        with pytest.raises(Exception, match="missing"):
            run.log({"a": wandb.Image("missing.png")})


def test_artifacts_have_versions_and_aliases(tmp_path: Path) -> None:
    Path("data.txt").write_text("one")
    with wandb.init(project="p") as run:
        for contents, aliases in (("one", ["first"]), ("two", None), ("one", None)):
            Path("data.txt").write_text(contents)
            artifact = wandb.Artifact("data", type="dataset", metadata={"size": 3})
            artifact.add_file("data.txt")
            with artifact.new_file("more.txt") as stream:
                stream.write("m")
            run.log_artifact(artifact, aliases=aliases)
        with pytest.raises(wandb.UsageError, match="cannot be changed"):
            artifact.add_file("data.txt", "again")
    with wandb.init(project="p", job_type="use") as user:
        artifact = user.use_artifact("data:first")
        assert (artifact.name, artifact.type, artifact.metadata) == ("data:v0", "dataset", {"size": 3})
        assert Path(artifact.download(tmp_path / "d"), "data.txt").read_text() == "one"
        assert user.use_artifact("e/p/data:latest").name == "data:v1"
        assert Path(artifact.get_path("more.txt").download(tmp_path / "e")).read_text() == "m"
        with pytest.raises(wandb.CommError, match="v0 to v1"):
            user.use_artifact("data:v7")
        with pytest.raises(ValueError, match="does not match"):
            user.use_artifact("data:v0", type="model")
    assert (
        Run.get(Workspace.from_config(), user.id).get_properties()["wandb.used_artifact.data:v0"]
        == artifact.digest
    )


def test_a_model_is_registered(workspace: Workspace) -> None:
    Path("model.bin").write_bytes(b"weights")
    with wandb.init(project="p") as run:
        run.log_model("model.bin", name="net", aliases=["good"])
        run.link_model("model.bin", "catalog/best-net")
        assert Path(run.use_model("net:good")).read_bytes() == b"weights"
    assert {"net", "best-net"} <= set(workspace.models)


def test_the_api_reads_what_was_recorded() -> None:
    for number in range(3):
        with wandb.init(
            project="p", name=f"run {number}", config={"lr": number / 10}, tags=["t"] if number else []
        ) as run:
            for step in range(10):
                run.log({"loss": number + 1 / (step + 1)})
            run.log({"final": number})
    api = wandb.Api()
    assert [each.name for each in api.runs("entity/p")] == ["run 2", "run 1", "run 0"]
    assert [each.name for each in api.runs("p", order="+summary_metrics.loss")] == ["run 0", "run 1", "run 2"]
    assert (
        len(api.runs("p", {"$and": [{"config.lr": {"$gt": 0.05}}, {"tags": "t"}, {"state": "finished"}]}))
        == 2
    )
    (chosen,) = api.runs("p", {"display_name": {"$regex": "1$"}})
    assert (chosen.config, chosen.summary["final"], chosen.state) == ({"lr": 0.1}, 1, "finished")
    assert [row["loss"] for row in chosen.scan_history(["loss"], max_step=2)] == [2.0, 1.5]
    frame = api.run(f"e/p/{chosen.id}").history(samples=5, keys=["loss"])
    assert list(frame.columns) == ["loss", "_step"]
    assert len(frame) == 5
    with pytest.raises(wandb.CommError):
        api.run("e/p/nothing")


def test_watched_gradients_join_the_next_row() -> None:
    """As far as it goes without torch: what is no module is refused."""
    with wandb.init(project="p") as run, pytest.raises(TypeError, match="pytorch model"):
        run.watch(object())


SWEEP = """
import runstream.wandb as wandb
def train():
    with wandb.init() as run:
        for step in range(3):
            run.log({"loss": (run.config.lr - 0.3) ** 2 + step * 0, "units": run.config["opt"]["units"]})
sweep_id = wandb.sweep({
    "method": "grid", "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"lr": {"values": [0.1, 0.3]}, "opt": {"parameters": {"units": {"value": 8}}}},
}, project="p")
wandb.agent(sweep_id, function=train)
print(sweep_id)
"""


def test_a_sweep_is_one_of_runstream(workspace: Workspace, served_home: Path) -> None:
    Path("sweep.py").write_text(SWEEP)
    env = environment(served_home, RUNSTREAM_WORKSPACE=workspace.name)
    done = subprocess.run([sys.executable, "sweep.py"], env=env, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    parent = Run.get(workspace, f"sweep-{done.stdout.strip()}")
    trials = list(parent.get_children())
    assert sorted(trial.get_params()["lr"] for trial in trials) == [0.1, 0.3]
    assert {trial.get_status() for trial in trials} == {"Completed"}
    assert all(trial.get_metrics()["units"] == [8, 8, 8] for trial in trials)
    assert parent.get_tags()["best_value"] == "0.0"


def test_sweeps_that_cannot_be_executed_are_refused() -> None:
    for document, what in (
        ({"method": "magic", "parameters": {"a": {"value": 1}}}, "method"),
        ({"parameters": {"a": {"distribution": "inv_log_uniform", "min": 1, "max": 2}}}, "distribution"),
        ({"parameters": {"a": 3}}, "parameter a"),
    ):
        with pytest.raises(wandb.UsageError, match=what):
            wandb.sweep(document)
    with pytest.raises(wandb.UsageError, match="count"):
        wandb.agent(wandb.sweep({"parameters": {"a": {"min": 0.0, "max": 1.0}}}), function=print)


def test_a_killed_run_keeps_every_row_that_was_committed(workspace: Workspace, served_home: Path) -> None:
    script = (
        "import os, runstream.wandb as wandb\nwandb.init(project='p', id='killed')\n"
        "for i in range(100): wandb.log({'loss': i})\nos.kill(os.getpid(), 9)"
    )
    env = environment(served_home, RUNSTREAM_WORKSPACE=workspace.name)
    assert subprocess.run([sys.executable, "-c", script], env=env, timeout=60).returncode == -9
    assert len(points("killed", "loss")) == 100


def test_a_forked_child_logs_while_a_thread_of_its_parent_held_the_lock() -> None:
    run = wandb.init(project="p", id="forked")
    with run._history._lock:  # type: ignore[union-attr]
        child = os.fork()
        if child == 0:
            run.log({"in child": 1})
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
