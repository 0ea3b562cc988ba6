"""Random tests take another seed each run, and the run prints it; `RUNSTREAM_TEST_SEED` repeats one."""

from __future__ import annotations

import os
import random

VARIABLE = "RUNSTREAM_TEST_SEED"
SEED = int(os.environ.setdefault(VARIABLE, str(random.SystemRandom().randrange(10**6))))
"""Of this run; its worker processes inherit it."""


def new_random(offset: int = 0) -> random.Random:
    """For one test.

    Args:
        offset: so that another test takes another.
    """
    return random.Random(SEED + offset)
