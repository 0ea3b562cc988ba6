"""`Run.get_context()` outside of any run."""

from __future__ import annotations

import pytest

from runstream.core import Run
from runstream.exceptions import RunEnvironmentException


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZUREML_RUN_TOKEN", raising=False)


def test_a_new_run_every_time_that_is_no_run() -> None:
    run = Run.get_context()
    assert run.id.startswith("OfflineRun_")
    assert not isinstance(run, Run)
    assert Run.get_context().id != run.id


def test_it_is_refused_when_not_allowed() -> None:
    with pytest.raises(
        RunEnvironmentException, match=r"Could not load a submitted run.*experiment.start_logging"
    ):
        Run.get_context(allow_offline=False)
    with pytest.raises(RunEnvironmentException):
        Run.get_submitted_run()


@pytest.mark.parametrize(
    ("call", "printed"),
    [
        (lambda run: run.log("a", 1, step=2), "Attempted to log scalar metric a:\n1\n"),
        (lambda run: run.log_list("a", [1, 2]), "Attempted to log list metric a:\n[1, 2]\n"),
        (lambda run: run.log_row("a", x=1), "Attempted to log row metric a:\n{'x': 1}\n"),
        (lambda run: run.log_table("a", {"x": [1]}), "Attempted to log table metric a:\n{'x': [1]}\n"),
        (lambda run: run.log_image("a", "b.png"), "Attempted to log image metric a:\nb.png\n"),
        (lambda run: run.log_residuals("a", {}), "Attempted to log residual metric a:\n{}\n"),
        (lambda run: run.log_predictions("a", {}), "Attempted to log predictions metric a:\n{}\n"),
        (lambda run: run.log_accuracy_table("a", {}), "Attempted to log accuracy_table metric a:\n{}\n"),
        (lambda run: run.log_confusion_matrix("a", {}), "Attempted to log confusion_matrix metric a:\n{}\n"),
        (
            lambda run: run.log_metrics({"a": 1, "b": 2}, step=3),
            "Attempted to log scalar metric a:\n1\nAttempted to log scalar metric b:\n2\n",
        ),
        (lambda run: run.log_array("a", [1, 2], steps=[0, 1]), "Attempted to log list metric a:\n[1, 2]\n"),
        (lambda run: run.tag("k", "v"), "Attempted to add tag k with value v\n"),
        (lambda run: run.set_tags({"k": "v"}), "Attempted to set tags {'k': 'v'}\n"),
        (lambda run: run.add_properties({"k": "v"}), "Attempted to add properties {'k': 'v'}\n"),
        (lambda run: run.upload_file("n", "p"), "Attempted to track file n at p\n"),
        (lambda run: run.upload_folder("n", "p"), "Attempted to track folder n at p\n"),
        (lambda run: run.upload_files(["n"], ["p"]), "Attempted to track files ['n'] at ['p']\n"),
        (lambda run: run.fail("why", "C"), "Run failed with error code C:\nwhy\n"),
        (lambda run: run.complete(), ""),
        (lambda run: run.cancel(), ""),
    ],
)
def test_what_it_is_told_is_printed(call, printed, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert call(Run.get_context()) is None
    assert capsys.readouterr().out == printed


def test_flush_and_the_with_block(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.get_context()
    run.flush()
    with pytest.raises(ValueError, match="bad"), run:
        raise ValueError("bad")
    assert capsys.readouterr().out == (
        f"Attempted to flush run with id {run.id}\n[START] Run {run.id} context\n[STOP] Run {run.id} context\n"
    )


def test_children() -> None:
    run = Run.get_context()
    assert run.child_run("inner").id == f"{run.id}.inner"
    assert len(run.child_run().id) == len(run.id) + 37
