"""TensorBoard: `SummaryWriter` for scripts written for torch's, and what reads and writes event files.

Nothing here needs torch, `tensorboard` or `protobuf`.

>>> from runstream.tensorboard import SummaryWriter
>>> with SummaryWriter("runs/ridge") as writer:
...     writer.add_scalar("loss", 0.3, 1)
"""

from __future__ import annotations

from ..lazy import TYPE_CHECKING, attributes

__all__ = ["SummaryWriter"]

if TYPE_CHECKING:
    from .summary_writer import SummaryWriter
else:
    # The importer, which needs the reader alone, loads no more than that.
    __getattr__, __dir__ = attributes(__name__, {"SummaryWriter": "runstream.tensorboard.summary_writer"})
