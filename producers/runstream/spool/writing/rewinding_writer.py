"""Rewinds: a frame among the points, behind which values without a step are numbered on from the step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

import msgpack

from runstream_schemas.series import SeriesClass

from ...exceptions import AzureMLException
from .. import segment as seg
from .control_writer import ControlWriter
from .hot_path import Words


class RewindingWriter(ControlWriter):
    """The part of a `RunWriter` that rewinds."""

    _series: dict[str, Words]
    _steps: dict[tuple[int, str], Callable[[], int]]

    def rewind(self, step: int) -> None:
        """Cut: what was written of the run before, of a step beyond this one, belongs to a former branch. Values that are
        logged without a step are numbered on behind it.

        Raises:
            AzureMLException: there is no room to write it; nothing was cut then.
        """
        self._in_turn(partial(self._rewind_frame, step))

    def _rewind_frame(self, step: int) -> None:
        if not self._frame(seg.REWIND, msgpack.packb([step])):
            raise AzureMLException(
                f"run {self.run_id} cannot be rewound to step {step}: there is no room in the spool {self._spool}; make "
                "some, and call it again"
            )
        for name, (_, _, next_step) in list(self._series.items()):
            self.number_on(name, min(next_step(), step + 1))

    def number_on(self, name: str, step: int) -> None:
        """The next value of a series that is logged without a step gets this one."""
        if name not in self._series:  # there was no room for it yet
            self._steps[SeriesClass.METRIC, name] = count(step).__next__
            return
        as_float, as_int, _ = self._series[name]
        self._series[name] = (as_float, as_int, count(step).__next__)
