"""Which compute targets a workspace has, and the kinds there are. They lie in `compute/targets.json` of the home."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from runstream_schemas.locks import locked
from runstream_schemas.ownership import make_private
from runstream_schemas.settings import Settings

from ..exceptions import ComputeTargetException
from .backend import GROUP, Backend, OpenBackend
from .queue import compute_directory

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """An attached target.

    Attributes:
        name: the name by which runs are submitted to it.
        type: its kind: `local`, or one of an installed package.
        options: what its kind needs to know, such as the scheduler's `address`.
        concurrency: runs that run at once; None: as many as its kind says.
        attached: when, ISO 8601 UTC; '' for the `local` every workspace has.
    """

    name: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int | None = None
    attached: str = ""


def targets(settings: Settings, workspace: str) -> dict[str, TargetRecord]:
    """A workspace's targets by name: `local`, and what was attached."""
    records = {LOCAL: TargetRecord(LOCAL, LOCAL)}
    for name, document in _read(settings).get(workspace, {}).items():
        known = {key: value for key, value in document.items() if key in TargetRecord.__dataclass_fields__}
        records[name] = TargetRecord(**known)
    return records


def attach(settings: Settings, workspace: str, record: TargetRecord) -> None:
    """Add a target to a workspace, or change one."""
    with _alone(settings):
        document = _read(settings)
        document.setdefault(workspace, {})[record.name] = asdict(record)
        _write(settings, document)


def detach(settings: Settings, workspace: str, name: str) -> bool:
    """Remove an attached target; False when there is none."""
    with _alone(settings):
        document = _read(settings)
        if document.get(workspace, {}).pop(name, None) is None:
            return False
        _write(settings, document)
    return True


def kinds() -> list[str]:
    """Kinds of targets that can be attached here."""
    from importlib.metadata import entry_points

    return sorted({LOCAL, *(point.name for point in entry_points(group=GROUP))})


def opener(kind: str) -> OpenBackend:
    """The function that opens targets of a kind.

    Raises:
        ComputeTargetException: no installed package brings the kind, or its package cannot be imported.
    """
    if kind == LOCAL:
        from .local import LocalBackend

        return LocalBackend
    from importlib.metadata import entry_points

    backends = list(entry_points(group=GROUP, name=kind))
    if not backends:
        raise ComputeTargetException(
            f"no compute target of type {kind!r}: there are {', '.join(kinds())}; packages add others by entry points of "
            f"the group {GROUP}"
        )
    try:
        return cast(OpenBackend, backends[0].load())
    except (ImportError, AttributeError) as error:
        raise ComputeTargetException(
            f"compute targets of type {kind!r}: {backends[0].value} cannot be imported: {error}"
            "; install what its type comes with"
        ) from error


def open_backend(record: TargetRecord) -> Backend:
    """A target at work.

    Raises:
        ComputeTargetException: its kind is not installed, or its options are not of the kind.
    """
    return opener(record.type)(record.options)


def _read(settings: Settings) -> dict[str, dict[str, dict[str, Any]]]:
    path = _path(settings)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ComputeTargetException(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(document, dict):
        raise ComputeTargetException(f"{path}: expected a JSON object")
    return document


def _write(settings: Settings, document: dict[str, dict[str, dict[str, Any]]]) -> None:
    draft = _path(settings).with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=2, ensure_ascii=False)
    draft.replace(_path(settings))


def _path(settings: Settings) -> Path:
    return compute_directory(settings) / "targets.json"


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    make_private(compute_directory(settings))
    with locked(compute_directory(settings) / "targets.lock"):
        yield
