"""Snapshots of an Iceberg table: written beside those before, with what came and what went; nobody sees one before its path
is the table's in the database.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import time
from typing import Any, Final

from pyiceberg.manifest import (
    DataFile,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.table.metadata import TableMetadataV2
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    RemoveSnapshotsUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
    update_table_metadata,
)

from runstream_schemas.errors import StoreError
from runstream_schemas.store import Store

from .metadata_files import MetadataFiles
from .tables import new_table

UPTIME = "runstream.uptime"
"""Property of a snapshot: the database's uptime when the manifest was as it shows it."""

MOST_MANIFESTS, SMALL_MANIFEST, MANIFEST_FILES = 16, 500, 1000
"""Once a table has so many manifests of fewer files than that, they become one; the most files of one manifest."""

_FORMAT: Final = 2
_CODEC: Final = "deflate"


class OutOfStep(Exception):
    """A table does not show what the database says it does: it was restored from another time, or written by others."""


@dataclass(frozen=True, slots=True)
class Change:
    """What brings a table from one snapshot to the next.

    Attributes:
        added: descriptions of files, see `describe`.
        removed: addresses of files; None: all there were.
        up: the database's uptime when the manifest was like that.
        expire_before: snapshots whose successor is as old as this uptime are removed.
        properties: what the snapshot says of itself beside counts.
    """

    added: Sequence[DataFile]
    removed: Collection[str] | None
    up: int
    expire_before: int
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Written:
    """Metadata that waits to be the table's.

    Attributes:
        expire_up: since when its oldest snapshot has a successor; None: it has only one.
    """

    folder: str
    path: str
    expire_up: int | None


def new_folder() -> str:
    """The folder of a table to come."""
    return f"iceberg/{uuid.uuid4()}"


def write_snapshot(store: Store, kind: str, folder: str, path: str | None, change: Change) -> Written:
    """Write the metadata of a table after a change.

    Args:
        folder: the table's.
        path: where its metadata was before; None: there was no table.

    Raises:
        OutOfStep: its metadata or what is to go of it is not there.
        StoreError: its metadata cannot be read or written.
    """
    files = MetadataFiles(store)
    if path is None:
        before = None
        metadata = new_table(kind, store.address(folder))
    else:
        before = store.address(path)
        metadata = _read(files, path)
        if metadata.location != store.address(folder):
            raise OutOfStep(f"the store was at another place when {folder} was written")
    if change.added or change.removed is None or change.removed or path is None:
        metadata = _updated(metadata, before, *_next_snapshot(files, metadata, change))
        before = None
    ages = _ages(metadata)
    expired = [snapshot for snapshot, replaced in ages.items() if replaced <= change.expire_before]
    if expired:
        document: dict[str, Any] = {"snapshot-ids": expired}
        metadata = _updated(metadata, before, RemoveSnapshotsUpdate(**document))
    left = [replaced for snapshot, replaced in ages.items() if snapshot not in expired]
    return Written(folder, files.write(folder, metadata), min(left, default=None))


def _updated(metadata: TableMetadataV2, before: str | None, *updates: TableUpdate) -> TableMetadataV2:
    """The metadata after some updates.

    Args:
        before: where it was written as it is; None: nowhere.
    """
    updated = update_table_metadata(metadata, updates, metadata_location=before)
    assert isinstance(updated, TableMetadataV2)
    return updated


def _read(files: MetadataFiles, path: str) -> TableMetadataV2:
    try:
        metadata = files.read(path)
        if isinstance(metadata, TableMetadataV2):
            return metadata
        raise ValueError(f"version {metadata.format_version} of the format")
    except (StoreError, ValueError) as error:
        if isinstance(error, StoreError) and files.store.exists(path):
            raise
        raise OutOfStep(f"{path} is gone or damaged ({error})") from None


def said_last(store: Store, path: str) -> Mapping[str, str]:
    """What the current snapshot of a table says of itself.

    Args:
        path: where the table's metadata is.

    Raises:
        OutOfStep: its metadata is not there.
        StoreError: its metadata cannot be read.
    """
    snapshot = _read(MetadataFiles(store), path).current_snapshot()
    return {} if snapshot is None or snapshot.summary is None else snapshot.summary.additional_properties


def reachable(store: Store, path: str, *, points: bool) -> set[str]:
    """Paths of all files of a table's folder that readers may come to.

    Args:
        path: where its metadata is.
        points: its files are those of the manifest, and in no folder of its own.
    """
    files = MetadataFiles(store)
    metadata = files.read(path)
    paths = {path, *(files.path_of(entry.metadata_file) for entry in metadata.metadata_log)}
    for snapshot in metadata.snapshots:
        paths.add(files.path_of(snapshot.manifest_list))
        for manifest in snapshot.manifests(files):
            paths.add(files.path_of(manifest.manifest_path))
            if not points:
                entries = manifest.fetch_manifest_entry(files)
                paths.update(files.path_of(entry.data_file.file_path) for entry in entries)
    return paths


def _ages(metadata: TableMetadataV2) -> dict[int, int]:
    """By snapshot but the current one: since when, in uptime, it has a successor."""
    snapshots = sorted(metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0)
    return {
        snapshot.snapshot_id: int(successor.summary[UPTIME] or 0) if successor.summary else 0
        for snapshot, successor in pairwise(snapshots)
    }


def _next_snapshot(
    files: MetadataFiles, metadata: TableMetadataV2, change: Change
) -> tuple[TableUpdate, TableUpdate]:
    """Write the manifests of a snapshot; returns what makes it the current one."""
    parent = metadata.current_snapshot()
    snapshot_id = metadata.new_snapshot_id()
    folder = f"{metadata.location}/metadata"
    name = uuid.uuid4().hex
    kept, entries, gone = _before(files, parent, change.removed)
    again = {file.file_path for file in change.added}
    entries += [
        _with_status(ManifestEntryStatus.DELETED, snapshot_id, entry)
        for entry in gone
        if entry.data_file.file_path not in again
    ]
    entries += [
        ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED,
            snapshot_id=snapshot_id,
            sequence_number=None,
            file_sequence_number=None,
            data_file=file,
        )
        for file in change.added
    ]
    for at in range(0, len(entries), MANIFEST_FILES):
        output = files.new_output(f"{folder}/{name}-m{at // MANIFEST_FILES}.avro")
        spec, schema = metadata.spec(), metadata.schema()
        with write_manifest(_FORMAT, spec, schema, output, snapshot_id, _CODEC) as manifest:
            for entry in entries[at : at + MANIFEST_FILES]:
                manifest.add_entry(entry)
        kept.append(manifest.to_manifest_file())
    number = metadata.last_sequence_number + 1
    listed = f"{folder}/snap-{snapshot_id}-{name}.avro"
    parent_id = parent.snapshot_id if parent else None
    output = files.new_output(listed)
    with write_manifest_list(_FORMAT, output, snapshot_id, parent_id, number, _CODEC) as manifests:
        manifests.add_manifests(kept)
    document: dict[str, Any] = {
        "snapshot-id": snapshot_id,
        "parent-snapshot-id": parent_id,
        "sequence-number": number,
        # Readers refuse a table whose snapshots go back in time, as a clock that was set may have it.
        "timestamp-ms": max(int(time() * 1000), metadata.last_updated_ms + 1 if parent else 0),
        "manifest-list": listed,
        "summary": _summary(parent, change, gone),
        "schema-id": metadata.current_schema_id,
    }
    main: dict[str, Any] = {"ref-name": "main", "type": "branch", "snapshot-id": snapshot_id}
    return AddSnapshotUpdate(snapshot=Snapshot(**document)), SetSnapshotRefUpdate(**main)


def _before(
    files: MetadataFiles, parent: Snapshot | None, removed: Collection[str] | None
) -> tuple[list[ManifestFile], list[ManifestEntry], list[ManifestEntry]]:
    """What there is: manifests that stay as they are, files that move to a new manifest, and those that are to go.

    Raises:
        OutOfStep: one that is to go is not there.
    """
    manifests = [manifest for manifest in parent.manifests(files) if _files(manifest)] if parent else []
    small = [manifest for manifest in manifests if _files(manifest) < SMALL_MANIFEST]
    together = small if len(small) >= MOST_MANIFESTS else []
    kept: list[ManifestFile] = []
    stay: list[ManifestEntry] = []
    gone: list[ManifestEntry] = []
    for manifest in manifests:
        if manifest not in together and removed is not None and len(gone) == len(removed):
            kept.append(manifest)
            continue
        entries = manifest.fetch_manifest_entry(files)
        going = [entry for entry in entries if removed is None or entry.data_file.file_path in removed]
        if not going and manifest not in together:
            kept.append(manifest)
            continue
        gone += going
        stay += [
            _with_status(ManifestEntryStatus.EXISTING, entry.snapshot_id, entry)
            for entry in entries
            if removed is not None and entry.data_file.file_path not in removed
        ]
    if removed is not None and len(gone) != len(removed):
        raise OutOfStep(f"{len(removed)} files are to go, of which {len(gone)} are there")
    return kept, stay, gone


def _files(manifest: ManifestFile) -> int:
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def _with_status(status: ManifestEntryStatus, snapshot_id: int | None, entry: ManifestEntry) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=status,
        snapshot_id=snapshot_id,
        sequence_number=entry.sequence_number,
        file_sequence_number=entry.file_sequence_number,
        data_file=entry.data_file,
    )


def _summary(parent: Snapshot | None, change: Change, gone: Iterable[ManifestEntry]) -> Summary:
    """What a snapshot says of itself, under the names that Iceberg has for it."""
    went = [entry.data_file for entry in gone]
    before = parent.summary if parent else None
    counts: dict[str, str] = {}
    for name, of_file in (
        ("records", lambda file: int(file.record_count)),
        ("files-size", lambda file: int(file.file_size_in_bytes)),
        ("data-files", lambda file: 1),
    ):
        added, removed = sum(map(of_file, change.added)), sum(map(of_file, went))
        counts[f"added-{name}"] = str(added)
        counts[f"{'removed' if name == 'files-size' else 'deleted'}-{name}"] = str(removed)
        total = int((before[f"total-{name}"] if before else None) or 0) + added - removed
        counts[f"total-{name}"] = str(total)
    operation = Operation.OVERWRITE if change.added else Operation.DELETE
    return Summary(
        operation if went else Operation.APPEND, **counts, **{UPTIME: str(change.up)}, **change.properties
    )
