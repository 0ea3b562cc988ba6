"""The process that carries a statement out, asked by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runstream_query.sql import sql_worker


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
    made = {"columns": "value", "files": [(str(file), "e", False)], "hot": None}
    statement = "select * from metrics" if goes else f"select * from read_parquet('{other}')"
    answer = sql_worker._answer(
        {
            "do": "run",
            "statement": statement,
            "memory": "64MB",
            "seconds": 30,
            "folder": str(tmp_path),
            "store": None,
            "tables": {},
            "views": {"metrics": made},
            "deleted": [],
        }
    )
    assert answer["error"] == ("file" if goes else "query"), answer
