"""The process that carries a statement out, asked by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runstream_query.sql import sql_worker


def request(statement: str, files: list[Any], folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "do": "run",
        "statement": statement,
        "memory": "64MB",
        "seconds": 30,
        "folder": str(folder),
        "store": None,
        "tables": {},
        "views": {"metrics": {"columns": "value", "files": files, "hot": None}},
        "deleted": [],
        **more,
    }


@pytest.mark.parametrize("goes", [True, False])
def test_a_file_that_goes_after_the_view_was_made_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes: bool
) -> None:
    """DuckDB says of it that a folder of its name may not be read, as of one a statement names."""
    file, other = tmp_path / "points.parquet", tmp_path / "other.parquet"
    for path in (file, other):
        pq.write_table(pa.table({"experiment": ["e"], "value": [1.0]}), path)

    def checked(statement: str) -> Any:
        if goes:
            file.unlink()
        return type("Checked", (), {"text": statement})

    monkeypatch.setattr(sql_worker, "check_statement", checked)
    monkeypatch.setattr(sql_worker, "_limit", lambda most: None)
    statement = "select * from metrics" if goes else f"select * from read_parquet('{other}')"
    answer = sql_worker._answer(request(statement, [(str(file), "e", False)], tmp_path))
    assert answer["error"] == ("file" if goes else "query"), answer


@pytest.mark.parametrize("harm", ["goes", "damaged", "none"])
def test_so_is_one_of_those_that_hold_deleted_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """They are read as a dataset, of which only the first file is looked at before the statement is carried out."""
    files = [tmp_path / name for name in ("first.parquet", "second.parquet")]
    for path in files:
        pq.write_table(pa.table({"run_id": ["kept"], "value": [1.0]}), path)

    def checked(statement: str) -> Any:
        if harm == "goes":
            files[1].unlink()
        elif harm == "damaged":
            files[1].write_bytes(files[1].read_bytes()[:40])
        return type("Checked", (), {"text": statement})

    monkeypatch.setattr(sql_worker, "check_statement", checked)
    monkeypatch.setattr(sql_worker, "_limit", lambda most: None)
    statement = (
        "select sum(value) from metrics" if harm != "none" else "select getvariable(value) from metrics"
    )
    listed = [(str(path), "e", True) for path in files]
    answer = sql_worker._answer(request(statement, listed, tmp_path, deleted=["deleted"]))
    assert answer["error"] == ("file" if harm != "none" else "query"), answer
