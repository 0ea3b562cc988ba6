"""The browser of the dashboard's tests."""

from __future__ import annotations

from tests.dashboard.conftest import browser, chromium

__all__ = ["browser", "chromium"]
