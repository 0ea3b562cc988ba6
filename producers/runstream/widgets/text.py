"""A run in a terminal or a plain script, where there is no page to draw on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..client.records import TERMINAL
from ..printable import printable
from .data import duration

if TYPE_CHECKING:
    from ..core.run import Run


def show_text(run: Run) -> None:
    """Print the run; follow its log until it ends, unless this process is the one that has to end it.

    Raises:
        ExperimentExecutionException: interrupted by Ctrl-C; the run continues.
        ServiceException: the service is away.
    """
    if run.get_status() not in TERMINAL and not run._started_here:
        run._stream_logs()
    record = run._refresh()
    lines = {
        "RunId": record.run_id,
        "Experiment": record.experiment or "",
        "Status": record.status,
        "Duration": duration(record),
        "Tags": ", ".join(f"{key}: {value}" if value else key for key, value in record.tags.items()),
        "Error": ((record.error or {}).get("error", record.error) or {}).get("message"),
        "Web View": run.get_portal_url(),
    }
    print(printable("\n".join(f"{name}: {value}" for name, value in lines.items() if value)), flush=True)
    # Not plain get_metrics(): a run of HyperDrive answers that with its trials'.
    for name, value in run.get_metrics(recursive=True).get(run.id, {}).items():
        print(printable(f"  {name}: {_short(value)}"), flush=True)


def _short(value: object) -> str:
    if isinstance(value, dict):
        return f"table of {', '.join(map(str, value))}"
    if isinstance(value, list):
        return f"{value[-1]} (last of {len(value)})"
    return str(value)
