"""GPUs of this machine: those of NVIDIA by NVML, those of AMD by amdsmi, where their libraries are.

A GPU is asked whose processes it works for; what it is doing is told of those alone that work for a run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from .process_usage import MEGABYTE

logger = logging.getLogger("runstream.monitoring")

_AGAIN = 60.0
"""Seconds until a driver that did not answer is tried again."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU at one look.

    Attributes:
        number: among those of this machine, as the driver counts them.
        pids: processes it works for, as they are numbered here.
        values: its metrics, by the rest of their names; empty: it was not asked, as it works for nobody.
    """

    number: int
    pids: frozenset[int]
    values: dict[str, float]


class Driver(Protocol):
    """A kind of GPU."""

    def look(self, pids: set[int]) -> list[Gpu]:
        """The GPUs that work for one of these processes."""
        ...


class Nvidia:
    """GPUs that NVML tells of.

    Raises:
        ImportError: there is no `pynvml`.
        Exception: there is no driver.
    """

    def __init__(self) -> None:
        import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()

    def look(self, pids: set[int]) -> list[Gpu]:
        """See `Driver.look`."""
        nvml, gpus = self._nvml, []
        for number in range(nvml.nvmlDeviceGetCount()):
            with suppress(nvml.NVMLError):  # one that has fallen off the bus leaves the others none the worse
                device = nvml.nvmlDeviceGetHandleByIndex(number)
                used_by = frozenset(self._pids(device))
                if not used_by.isdisjoint(pids):
                    gpus.append(Gpu(number, used_by, self._values(device)))
        return gpus

    def _pids(self, device: Any) -> Iterator[int]:
        nvml = self._nvml
        for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
            with suppress(nvml.NVMLError):
                yield from (process.pid for process in ask(device))

    def _values(self, device: Any) -> dict[str, float]:
        nvml = self._nvml
        values: dict[str, float] = {}

        def ask(*calls: Callable[[], None]) -> None:
            for call in calls:
                with suppress(nvml.NVMLError):  # not every GPU tells everything
                    call()

        def utilisation() -> None:
            values["utilization_percentage"] = float(nvml.nvmlDeviceGetUtilizationRates(device).gpu)

        def memory() -> None:
            known = nvml.nvmlDeviceGetMemoryInfo(device)
            values["memory_usage_megabytes"] = known.used / MEGABYTE
            values["memory_usage_percentage"] = 100.0 * known.used / known.total

        def power() -> None:
            watts = nvml.nvmlDeviceGetPowerUsage(device) / 1000.0
            values["power_usage_watts"] = watts
            values["power_usage_percentage"] = (
                100_000.0 * watts / nvml.nvmlDeviceGetEnforcedPowerLimit(device)
            )

        def temperature() -> None:
            sensor = nvml.NVML_TEMPERATURE_GPU
            values["temperature_celsius"] = float(nvml.nvmlDeviceGetTemperature(device, sensor))

        ask(utilisation, memory, power, temperature)
        return values


class Amd:
    """GPUs that amdsmi tells of.

    Raises:
        ImportError: there is no `amdsmi`.
        Exception: there is no driver.
    """

    def __init__(self) -> None:
        import amdsmi

        self._smi: Any = amdsmi
        amdsmi.amdsmi_init()

    def look(self, pids: set[int]) -> list[Gpu]:
        """See `Driver.look`."""
        smi, gpus = self._smi, []
        for number, device in enumerate(smi.amdsmi_get_processor_handles()):
            with suppress(smi.AmdSmiException):
                used_by = frozenset(
                    int(process["pid"]) for process in smi.amdsmi_get_gpu_process_list(device)
                )
                if not used_by.isdisjoint(pids):
                    gpus.append(Gpu(number, used_by, self._values(device)))
        return gpus

    def _values(self, device: Any) -> dict[str, float]:
        smi = self._smi
        values: dict[str, float] = {}
        # What is not known is the text "N/A".
        told = (smi.AmdSmiException, KeyError, TypeError, ValueError, ZeroDivisionError)
        with suppress(*told):
            values["utilization_percentage"] = float(smi.amdsmi_get_gpu_activity(device)["gfx_activity"])
        with suppress(*told):
            memory = smi.amdsmi_get_gpu_vram_usage(device)  # in MiB
            values["memory_usage_megabytes"] = memory["vram_used"] * 1.048576
            values["memory_usage_percentage"] = 100.0 * memory["vram_used"] / memory["vram_total"]
        with suppress(*told):
            power = smi.amdsmi_get_power_info(device)
            watts = next(
                float(power[name])
                for name in ("socket_power", "current_socket_power", "average_socket_power")
                if isinstance(power.get(name), int | float)
            )
            values["power_usage_watts"] = watts
            values["power_usage_percentage"] = 100_000_000.0 * watts / power["power_limit"]
        with suppress(*told):
            values["temperature_celsius"] = float(
                smi.amdsmi_get_temp_metric(
                    device, smi.AmdSmiTemperatureType.HOTSPOT, smi.AmdSmiTemperatureMetric.CURRENT
                )
            )
        return values


class Gpus:
    """All GPUs there are. A driver that is not there, or fails, costs nothing but itself."""

    def __init__(self) -> None:
        self._drivers: list[Driver] = []
        self._waiting: dict[Callable[[], Driver], float] = {Nvidia: 0.0, Amd: 0.0}

    def look(self, pids: set[int]) -> list[Gpu]:
        """The GPUs that work for one of these processes."""
        now = time.monotonic()
        for kind, at in list(self._waiting.items()):
            if now >= at:
                self._open(kind, now)
        gpus: list[Gpu] = []
        for driver in list(self._drivers):
            try:
                gpus += driver.look(pids)
            except Exception as error:
                logger.warning("GPUs cannot be looked at any more (%s); tried again", error)
                self._drivers.remove(driver)
                self._waiting[type(driver)] = now + _AGAIN
        return gpus

    def _open(self, kind: Callable[[], Driver], now: float) -> None:
        try:
            self._drivers.append(kind())
        except ImportError:
            del self._waiting[kind]
        except Exception as error:  # no driver, or it is being installed
            logger.debug("no GPUs of this kind: %s", error)
            self._waiting[kind] = now + _AGAIN
        else:
            del self._waiting[kind]
