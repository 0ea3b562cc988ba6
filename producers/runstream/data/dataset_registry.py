"""Which datasets a workspace has, in `datasets.json` of the home: definitions, never content."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runstream_schemas.errors import brief

from ..client.arguments import text_argument
from ..client.session import Session
from ..exceptions import UserErrorException
from ..home import json_document
from ..spool.values import check_text


@dataclass(slots=True)
class DatasetRecord:
    """A registered version of a dataset.

    Attributes:
        definition: what it is made of, as JSON can hold it.
        created_utc: when it was registered, ISO 8601 UTC.
    """

    id: str
    name: str
    version: int
    definition: dict[str, Any]
    description: str | None = None
    tags: dict[str, str | None] = field(default_factory=dict)
    created_utc: str = ""


def records(session: Session) -> dict[str, list[DatasetRecord]]:
    """The versions of every dataset, the oldest first, by name."""
    document = json_document.read(_path(session)).get(session.name, {})
    return {name: [DatasetRecord(**version) for version in versions] for name, versions in document.items()}


def find(session: Session, name: str, version: int | str = "latest") -> DatasetRecord:
    """A version of a dataset.

    Raises:
        UserErrorException: there is none, or `version` is neither a number nor `latest`.
    """
    have = records(session).get(name, [])
    if have and version in ("latest", None):
        return have[-1]
    for record in have:
        if str(record.version) == text_argument("version", version):
            return record
    raise UserErrorException(
        f"Cannot load Dataset(name={brief(name)}, version={brief(version)}): workspace {session.name} has "
        f"{', '.join(sorted(records(session))) or 'no datasets'}; Dataset.get_all() lists them"
    )


def find_id(session: Session, id: str) -> DatasetRecord:
    """The version of that id.

    Raises:
        UserErrorException: there is none.
    """
    for versions in records(session).values():
        for record in versions:
            if record.id == id:
                return record
    raise UserErrorException(
        f"Cannot load Dataset(id={brief(id)}): workspace {session.name} has none of that id"
        "; Dataset.get_all names those it has"
    )


def add(
    session: Session,
    name: str,
    definition: Mapping[str, Any],
    description: str | None,
    tags: Mapping[str, str | None],
    create_new_version: bool,
) -> DatasetRecord:
    """Register a definition; the same one again keeps its version.

    Raises:
        UserErrorException: the name is taken by another definition and `create_new_version` is False, or is no name.
    """
    if not check_text("dataset name", name) or not name.isprintable() or len(name) > 255:
        raise UserErrorException(f"dataset name {brief(name, 80)}: expected 1 to 255 printable characters")
    with json_document.change(_path(session)) as document:
        versions = document.setdefault(session.name, {}).setdefault(name, [])
        for version in versions:
            if version["definition"] == definition:
                version["tags"] |= tags
                version["description"] = description or version["description"]
                return DatasetRecord(**version)
        if versions and not create_new_version:
            raise UserErrorException(
                f"There is already a dataset registered under name {name!r} in workspace {session.name}. "
                "Specify `create_new_version=True` to register the dataset as a new version"
            )
        record = DatasetRecord(
            id=str(uuid.uuid4()),
            name=name,
            version=max((version["version"] for version in versions), default=0) + 1,
            definition=dict(definition),
            description=description,
            tags=dict(tags),
            created_utc=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        )
        versions.append(asdict(record))
    return record


def edit(
    session: Session,
    record: DatasetRecord,
    *,
    tags: Mapping[str, str | None] | None = None,
    remove_tags: Sequence[str] = (),
    description: str | None = None,
) -> DatasetRecord:
    """Change a version's tags and description; None leaves them."""
    with json_document.change(_path(session)) as document:
        for version in document.get(session.name, {}).get(record.name, []):
            if version["id"] == record.id:
                version["tags"] = {
                    key: value
                    for key, value in (version["tags"] | dict(tags or {})).items()
                    if key not in remove_tags
                }
                version["description"] = version["description"] if description is None else description
                return DatasetRecord(**version)
    raise UserErrorException(f"dataset {record.name} of version {record.version} is not registered any more")


def remove(session: Session, name: str) -> None:
    """Forget all versions of a dataset; its files stay."""
    with json_document.change(_path(session)) as document:
        document.get(session.name, {}).pop(name, None)


def _path(session: Session) -> Path:
    return session._settings.home_path / "datasets.json"
