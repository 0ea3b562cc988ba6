"""Which rows name files of the store, and what becomes of a row whose file changed while it was copied.

A Parquet file or a content never changes under its name. An upload may: a log grows, what was collected is collected anew, a
file or model is deleted. Then the backup has the newer state of it, file and row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runstream_query.files.artifacts import place as artifact_place
from runstream_query.files.code_snapshots import blob_path
from runstream_query.mlflow.artifacts import Folder
from runstream_query.runs.models import place as model_place
from runstream_schemas.store import Store
from runstream_schemas.values.typed_values import RARE_CLASSES


@dataclass(frozen=True, slots=True)
class StoredKind:
    """Files that a table names.

    Attributes:
        listed: their rows: the key first, then size and SHA-256 (none is known of Parquet files).
        place: where a file lies, by its key.
        now: size and SHA-256 by key; None: they do not change, and while a backup holds they are not deleted.
        changed: gives the row another size and SHA-256.
        gone: removes the row.
    """

    listed: str
    place: Callable[..., str]
    now: str | None = None
    changed: str = ""
    gone: str = ""


def _place_in_store(path: str) -> str:
    return path


def _proxied_place(workspace: str, path: str) -> str:
    return Folder(None, path).place(workspace, path)


STORED = {
    "files": StoredKind("select path, bytes, null::text from files where state = 'live'", _place_in_store),
    "artifacts": StoredKind(
        "select r.run_id, a.path, a.size, a.sha256 from artifacts a join runs r on r.key = a.run_key",
        artifact_place,
        "select a.size, a.sha256 from artifacts a join runs r on r.key = a.run_key where r.run_id = $1 and a.path = $2",
        "update artifacts a set size = $3, sha256 = $4 from runs r "
        "where r.key = a.run_key and r.run_id = $1 and a.path = $2",
        "delete from artifacts a using runs r where r.key = a.run_key and r.run_id = $1 and a.path = $2",
    ),
    "blobs": StoredKind(
        "select sha256, size, sha256 from blobs",
        blob_path,
        "select size, sha256 from blobs where sha256 = $1",
        gone="delete from blobs where sha256 = $1",
    ),
    "model_files": StoredKind(
        "select distinct sha256, size, sha256 from model_files",
        model_place,
        "select size, sha256 from model_files where sha256 = $1 limit 1",
        gone="delete from models m using model_files f where f.model_id = m.id and f.sha256 = $1",
    ),
    "proxied_files": StoredKind(
        "select workspace, path, size, sha256 from proxied_files",
        _proxied_place,
        "select size, sha256 from proxied_files where workspace = $1 and path = $2",
        "update proxied_files set size = $3, sha256 = $4 where workspace = $1 and path = $2",
        "delete from proxied_files where workspace = $1 and path = $2",
    ),
}
"""By table."""

ONLY_LIVE = """
do $$ begin
    if to_regclass('iceberg_tables') is not null then
        delete from iceberg_tables;
    end if;
    delete from files where state <> 'live';
end $$"""
"""Claims and replaced files of the time of the backup go: nobody is at work on them, and the backup has none of them. So do
the Iceberg tables, whose metadata it has not: the compactor publishes them anew."""

_FOLDERS = (
    "metrics",
    "tables",
    *RARE_CLASSES.values(),
    "artifacts",
    "blobs",
    "models",
    "mlflow",
    "staging",
    "trash",
)


def first_file(store: Store) -> str | None:
    """A file that a store holds; None: it is empty."""
    for folder in _FOLDERS:
        for entry in store.list(folder):
            return entry.path
    return None
