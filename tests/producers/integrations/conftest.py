"""The service of the SDK's tests."""

from __future__ import annotations

from tests.producers.conftest import experiment, served_home, workspace

__all__ = ["experiment", "served_home", "workspace"]
