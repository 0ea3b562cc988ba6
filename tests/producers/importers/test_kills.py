"""An import that was killed, again and again, and started again ends with what an undisturbed one gives."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runstream.client.files import list_files
from runstream.client.reading import fetch_metrics, fetch_params
from runstream.core import Workspace
from runstream.importers.csv_file import CsvFile
from runstream.importers.foreign_runs import ForeignStore
from runstream.importers.neptune_export import NeptuneExport
from runstream.importers.runs import HOME_PROPERTY, RunReport
from runstream.importers.taking_over import TakingOver
from runstream.spool.writing.writer import RunWriter
from tests.producers.conftest import environment
from tests.producers.importers import foreign_sources as sources
from tests.seeds import new_random

KILLS = 6
MAKERS: dict[str, Callable[[Path, str], Path]] = {
    "csv": sources.csv_table,
    "neptune": sources.neptune_export,
    "mlflow": sources.mlflow_database,
}
# Counts what an import records and asks for, and kills its own process just before one of them, or just behind it.
DRIVER = """
import os, signal, sys
from runstream.client.http import ServiceClient
from runstream.spool.writing.writer import RunWriter
from runstream_service.cli.main import main
kill_at, behind = int(sys.argv.pop(1)), sys.argv.pop(1) == "behind"
count = 0
def counted(cls, name):
    real = getattr(cls, name)
    def call(*args, **named):
        global count
        count += 1
        now = count == kill_at
        if now and not behind:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **named)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(cls, name, call)
for name in ("status", "tag", "set_field", "add_property", "log_params", "text", "log_array", "close"):
    counted(RunWriter, name)
counted(ServiceClient, "request")
code = main(sys.argv[1:])
print(count, file=sys.stderr)
sys.exit(code)
"""


def importing(
    home: Path, tool: str, source: Path, workspace: str, kill_at: int = 0, behind: bool = False
) -> subprocess.CompletedProcess[str]:
    command = ["import", tool, str(source), "--workspace", workspace, "-o", "json"]
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(kill_at), "behind" if behind else "before", *command],
        env=environment(home, PYTHONWARNINGS="default"),
        capture_output=True,
        text=True,
        timeout=60,
    )


def held(workspace: Workspace, prefix: str, place: Path) -> dict[str, Any]:
    """All that a workspace has of runs whose ids have this in them, which is taken out, as are places."""
    client = workspace._client
    answer = client.get_json(
        "/api/v1/runs", [("workspace", workspace.name), ("archived", "all"), ("limit", "100")]
    )
    runs = {}
    for record in answer["runs"]:
        run_id = record["run_id"]
        series = [
            (each.cls, each.name, each.steps, each.times, list(map(repr, each.values)))
            for each in fetch_metrics(client, [run_id])[run_id]
        ]
        for key in ("workspace", "last_seen_utc", "number"):
            record.pop(key, None)
        runs[run_id] = {
            "record": record,
            "params": fetch_params(client, run_id),
            "series": sorted(series),
            "files": sorted((file["path"], file["sha256"]) for file in list_files(client, run_id)),
        }
    text = json.dumps(runs, sort_keys=True).replace(prefix, "PREFIX").replace(str(place), "PLACE")
    return dict(json.loads(text))


@pytest.mark.parametrize("tool", MAKERS)
def test_a_killed_import_that_is_started_again_ends_as_an_undisturbed_one(
    tool: str, served_home: Path, workspace: Workspace, tmp_path: Path
) -> None:
    random = new_random(list(MAKERS).index(tool))
    prefixes = [uuid.uuid4().hex[:16] for _ in range(2)]
    folders = [tmp_path / "undisturbed", tmp_path / "killed"]
    made = []
    for folder, prefix in zip(folders, prefixes, strict=True):
        folder.mkdir()
        made.append(MAKERS[tool](folder, prefix))
    done = importing(served_home, tool, made[0], workspace.name)
    assert done.returncode == 0, done.stderr
    operations = int(done.stderr.splitlines()[-1])
    other = Workspace(workspace_name=f"{workspace.name}-killed")
    killed = 0
    for _ in range(KILLS):
        # One in two as runs are made, which is a moment only, and the others anywhere.
        at, behind = random.randint(1, random.choice([15, operations])), random.random() < 0.5
        print(f"{tool}: killed at operation {at} of {operations}, {'behind' if behind else 'before'} it")
        broken = importing(served_home, tool, made[1], other.name, at, behind)
        assert broken.returncode in (-signal.SIGKILL, 0), broken.stderr
        killed += broken.returncode != 0
    assert killed
    last = importing(served_home, tool, made[1], other.name)
    assert last.returncode == 0, last.stderr
    assert not [report for report in json.loads(last.stdout) if report["outcome"] == "skipped"]
    here, there = held(other, prefixes[1], folders[1]), held(workspace, prefixes[0], folders[0])
    assert here.keys() == there.keys()
    for run_id, run in there.items():
        for what, value in run.items():
            assert here[run_id][what] == value, (run_id, what)


# --- what such kills have found, one moment each ---


class Killed(BaseException):
    """What ends an import where a kill would."""


def take(workspace: Workspace, store: ForeignStore) -> list[RunReport]:
    importing = TakingOver(workspace, store, "kills")
    with importing.alone():
        reports = list(importing.once())
        importing.settled()
    return reports


def take_until(
    workspace: Workspace, store: ForeignStore, patched: pytest.MonkeyPatch, method: str, after: int
) -> None:
    """Take over until a method of the writer has been called so often."""
    real, calls = getattr(RunWriter, method), 0

    def call(writer: RunWriter, *args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Killed
        return real(writer, *args, **named)

    with patched.context() as context, suppress(Killed):
        context.setattr(RunWriter, method, call)
        take(workspace, store)


def values_of(workspace: Workspace, run_id: str) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for series in fetch_metrics(workspace._client, [run_id])[run_id]:
        values.setdefault(series.name, []).extend(series.values)
    return values


def table(tmp_path: Path, text: str) -> CsvFile:
    path = tmp_path / f"{uuid.uuid4().hex}.csv"
    path.write_text(text)
    return CsvFile(path)


@pytest.mark.parametrize("after", [1, 2])
def test_a_run_that_was_made_and_no_more_is_taken_on(
    after: int, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = table(tmp_path, f"run_id,time,loss\n{uuid.uuid4().hex},1772366400,1\n")
    take_until(workspace, store, monkeypatch, "status", after)
    (report,) = take(workspace, store)
    assert report.outcome == "continued", report.notes
    record = workspace._client.get_json(f"/api/v1/runs/{report.run_id}")
    assert (record["status"], record["start_time_utc"][:19]) == ("Completed", "2026-03-01T12:00:00")
    assert record["properties"].keys() == {HOME_PROPERTY, "runstream.import.tool", "csv.file"}


@pytest.mark.parametrize("after", range(3))
def test_a_run_without_its_properties_yet_is_taken_on(
    after: int, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = table(tmp_path, f"run_id,time,loss\n{uuid.uuid4().hex},1772366400,1\n")
    take_until(workspace, store, monkeypatch, "add_property", after)
    (report,) = take(workspace, store)
    assert report.outcome != "skipped", report.notes
    record = workspace._client.get_json(f"/api/v1/runs/{report.run_id}")
    assert record["properties"].keys() == {HOME_PROPERTY, "runstream.import.tool", "csv.file"}


def test_as_many_texts_as_there_are_numbers_of_the_name_already(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = table(tmp_path, "time,mixed,other\n1772366400,1,\n1772366401,a,x\n1772366402,2,\n1772366403,b,\n")
    take_until(workspace, store, monkeypatch, "text", 0)
    (report,) = take(workspace, store)
    assert values_of(workspace, report.run_id) == {"mixed": [1, 2, "a", "b"], "other": ["x"]}


@pytest.mark.parametrize("after", range(4))
def test_parts_of_one_length_of_a_series_whose_rows_lie_among_others(
    after: int, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [
        [sources.point(name, str(step), step) for step in steps for name in ("loss", "acc")]
        for steps in ((0, 1), (2, 3))
    ]
    sources.exported(tmp_path, uuid.uuid4().hex, parts)
    take_until(workspace, NeptuneExport(tmp_path), monkeypatch, "log_array", after)
    (report,) = take(workspace, NeptuneExport(tmp_path))
    assert values_of(workspace, report.run_id) == {"loss": [0, 1, 2, 3], "acc": [0, 1, 2, 3]}
