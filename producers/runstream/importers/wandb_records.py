"""What the records of `.wandb` files say: the messages of W&B's protocol, as far as an import needs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..tensorboard.wire import WireError, as_bytes, as_double, as_int, as_text, fields, varint
from ..wandb.mapping import alert_text

HISTORY, SUMMARY, OUTPUT, CONFIG, FILES, STATS, ARTIFACT, TENSORBOARD = 2, 3, 4, 5, 6, 7, 8, 9
ALERT, METRIC, OUTPUT_RAW, RUN, EXIT, USE_ARTIFACT, ENVIRONMENT = 10, 12, 13, 17, 18, 25, 26
"""Kinds of a record: the number of the field that holds it."""

NOT_TAKEN = {
    TENSORBOARD: "directories of event files (take them over with `runstream import tensorboard`)",
    USE_ARTIFACT: "uses of artifacts",
}
"""Kinds that are not taken over, as a report calls them."""

RawItem = tuple[tuple[str, ...], bytes]
"""Keys, from the outside in, and a JSON text."""

_NOT_A_KIND = frozenset({1, 16, 19, 200})  # number, control, uuid, about the stream


@dataclass(slots=True)
class RunInfo:
    """What a run is.

    Attributes:
        run_id, entity, project, group, job_type, name, notes, sweep, host: as W&B calls them; empty: not given.
        tags: its tags.
        config: path and value of what it is made with.
        started: seconds since the epoch; 0: not given.
        resumed: it continues an earlier one of the same id.
        forked_from: id and step of the run it branched off; empty: it did not.
        commit, remote: what its git repository had, and where that is kept.
    """

    run_id: str = ""
    entity: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    notes: str = ""
    sweep: str = ""
    host: str = ""
    tags: list[str] = field(default_factory=list)
    config: list[Item] = field(default_factory=list)
    started: float = 0.0
    resumed: bool = False
    forked_from: str = ""
    commit: str = ""
    remote: str = ""


@dataclass(slots=True)
class File:
    """A file of an artifact.

    Attributes:
        path: in the artifact.
        digest: its MD5 in base64.
        reference: where it is, when the artifact does not hold it.
        local: where it lay when it was logged.
    """

    path: str = ""
    digest: str = ""
    reference: str = ""
    local: str = ""


@dataclass(slots=True)
class Artifact:
    """An artifact a run has logged."""

    type: str = ""
    name: str = ""
    digest: str = ""
    description: str = ""
    metadata: str = ""
    aliases: list[str] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    manifest_file: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A value of the history, summary or config: where it is, and what.

    Attributes:
        path: keys, from the outside in.
        value: as JSON has it.
    """

    path: tuple[str, ...]
    value: Any


@dataclass(slots=True)
class WandbRun:
    """A run as W&B's offline mode has left it.

    Attributes:
        info: what its first file says of it.
        parts: what identifies a file, and its path, in the order of their times: a run that was resumed has several.
    """

    info: RunInfo
    parts: dict[str, Path] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where its first file lies."""
        return next(iter(self.parts.values())).parent

    @property
    def name(self) -> str:
        """What it is called."""
        return self.info.name or self.info.run_id


def decode_record(data: bytes) -> tuple[int, bytes]:
    """Kind and message of a record; kind 0: it has none.

    Raises:
        WireError: the bytes are no record.
    """
    for number, value in fields(data):
        if number not in _NOT_A_KIND:
            return number, as_bytes(value)
    return 0, b""


def decode_items(message: bytes, number: int = 1) -> Iterator[Item]:
    """The items of a history, summary, config or stats message.

    Args:
        message: it.
        number: the number of the field that holds an item.

    Raises:
        WireError: the bytes are no such message.
    """
    for path, text in raw_items(message, number):
        yield Item(path, value_of(text))


def raw_items(message: bytes, number: int = 1) -> list[RawItem]:
    """As `decode_items`, with the JSON text of each value."""
    items, at = _leading_items(message, number)
    for field_number, value in fields(message[at:]):
        if field_number == number:
            items.append(_item(as_bytes(value)))
    return items


def summary_changes(message: bytes) -> tuple[list[RawItem], list[tuple[str, ...]]]:
    """What a summary message sets, and the paths it removes."""
    items, at = _leading_items(message, 1)
    removed = []
    for number, value in fields(message[at:]):
        if number == 1:
            items.append(_item(as_bytes(value)))
        elif number == 2:
            removed.append(_item(as_bytes(value))[0])
    return items, removed


def _leading_items(message: bytes, number: int) -> tuple[list[RawItem], int]:
    """The items a message begins with, and where its other fields begin.

    A run has millions of them, of few paths, and they come in one form: the path, then the text. What is of that form, and
    of a path that was met before, is not read field by field.
    """
    items: list[RawItem] = []
    tag, at, end = number << 3 | 2, 0, len(message)
    while at < end and message[at] == tag:
        size, at = varint(message, at + 1)
        item = message[at : at + size]
        at += size
        if at > end:
            raise WireError("an item that is longer than its message")
        cut = item.find(_JSON_TAG)
        path = _paths.get(item[:cut]) if cut > 0 else None
        if path is not None and len(item) > cut + 2 and len(item) == cut + 3 + item[cut + 2] < cut + 0x83:
            items.append((path, item[cut + 3 :]))
            continue
        path, text = _item(item)
        if cut > 0 and item[cut + 3 :] == text and len(_paths) < _MOST_PATHS:
            _paths[item[:cut]] = path
        items.append((path, text))
    return items, at


_JSON_TAG = b"\x82\x01"  # of the field that holds the JSON text, the 16th
_MOST_PATHS = 100_000
_paths: dict[bytes, tuple[str, ...]] = {}


def value_of(text: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        WireError: it is none.
    """
    if text[:1] in _NUMBER:
        try:
            return float(text) if b"." in text else int(text)
        except ValueError:
            pass  # an exponent, an infinity
        try:
            return float(text)
        except ValueError:
            raise WireError("a value that is no JSON") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a value that is no JSON ({error})") from None


_NUMBER = frozenset(bytes([digit]) for digit in b"-0123456789")


def decode_step(message: bytes) -> int | None:
    """The step of a history message; None: it has none."""
    for number, value in fields(message):
        if number == 2:
            return next((as_int(step) for at, step in fields(as_bytes(value)) if at == 1), 0)
    return None


def _item(data: bytes) -> tuple[tuple[str, ...], bytes]:
    key, path, text = "", list[str](), b"null"
    for number, value in fields(data):
        if number == 1:
            key = as_text(value)
        elif number == 2:
            path.append(as_text(value))
        elif number in (8, 16):
            text = as_bytes(value)
        elif number == 4:
            text = b"true" if value else b"false"
        elif number == 5:  # zigzag
            unsigned = value if isinstance(value, int) else 0
            text = b"%d" % (unsigned >> 1 if not unsigned & 1 else -(unsigned >> 1) - 1)
        elif number == 6:
            text = json.dumps(as_double(value)).encode()
        elif number == 7:
            text = json.dumps(as_text(value)).encode()
    return tuple(path) or (key,), text


def decode_run(message: bytes) -> RunInfo:
    """A run.

    Raises:
        WireError: the bytes are none.
    """
    run = RunInfo()
    texts = {
        1: "run_id",
        2: "entity",
        3: "project",
        6: "group",
        7: "job_type",
        8: "name",
        9: "notes",
        12: "sweep",
        13: "host",
    }
    for number, value in fields(message):
        if name := texts.get(number):
            setattr(run, name, as_text(value))
        elif number == 4:
            run.config += decode_items(as_bytes(value))
        elif number == 10:
            run.tags.append(as_text(value))
        elif number == 17:
            run.started = decode_time(as_bytes(value))
        elif number in (18, 24):
            run.resumed = run.resumed or bool(value)
        elif number == 21:
            git = {at: as_text(text) for at, text in fields(as_bytes(value)) if at in (1, 2)}
            run.remote, run.commit = git.get(1, ""), git.get(2, "")
        elif number == 23:
            run.forked_from = _branch(as_bytes(value))
    return run


def _branch(message: bytes) -> str:
    run, step = "", 0.0
    for number, value in fields(message):
        if number == 1:
            run = as_text(value)
        elif number == 2:
            step = as_double(value)
    return f"{run}?_step={step:g}" if run else ""


def decode_time(message: bytes) -> float:
    """Seconds since the epoch of a timestamp."""
    seconds = nanos = 0
    for number, value in fields(message):
        if number == 1:
            seconds = as_int(value)
        elif number == 2:
            nanos = as_int(value)
    return seconds + nanos / 1e9


def decode_output(message: bytes) -> str:
    """The text of some console output."""
    return next((as_text(value) for number, value in fields(message) if number == 3), "")


def decode_stats(message: bytes) -> tuple[float, dict[str, float]]:
    """When, and what a machine was doing."""
    when, values = 0.0, {}
    for number, value in fields(message):
        if number == 2:
            when = decode_time(as_bytes(value))
        elif number == 3:
            path, text = _item(as_bytes(value))
            number_of = value_of(text)
            if isinstance(number_of, (int, float)):
                values[".".join(path)] = float(number_of)
    return when, values


def decode_exit(message: bytes) -> int:
    """The exit code of a run."""
    return next((as_int(value) for number, value in fields(message) if number == 1), 0)


def decode_alert(message: bytes) -> str:
    """What an alert says: level, title and text."""
    texts = {number: as_text(value) for number, value in fields(message) if number in (1, 2, 3)}
    return alert_text(texts.get(3, ""), texts.get(1, ""), texts.get(2, ""))


def decode_environment(message: bytes) -> dict[str, Any]:
    """Program, Python, arguments and machine of a run."""
    names = {
        1: "os",
        2: "python",
        6: "program",
        7: "code_path",
        12: "host",
        13: "username",
        14: "executable",
        25: "cuda",
    }
    known: dict[str, Any] = {}
    for number, value in fields(message):
        if name := names.get(number):
            known[name] = as_text(value)
        elif number == 5:
            known.setdefault("arguments", []).append(as_text(value))
        elif number == 9:
            git = {at: as_text(text) for at, text in fields(as_bytes(value)) if at in (1, 2)}
            known |= {"git_remote": git.get(1, ""), "git_commit": git.get(2, "")}
    return known


def decode_artifact(message: bytes) -> Artifact:
    """An artifact with its files."""
    artifact = Artifact()
    texts = {4: "type", 5: "name", 6: "digest", 7: "description", 8: "metadata"}
    for number, value in fields(message):
        if name := texts.get(number):
            setattr(artifact, name, as_text(value))
        elif number == 11:
            artifact.aliases.append(as_text(value))
        elif number == 12:
            for at, entry in fields(as_bytes(value)):
                if at == 4:
                    artifact.files.append(_file(as_bytes(entry)))
                elif at == 5:
                    artifact.manifest_file = as_text(entry)
    return artifact


def _file(message: bytes) -> File:
    file = File()
    for number, value in fields(message):
        if name := {1: "path", 2: "digest", 3: "reference", 6: "local"}.get(number):
            setattr(file, name, as_text(value))
    return file
