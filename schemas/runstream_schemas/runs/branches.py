"""Where a run branched off another, as its properties say."""

from __future__ import annotations

from typing import Final

FORK_RUN: Final = "runstream.fork.run_id"
"""Property of a fork: the run whose points it begins with."""
FORK_STEP: Final = "runstream.fork.step"
"""Property of a fork: the step up to which it does."""
