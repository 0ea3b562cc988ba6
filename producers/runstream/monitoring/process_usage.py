"""What trees of processes use: CPU, memory, threads, and what they read from disks and wrote to them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

MEGABYTE = 1e6

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, OSError)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process, at one look.

    Attributes:
        cpu: seconds since it began.
        read, written: bytes since it began; None: the system does not say.
    """

    cpu: float
    rss: int
    threads: int
    read: int | None
    written: int | None


@dataclass(slots=True)
class _Totals:
    """What a run's processes did since they were first looked at."""

    known: dict[psutil.Process, Usage] = field(default_factory=dict)
    looked_at: float = 0.0
    read: float = 0.0
    written: float = 0.0


class Processes:
    """One look at the processes of this machine; each is asked once, however many runs it is part of."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self._by_pid: dict[int, psutil.Process] = {}
        self._children: dict[int, list[int]] = {}
        self._usages: dict[int, Usage | None] = {}
        for process in psutil.process_iter(["ppid"]):
            self._by_pid[process.pid] = process
            self._children.setdefault(process.info["ppid"], []).append(process.pid)

    def tree(self, roots: Iterable[int]) -> set[int]:
        """These processes and all they have begun."""
        tree: set[int] = set()
        waiting = [pid for pid in roots if pid in self._by_pid]
        while waiting:
            pid = waiting.pop()
            if pid not in tree:
                tree.add(pid)
                waiting += self._children.get(pid, ())
        return tree

    def usages(self, pids: Iterable[int]) -> dict[psutil.Process, Usage]:
        """What these use; those that are gone are left out."""
        usages: dict[psutil.Process, Usage] = {}
        for pid in pids:
            if pid not in self._usages:
                self._usages[pid] = _usage(self._by_pid[pid])
            if (usage := self._usages[pid]) is not None:
                usages[self._by_pid[pid]] = usage
        return usages


def _usage(process: psutil.Process) -> Usage | None:
    try:
        with process.oneshot():
            times = process.cpu_times()
            rss, threads = process.memory_info().rss, process.num_threads()
    except _GONE:
        return None
    try:
        io = process.io_counters()  # not on macOS, and not of other users
    except (*_GONE, AttributeError):
        return Usage(times.user + times.system, rss, threads, None, None)
    return Usage(times.user + times.system, rss, threads, io.read_bytes, io.write_bytes)


class RunUsage:
    """What the processes of one run use, from look to look."""

    def __init__(self) -> None:
        self._totals = _Totals()

    def look(self, processes: Processes, pids: set[int], memory: int) -> Mapping[str, float]:
        """The metrics of these processes together, by name; at the first look those that need no look before it.

        Args:
            memory: bytes the machine has.
        """
        totals, usages = self._totals, processes.usages(pids)
        if not usages:
            return {}
        rss = sum(usage.rss for usage in usages.values())
        values = {
            "process_memory_rss_megabytes": rss / MEGABYTE,
            "process_memory_percentage": 100.0 * rss / memory,
            "process_threads": float(sum(usage.threads for usage in usages.values())),
        }
        cpu = 0.0
        for process, usage in usages.items():
            # A process that is new has done all it did since the last look.
            before = totals.known.get(process) or Usage(0.0, 0, 0, 0, 0)
            cpu += max(0.0, usage.cpu - before.cpu)
            totals.read += max(0, (usage.read or 0) - (before.read or 0))
            totals.written += max(0, (usage.written or 0) - (before.written or 0))
        if totals.looked_at and processes.at > totals.looked_at:
            values["process_cpu_percentage"] = 100.0 * cpu / (processes.at - totals.looked_at)
            if any(usage.read is not None for usage in usages.values()):
                values["process_disk_read_megabytes"] = totals.read / MEGABYTE
                values["process_disk_written_megabytes"] = totals.written / MEGABYTE
        else:
            totals.read = totals.written = 0.0
        totals.known, totals.looked_at = usages, processes.at
        return values
