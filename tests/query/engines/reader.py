"""Reads all points with one engine, by the block of docs/how-to/analytics.md, and tells a digest of them.

    python reader.py ENGINE ADDRESS

with the token in RUNSTREAM_TOKEN. Answers each line of its input with a line of JSON. Needs nothing of runstream.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

HOW_TO = Path(__file__).parents[3] / "docs/how-to/analytics.md"
COLUMNS = ("run_id", "name", "step", "time", "value", "int_value", "text")


def digest(table: Any) -> dict[str, Any]:
    """Of the points of an Arrow table: number, different ones, and a digest whatever their order."""
    import pyarrow as pa

    columns = []
    for name in COLUMNS:
        column = table.column(name)
        if name == "time":  # engines have zones of other names, and finer units
            column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        columns.append(column.to_pylist())
    rows = [repr(row) for row in zip(*columns, strict=True)]
    text = "\n".join(sorted(rows)).encode()
    return {"points": len(rows), "different": len(set(rows)), "digest": hashlib.sha256(text).hexdigest()}


def _chdb(block: dict[str, Any]) -> Any:
    return block["chdb"].query(block["points"], "ArrowTable")


def _ray(block: dict[str, Any]) -> Any:
    import pyarrow as pa

    return pa.concat_tables(block["ray"].get(block["points"].to_arrow_refs()), promote_options="permissive")


ARROW: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pyiceberg": lambda block: block["points"].to_arrow(),
    "Polars": lambda block: block["points"].collect().to_arrow(),
    "DuckDB": lambda block: block["points"].to_arrow_table(),
    "Daft": lambda block: block["points"].to_arrow(),
    "ClickHouse": _chdb,
    "Ray Data": _ray,
    "Spark": lambda block: block["points"].toArrow(),
}
"""By heading: all points as an Arrow table."""


def block_of(engine: str, address: str) -> str:
    """The block under an engine's heading."""
    text = HOW_TO.read_text().partition(f"\n## {engine}\n")[2].partition("\n## ")[0]
    fenced = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert fenced is not None, engine
    code = fenced[1].replace("http://127.0.0.1:8000", address)
    if jar := os.environ.get("RUNSTREAM_ICEBERG_JAR"):  # of the same version, fetched before
        package = re.search(r'"spark.jars.packages", ("[^"]+")', code)
        code = code.replace(package[0], f'"spark.jars", "{jar}"') if package else code
    return code


def install_extensions(names: Iterable[str]) -> None:
    """Put DuckDB's extensions, which came as wheels, where it keeps those it has fetched."""
    import duckdb

    platform = duckdb.sql("pragma platform").fetchall()[0][0]
    folder = Path.home() / f".duckdb/extensions/v{duckdb.__version__}/{platform}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        wheel = Path(str(import_module(f"duckdb_extension_{name}").__file__)).parent
        (file,) = wheel.rglob(f"{name}.duckdb_extension")
        shutil.copy(file, folder)


def main() -> None:
    """Serve until the input ends."""
    engine, address = sys.argv[1:]
    if engine == "DuckDB":
        install_extensions(("httpfs", "avro", "iceberg"))
    code = compile(block_of(engine, address), f"{HOW_TO.name}, {engine}", "exec")
    for _ in sys.stdin:
        block: dict[str, Any] = {}
        try:
            exec(code, block)
            answer = digest(ARROW[engine](block))
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(f"\n{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main()
