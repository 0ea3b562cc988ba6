"""What other tools would have written, made small: the same runs under whatever ids, with all that an import carries."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FIRST = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST_MS = int(FIRST.timestamp() * 1000)
RUNS, STEPS = 3, 300

NEPTUNE_SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", pa.timestamp("ms", tz="UTC")),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct(
                [("type", pa.string()), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]
            ),
        ),
    ]
)
"""Of the files of Neptune's exporter."""


def exported(root: Path, run_id: str, parts: list[list[dict[str, Any]]]) -> None:
    """Write a run as Neptune's exporter lays it out (its schema, its names)."""
    folder = root / "data" / "org_proj_0a1b2c3d"
    folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(parts):
        whole = [{"project_id": "org/proj", "run_id": run_id, **row} for row in rows]
        path = folder / f"{run_id}_12ab34cd_part_{number}.parquet"
        pq.write_table(pa.Table.from_pylist(whole, schema=NEPTUNE_SCHEMA), path)


def attribute(path: str, kind: str, value: Any, **more: Any) -> dict[str, Any]:
    """A row of an attribute."""
    return {"attribute_path": path, "attribute_type": kind, f"{kind}_value": value, **more}


def point(path: str, step: str, value: Any, kind: str = "float") -> dict[str, Any]:
    """A row of a series."""
    when = FIRST + timedelta(seconds=float(step))
    return attribute(path, kind, value, step=Decimal(step), timestamp=when) | {
        "attribute_type": f"{kind}_series"
    }


def csv_table(folder: Path, prefix: str) -> Path:
    """A table of numbers and texts, of runs whose ids begin so; one column has both."""
    lines = ["run_id,step,time,loss,mixed,said,lr"]
    for step in range(STEPS):
        for run in range(RUNS):
            seconds = FIRST.timestamp() + step // 2
            mixed = f"word {step}" if step % 2 else step
            said = f"text {step}" if step % 5 == 0 else ""
            lines.append(f"{prefix}-{run},{step // 3},{seconds},{step / 7},{mixed},{said},0.{run}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def neptune_export(folder: Path, prefix: str) -> Path:
    """An export whose pages mix the rows of two series, in parts of equal size."""
    root = folder / "exports"
    for run in range(RUNS):
        facts = [
            attribute("sys/name", "string", f"run {run}"),
            attribute("sys/description", "string", "why"),
            attribute("sys/creation_time", "datetime", FIRST + timedelta(minutes=run)),
            attribute("sys/running_time", "float", 90.5),
            attribute("sys/tags", "string_set", ["b", "a"]),
            attribute("config/lr", "float", 0.1 + run),
        ]
        if run:
            facts.append(attribute("sys/forking/parent", "string", f"{prefix}-0"))
        rows = [
            [point(name, str(step // 2), step / 3) for step in steps for name in ("loss", "acc")]
            + [point("said", str(step), f"text {step}", "string") for step in steps]
            for steps in (range(STEPS // 2), range(STEPS // 2, STEPS))
        ]
        file = {"attribute_path": "model/w", "attribute_type": "file", "file_value": {"path": f"{run}.bin"}}
        exported(root, f"{prefix}-{run}", [facts + rows[0], [*rows[1], file]])
        (root / "files").mkdir(exist_ok=True)
        (root / "files" / f"{run}.bin").write_bytes(bytes(range(run + 3)) * 1000)
    return root


_STATUSES = ("FINISHED", "FAILED", "KILLED")
_MLFLOW = """
create table experiments (experiment_id integer, name text, lifecycle_stage text, creation_time integer);
create table runs (run_uuid text, name text, status text, start_time integer, end_time integer, lifecycle_stage text,
  artifact_uri text, experiment_id integer, user_id text);
create table metrics (key text, value real, timestamp integer, run_uuid text, step integer, is_nan integer);
create table params (key text, value text, run_uuid text);
create table tags (key text, value text, run_uuid text);
insert into experiments values (1, 'first one', 'active', 1772366400000);
"""


def mlflow_database(folder: Path, prefix: str) -> Path:
    """A database of MLflow's tables with runs below the first one, and their files."""
    path = folder / "mlflow.db"
    with closing(sqlite3.connect(path)) as file, file:
        file.executescript(_MLFLOW)
        for run in range(RUNS):
            run_id, started = f"{prefix}{run:016x}", FIRST_MS + run * 60_000
            place = folder / "1" / run_id / "artifacts"
            place.mkdir(parents=True)
            (place / "notes.txt").write_text(f"notes of {run}")
            file.execute(
                "insert into runs values (?, ?, ?, ?, ?, 'active', ?, 1, 'me')",
                (run_id, f"run {run}", _STATUSES[run], started, started + 90_500, str(place)),
            )
            file.executemany(
                "insert into metrics values (?, ?, ?, ?, ?, ?)",
                [
                    (name, None if step == 7 else step / 7, started + step // 2, run_id, step // 3, step == 7)
                    for name in ("loss", "deep/er")
                    for step in range(STEPS)
                ],
            )
            file.executemany(
                "insert into params values (?, ?, ?)", [("lr", "0.1", run_id), ("opt", "adam", run_id)]
            )
            tags = {"a": "b", "mlflow.note.content": "why"}
            if run:
                tags["mlflow.parentRunId"] = f"{prefix}{0:016x}"
            file.executemany("insert into tags values (?, ?, ?)", [(*each, run_id) for each in tags.items()])
    return path
