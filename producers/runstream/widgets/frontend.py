"""Where we are shown: a notebook, or a terminal."""

from __future__ import annotations

import sys


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this code (Jupyter, VS Code, Colab, Databricks): it is told by its shell; an
    IPython in a terminal has another one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None
