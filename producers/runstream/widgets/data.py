"""What `RunDetails.get_widget_data` returns: a run as plain dictionaries and lists, under the original's keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .logs import choose_log, log_note

if TYPE_CHECKING:
    from ..client.records import RunRecord
    from ..core.run import Run


def widget_data(run: Run, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run, its children, metrics and log.

    Args:
        run: any run.
        settings: the widget's settings, given back.

    Raises:
        ServiceException: the service is away.
    """
    details = run.get_details()
    record = run._record
    metrics = run.get_metrics(recursive=True)
    children = list(run.get_children(recursive=True))
    log_files: dict[str, str] = details["logFiles"]
    return {
        "status": record.status,
        "workbench_run_details_uri": run.get_portal_url(),
        "run_id": run.id,
        "run_properties": {**_properties(record), "log_files": log_files, "log_groups": _groups(log_files)},
        "child_runs": [_child(child._record) for child in children],
        "children_metrics": _by_metric(metrics, [child.id for child in children]),
        "run_metrics": _items(run.id, metrics.get(run.id, {})),
        "run_logs": _log(run, list(log_files)),
        "graph": {},
        "widget_settings": dict(settings),
    }


def _properties(record: RunRecord) -> dict[str, Any]:
    definition = record.details.get("runDefinition") or {}
    return {
        "run_id": record.run_id,
        "experiment_name": record.experiment or "",
        "run_number": record.number,
        "run_type": record.type,
        "display_name": record.display_name,
        "target": record.target,
        "created_utc": record.created_utc,
        "start_time_utc": record.start_time_utc,
        "end_time_utc": record.end_time_utc,
        "run_duration": duration(record),
        "status": record.status,
        "script_name": definition.get("script"),
        "arguments": definition.get("arguments"),
        "tags": dict(record.tags),
        "properties": dict(record.properties),
        "error": record.error,
    }


def duration(record: RunRecord) -> str:
    """How long the run has taken, as `0:02:14`; '' before its start."""
    if record.start_time_utc is None:
        return ""
    end = datetime.fromisoformat(record.end_time_utc) if record.end_time_utc else datetime.now(UTC)
    seconds = max((end - datetime.fromisoformat(record.start_time_utc)).total_seconds(), 0.0)
    return str(timedelta(seconds=round(seconds)))


def _child(record: RunRecord) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "run_number": record.number,
        "run_name": record.display_name or record.name,
        "run_type": record.type,
        "status": record.status,
        "created_time": record.created_utc,
        "start_time": record.start_time_utc,
        "end_time": record.end_time_utc,
        "duration": duration(record),
        "tags": dict(record.tags),
    }


def _items(run_id: str, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_item(run_id, name, value) for name, value in metrics.items()]


def _item(run_id: str, name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        series = [{"name": column, "data": _as_list(values)} for column, values in value.items()]
    else:
        series = [{"data": _as_list(value)}]
    longest = max((len(line["data"]) for line in series), default=0)
    return {"name": name, "run_id": run_id, "categories": list(range(longest)), "series": series}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _by_metric(
    metrics: Mapping[str, Mapping[str, Any]], children: list[str]
) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {}
    for child in children:
        for name, value in metrics.get(child, {}).items():
            tables.setdefault(name, []).append(_item(child, name, value))
    return tables


def _groups(names: Mapping[str, str]) -> list[list[str]]:
    """Logs by their folder."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    return list(groups.values())


def _log(run: Run, names: list[str]) -> str:
    name = choose_log(names)
    text = run._read(name).decode(errors="replace") if name else ""
    note = log_note(run._record.status, run._record.error, not text)
    return "\n".join(part for part in (text.rstrip("\n"), note) if part)
