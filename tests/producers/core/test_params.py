"""Parameters from a script to every reader, with their types; refused, overwritten, of several processes, after a kill."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.producers.conftest import SCRIPT_TIMEOUT, environment

import runstream
from runstream.client.reading import fetch_params
from runstream.core import Experiment, Run, ScriptRunConfig, Workspace
from runstream.exceptions import LimitExceeded, ServiceException, UserErrorException

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
INTS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.none() | st.booleans() | INTS | TEXTS | st.floats()
FINITE = st.none() | st.booleans() | INTS | TEXTS | st.floats(allow_nan=False, allow_infinity=False)
VALUES = SCALARS | st.lists(FINITE | st.lists(FINITE, max_size=2), max_size=3)


def shown(values: dict[str, Any]) -> dict[str, str]:
    """Values and types as texts; NaN is equal to itself there."""
    return {name: f"{type(value).__name__} {value!r}" for name, value in values.items()}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(NAMES, VALUES, max_size=6))
def test_what_is_logged_is_what_python_http_and_sql_read(
    experiment: Experiment, values: dict[str, Any]
) -> None:
    run = experiment.start_logging(outputs=False)
    run.log_params(values)
    run.complete()
    assert shown(run.get_params()) == shown(values)
    by_name: dict[str, Any] = {}
    rows = runstream.sql(
        f"select name, kind, value, int_value, bool_value, text from params where run_id = '{run.id}'"
    ).to_pylist()
    for row in rows:
        kind = row["kind"]
        column = {"float": "value", "int": "int_value", "bool": "bool_value", "text": "text"}.get(kind)
        by_name[row["name"]] = None if kind == "null" else row[column] if column else json.loads(row["text"])
        assert kind != "int" or row["value"] == float(row["int_value"])
    assert shown(by_name) == shown(values)


def test_types_of_numpy_and_nested_names(experiment: Experiment) -> None:
    with experiment.start_logging(outputs=False) as run:
        run.log_params(
            {"opt": {"lr": np.float32(0.5), "n": np.int64(3)}, "shape": np.zeros(2), "path": Path("/a")}
        )
        run.log_args(argparse.Namespace(seed=7, names=["a", "b"]))
        assert shown(run.get_params()) == shown(
            {"opt.lr": 0.5, "opt.n": 3, "shape": [0.0, 0.0], "path": "/a", "seed": 7, "names": ["a", "b"]}
        )


def test_another_value_is_refused_and_nothing_of_the_call_is_recorded(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    run.log_params({"lr": 0.1, "n": 1})
    run.log_params({"lr": 0.1, "n": 1.0})
    began = time.perf_counter()
    with pytest.raises(UserErrorException, match=r"'lr' of run \S+ is 0\.1.*0\.2 is refused.*overwrite=True"):
        run.log_params({"new": 1, "lr": 0.2})
    assert time.perf_counter() - began < 0.05  # nobody was asked
    with pytest.raises(LimitExceeded, match="upload_file"):
        run.log_params({"other": 1, "large": "x" * (10 << 20)})
    run.complete()
    assert run.get_params() == {"lr": 0.1, "n": 1}


def test_an_overwritten_value_is_kept_as_history(experiment: Experiment, workspace: Workspace) -> None:
    with experiment.start_logging(outputs=False) as run:
        run.log_params({"lr": 0.1})
        run.log_params({"lr": 0.2}, overwrite=True)
        run.log_params({"lr": 0.2}, overwrite=True)
        run.log_params({"lr": 0.3, "n": 1}, overwrite=True)
    assert run.get_params() == {"lr": 0.3, "n": 1}
    document = workspace._client.get_json(f"/api/v1/runs/{run.id}/params")
    held = document["params"]["lr"]
    assert (held["kind"], held["text"], held["origin"]) == ("float", "0.3", "overwritten")
    assert f"@{os.uname().nodename}, process {os.getpid()}" in held["author"]
    assert [
        (write["name"], write["text"], write["origin"], write["refused"]) for write in document["former"]
    ] == [
        ("lr", "0.1", "logged", False),
        ("lr", "0.2", "overwritten", False),
    ]
    assert document["former"][0]["time"] < document["former"][1]["time"] < held["time"]


def test_a_run_of_somebody_else_is_overwritten_too(experiment: Experiment) -> None:
    with experiment.start_logging(outputs=False) as run:
        run.log_params({"lr": 0.1})
    other = Run(experiment, run.id)
    other.log_params({"seen": True})
    assert other.get_params() == {"lr": 0.1, "seen": True}


LOGS = """
import os, sys, time
from runstream.core import Experiment, Run, Workspace
experiment = Experiment(Workspace(workspace_name=sys.argv[1]), "test")
run = Run(experiment, sys.argv[2])
"""


def process(experiment: Experiment, run: Run, home: Path, cwd: Path, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOGS + code, experiment.workspace.name, run.id],
        env=environment(home),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_write_different_values(
    experiment: Experiment, served_home: Path, tmp_path: Path
) -> None:
    run = experiment.start_logging(outputs=False)
    run.log_params({"world": 2, "rank": 0})
    code = "run.log_params({'world': 2, 'rank': 1, 'other': 'x'}); run.flush(); print('done')"
    for _ in range(2):  # the second one says the same
        other = process(experiment, run, served_home, tmp_path, code)
        out, err = other.communicate(timeout=SCRIPT_TIMEOUT)
        assert (other.returncode, out) == (0, "done\n"), err
    run.complete()
    assert run.get_params() == {"world": 2, "rank": 0, "other": "x"}
    former = experiment.workspace._client.get_json(f"/api/v1/runs/{run.id}/params")["former"]
    assert [(write["name"], write["text"], write["refused"]) for write in former] == [("rank", "1", True)]


def test_kill_9_straight_after_the_call_loses_nothing(
    experiment: Experiment, served_home: Path, tmp_path: Path
) -> None:
    run = experiment.start_logging(outputs=False)
    code = (
        "run.log_params({f'p{i}': i for i in range(500)} | {'last': 'x'})\n"
        "run.log_params({'p3': -1}, overwrite=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    other = process(experiment, run, served_home, tmp_path, code)
    other.communicate(timeout=SCRIPT_TIMEOUT)
    assert other.returncode == -signal.SIGKILL
    expected = {f"p{i}": i for i in range(500)} | {"last": "x", "p3": -1}
    deadline = time.monotonic() + 30
    while (params := run.get_params()) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert params == expected
    run.complete()


def test_a_forked_child_knows_what_its_parent_wrote(experiment: Experiment) -> None:
    run = experiment.start_logging(outputs=False)
    run.log_params({"lr": 0.1})
    child = os.fork()
    if not child:
        code = 1
        try:
            run.log_params({"lr": 0.2})
        except UserErrorException:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    run.complete()


def test_submitted_arguments_are_parameters(experiment: Experiment, tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "train.py").write_text(
        "import argparse\nfrom runstream.core import Run\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--lr', type=float)\nparser.add_argument('--epochs', type=float)\n"
        "parser.add_argument('--fast', action='store_true')\nparser.add_argument('--batch-size', type=int, default=32)\n"
        "Run.get_context().log_args(parser.parse_args())\n"
    )
    config = ScriptRunConfig(
        str(source), script="train.py", arguments=["--lr", "0.5", "--epochs", 3, "--fast"]
    )
    run = experiment.submit(config)
    run.wait_for_completion(show_output=False)
    assert run.get_params() == {"lr": 0.5, "epochs": 3.0, "fast": True, "batch_size": 32}
    assert experiment.workspace._client.get_json(f"/api/v1/runs/{run.id}/params")["former"] == []


def test_a_run_that_is_not_there_is_said(experiment: Experiment) -> None:
    with experiment.start_logging(outputs=False) as run:
        pass
    with pytest.raises(ServiceException, match="no run 'nowhere'"):
        fetch_params(run._client, "nowhere")
