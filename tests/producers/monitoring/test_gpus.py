"""GPUs through NVML's C interface, and through amdsmi: whose processes they work for, and what they tell of themselves."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pynvml
import pytest

from runstream.monitoring import gpus as gpus_module
from runstream.monitoring.gpus import Gpus

from .nvml import Device, install


def named(gpus: Gpus, pids: set[int]) -> dict[int, dict[str, float]]:
    return {gpu.number: gpu.values for gpu in gpus.look(pids)}


def test_only_gpus_that_work_for_the_processes_are_told_with_all_they_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = Device([10, 11], utilisation=87, used=20 << 30, milliwatts=300_000, celsius=61)
    drawing = Device([], [12], utilisation=3)
    library = install(monkeypatch, [Device([99]), busy, drawing, Device()])
    gpus = Gpus()
    assert named(gpus, {11, 12, 5}) == {
        1: {
            "utilization_percentage": 87.0,
            "memory_usage_megabytes": (20 << 30) / 1e6,
            "memory_usage_percentage": 25.0,
            "power_usage_watts": 300.0,
            "power_usage_percentage": 75.0,
            "temperature_celsius": 61.0,
        },
        2: {
            "utilization_percentage": 3.0,
            "memory_usage_megabytes": 0.0,
            "memory_usage_percentage": 0.0,
            "power_usage_watts": 0.0,
            "power_usage_percentage": 0.0,
            "temperature_celsius": 0.0,
        },
    }
    assert library.calls["nvmlDeviceGetUtilizationRates"] == 2, "others are not asked"
    assert library.calls["nvmlInitWithFlags"] == 1
    assert named(gpus, {7}) == {}


def test_one_that_is_lost_or_does_not_tell_something_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [Device([1], lost=True), Device([1], celsius=40, no_power=True)])
    gpus = named(Gpus(), {1})
    assert list(gpus) == [1]
    assert "power_usage_watts" not in gpus[1]
    assert gpus[1]["temperature_celsius"] == 40.0


def test_a_driver_that_does_not_answer_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    library = install(monkeypatch, [Device([1])])
    library.init = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    clock = 1000.0
    monkeypatch.setattr(gpus_module.time, "monotonic", lambda: clock)
    gpus = Gpus()
    assert gpus.look({1}) == []
    library.init = 0
    clock += 10.0
    assert gpus.look({1}) == []
    assert library.calls["nvmlInitWithFlags"] == 1
    clock += 60.0
    assert [gpu.number for gpu in gpus.look({1})] == [0]


def test_a_machine_without_the_library_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    assert Gpus().look({1}) == []


class _Missing(Exception):
    pass


def amdsmi(processes: list[list[dict[str, Any]]], power: dict[str, Any]) -> ModuleType:
    """The functions of AMD's package that are called, as it documents what they return."""
    module: Any = ModuleType("amdsmi")
    module.AmdSmiException = _Missing
    module.AmdSmiTemperatureType = type("Type", (), {"HOTSPOT": 1})
    module.AmdSmiTemperatureMetric = type("Metric", (), {"CURRENT": 0})
    module.amdsmi_init = lambda: None
    module.amdsmi_get_processor_handles = lambda: list(range(len(processes)))
    module.amdsmi_get_gpu_process_list = lambda device: processes[device]
    module.amdsmi_get_gpu_activity = lambda device: {
        "gfx_activity": 50,
        "umc_activity": 1,
        "mm_activity": "N/A",
    }
    module.amdsmi_get_gpu_vram_usage = lambda device: {"vram_total": 1000, "vram_used": 250}
    module.amdsmi_get_power_info = lambda device: power
    module.amdsmi_get_temp_metric = lambda device, kind, metric: 70
    library: ModuleType = module
    return library


def test_gpus_of_amd_are_told_under_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    power = {"current_socket_power": "N/A", "average_socket_power": 100, "power_limit": 400_000_000}
    monkeypatch.setitem(sys.modules, "amdsmi", amdsmi([[{"pid": 3}], [{"pid": 4}]], power))
    assert named(Gpus(), {4}) == {
        1: {
            "utilization_percentage": 50.0,
            "memory_usage_megabytes": 262.144,
            "memory_usage_percentage": 25.0,
            "power_usage_watts": 100.0,
            "power_usage_percentage": 25.0,
            "temperature_celsius": 70.0,
        }
    }
