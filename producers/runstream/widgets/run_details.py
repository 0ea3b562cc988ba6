"""`RunDetails`: shows a run where the user is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..exceptions import UserErrorException
from .data import widget_data
from .frontend import in_notebook
from .text import show_text

if TYPE_CHECKING:
    from ..run import Run

DEFAULTS = {"childWidgetDisplay": "popup"}


class RunDetails:
    """A run as a notebook shows it.

    Args:
        run_instance: any run, under way or ended, of any type.

    Raises:
        UserErrorException: that is no run.

    Source: `azureml.widgets.RunDetails`.
    """

    def __init__(self, run_instance: Run) -> None:
        from ..run import Run

        if not isinstance(run_instance, Run):
            raise UserErrorException(
                f"RunDetails: expected a Run, got {type(run_instance).__name__}; "
                "an offline run (Run.get_context() outside of a submitted script) has nothing to show"
            )
        self._run = run_instance

    def show(self, render_lib: Any = None, widget_settings: Mapping[str, Any] | None = None) -> None:
        """Show the run.

        In a notebook: a table with a link to the run's live page; the cell is not blocked. Elsewhere as text, which follows
        the run's log to its end (a run that this very process has started is not waited for).

        Args:
            render_lib: accepted for the reproduced API.
            widget_settings: accepted; see `get_widget_data`.

        Raises:
            ServiceException: outside of notebooks: the service is away.
        """
        if not in_notebook():
            show_text(self._run)
            return
        from IPython.display import display

        data = {"text/html": self._run._repr_html_(), "text/plain": str(self._run)}
        display(data, raw=True)  # type: ignore[no-untyped-call, unused-ignore]

    def get_widget_data(self, widget_settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The run as dictionaries and lists: `status`, `workbench_run_details_uri`, `run_id`, `run_properties`,
        `child_runs`, `children_metrics`, `run_metrics`, `run_logs`, `graph`, `widget_settings`.

        `run_metrics` holds `{"name", "run_id", "categories", "series": [{"data"}]}` for each metric; tables have a series a
        column, with its `name`. `children_metrics` holds the same of all descendants, by metric.

        Raises:
            ServiceException: the service is away.
        """
        return widget_data(self._run, {**DEFAULTS, **(widget_settings or {})})
