"""Writes copies of runs below a folder, each whole or not at all; what is there and has not changed is left as it is.

A run is written to a folder beside its place, then takes it. `runstream.json` in there is the run's record, written last: it
says that the folder is a copy, of which run, and how the run was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ..client.http import ServiceClient
from ..client.outbox import wait_delivered
from ..client.reading import settle
from ..client.records import TERMINAL, RunRecord, list_records
from ..exceptions import UserErrorException
from .run_contents import RunContents

MARK = "runstream.json"
"""The file that makes a folder known as a copy of a run."""

Write: TypeAlias = Callable[[RunContents, Path], None]
"""Writes a run into a folder that is empty."""

Place: TypeAlias = Callable[[RunRecord], Path]
"""Where a run's folder is."""


@dataclass(slots=True)
class ExportReport:
    """What became of one run.

    Attributes:
        run_id: its id.
        directory: where its copy is.
        outcome: `written`, or `unchanged` since it was written before.
        left_out: reason to number of values that the format has no place for.
    """

    run_id: str
    directory: str
    outcome: Literal["written", "unchanged"]
    left_out: dict[str, int] = field(default_factory=dict)


def chosen_runs(
    client: ServiceClient, workspace: str, run_ids: Iterable[str], experiment: str | None, children: bool
) -> Iterator[RunRecord]:
    """The runs to copy, each once: those named, or all of an experiment, or of the workspace.

    Args:
        children: also the descendants of those named.

    Raises:
        UserErrorException: a run there is not.
    """
    settle(client)
    scope = [("workspace", workspace), ("archived", "all"), ("order", "created")]
    named = list(dict.fromkeys(run_ids))
    if not named:
        narrowed = [("experiment", experiment)] if experiment else []
        yield from list_records(client, [*scope, *narrowed])
        return
    there: dict[str, RunRecord] = {}
    for first in range(0, len(named), 100):
        for record in list_records(client, [*scope, *(("run", each) for each in named[first : first + 100])]):
            there[record.run_id] = record
    if missing := [each for each in named if each not in there]:
        raise UserErrorException(
            f"no run {missing[0]!r:.100} in the workspace {workspace}; `runstream run list` shows those there are"
        )
    done: set[str] = set()
    for each in named:
        family = list_records(client, [*scope, ("ancestor", each)]) if children else ()
        for record in (there[each], *family):
            if record.run_id not in done:
                done.add(record.run_id)
                yield record


def export(client: ServiceClient, record: RunRecord, place: Path, write: Write) -> ExportReport:
    """Copy one run to its place.

    Raises:
        UserErrorException: something that is no copy of this run lies there.
        OSError: it cannot be written there.
    """
    mark = json.dumps(asdict(record), indent=1, ensure_ascii=False, sort_keys=True)
    if place.exists():
        before = _mark_of(place)
        if before is None or json.loads(before).get("run_id") != record.run_id:
            raise UserErrorException(
                f"{place} is there, and is no copy of run {record.run_id}; choose another folder"
            )
        if before == mark and record.settled and record.status in TERMINAL:
            return ExportReport(record.run_id, str(place), "unchanged")
    wait_delivered(client, record.run_id)  # files this process has logged may be on their way
    contents = RunContents(client, record, Counter())
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{place.name}.{os.getpid()}.new")
    try:
        fresh.mkdir()
        write(contents, fresh)
        (fresh / MARK).write_text(mark, encoding="utf-8")
        if place.exists():
            old = place.with_name(f".{place.name}.{os.getpid()}.old")
            os.replace(place, old)
            os.replace(fresh, place)
            shutil.rmtree(old)
        else:
            os.replace(fresh, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return ExportReport(record.run_id, str(place), "written", dict(contents.left_out))


def _mark_of(place: Path) -> str | None:
    try:
        return (place / MARK).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def run_folder(root: Path, record: RunRecord) -> Path:
    """Where a run lies: below its experiment, under its id."""
    return root / file_name(record.experiment or "Default") / file_name(record.run_id)


def file_name(text: str) -> str:
    """A text as one part of a path, the same text always as the same part, no two texts as one."""
    from urllib.parse import quote

    name = quote(text, safe=" !#$&'()+,;=@[]{}^`~").replace(" ", "%20" if text.strip() != text else " ")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > _LONGEST_NAME:
        from hashlib import sha256

        name = (
            f"{name[: _LONGEST_NAME - 17]}~{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
        )
    return name


_LONGEST_NAME = 200  # of the 255 bytes a filesystem has, as names of fresh copies are longer
