"""The store: Parquet files and artifacts in a local directory or an object store, behind one small port.

Paths are relative, with `/`. A file is whole or not there: local files are written aside, synced and renamed; objects
are put in one piece. A Parquet file has two more places on a local store, so that a plain glob over `metrics/` sees
what the manifest says and nothing else: before it is published it lies in `staging/`, once replaced it lies in
`trash/`, where queries under way still find it (`locate` looks in all three). An object store cannot rename: there a
file stays at its path from its writing until its deletion, and only readers of the manifest see each point once.
"""

from __future__ import annotations

from ..settings import Settings
from .local import PINNED, STAGING, TRASH, LocalStore
from .objects import ObjectStore, open_objects
from .port import Entry, NewFile, Store, write_failed

__all__ = [
    "PINNED",
    "STAGING",
    "TRASH",
    "Entry",
    "LocalStore",
    "NewFile",
    "ObjectStore",
    "Store",
    "open_store",
    "write_failed",
]


def open_store(settings: Settings) -> Store:
    """The store named by `settings.store_url`; a local directory is made when missing.

    Raises:
        SettingsError: an address that cannot be understood.
    """
    url = settings.store_url
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return LocalStore(rest if separator else url)
    return open_objects(url, scheme, rest.rstrip("/"), settings)
