"""A run in a notebook, live: `RunDetails(run).show()`.

Source: `azureml.widgets`.
"""

from __future__ import annotations

from .run_details import RunDetails

__all__ = ["RunDetails"]
