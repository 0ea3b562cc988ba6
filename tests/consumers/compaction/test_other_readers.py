"""What docs/reference/parquet.md has other readers write, on a real store: experiments' names are texts."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.dataset
import pytest

from .conftest import Pipeline, floats

NAMES = [
    "001",
    "1",
    "08",
    "2024-01-05",
    "1e5",
    "true",
    "NaN",
    "inf",
    "null",
    "12:30:00",
    "ridge",
    "a b/c=d",
    "Köln",
    None,
]
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "parquet.md"
EXAMPLES = {
    block[1]: block[2]
    for block in re.finditer(r"```python\n# (\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
}


def rows_of(answer: Any) -> list[dict[str, Any]]:
    """The rows of what a reader gave."""
    if isinstance(answer, pandas.DataFrame):
        return [
            {key: None if value is None or value != value else value for key, value in row.items()}
            for row in answer.astype(object).to_dict("records")
        ]
    if isinstance(answer, polars.DataFrame):
        return answer.to_dicts()
    if isinstance(answer, pyarrow.Table):
        return answer.to_pylist()
    names = ("run_id", "experiment", "value")
    return [dict(zip(names, row, strict=True)) for row in answer.select(*names).fetchall()]


def test_the_page_has_an_example_of_each() -> None:
    assert set(EXAMPLES) == {"DuckDB", "pyarrow", "pandas", "Polars"}


@pytest.mark.parametrize("reader", EXAMPLES)
async def test_names_of_experiments_are_texts(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    for number, name in enumerate(NAMES):
        await pipeline.add_run(f"run_{number}", name)
        await pipeline.add_chunk(f"run_{number}", floats("loss", [float(number), 0.5]), age=86_400.0)
    while (await pipeline.compact()).runs:
        pass
    monkeypatch.chdir(Path(pipeline.store.root).parent)
    tools = {"duckdb": duckdb, "pyarrow": pyarrow, "pandas": pandas, "polars": polars}
    *before, last = ast.parse(EXAMPLES[reader]).body
    exec("\n".join(map(ast.unparse, before)), tools)
    rows = rows_of(eval(ast.unparse(last), tools))
    assert {row["run_id"] for row in rows} == {f"run_{number}" for number in range(len(NAMES))}
    assert len(rows) == 2 * len(NAMES)
    for number, name in enumerate(NAMES):
        mine = [row for row in rows if row["run_id"] == f"run_{number}"]
        assert [row["experiment"] for row in mine] == [name, name]
        assert sorted(row["value"] for row in mine) == sorted([float(number), 0.5])
