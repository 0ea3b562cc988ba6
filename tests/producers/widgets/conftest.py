"""One service of this folder's own, and the browser of the dashboard's tests."""

from __future__ import annotations

from tests.dashboard.conftest import browser, chromium
from tests.sdk.conftest import experiment, served_home, workspace

__all__ = ["browser", "chromium", "experiment", "served_home", "workspace"]
