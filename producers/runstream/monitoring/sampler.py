"""Samples what live runs use of this machine, beside them, and writes it to their spool as any point.

The run's own processes do nothing for it. Its samples are a source of this process, which owns no run: whatever becomes of
the sampler, the run's life is told by its own processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream_schemas.metrics import counter, gauge
from runstream_schemas.settings import Settings

from ..spool.writing.system_writer import SystemWriter
from .live_processes import LiveProcesses

if TYPE_CHECKING:
    from prometheus_client import Metric

    from .gpus import Gpus
    from .machine import Machine
    from .process_usage import RunUsage

logger = logging.getLogger("runstream.monitoring")

PREFIX = "system/"
_LOOK_SECONDS = 1.0
"""Between two looks whether runs that are sampled have ended."""
_LOOK_SHARE, _SAMPLE_SHARE = 200, 70
"""Times as long as a look, and as sampling all runs, takes until the next: with thousands of runs they are rarer."""


@dataclass(slots=True, eq=False)
class SamplerState:
    """What a sampler did since it started.

    Attributes:
        runs: those it samples now.
        samples: looks at a run that were written.
        cpu: seconds of CPU it took.
    """

    runs: int = 0
    samples: int = 0
    cpu: float = 0.0

    def collect(self) -> Iterator[Metric]:
        """See `runstream_schemas.metrics.Collected`."""
        yield gauge("system_metrics_runs", "Runs whose processes are sampled", self.runs)
        yield counter("system_metrics_samples", "Samples of runs that were written", self.samples)
        yield counter("system_metrics_cpu_seconds", "CPU that sampling took", self.cpu)


@dataclass(slots=True)
class _Sampled:
    """A run that is sampled.

    Attributes:
        received, sent: megabytes the network had passed when the run was first looked at.
    """

    writer: SystemWriter
    usage: RunUsage
    received: float
    sent: float


@dataclass(slots=True)
class Sampler:
    """Samples the live runs of one spool; from one thread at a time.

    Args:
        settings: `system_interval` and the spool's directory are read.
        node: the name of this machine.
    """

    settings: Settings
    node: str = field(default_factory=lambda: socket.gethostname() or "localhost")
    state: SamplerState = field(default_factory=SamplerState)
    _live: LiveProcesses = field(init=False)
    _runs: dict[str, _Sampled] = field(default_factory=dict)
    _machine: Machine | None = None
    _gpus: Gpus | None = None
    _next: float = 0.0

    def __post_init__(self) -> None:
        self._live = LiveProcesses(self.settings.spool_path)

    def look(self) -> float:
        """Let go of runs that have ended, and sample the others when it is time. Returns the seconds until the next look."""
        began = time.thread_time()
        now = time.monotonic()
        due = now >= self._next
        pause = min(_LOOK_SECONDS, self.settings.system_interval)
        if due or self._runs:
            live = self._live.look(self.settings.system_interval, self._own_sources())
            for run_id in self._runs.keys() - live.keys():
                self._runs.pop(run_id).writer.close()
            pause = max(pause, _LOOK_SHARE * (time.thread_time() - began))
            if live:
                self._open()
            looked = time.thread_time()
            if due:
                if live:
                    self._sample(live)
                else:
                    self._machine = None  # what it knows is of times without a run
                took = time.thread_time() - looked
                self._next = now + max(self.settings.system_interval, _SAMPLE_SHARE * took)
        self.state.runs = len(self._runs)
        self.state.cpu += time.thread_time() - began
        return pause

    def close(self) -> None:
        """Let go of all runs."""
        for sampled in self._runs.values():
            sampled.writer.close()
        self._runs.clear()
        self.state.runs = 0

    def _own_sources(self) -> frozenset[str]:
        keys = (key for sampled in self._runs.values() for key in sampled.writer.positions())
        return frozenset(key for key in keys if "." not in key)

    def _open(self) -> None:
        """Load what looks at the machine; a node without a run pays nothing for it."""
        if self._gpus is None:
            from .gpus import Gpus

            self._gpus = Gpus()

    def _sample(self, live: dict[str, set[int]]) -> None:
        from .machine import Machine
        from .process_usage import Processes, RunUsage

        assert self._gpus is not None, "it is opened before the first sample"
        machine = self._machine or Machine()
        values = machine.look()
        if self._machine is None:
            del values["cpu_utilization_percentage"]  # of no time
        self._machine = machine
        processes = Processes()
        trees = {run_id: processes.tree(pids) for run_id, pids in live.items()}
        every = set().union(*trees.values())
        of_gpus = self._gpus.look(every) if every else []
        when = time.time()
        for run_id, tree in trees.items():
            sampled = self._runs.get(run_id)
            if sampled is None:
                writer = SystemWriter(self.settings, run_id, self.node)
                sampled = self._runs[run_id] = _Sampled(writer, RunUsage(), machine.received, machine.sent)
            own = dict(values)
            own["network_receive_megabytes"] = machine.received - sampled.received
            own["network_transmit_megabytes"] = machine.sent - sampled.sent
            own.update(sampled.usage.look(processes, tree, machine.memory))
            for gpu in of_gpus:
                if not gpu.pids.isdisjoint(tree):
                    own.update({f"gpu_{gpu.number}_{name}": value for name, value in gpu.values.items()})
            sampled.writer.sample({PREFIX + name: value for name, value in own.items()}, when)
            self.state.samples += 1


async def run_sampler(settings: Settings, stop: asyncio.Event, *, state: SamplerState | None = None) -> None:
    """Sample the live runs of the settings' spool until `stop` is set; only waits if `system_metrics` is off."""
    if not settings.system_metrics:
        await stop.wait()
        return
    sampler = Sampler(settings, state=SamplerState() if state is None else state)
    try:
        while not stop.is_set():
            pause = await asyncio.to_thread(sampler.look)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
    finally:
        await asyncio.to_thread(sampler.close)
