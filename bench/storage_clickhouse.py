"""ClickHouse's part of `bench.storage`, run by a Python that has chdb: loads a Parquet file, measures size and reads."""

from __future__ import annotations

import json
import sys
import time

import chdb  # type: ignore[import-not-found]
import pyarrow as pa
from chdb.session import Session  # type: ignore[import-not-found]


def main() -> None:
    """The work comes as JSON on the command line; the answer is the last line."""
    work = json.loads(sys.argv[1])
    session = Session(work["place"])
    session.query("create database if not exists bench")
    session.query(
        "create table bench.points (run_id LowCardinality(String), name LowCardinality(String), step Int64, "
        "time DateTime64(6), value Float64) engine = MergeTree order by (run_id, name, step)"
    )
    session.query(
        f"insert into bench.points select run_id, name, step, time, value from file('{work['parquet']}')"
    )
    session.query("optimize table bench.points final")
    size = session.query(
        "select sum(bytes_on_disk) from system.parts where active and database = 'bench'", "CSV"
    ).data()
    wheres = {
        "one series": "run_id = '{run}' and name = 'series_3'",
        "all series of one run": "run_id = '{run}'",
        "one metric over all runs": "name = 'series_3'",
    }
    times: dict[str, list[float]] = {}
    for name, where in wheres.items():
        taken = []
        for run in [work["runs"][0], *work["runs"]]:
            statement = "select step, value from bench.points where " + where.format(run=run)
            start = time.perf_counter()
            table = pa.ipc.open_file(pa.py_buffer(session.query(statement, "Arrow").bytes())).read_all()
            taken.append((time.perf_counter() - start) * 1e3)
            assert len(table) == work["expected"][name], (name, len(table))
        times[name] = taken[1:]
    print("\n" + json.dumps({"bytes": int(size), "times": times, "version": chdb.__version__}), flush=True)


if __name__ == "__main__":
    main()
