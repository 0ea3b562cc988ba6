"""A stand-in of NVIDIA's library at its C interface: functions of the C calling convention under NVML's names.

What `pynvml` calls are real C function pointers, with the library's own types and return codes, so that all of it but the
driver is at work. A compiled library would need a compiler wherever the tests run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pynvml
import pytest

_UNSIGNED, _POINTER = ctypes.c_uint, ctypes.c_void_p
_OK, _NOT_FOUND, _NOT_SUPPORTED, _TOO_SMALL, _LOST = 0, 6, 3, 7, 15


@dataclass(slots=True)
class Device:
    """A GPU.

    Attributes:
        compute, graphics: processes it works for.
        lost: it has fallen off the bus.
        no_power: it does not tell its power, as many do not.
    """

    compute: list[int] = field(default_factory=list)
    graphics: list[int] = field(default_factory=list)
    utilisation: int = 0
    used: int = 0
    total: int = 80 << 30
    milliwatts: int = 0
    most_milliwatts: int = 400_000
    celsius: int = 0
    lost: bool = False
    no_power: bool = False


class Library:
    """What stands in the place of `libnvidia-ml.so.1`: its exported functions are attributes.

    Attributes:
        calls: functions called, by name.
        init: what initialising returns.
    """

    def __init__(self, devices: list[Device]) -> None:
        self.devices, self.init = devices, _OK
        self.calls: dict[str, int] = {}
        self._export("nvmlInitWithFlags", lambda flags: self.init, _UNSIGNED)
        self._export("nvmlDeviceGetCount_v2", self._count, _POINTER)
        self._export("nvmlDeviceGetHandleByIndex_v2", self._handle, _UNSIGNED, _POINTER)
        for name, attribute in (("Compute", "compute"), ("Graphics", "graphics")):
            self._export(
                f"nvmlDeviceGet{name}RunningProcesses_v3",
                self._processes(attribute),
                _POINTER,
                _POINTER,
                _POINTER,
            )
        self._export("nvmlDeviceGetUtilizationRates", self._utilisation, _POINTER, _POINTER)
        self._export("nvmlDeviceGetMemoryInfo", self._memory, _POINTER, _POINTER)
        self._export("nvmlDeviceGetPowerUsage", self._number("milliwatts"), _POINTER, _POINTER)
        self._export("nvmlDeviceGetEnforcedPowerLimit", self._number("most_milliwatts"), _POINTER, _POINTER)
        self._export("nvmlDeviceGetTemperature", self._temperature, _POINTER, _UNSIGNED, _POINTER)

    def _export(self, name: str, does: Callable[..., int], *types: Any) -> None:
        def called(*arguments: Any) -> int:
            self.calls[name] = self.calls.get(name, 0) + 1
            return does(*arguments)

        setattr(self, name, ctypes.CFUNCTYPE(ctypes.c_int, *types)(called))

    def _count(self, into: int) -> int:
        ctypes.cast(into, ctypes.POINTER(_UNSIGNED))[0] = len(self.devices)
        return _OK

    def _handle(self, number: int, into: int) -> int:
        if number >= len(self.devices):
            return _NOT_FOUND
        ctypes.cast(into, ctypes.POINTER(ctypes.c_uint64))[0] = 0x1000 + number  # never looked into
        return _OK

    def _device(self, handle: int) -> Device:
        return self.devices[handle - 0x1000]

    def _processes(self, attribute: str) -> Callable[[int, int, int | None], int]:
        def ask(handle: int, count: int, into: int | None) -> int:
            device = self._device(handle)
            if device.lost:
                return _LOST
            pids = getattr(device, attribute)
            room = ctypes.cast(count, ctypes.POINTER(_UNSIGNED))
            given, room[0] = room[0], len(pids)
            if given < len(pids):
                return _TOO_SMALL
            entries = ctypes.cast(into, ctypes.POINTER(pynvml.c_nvmlProcessInfo_v3_t)) if pids else None
            for at, pid in enumerate(pids):
                assert entries is not None
                entries[at].pid, entries[at].usedGpuMemory = pid, 1 << 30
            return _OK

        return ask

    def _utilisation(self, handle: int, into: int) -> int:
        told = ctypes.cast(into, ctypes.POINTER(pynvml.c_nvmlUtilization_t))[0]
        told.gpu, told.memory = self._device(handle).utilisation, 1
        return _OK

    def _memory(self, handle: int, into: int) -> int:
        told, device = ctypes.cast(into, ctypes.POINTER(pynvml.c_nvmlMemory_t))[0], self._device(handle)
        told.total, told.used, told.free = device.total, device.used, device.total - device.used
        return _OK

    def _number(self, attribute: str) -> Callable[[int, int], int]:
        def ask(handle: int, into: int) -> int:
            device = self._device(handle)
            if device.no_power:
                return _NOT_SUPPORTED
            ctypes.cast(into, ctypes.POINTER(_UNSIGNED))[0] = getattr(device, attribute)
            return _OK

        return ask

    def _temperature(self, handle: int, sensor: int, into: int) -> int:
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        ctypes.cast(into, ctypes.POINTER(_UNSIGNED))[0] = self._device(handle).celsius
        return _OK


def install(monkeypatch: pytest.MonkeyPatch, devices: list[Device]) -> Library:
    """Let `pynvml` find the library."""
    library = Library(devices)
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return library
