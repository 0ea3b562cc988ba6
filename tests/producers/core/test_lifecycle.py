"""Statuses, children, tags, properties and filters, as the service knows them."""

from __future__ import annotations

import gc
import re
import sys
import time
from typing import Any

import pytest

from runstream.client import reading
from runstream.client.reading import settle
from runstream.core import Experiment, Run, Workspace, get_run
from runstream.exceptions import (
    ActivityFailedException,
    AzureMLException,
    ServiceException,
    UserErrorException,
)
from runstream.spool import live_runs


def test_details_of_a_completed_run(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False, display_name="shown", description="*text*", tags={"a": "b"})
    assert (run.status, run.get_status()) == ("Running", "Running")
    assert "endTimeUtc" not in run.get_details()
    run.complete()
    details = run.get_details()
    assert details["runId"] == run.id
    assert (details["status"], details["target"]) == ("Completed", "local")
    for key in ("startTimeUtc", "endTimeUtc"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", details[key])
    assert "error" not in details
    fetched = Run(experiment, run.id)
    assert (fetched.display_name, fetched.description, fetched.tags) == ("shown", "*text*", {"a": "b"})
    assert (fetched.name, fetched.type, fetched.number) == (f"run_{run.id}", None, 1)
    assert run.number == 1


def test_an_unknown_run_is_404(experiment: Experiment, workspace: Workspace) -> None:
    for call in (
        lambda: Run(experiment, "unknown"),
        lambda: workspace.get_run("unknown"),
        lambda: get_run(experiment, "unknown"),
    ):
        with pytest.raises(ServiceException) as missing:
            call()
        assert missing.value.status_code == 404


def test_a_run_of_another_experiment_is_404(experiment: Experiment, workspace: Workspace) -> None:
    with experiment.start_logging(outputs=False) as run:
        pass
    with pytest.raises(ServiceException):
        Run(Experiment(workspace, "other"), run.id)
    assert workspace.get_run(run.id).experiment.name == "test"


@pytest.mark.parametrize(
    ("details", "code", "expected"),
    [
        (None, None, {"code": "UserError"}),
        ("no data", None, {"code": "UserError", "message": "no data"}),
        ("no data", "NoData", {"code": "NoData", "message": "no data"}),
        (
            ValueError("bad"),
            None,
            {"code": "UserError", "message": "User program failed with ValueError: bad"},
        ),
    ],
)
def test_fail(experiment: Experiment, details: Any, code: str | None, expected: dict[str, str]) -> None:
    run = experiment.start_logging(outputs=False)
    run.fail(details, code)
    assert run.get_status() == "Failed"
    assert run.get_details()["error"] == {"error": expected}


def test_fail_without_status_only_records_the_error(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    run.fail("odd", _set_status=False)
    assert (run.get_status(), run.get_details()["error"]["error"]["message"]) == ("Running", "odd")
    run.complete(_set_status=False)
    assert run.get_status() == "Running"
    run.cancel()
    assert Run(experiment, run.id).status == "Canceled"


def test_endings_after_endings(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    run.complete()
    ended = run.get_details()["endTimeUtc"]
    run.complete()
    run.cancel()
    assert Run(experiment, run.id).status == "Completed"
    assert run.get_details()["endTimeUtc"] == ended
    run.fail("after all")
    assert Run(experiment, run.id).status == "Failed"
    run.start()
    assert Run(experiment, run.id).status == "Running"
    run.complete()
    assert Run(experiment, run.id).status == "Completed"


def test_context_manager(experiment: Experiment) -> None:
    with experiment.start_logging(outputs=False) as good:
        good.complete()
    with experiment.start_logging(outputs=False) as left:
        sys.exit(0)
    with pytest.raises(KeyboardInterrupt), experiment.start_logging(outputs=False) as stopped:
        raise KeyboardInterrupt
    with pytest.raises(SystemExit), experiment.start_logging(outputs=False) as exited:
        sys.exit(2)
    assert [run.get_status() for run in (good, left, stopped, exited)] == [
        "Completed",
        "Completed",
        "Failed",
        "Failed",
    ]
    assert exited.get_details()["error"]["error"]["message"] == "User program failed with SystemExit: 2"


def test_wait_for_completion(experiment: Experiment) -> None:
    done, canceled, failed = (experiment.start_logging(outputs=False) for _ in range(3))
    done.complete()
    canceled.cancel()
    failed.fail("broken")
    assert done.wait_for_completion()["status"] == "Completed"
    assert canceled.wait_for_completion()["status"] == "Canceled"
    assert failed.wait_for_completion(raise_on_error=False)["status"] == "Failed"
    with pytest.raises(ActivityFailedException, match="broken"):
        failed.wait_for_completion()


def test_an_existing_run_id_is_started_again(experiment: Experiment) -> None:
    name = f"mine-{time.time_ns()}"
    first = experiment.start_logging(run_id=name, outputs=False)
    first.log("a", 1)
    first.complete()
    second = experiment.start_logging(run_id=name, outputs=False)
    second.log("a", 2)
    assert second.get_status() == "Running"
    second.complete()
    assert second.get_metrics() == {"a": [1, 2]}
    assert [run.id for run in experiment.get_runs()] == [name]


def test_children(experiment: Experiment) -> None:
    parent = experiment.start_logging(name="p", outputs=False)
    first, second = parent.create_children(tag_key="fold", tag_values=["one", 2])
    inner = first.child_run("in")
    assert (first.name, inner.name) == ("p>", "p>>in")
    assert (parent.display_name, Run(experiment, inner.id).display_name) == ("p", "in")
    assert re.fullmatch(r"[a-z]+_[a-z]+_[a-z0-9]+", first.display_name or "")
    assert first.get_tags() == {"fold": "one"}
    assert second.get_tags() == {"fold": "2"}
    assert [run.get_tags() for run in parent.create_children(count=2)] == [
        {"azureml.batch_child_number": "0"},
        {"azureml.batch_child_number": "1"},
    ]
    assert parent.create_children(count=0) == []
    ids = [run.id for run in parent.get_children()]
    assert len(ids) == 4
    assert ids[-2:] == [second.id, first.id]  # newest start first
    assert inner.id not in ids
    assert parent.id not in [run.id for run in parent.get_children(recursive=True)]
    assert len(list(parent.get_children(recursive=True))) == 5
    assert [run.id for run in parent.get_children(tags={"fold": 2})] == [second.id]
    assert [run.id for run in parent.get_children(tags="fold", status="Running")] == [second.id, first.id]
    parent.complete()
    assert first.get_status() == "Running"
    read = Run(experiment, inner.id)
    assert read.parent is not None
    assert read.parent.parent is not None
    assert read.parent.parent.id == parent.id
    assert parent.parent is None
    for run in parent.get_children(recursive=True):
        run.complete()
    assert [run.id for run in experiment.get_runs()] == [parent.id]
    assert len(list(experiment.get_runs(include_children=True))) == 6


def test_depth_first_from_an_inner_run(experiment: Experiment) -> None:
    root = experiment.start_logging(outputs=False)
    inner = root.child_run()
    old = inner.child_run()
    new = inner.child_run()
    below_old = old.child_run()
    below_new = new.child_run()
    below_old_too = old.child_run()
    assert [run.id for run in inner.get_children(recursive=True)] == [
        new.id,
        below_new.id,
        old.id,
        below_old_too.id,
        below_old.id,
    ]
    for run in [root, *root.get_children(recursive=True)]:
        run.complete()


def test_tags_and_properties(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False, snapshot_directory=None)
    run.tag("quality", "good")
    run.tag("look")
    run.tag("quality", "better")
    run.set_tags({"a b": "c d", "gone": "soon"})
    run.remove_tags(["gone", "never there"])
    expected = {"quality": "better", "look": None, "a b": "c d"}
    assert run.get_tags() == run.tags == expected
    run.add_properties({"author": "me"})
    run.complete()
    fetched = Run(experiment, run.id)
    fetched.tag("late", "yes")
    assert fetched.get_tags() == {**expected, "late": "yes"}
    assert fetched.get_properties() == {"author": "me"}
    fetched.add_properties({"author": "me", "more": None})
    with pytest.raises(ServiceException):
        fetched.add_properties({"author": "you"})
    assert run.get_properties() == {"author": "me", "more": None}


def test_display_name_and_description(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    assert re.fullmatch(r"[a-z]+_[a-z]+_[a-z0-9]+", run.display_name or "")
    run.display_name = "new name"
    run.description = "new text"
    run.complete()
    fetched = Run(experiment, run.id)
    assert (fetched.display_name, fetched.description) == ("new name", "new text")


def test_experiments_and_workspaces(workspace: Workspace) -> None:
    Experiment(workspace, "empty")
    with Experiment(workspace, "used").start_logging(outputs=False) as run:
        pass
    assert set(workspace.experiments) == {"empty", "used"}
    assert workspace.experiments["used"].id != workspace.experiments["empty"].id
    assert [known.name for known in Experiment.list(workspace, experiment_name="used")] == ["used"]
    assert workspace.name in Workspace.list()
    assert Workspace.get(workspace.name).get_run(run.id).id == run.id
    assert f"/runs/{run.id}?wsid=/subscriptions/" in run.get_portal_url()
    assert "/experiments/id/" in Experiment(workspace, "used").get_portal_url()


def test_flush_returns_when_stored(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    run.log("a", 1)
    run.flush(30)
    assert run._live().unconfirmed() == {}
    with pytest.raises(AzureMLException, match="Failed to flush task queue within 0 seconds"):
        _log_and_flush(run, 100)
    run.complete()


def _log_and_flush(run: Run, times: int) -> None:
    """Nobody stores a point in no time, so many times."""
    for _ in range(times):
        run.log("a", 1)
        run.flush(timeout_seconds=0)


def test_a_class_of_your_own_stands_for_runs_of_a_type(experiment: Experiment, workspace: Workspace) -> None:
    class Tuned(Run):
        """Has a method that others lack."""

        def best(self) -> Any:
            return min(self.get_metrics()["loss"])

    Run.add_type_provider("tuned", lambda experiment, record: Tuned(experiment, record.run_id))
    parent = experiment.start_logging(outputs=False)
    child = parent.child_run("inner")
    child._live().writer.set_field("type", "tuned")
    child.log_list("loss", [3, 1, 2])
    child.complete()
    parent.complete()
    for tuned in (
        next(parent.get_children(type="tuned")),
        next(experiment.get_runs(type="tuned", include_children=True)),
        get_run(experiment, child.id),
        workspace.get_run(child.id),
    ):
        assert isinstance(tuned, Tuned)
        assert tuned.best() == 1
    assert type(Run(experiment, child.id)) is Run


@pytest.mark.parametrize("held", [True, False], ids=["held", "let go"])
def test_runs_deleted_meanwhile_do_not_hold_up_what_is_read(experiment: Experiment, held: bool) -> None:
    client = experiment.workspace._client
    kept = experiment.start_logging(outputs=False, snapshot_directory=None)
    deleted = experiment.start_logging(outputs=False, snapshot_directory=None)
    address = f"/api/v1/runs/{deleted.id}"
    kept.log("loss", 0.5)
    kept.complete()
    deleted.complete()
    assert settle(client)
    deleted.tag("one", "more")
    client.request("DELETE", address)
    # Nobody will ever say that the tag is stored.
    if not held:
        del deleted
        gc.collect()
    assert settle(client, timeout=5.0)
    assert kept.get_metrics(recursive=True) == {kept.id: {"loss": 0.5}}
    assert [run.id for run in experiment.get_runs()] == [kept.id]


def test_what_is_never_stored_is_waited_for_once(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = experiment.workspace._client
    kept = experiment.start_logging(outputs=False, snapshot_directory=None)
    kept.complete()
    assert settle(client)
    live_runs._leave(client.settings, {"f" * 32: 7})  # of a spool that is gone
    monkeypatch.setattr(reading, "_LONGEST_WAIT", 0.2)
    assert not settle(client, timeout=0.2)
    assert "has not stored all of this process's writes" in caplog.text
    assert settle(client, timeout=0.2)


def test_what_is_read_is_waited_for_whatever_became_of_the_last_run(experiment: Experiment) -> None:
    client = experiment.workspace._client
    kept = experiment.start_logging(outputs=False, snapshot_directory=None)
    deleted = experiment.start_logging(outputs=False, snapshot_directory=None)
    deleted.complete()
    assert settle(client)
    client.request("DELETE", f"/api/v1/runs/{deleted.id}")
    kept.log("loss", 0.5)
    assert settle(client, timeout=5.0)
    kept.complete()


@pytest.mark.parametrize("argument", ["name", "display_name", "description"])
def test_a_text_that_is_too_long_is_refused_before_a_run_is_made(
    experiment: Experiment, argument: str
) -> None:
    before = sum(1 for _ in experiment.get_runs())
    with pytest.raises(UserErrorException, match=rf"{argument}.*text of 7000000 bytes, the most is 1048576"):
        experiment.start_logging(outputs=False, snapshot_directory=None, **{argument: "x" * 7_000_000})
    assert sum(1 for _ in experiment.get_runs()) == before


def test_an_exception_with_a_text_of_megabytes_fails_its_run_and_stops_no_other(
    experiment: Experiment,
) -> None:
    with (
        pytest.raises(ValueError),
        experiment.start_logging(outputs=False, snapshot_directory=None) as run,
    ):
        raise ValueError("x" * 7_000_000)
    other = experiment.start_logging(outputs=False, snapshot_directory=None)
    other.log("loss", 1.0)
    assert other.get_metrics() == {"loss": 1.0}
    other.complete()
    assert run.get_status() == "Failed"
    message = run.get_details()["error"]["error"]["message"]
    assert message.startswith("User program failed with ValueError: xxx")
    assert message.endswith("bytes)")
    with pytest.raises(UserErrorException):
        run.display_name = "x" * 7_000_000
