"""The notebook widget under its first name; see `runstream.widgets`."""

from __future__ import annotations

from ..widgets import RunDetails

__all__ = ["RunDetails"]
