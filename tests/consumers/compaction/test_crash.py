"""Invariant: whatever step a compactor dies at, every point is in exactly one tier, and the next one cleans up."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import START, Pipeline, floats

STRIDE = int(os.environ.get("RUNSTREAM_TEST_CRASH_STRIDE", "11"))
"""Every how many steps to die; 1 tries each and takes minutes."""


@pytest.fixture
def mortal(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that does rounds, of the kind that is its parameter, and dies at the step it is told."""
    root = Path(__file__).parents[3]
    paths = [str(root / part) for part in ("schemas", "consumers", "producers")]
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("crash_child.py")), getattr(request, "param", "all")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    yield process
    process.communicate(timeout=10)


async def let_die(pipeline: Pipeline, mortal: subprocess.Popen[str], step: int) -> int:
    """Have a round done that dies at a step; 9: it did, 0: it came to the end."""
    assert mortal.stdin is not None
    assert mortal.stdout is not None
    mortal.stdin.write(f"{pipeline.settings.database} {pipeline.store.root} {step}\n")
    mortal.stdin.flush()
    code = int(await asyncio.to_thread(mortal.stdout.readline))
    # What the dead had sent last may still be at work in the server.
    while await pipeline.others():
        await asyncio.sleep(0.005)
    return code


@pytest.mark.timeout(900)
async def test_a_crash_at_any_step_loses_nothing_and_doubles_nothing(
    pipeline: Pipeline, mortal: subprocess.Popen[str]
) -> None:
    step, code = 2 - STRIDE, 9
    while code == 9:
        step += STRIDE
        for number in range(3):  # a file each, which are then merged
            run = f"run_{step}_{number}"
            await pipeline.add_run(run, f"exp_{step}")
            await pipeline.add_chunk(run, floats("x", range(15)))
            await pipeline.add_chunk(run, floats("x", range(15), slot=15, time=START + 15_000))
        code = await let_die(pipeline, mortal, step)
        assert code in (0, 9), f"step {step}"
        await _check(pipeline, f"died at step {step}")
        await pipeline.add_chunk(run, floats("y", range(3), slot=30, time=START + 30_000))  # late
        assert await let_die(pipeline, mortal, 1 << 30) == 0
        await _check(pipeline, f"after step {step}")
        assert await pipeline.hot() == {}, f"after step {step}"
    assert step > 60  # or the steps are not counted
    assert await let_die(pipeline, mortal, 1 << 30) == 0  # sweeps what the last round replaced
    assert await pipeline.hot() == {}
    assert await pipeline.both_tiers() == pipeline.globbed() == pipeline.logged
    live = set(await pipeline.files())
    kinds = ("metrics", "tables", "staging", "trash")
    assert {entry.path for kind in kinds for entry in pipeline.store.list(kind)} == live
    assert not await pipeline.files("pending")
    assert not _unfinished(pipeline.store.root)


async def _check(pipeline: Pipeline, when: str) -> None:
    assert await pipeline.both_tiers() == pipeline.logged, when
    twice = {cell for cell, times in pipeline.globbed().items() if times > pipeline.logged[cell]}
    assert not twice, when


def _unfinished(root: str) -> list[Path]:
    return list(Path(root).rglob(".part-*"))
