"""Damaged and hostile input. `RUNSTREAM_TEST_FUZZ_TIMES=20` tries that many times as much."""

import os

TIMES = int(os.environ.get("RUNSTREAM_TEST_FUZZ_TIMES", "1"))
