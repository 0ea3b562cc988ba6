"""What tests of lists share."""

from __future__ import annotations

import pytest

from runstream_consumers.compaction import packing
from runstream_query.runs import runs


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few runs are many here."""
    monkeypatch.setattr(packing, "STAGED", 4)
    monkeypatch.setattr(packing, "PIECE", 3)
    monkeypatch.setattr(packing, "PART", 2)
    monkeypatch.setattr(packing, "_BATCH", 7)
    monkeypatch.setattr(runs, "_LOOKED_AT", 20)
