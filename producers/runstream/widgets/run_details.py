"""`RunDetails`: shows a run where the user is, with as much life as the place allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..exceptions import UserErrorException
from .data import widget_data
from .frontend import missing, surroundings
from .text import show_text

if TYPE_CHECKING:
    from ..core.run import Run

DEFAULTS = {"childWidgetDisplay": "popup"}


class RunDetails:
    """A run as a widget: properties, log, a chart for each metric, images and child runs, live.

    Args:
        run_instance: any run, under way or ended, of any type.

    Raises:
        UserErrorException: that is no run.

    Source: `azureml.widgets.RunDetails`.
    """

    def __init__(self, run_instance: Run) -> None:
        from ..core.run import Run

        if not isinstance(run_instance, Run):
            raise UserErrorException(
                f"RunDetails: expected a Run, got {type(run_instance).__name__}; "
                "an offline run (Run.get_context() outside of a submitted script) has nothing to show"
            )
        self._run = run_instance
        self._widget: Any = None

    def show(self, render_lib: Any = None, widget_settings: Mapping[str, Any] | None = None) -> None:
        """Show the run.

        In a notebook at once, and without blocking the cell: it then follows the run by itself. Where the page cannot run
        the widget, a table with a link. Outside of notebooks as text, which follows the run's log to its end (a run that
        this very process has started is not waited for).

        Args:
            render_lib: accepted for the reproduced API.
            widget_settings: kept, and returned by `get_widget_data`. `childWidgetDisplay`: `popup` (default) opens a child
                run over the page, anything else on the run's page.

        Raises:
            ServiceException: outside of notebooks: the service is away.
        """
        place = surroundings()
        if place == "terminal":
            show_text(self._run)
            return
        why = missing()
        if why is not None:
            _display(place, {"text/html": _fallback(self._run, why), "text/plain": str(self._run)})
            return
        from dataclasses import asdict

        from .model import RunWidget

        if self._widget is not None:
            self._widget.close()  # shown again: the old one would follow the run for nobody
        self._widget = RunWidget(
            self._run._client, asdict(self._run._record), self._settings(widget_settings)
        )
        if place == "marimo":
            import marimo

            marimo.output.append(self._widget)
            return
        bundle = self._widget._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        # A page without widgets (a forge, an exported file, an untrusted notebook) shows the table.
        _display(place, {**data, "text/html": _fallback(self._run, ""), "text/plain": str(self._run)})

    def get_widget_data(self, widget_settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the widget shows, as dictionaries and lists: `status`, `workbench_run_details_uri`, `run_id`,
        `run_properties`, `child_runs`, `children_metrics`, `run_metrics`, `run_logs`, `graph`, `widget_settings`.

        `run_metrics` holds `{"name", "run_id", "categories", "series": [{"data"}]}` for each metric; tables have a series a
        column, with its `name`. `children_metrics` holds the same of all descendants, by metric.

        Raises:
            ServiceException: the service is away.
        """
        return widget_data(self._run, self._settings(widget_settings))

    def _settings(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        return {**DEFAULTS, **(given or {})}


def _fallback(run: Run, why: str) -> str:
    from html import escape

    return run._repr_html_() + (f"<p>{escape(why)}</p>" if why else "")


def _display(place: str, data: Mapping[str, Any]) -> None:
    if place == "marimo":
        import marimo

        marimo.output.append(marimo.Html(data["text/html"]))
        return
    from IPython.display import display

    display(dict(data), raw=True)  # type: ignore[no-untyped-call, unused-ignore]
