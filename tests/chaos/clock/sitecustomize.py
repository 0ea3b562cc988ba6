"""A clock that jumps: every Python process that has this directory first on PYTHONPATH is off by what a file says.

`CHAOS_CLOCK` names the file: one double, seconds. Monotonic clocks are left alone, as an operator who sets the time does.
"""

from __future__ import annotations

import mmap
import os
import struct
import time

_path = os.environ.get("CHAOS_CLOCK")
if _path:
    with open(_path, "rb") as _file:
        _shared = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
    _real_time, _real_time_ns, _double = time.time, time.time_ns, struct.Struct("d")

    def _time() -> float:
        return _real_time() + float(_double.unpack_from(_shared)[0])

    def _time_ns() -> int:
        return _real_time_ns() + int(_double.unpack_from(_shared)[0] * 1e9)

    time.time, time.time_ns = _time, _time_ns
