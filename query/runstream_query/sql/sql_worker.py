"""The process that carries SQL out: one statement after the other, for whoever holds its pipes.

It is a process and not a thread because not everything DuckDB does can be interrupted, nor does all it takes count as its
memory: this one is limited by the system, killed when it is late, and knows no secret but those of an object store. It reads
one JSON object a line and answers with one: `{"ok": ...}`, or `{"error": kind, "detail": text}`, with `"last": true`
when it should not be asked again. An empty line says that it is ready.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from runstream_schemas.errors import QueryError
from runstream_schemas.settings import Settings
from runstream_schemas.store import Store, open_store

from .sql_needs import column_types, find_needs
from .sql_processes import ANSWER, GRACE
from .sql_statement import check_statement, error_text

_DATA = 512 << 20  # what the libraries take themselves
_ADDRESSES = 4 << 30  # what the libraries and their threads map without using it
_NESTING = 20_000  # of a parsed statement


def main() -> None:
    """Answer requests until the pipe is closed."""
    sys.setrecursionlimit(_NESTING)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.write("\n")
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        # By the system: a handler of Python's would wait for DuckDB to come back.
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] + GRACE)
        answer = _answer(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        if request["do"] == "check":
            # First: until then what the server may take holds, which may be full.
            _limit(byte_count(request["memory"]))
            checked = check_statement(request["statement"])
            needs = find_needs(checked.text, checked.views)
            return {"ok": {view: asdict(needed) for view, needed in needs.items()}, "last": False}
        _run(request)
        # What it has taken it may not give back, and the next statement would want for it.
        return {"ok": None, "last": _peak() > byte_count(request["memory"]) // 2 + _DATA}
    except QueryError as error:
        return {"error": "query", "detail": str(error)}
    except duckdb.InterruptException:
        return {"error": "late", "detail": ""}
    except (duckdb.OutOfMemoryException, MemoryError, pa.ArrowMemoryError):
        return {"error": "memory", "detail": "", "last": True}
    except (duckdb.IOException, OSError) as error:
        return {"error": "file", "detail": str(error)}
    except duckdb.PermissionException as error:
        # The path of a file that went meanwhile DuckDB takes for a folder's, which it may not look into.
        if (gone := _gone(request)) is not None:
            return {"error": "file", "detail": f"{gone}: there is no such file"}
        return {"error": "query", "detail": error_text(error)}
    except duckdb.InvalidInputException as error:
        # What reading a dataset raises, a file that went meanwhile or a damaged one, DuckDB passes on in its own words.
        kind = "file" if _names_file(request, str(error)) else "query"
        return {"error": kind, "detail": error_text(error)}
    except duckdb.Error as error:
        return {"error": "query", "detail": error_text(error)}
    except (pa.ArrowException, OverflowError) as error:
        return {"error": "query", "detail": f"the answer cannot be sent: {error}"}


def _run(request: dict[str, Any]) -> None:
    folder, most = Path(request["folder"]), byte_count(request["memory"])
    connection = _open(request, folder)
    timer = threading.Timer(request["seconds"], connection.interrupt)
    timer.start()
    try:
        _limit(most)
        statement = check_statement(request["statement"]).text
        reader: Any = connection.sql(statement).to_arrow_reader(100_000)
        size = 0
        with pa.OSFile(str(folder / ANSWER), "wb") as sink, pa.ipc.new_stream(sink, reader.schema) as writer:
            for batch in reader:
                size += batch.nbytes
                if size > most:
                    raise QueryError(
                        f"the answer is larger than {most} bytes; add a LIMIT or aggregate, or raise RUNSTREAM_SQL_MEMORY"
                    )
                writer.write_batch(batch)
    finally:
        timer.cancel()
        connection.close()


def _gone(request: dict[str, Any]) -> str | None:
    """One of the views' local files that is there no more."""
    if request["store"]:
        return None
    paths = (path for made in request["views"].values() for path, _, _ in made["files"])
    return next((path for path in paths if not os.path.exists(path)), None)


def _names_file(request: dict[str, Any], text: str) -> bool:
    """Whether a text names a file of the views, of whatever store."""
    views = request["views"].values()
    return any(path.rsplit("/", 1)[-1] in text for made in views for path, _, _ in made["files"])


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _limit(most: int) -> None:
    """Hold the process to the memory a statement may take, which DuckDB counts in part only, and files to a size."""
    for kind, limit in (
        (resource.RLIMIT_DATA, most + most // 2 + _DATA),
        (resource.RLIMIT_AS, 2 * most + _ADDRESSES),
        (resource.RLIMIT_FSIZE, 2 * most + _DATA),
    ):
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(OSError, ValueError):  # not every system knows each of them
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _open(request: dict[str, Any], folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": request["memory"],
            "temp_directory": str(folder / "duckdb"),
            "max_temp_directory_size": request["memory"],
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "preserve_insertion_order": "false",
        },
    )
    try:
        connection.execute("set TimeZone = 'UTC'")
        allowed: list[str] = []
        for name, path in request["tables"].items():
            with pa.memory_map(path) as source:
                _register(connection, name, pa.ipc.open_stream(source).read_all())
        store = open_store(Settings(**request["store"])) if request["store"] else None
        for view, made in request["views"].items():
            parts = []
            columns = made["columns"]
            # Whatever a statement manages to name: no file that holds a deleted run may be opened by it.
            plain = (
                []
                if store
                else [(path, experiment) for path, experiment, holds in made["files"] if not holds]
            )
            others = [(path, experiment) for path, experiment, holds in made["files"] if holds or store]
            allowed += [path for path, _ in plain]
            parts += _local_parts(plain, columns)
            parts += _dataset_parts(connection, view, store, others, request["deleted"], columns)
            if made["hot"] is not None:
                allowed.append(made["hot"])
                parts.append(f"select experiment, {columns} from read_parquet({_quote(made['hot'])})")
            if not parts:
                parts.append(f"select * from no_{view}")
            connection.execute(f"create view {view} as {' union all '.join(parts)}")
        connection.execute(f"set allowed_paths = [{', '.join(map(_quote, allowed))}]")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def _register(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Make a table there; columns without a type, which the statement does not need, get that of the view."""
    untyped = {field.name for field in table.schema if field.type == pa.null()}
    if not untyped:
        connection.register(name, table)
        return
    columns = [
        f'null::{type_} as "{column}"' if column in untyped else f'"{column}"'
        for column, type_ in column_types(name).items()
    ]
    connection.register(f"{name}_held", table)
    connection.execute(f"create view {name} as select {', '.join(columns)} from {name}_held")


def _by_experiment(files: Sequence[tuple[str, str | None]]) -> dict[str | None, list[str]]:
    by_experiment: dict[str | None, list[str]] = {}
    for path, experiment in files:
        by_experiment.setdefault(experiment, []).append(path)
    return by_experiment


def _local_parts(files: Sequence[tuple[str, str | None]], columns: str) -> list[str]:
    return [
        f"select {_experiment(experiment)}, {columns} "
        f"from read_parquet([{', '.join(map(_quote, paths))}], hive_partitioning = false)"
        for experiment, paths in _by_experiment(files).items()
    ]


def _dataset_parts(
    connection: duckdb.DuckDBPyConnection,
    view: str,
    store: Store | None,
    files: Sequence[tuple[str, str | None]],
    deleted: Sequence[str],
    columns: str,
) -> list[str]:
    """Files of an object store, and those that hold deleted runs, as Arrow datasets without these.

    DuckDB itself then needs no way to the files, and a statement that names a dataset finds no more in it than in the view.
    """
    if not files:
        return []
    import pyarrow.dataset as ds

    filesystem = None if store is None else store.filesystem  # type: ignore[attr-defined]
    parts = []
    for number, (experiment, paths) in enumerate(_by_experiment(files).items()):
        name = f"{view}_files_{number}"
        dataset = ds.dataset(paths, filesystem=filesystem, format="parquet")
        if deleted:
            dataset = dataset.filter(~ds.field("run_id").isin(list(deleted)))
        connection.register(name, dataset)
        parts.append(f"select {_experiment(experiment)}, {columns} from {name}")
    return parts


def _experiment(name: str | None) -> str:
    return f"{'null::varchar' if name is None else _quote(name)} as experiment"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def byte_count(size: str) -> int:
    """The bytes of a size as DuckDB writes it.

    Raises:
        QueryError: it is none.
    """
    match = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?)(i?)b?\s*", size, re.I)
    if not match:
        raise QueryError(f"RUNSTREAM_SQL_MEMORY={size!r}: expected a size such as 2GB")
    unit = 1024 if match[3] else 1000
    return math.ceil(float(match[1]) * float(unit) ** " kmgt".index(match[2].lower() or " "))


if __name__ == "__main__":
    main()
