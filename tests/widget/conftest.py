"""One service of this folder's own."""

from __future__ import annotations

from tests.sdk.conftest import experiment, served_home, workspace

__all__ = ["experiment", "served_home", "workspace"]
