"""Readers for analysis: SQL, metric vectors of many runs, and lists of runs, all as Arrow.

    >>> import runstream
    >>> runstream.sql("select run_id, min(value) as best from metrics where name = 'mse' group by run_id").to_pandas()
    >>> runstream.query.metrics([run, other], name="loss").to_polars()

They ask the service of the settings in force (`RUNSTREAM_URL`, else the home's own, which they start), after it has stored
what this process recorded. Arrow comes with `pip install 'runstream[server]'`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from runstream_schemas.series import SeriesClass
from runstream_schemas.settings import Settings

from .client.http import ServiceClient, client_for
from .client.param_importance import Importance, ask_importance
from .client.reading import fetch_vectors, settle
from .client.records import Filter, RunRecord, check_filter, filter_params, list_records, matches
from .home.layout import with_local_spool
from .points_scan import PointsScan, find_parts, quoted
from .result import ARROW, Result, need, points_schema, points_table
from .spool.live_runs import unconfirmed

if TYPE_CHECKING:
    import pyarrow

    from .core._run.handle import RunHandle
    from .workspace_type import Workspace

_RUNS_A_STATEMENT = 1000


def sql(query: str, *, settings: Settings | None = None) -> Result:
    """Run one SQL statement over everything that is stored, in DuckDB's dialect.

    Views: `metrics(experiment, run_id, name, step, time, value, text)`, `rows`, `runs`, `summaries`;
    docs/reference has their columns.

    Args:
        query: one SELECT.
        settings: which service to ask; default: the environment's.

    Raises:
        ServiceException: the statement is wrong (status_code 400, the message has the place), took too long, or the service
            is away.
        UserErrorException: pyarrow is not installed.
    """
    need("pyarrow", "runstream[server]")
    client = _client(settings)
    settle(client)
    return _sql(client, query)


def _sql(client: ServiceClient, query: str) -> Result:
    import pyarrow as pa
    import pyarrow.ipc

    answer = client.request(
        "POST",
        "/api/v1/sql",
        body=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json", "Accept": ARROW},
    )
    with pa.ipc.open_stream(pa.BufferReader(answer.body)) as reader:
        return Result(reader.read_all())


def metrics(
    runs: Iterable[RunHandle | str] | RunHandle | str,
    name: str | None = None,
    *,
    recursive: bool = False,
    settings: Settings | None = None,
) -> Result:
    """Metric vectors of one or many runs in one request, one row a point, in the order of logging.

    Args:
        runs: runs or their ids; those that do not exist have no rows.
        name: only this series.
        recursive: also of the runs' descendants.
        settings: which service to ask; default: that of the first `Run`, else the environment's.

    Returns:
        Columns `run_id`, `name`, `step` (int64), `time` (timestamp, microseconds, UTC), `value` (float64; of integers and
        booleans too, null for text), `integer` (int64, exact, where the value was one) and `text`.

    Raises:
        ServiceException: the service is away.
        UserErrorException: pyarrow is not installed.
    """
    arrow = need("pyarrow", "runstream[server]")
    chosen = [runs] if isinstance(runs, str) or not isinstance(runs, Iterable) else list(runs)
    client = (
        next((run._client for run in chosen if not isinstance(run, str)), None) if settings is None else None
    )
    client = client or _client(settings)
    tables = []
    for body in fetch_vectors(
        client,
        [run if isinstance(run, str) else run.id for run in chosen],
        name=name,
        recursive=recursive,
        classes=(SeriesClass.METRIC,),
        waits=unconfirmed(client.settings),
        headers={"Accept": ARROW},
    ):
        with arrow.ipc.open_stream(arrow.BufferReader(body)) as reader:
            tables.append(points_table(reader.read_all()))
    return Result(
        arrow.concat_tables(tables).unify_dictionaries() if tables else points_schema().empty_table()
    )


def runs(
    experiment: str | None = None,
    *,
    workspace: Workspace | str | None = None,
    status: str | None = None,
    tags: Filter = None,
    properties: Filter = None,
    parent: str | None = None,
    order: str = "-start_time",
    limit: int | None = None,
    settings: Settings | None = None,
) -> Result:
    """Runs with their tags, properties and the summaries of their metrics, one row a run.

    Args:
        experiment: only of this experiment.
        workspace: only of this workspace; also says which service.
        status: only in this status.
        tags: a tag's name, or a dictionary of names and values that must all match.
        properties: the same for properties.
        parent: only children of this run id; `none`: only runs without a parent.
        order: `start_time`, `number`, `name` ..., `metric:NAME:STAT` with STAT of first, last, min, max, mean, count;
            a minus before it is descending.
        limit: most runs; None: all.
        settings: which service to ask; default: the workspace's, else the environment's.

    Returns:
        A column for each field of a run; `tags` and `properties` as maps; for each metric `NAME` a struct column `NAME` with
        count, first, last, min, max and mean.

    Raises:
        ServiceException: an order that cannot be (status_code 400), or the service is away.
        UserErrorException: pyarrow is not installed.
    """
    need("pyarrow", "runstream[server]")
    check_filter("tags", tags)
    check_filter("properties", properties)
    client, space = _within(workspace, settings)
    settle(client)
    params = [
        ("order", order),
        ("summaries", "1"),
        *filter_params("tag", tags),
        *filter_params("property", properties),
    ]
    params += [
        (key, value)
        for key, value in (
            ("workspace", space),
            ("experiment", experiment),
            ("status", status),
            ("parent", parent),
        )
        if value is not None
    ]
    listed = []
    for record in list_records(client, params, page=min(limit or 500, 500)):
        if matches(tags, record.tags) and matches(properties, record.properties):
            listed.append(record)
            if limit is not None and len(listed) >= limit:
                break
    return Result(_runs_table(listed))


def scan(
    runs: Iterable[RunHandle | str] | RunHandle | str | None = None,
    names: Iterable[str] | str = (),
    *,
    search: str | None = None,
    experiment: str | None = None,
    workspace: Workspace | str | None = None,
    settings: Settings | None = None,
) -> PointsScan:
    """All points of metrics of many runs, in parts of about a million: for Polars, Dask, Ray, or one table after the other.

    What is logged while they are read may be in some parts and not in others; each series has no hole.

    Args:
        runs: only these runs, or ids.
        names: only these series.
        search: only runs that pass, as a search box takes it.
        experiment, workspace, settings: as of `runs`.

    Raises:
        ServiceException: a search that makes no sense (status_code 400), or the service is away.
        UserErrorException: pyarrow is not installed.
    """
    need("pyarrow", "runstream[server]")
    client, space = _within(workspace, settings)
    settle(client)
    ids: list[str] | None = None
    if runs is not None:
        chosen = [runs] if isinstance(runs, str) or not isinstance(runs, Iterable) else runs
        ids = list(dict.fromkeys(run if isinstance(run, str) else run.id for run in chosen))
    if search is not None:
        params = [
            ("q", search),
            *((key, value) for key, value in (("workspace", space), ("experiment", experiment)) if value),
        ]
        passing = dict.fromkeys(record.run_id for record in list_records(client, params, page=500))
        ids = [run_id for run_id in (passing if ids is None else ids) if run_id in passing]
    series = [names] if isinstance(names, str) else list(names)
    conditions = [f"name in ({', '.join(map(quoted, series))})"] if series else []
    within = [
        f"{column} = {quoted(value)}"
        for column, value in (("workspace", space), ("experiment", experiment))
        if value
    ]
    if within:
        conditions.append(f"run_id in (select run_id from runs where {' and '.join(within)})")

    def ask(statement: str) -> pyarrow.Table:
        return _sql(client, statement).table

    if ids is None:
        return PointsScan(find_parts(client, ask, " and ".join(conditions) or "true", series))
    parts = []
    for first in range(0, len(ids), _RUNS_A_STATEMENT):
        some = f"run_id in ({', '.join(map(quoted, ids[first : first + _RUNS_A_STATEMENT]))})"
        parts += find_parts(client, ask, " and ".join([some, *conditions]), series)
    return PointsScan(parts)


def param_importance(
    metric: str,
    stat: str = "last",
    *,
    search: str | None = None,
    experiment: str | None = None,
    workspace: Workspace | str | None = None,
    parent: str | None = None,
    runs: Iterable[RunHandle | str] = (),
    settings: Settings | None = None,
) -> Importance:
    """Which parameters matter for a metric, by the newest 1,000 runs that pass; `refusal` says why none do.

    Args:
        stat: `last`, `min`, `max`, `mean`, `first`, or `best`: the good end, as the runs define it.
        search: what a search box takes.
        parent: only children of this run id, such as a sweep's.
        runs: only these.
        experiment, workspace, settings: as of `runs`.

    Raises:
        ServiceException: a filter that makes no sense (status_code 400), or the server has no scikit-learn (501).
    """
    client, space = _within(workspace, settings)
    given = {"q": search, "experiment": experiment, "workspace": space, "parent": parent}
    params = [("name", metric), ("stat", stat), *((key, value) for key, value in given.items() if value)]
    params += [("run", run if isinstance(run, str) else run.id) for run in runs]
    return ask_importance(client, params)


def _within(workspace: Workspace | str | None, settings: Settings | None) -> tuple[ServiceClient, str | None]:
    """Which service to ask, and the workspace's name."""
    if workspace is None or isinstance(workspace, str):
        return _client(settings), workspace
    return workspace._client if settings is None else _client(settings), workspace.name


def _client(settings: Settings | None) -> ServiceClient:
    return client_for(with_local_spool(settings or Settings.load()))


_RUN_TEXTS = (
    "experiment",
    "workspace",
    "status",
    "parent_run_id",
    "root_run_id",
    "name",
    "display_name",
    "description",
    "type",
    "target",
)
_STATISTICS = ("count", "first", "last", "min", "max", "mean")


def _runs_table(records: list[RunRecord]) -> pyarrow.Table:
    import pyarrow as pa

    columns: dict[str, pyarrow.Array] = {
        "run_id": pa.array([record.run_id for record in records], pa.string()),
        "number": pa.array([record.number for record in records], pa.int64()),
    }
    for field in _RUN_TEXTS:
        columns[field] = pa.array([getattr(record, field) for record in records], pa.string())
    for field in ("created_utc", "start_time_utc", "end_time_utc"):
        columns[field.removesuffix("_utc")] = _times([getattr(record, field) for record in records])
    columns["error"] = pa.array(
        [json.dumps(record.error) if record.error else None for record in records], pa.string()
    )
    for field in ("tags", "properties"):
        pairs = [list(getattr(record, field).items()) for record in records]
        columns[field] = pa.array(pairs, pa.map_(pa.string(), pa.string()))
    names = dict.fromkeys(name for record in records for name in record.summaries or ())
    for name in names:
        column = name if name not in columns else f"metric:{name}"
        columns[column] = pa.array(
            [_statistics((record.summaries or {}).get(name)) for record in records],
            pa.struct([("count", pa.int64()), *((statistic, pa.float64()) for statistic in _STATISTICS[1:])]),
        )
    return pa.table(columns)


def _statistics(summary: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if summary is None:
        return None
    # JSON has no NaN and no infinity: they come as text, which float() reads.
    numbers = {name: None if summary.get(name) is None else float(summary[name]) for name in _STATISTICS[1:]}
    return {"count": summary.get("count"), **numbers}


def _times(values: list[str | None]) -> pyarrow.Array:
    from datetime import datetime

    import pyarrow as pa

    return pa.array(
        [datetime.fromisoformat(value) if value else None for value in values], pa.timestamp("us", tz="UTC")
    )
