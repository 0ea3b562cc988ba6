"""What is logged is what `get_metrics` returns, through the whole pipeline and straight after the call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runstream.core import Experiment, Run, Workspace

CASES: list[tuple[str, Callable[[Run], Any], dict[str, Any]]] = [
    ("int", lambda run: run.log("a", 1), {"a": 1}),
    ("float", lambda run: run.log("a", 0.5), {"a": 0.5}),
    ("text", lambda run: run.log("a", "hello"), {"a": "hello"}),
    ("bool", lambda run: run.log("a", True), {"a": True}),
    ("None", lambda run: run.log("a", None), {}),
    ("largest integers", lambda run: run.log_list("a", [2**63 - 1, -(2**63)]), {"a": [2**63 - 1, -(2**63)]}),
    ("numpy float32", lambda run: run.log("a", np.float32(0.5)), {"a": 0.5}),
    ("numpy int64", lambda run: run.log("a", np.int64(5)), {"a": 5}),
    ("numpy uint8", lambda run: run.log("a", np.uint8(5)), {"a": 5}),
    ("numpy bool", lambda run: run.log("a", np.bool_(True)), {"a": True}),
    ("numpy text", lambda run: run.log("a", np.str_("x")), {"a": "x"}),
    ("0-d array", lambda run: run.log("a", np.array(2.5)), {"a": 2.5}),
    ("tuple: its repr", lambda run: run.log("a", (1, 2)), {"a": "(1, 2)"}),
    ("bytes: their repr", lambda run: run.log("a", b"x"), {"a": "b'x'"}),
    ("infinities", lambda run: run.log_list("a", [math.inf, -math.inf]), {"a": [math.inf, -math.inf]}),
    ("list", lambda run: run.log_list("a", [3, 1, 2]), {"a": [3, 1, 2]}),
    ("list of one", lambda run: run.log_list("a", [3]), {"a": 3}),
    ("empty list", lambda run: run.log_list("a", []), {}),
    ("generator", lambda run: run.log_list("a", (i * i for i in range(3))), {"a": [0, 1, 4]}),
    ("range", lambda run: run.log_list("a", range(3)), {"a": [0, 1, 2]}),
    ("text as list", lambda run: run.log_list("a", "abc"), {"a": ["a", "b", "c"]}),
    ("array of ints", lambda run: run.log_list("a", np.arange(3)), {"a": [0, 1, 2]}),
    ("ints with a float", lambda run: run.log_list("a", [1, 2.5]), {"a": [1.0, 2.5]}),
    ("long list", lambda run: run.log_list("a", range(5000)), {"a": list(range(5000))}),
    ("lists grow", lambda run: (run.log_list("a", [1, 2]), run.log_list("a", [3])), {"a": [1, 2, 3]}),
    ("scalar, then list", lambda run: (run.log("a", 1), run.log_list("a", [2, 3])), {"a": [1, 2, 3]}),
    ("int, then float", lambda run: (run.log("a", 1), run.log("a", 2.5)), {"a": [1.0, 2.5]}),
    ("number, then text", lambda run: (run.log("a", 1), run.log("a", "x")), {"a": [1, "x"]}),
    ("row", lambda run: run.log_row("t", x=1, y=0.5), {"t": {"x": 1, "y": 0.5}}),
    (
        "rows",
        lambda run: [run.log_row("t", "described", x=i, y=str(i)) for i in range(3)],
        {"t": {"x": [0, 1, 2], "y": ["0", "1", "2"]}},
    ),
    (
        "rows with differing columns",
        lambda run: (run.log_row("t", x=1), run.log_row("t", y=2.5), run.log_row("t", x=3, y=4.5)),
        {"t": {"x": [1, None, 3], "y": [None, 2.5, 4.5]}},
    ),
    (
        "table",
        lambda run: run.log_table("t", {"x": [1, 2], "y": ["a", "b"]}),
        {"t": {"x": [1, 2], "y": ["a", "b"]}},
    ),
    ("table of one row", lambda run: run.log_table("t", {"x": [1], "y": 2}), {"t": {"x": 1, "y": 2}}),
    (
        "tables grow",
        lambda run: (
            run.log_table("t", {"x": [1, 2]}),
            run.log_table("t", {"x": [3]}),
            run.log_row("t", x=4),
        ),
        {"t": {"x": [1, 2, 3, 4]}},
    ),
    ("several at once", lambda run: run.log_metrics({"b": 1, "a": 2.5}, step=3), {"b": 1, "a": 2.5}),
    ("array", lambda run: run.log_array("a", np.linspace(0, 1, 3)), {"a": [0.0, 0.5, 1.0]}),
    ("steps do not order", lambda run: [run.log("a", i, step=-i) for i in range(3)], {"a": [0, 1, 2]}),
    (
        "names byte for byte",
        lambda run: [
            run.log(name, i) for i, name in enumerate(["a", "a ", " a", "ä", "a\u0308", "a/b", "日本", "\n"])
        ],
        {"a": 0, "a ": 1, " a": 2, "ä": 3, "a\u0308": 4, "a/b": 5, "日本": 6, "\n": 7},
    ),
]


@pytest.fixture(scope="module")
def logged(served_home: Any) -> Any:
    """One run for every case, all logged before any is read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNSTREAM_HOME", str(served_home))
        from runstream.core import Workspace

        experiment = Experiment(Workspace(workspace_name="round-trip"), "shapes")
        runs = {}
        for name, log, _ in CASES:
            runs[name] = run = experiment.start_logging(outputs=False)
            log(run)
        yield runs
        for run in runs.values():
            run.complete()


@pytest.mark.parametrize(
    ("case", "expected"), [(case[0], case[2]) for case in CASES], ids=[case[0] for case in CASES]
)
def test_round_trip(logged: dict[str, Run], case: str, expected: dict[str, Any]) -> None:
    metrics = logged[case].get_metrics()
    assert str(metrics) == str(expected)  # types and order too: 1 == 1.0 == True
    assert metrics == expected


def test_nan(experiment: Experiment) -> None:
    with experiment.start_logging(outputs=False) as run:
        run.log("a", float("nan"))
    assert math.isnan(run.get_metrics()["a"])


def test_descriptions(experiment: Experiment, workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    with experiment.start_logging(outputs=False) as run:
        for value in (0.5, 0.25):
            run.log("loss", value, "of the *training* set\0")
        run.log("loss", 0.1, "another text")
        run.log("text", "x", description="a label")
        run.log("plain", 1)
        run.log("step by mistake", 1.5, 3)  # type: ignore[arg-type]
        run.log_list("list", [1, 2], "a list")
        run.log_row("row", "a row", x=1)
        run.log_table("table", {"x": [1]}, "a table")
        run.log_residuals("residuals", {}, "bins")
        run.log_image("image", plot=np.zeros((2, 2)), description="black")
    run.flush()
    details = workspace._client.get_json(f"/api/v1/runs/{run.id}")["details"]
    assert details["metric_descriptions"] == {
        "loss": "of the *training* set\u2400", "text": "a label", "list": "a list", "row": "a row", "table": "a table",
        "residuals": "bins", "image": "black",
    }  # fmt: skip
    assert details["python"]
    assert "the description of 'step by mistake' is 3, no text" in caplog.text
    assert run.get_metrics("loss") == {"loss": [0.5, 0.25, 0.1]}


def test_one_name(experiment: Experiment) -> None:
    with experiment.start_logging(outputs=False) as run:
        run.log("a", 1)
        run.log("b", 2)
    assert run.get_metrics(name="b") == {"b": 2}
    assert run.get_metrics("unknown") == {}


def test_nothing_logged(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    assert run.get_metrics() == {}
    assert run.get_metrics(recursive=True) == {}
    run.complete()


def test_first_kind_of_a_name_wins(experiment: Experiment, caplog: pytest.LogCaptureFixture) -> None:
    with experiment.start_logging(outputs=False) as run:
        run.log("a", 1)
        run.log_row("a", x=2)
    assert run.get_metrics() == {"a": 1}
    assert "Conflicting metric types" in caplog.text


def test_recursive_and_by_type(experiment: Experiment) -> None:
    parent = experiment.start_logging(outputs=False)
    first, silent, second = (parent.child_run() for _ in range(3))
    grandchild = first.child_run()
    for number, run in enumerate([first, second, grandchild, parent]):
        run.log("n", number)
    metrics = parent.get_metrics(recursive=True)
    assert metrics == {first.id: {"n": 0}, second.id: {"n": 1}, grandchild.id: {"n": 2}, parent.id: {"n": 3}}
    assert list(metrics) == [grandchild.id, second.id, first.id, parent.id]
    assert silent.id not in metrics
    assert parent.get_metrics(recursive=True, run_type="none such") == {parent.id: {"n": 3}}
    assert parent.get_metrics(run_type="none such") == {"n": 3}
    assert first.get_metrics("n", recursive=True) == {grandchild.id: {"n": 2}, first.id: {"n": 0}}
    for run in (grandchild, first, second, silent, parent):
        run.complete()


def test_many_points_of_many_series(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    for step in range(2000):
        for name in "abcde":
            run.log(name, step * 0.5)
    run.log_array("long", np.arange(100_000))
    run.complete()
    metrics = run.get_metrics()
    assert all(metrics[name] == [step * 0.5 for step in range(2000)] for name in "abcde")
    assert metrics["long"] == list(range(100_000))


def test_a_fetched_run_can_be_logged_to_after_its_end(experiment: Experiment) -> None:
    with experiment.start_logging(outputs=False) as run:
        run.log("a", 1)
    ended = run.get_details()["endTimeUtc"]
    fetched = Run(experiment, run.id)
    fetched.log("a", 2)
    fetched.log_row("t", x=1)
    run.log("a", 3)
    run.flush()
    assert sorted(fetched.get_metrics()["a"]) == [1, 2, 3]
    assert fetched.get_status() == "Completed"
    assert fetched.get_details()["endTimeUtc"] == ended
