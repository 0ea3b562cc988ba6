"""Custom charts as W&B records them: what each shows stands in the run's configuration, its values are a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core._run.media_contents import contents_of
from ..media import Vega
from ..spool.live_runs import LiveRun
from ..wandb.chart_specs import ChartSpec, vega_lite_of
from ..wandb.plot import table_names
from .wandb_media import kept

_PLACE = ("_wandb", "visualize")


def note(state: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Remember a chart, if an item of the configuration tells one.

    Args:
        state: what is known of the run that is taken over; it is kept between batches.
        path: where the item stands in the configuration.
    """
    if path[:2] != _PLACE or len(path) != 3 or not isinstance(value, dict):
        return
    panel = value.get("panel_config")
    if isinstance(panel, dict) and isinstance(panel.get("panelDefId"), str):
        told = [panel["panelDefId"], _texts(panel.get("fieldSettings")), _texts(panel.get("stringSettings"))]
        for table in table_names(path[2]):
            state.setdefault("charts", {})[table] = [path[2], *told]


@dataclass(frozen=True, slots=True)
class KeptFigure:
    """A figure whose bytes are kept: the name of its series, and its text there."""

    name: str
    text: str


def keep(
    live: LiveRun, state: Mapping[str, Any], table: str, columns: Mapping[str, Sequence[Any]]
) -> KeptFigure | None:
    """Keep the figure of the chart whose table this is.

    Returns:
        None: it is the table of none, or of one that only W&B can draw.

    Raises:
        OSError: the home cannot be written.
    """
    if (told := state.get("charts", {}).get(table)) is None:
        return None
    name, spec, fields, strings = told
    if (figure := vega_lite_of(ChartSpec(spec, fields, strings), columns)) is None:
        return None
    return KeptFigure(name, kept(live, contents_of(name, Vega(figure), None)[0], 0, None, None))


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}
