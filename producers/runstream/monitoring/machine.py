"""What the machine as a whole is doing: CPU, memory, the disk of its root, the network; named as MLflow names them."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

from .process_usage import MEGABYTE


class Machine:
    """Looks at the machine again and again.

    Attributes:
        memory: bytes it has.
        received, sent: megabytes its network has passed since it was started, when it was last looked at.
    """

    def __init__(self) -> None:
        self.memory = psutil.virtual_memory().total
        self.received = self.sent = 0.0
        psutil.cpu_percent(None)  # of the time since then, at the next call

    def look(self) -> dict[str, float]:
        """The metrics by name, but for those of the network, which count from the beginning of a run."""
        memory = psutil.virtual_memory()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(None),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": memory.percent,
        }
        with suppress(OSError):
            disk = psutil.disk_usage(os.sep)
            values["disk_usage_percentage"] = disk.percent
            values["disk_usage_megabytes"] = disk.used / MEGABYTE
            values["disk_available_megabytes"] = disk.free / MEGABYTE
        with suppress(OSError):
            if (network := psutil.net_io_counters()) is not None:
                self.received, self.sent = network.bytes_recv / MEGABYTE, network.bytes_sent / MEGABYTE
        return values
