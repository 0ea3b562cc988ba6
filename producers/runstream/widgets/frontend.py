"""Where we are shown: a notebook whose page can run our code, one that only shows HTML, or a terminal."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

_BUILT = Path(__file__).parent / "web"
SCRIPT, STYLES = _BUILT / "widget.js", _BUILT / "widget.css"
"""What the widget's page runs and looks like; built from dashboard/ into the wheel and never committed."""


def surroundings() -> Literal["jupyter", "marimo", "terminal"]:
    """What kind of place this code runs in.

    A kernel (Jupyter, VS Code, Colab, Databricks, papermill) is told by its shell: an IPython in a terminal has another one.
    """
    if (marimo := sys.modules.get("marimo")) and getattr(marimo, "running_in_notebook", bool)():
        return "marimo"
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and getattr(shell, "kernel", None) is not None:
        return "jupyter"
    return "terminal"


def missing() -> str | None:
    """Why no widget can be drawn, with the remedy; None if one can."""
    if find_spec("anywidget") is None:
        return "the live view needs anywidget: pip install 'runstream[notebook]', then restart the kernel"
    if not SCRIPT.is_file():
        return "the live view is not built in this checkout: make dashboard"
    return None


@cache
def text_of(built: Path) -> str:
    """What a built file holds."""
    return built.read_text(encoding="utf-8")
