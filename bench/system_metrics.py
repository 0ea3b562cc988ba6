"""What sampling costs the node: the CPU of the sampler with 100 live runs, each a process with one of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator

from runstream.monitoring.sampler import Sampler
from runstream.spool.live_runs import open_live
from runstream_schemas.settings import Settings

from .result import Result

RUNS = 100
SECONDS = 60.0


def run(quick: bool) -> list[Result]:
    """The sampler by itself: what the storing of its points costs is the pipeline's."""
    seconds = SECONDS / 2 if quick else SECONDS
    with tempfile.TemporaryDirectory(prefix="rsb") as home:
        settings = Settings(home=home)
        with _live_runs(settings):
            time.sleep(settings.system_interval)
            sampler = Sampler(settings)
            sampler.look()  # loads what it needs
            before, began = sampler.state.cpu, time.monotonic()
            while time.monotonic() - began < seconds:
                time.sleep(sampler.look())
            share = 100.0 * (sampler.state.cpu - before) / (time.monotonic() - began)
            if sampler.state.runs != RUNS:
                raise RuntimeError(f"{sampler.state.runs} runs are sampled, {RUNS} were started")
            sampler.close()
    return [Result(f"CPU of the sampler with {RUNS} live runs", [share], "% of a core", 2)]


@contextlib.contextmanager
def _live_runs(settings: Settings) -> Iterator[None]:
    """Processes that each own a live run and have begun another process."""
    begun = []
    try:
        for number in range(RUNS):
            pid = os.fork()
            if not pid:
                os.setpgid(0, 0)
                live = open_live(settings, f"run {number}", owner=True)
                live.start({})
                os.fork()
                while True:
                    time.sleep(60)
            begun.append(pid)
        yield
    finally:
        for pid in begun:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        for pid in begun:
            os.waitpid(pid, 0)
