"""W&B, offline: its service process writes one transaction file a run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import measure

IMPORTS = ("wandb",)
PACKAGES = ("wandb",)

BLOCK, HEADER = 32768, 7
"""Of the log format that the transaction file uses."""


def prepare(home: Path) -> None:
    """Offline, in the home, quiet, no sampling of the machine."""
    os.environ.update(
        WANDB_MODE="offline",
        WANDB_DIR=str(home),
        WANDB_SILENT="true",
        WANDB_CONSOLE="off",
        WANDB_DISABLE_GIT="true",
    )
    os.environ.update(WANDB_CACHE_DIR=str(home / "cache"), WANDB_CONFIG_DIR=str(home / "config"))


def open_run(home: Path, name: str) -> measure.Writer:
    """`finish` waits for the service process to have written everything."""
    import wandb

    run = wandb.init(
        project="bench",
        id=name,
        dir=str(home),
        reinit="create_new",
        settings=wandb.Settings(x_disable_stats=True, x_disable_meta=True, save_code=False),
    )
    return measure.Writer(
        lambda step, value: run.log({"loss": value}, step=step),
        lambda step, values: run.log(values, step=step),
        run.finish,
    )


def read(home: Path, name: str) -> int:
    """Counts the points in the transaction file, to see what a kill lost: W&B only sends such files to a server."""
    from wandb.proto import wandb_internal_pb2

    (path,) = home.glob(f"wandb/offline-run-*-{name}/run-{name}.wandb")
    count = 0
    for record in _records(path.read_bytes()):
        message = wandb_internal_pb2.Record()
        message.ParseFromString(record)
        if message.HasField("history"):
            count += any(
                item.key == "loss" or list(item.nested_key) == ["loss"] for item in message.history.item
            )
        elif message.HasField("request") and message.request.HasField("partial_history"):
            count += any(item.key == "loss" for item in message.request.partial_history.item)
    return count


def disk(home: Path) -> int:
    """The run directories."""
    return measure.allocated(home / "wandb")


def _records(data: bytes) -> list[bytes]:
    """Whole records of a log of blocks, each piece with checksum, length and kind (1 whole, 2 first, 3 middle, 4 last)."""
    records, part, place = [], b"", HEADER
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        piece = data[place + HEADER : place + HEADER + length]
        if not 1 <= kind <= 4 or len(piece) < length:
            break
        place += HEADER + length
        part = piece if kind in (1, 2) else part + piece
        if kind in (1, 4):
            records.append(part)
    return records


if __name__ == "__main__":
    measure.main(sys.modules[__name__])
