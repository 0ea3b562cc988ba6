"""What became of a run whose process is gone."""

from __future__ import annotations

A, B = "a" * 32, "b" * 32


DIED = {"error": {"code": "ProcessDied", "message": "gone"}}
