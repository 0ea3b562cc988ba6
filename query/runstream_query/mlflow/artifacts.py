"""Files, as clients know them: those of runs, and those of a workspace that are of no run.

A client names a file by its path below `mlflow-artifacts:/`. What lies below `<experiment>/<run>/artifacts/` is a file of
that run, the same that every other part of runstream has; all else is kept by its path (files of logged models). Clients
write a file again when it changed, so files that come this way give way to their next state, as those do that are
collected by themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ..files import artifacts
from ..runs import models
from . import runs
from .errors import MlflowError, invalid, missing
from .places import SCHEME, safe_path
from .run_documents import info
from .scope import Document, Scope
from .sent import Sent

_RUN: Final = """
select r.run_id from runs r join experiments e on e.id = r.experiment_id where e.workspace = $1 and r.run_id = $2
"""
_RUN_FILES: Final = """
select a.path, a.size, a.sha256, a.content_type from artifacts a join runs r on r.key = a.run_key
where r.run_id = $1 and ($2 = '' or a.path = $2 or starts_with(a.path, $2 || '/')) order by a.path
"""
_FILES: Final = """
select path, size, sha256, content_type from proxied_files
where workspace = $1 and ($2 = '' or path = $2 or starts_with(path, $2 || '/')) order by path
"""
_MODEL_FILES: Final = """
select f.path, f.size, f.sha256, null as content_type
from models m join model_files f on f.model_id = m.id
where m.workspace = $1 and m.name = $2 and m.version = $3 and ($4 = '' or f.path = $4 or starts_with(f.path, $4 || '/'))
order by f.path
"""
_IN_THE_WAY: Final = """
select path from proxied_files where workspace = $1 and (path = any($2::text[]) or starts_with(path, $3)) limit 1
"""
_HOLD: Final = """
insert into proxied_files (workspace, path, size, sha256, content_type) values ($1, $2, $3, $4, $5)
on conflict (workspace, path) do update set
    size = excluded.size, sha256 = excluded.sha256, content_type = excluded.content_type, created_at = now()
"""
_DELETE_FILES: Final = """
delete from proxied_files where workspace = $1 and (path = $2 or starts_with(path, $2 || '/')) returning path
"""
_DELETE_RUN_FILES: Final = """
delete from artifacts a using runs r
where r.key = a.run_key and r.run_id = $1 and (a.path = $2 or starts_with(a.path, $2 || '/')) returning a.path
"""


@dataclass(frozen=True, slots=True)
class File:
    """A stored file.

    Attributes:
        place: where it lies in the store.
    """

    path: str
    place: str
    size: int
    sha256: str
    content_type: str | None


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a path below `mlflow-artifacts:/` leads.

    Attributes:
        run_id: the run; None: it is of none.
        path: the path within the run's files, or among the others.
        version: name and number of the registered model whose file it is; these are read only.
    """

    run_id: str | None
    path: str
    version: tuple[str, int] | None = None

    def place(self, workspace: str, path: str) -> str:
        """Where one of its files lies in the store."""
        if self.run_id is not None:
            return artifacts.place(self.run_id, path)
        return f"mlflow/{hashlib.sha256(workspace.encode()).hexdigest()[:16]}/{path}"


async def folder_of(scope: Scope, path: str) -> Folder:
    """Where a path leads.

    Raises:
        MlflowError: nowhere a file can be.
    """
    path = safe_path(path).strip("/")
    parts = path.split("/")
    if len(parts) >= 3 and parts[0].isdigit() and parts[2] == "artifacts":
        run_id = await scope.pool.fetchval(_RUN, scope.workspace, parts[1])
        if run_id is not None:
            return Folder(run_id, "/".join(parts[3:]))
    if len(parts) >= 3 and parts[0] == "registered" and parts[2].isdigit() and len(parts[2]) < 19:
        return Folder(None, "/".join(parts[3:]), (parts[1], int(parts[2])))
    return Folder(None, path)


def own_path(location: str) -> str | None:
    """The path below `mlflow-artifacts:/` of a place; None: it lies elsewhere."""
    address = urlsplit(location)
    if address.scheme == SCHEME:
        return address.path.strip("/")
    _, ours, path = address.path.partition("/mlflow-artifacts/artifacts/")
    return path.strip("/") if ours and address.scheme in ("http", "https") else None


async def files_below(scope: Scope, folder: Folder) -> list[File]:
    """The files at a path and below it."""
    if folder.version is not None:
        rows = await scope.pool.fetch(_MODEL_FILES, scope.workspace, *folder.version, folder.path)
        return [
            File(row["path"], models.place(row["sha256"]), row["size"], row["sha256"], None) for row in rows
        ]
    statement = _FILES if folder.run_id is None else _RUN_FILES
    whose = scope.workspace if folder.run_id is None else folder.run_id
    rows = await scope.pool.fetch(statement, whose, folder.path)
    return [
        File(
            row["path"],
            folder.place(scope.workspace, row["path"]),
            row["size"],
            row["sha256"],
            row["content_type"],
        )
        for row in rows
    ]


async def find(scope: Scope, folder: Folder) -> File:
    """The file at a path.

    Raises:
        MlflowError: there is none.
    """
    for file in await files_below(scope, folder):
        if file.path == folder.path:
            return file
    raise missing(f"No such file: '{folder.path}'")


def listed(files: Iterable[File], folder: str, *, below: str) -> list[Document]:
    """Files and folders right below a folder.

    Args:
        folder: its path.
        below: what is put before the names.
    """
    start = f"{folder}/" if folder else ""
    entries: dict[str, Document] = {}
    for file in files:
        if not file.path.startswith(start):
            continue
        name, slash, _ = file.path[len(start) :].partition("/")
        entry: Document = {"path": posixpath.join(below, name), "is_dir": bool(slash)}
        if not slash and file.size:
            entry["file_size"] = file.size
        entries[name] = entry
    return [entries[name] for name in sorted(entries)]


async def list_proxied(scope: Scope, sent: Sent) -> Document:
    """mlflow-artifacts/artifacts: names below a path, without it."""
    folder = await folder_of(scope, sent.text("path"))
    return {"files": listed(await files_below(scope, folder), folder.path, below="")}


async def list_of_run(scope: Scope, sent: Sent) -> Document:
    """artifacts/list: paths of a run's files and folders."""
    run_id, path = sent.run_id(), safe_path(sent.text("path")).strip("/") if sent.text("path") else ""
    row = await runs.find(scope.pool, scope, run_id)
    folder = Folder(run_id, path)
    return {
        "root_uri": info(row, None)["artifact_uri"],
        "files": listed(await files_below(scope, folder), path, below=path),
    }


async def store(scope: Scope, folder: Folder, content: AsyncIterable[bytes], content_type: str | None) -> int:
    """Keep a file, in the place of what was there; returns how many bytes.

    Raises:
        MlflowError: another part of runstream stored other bytes under that name, or a folder has it.
        QueryError: the path cannot be one.
    """
    if not folder.path or folder.version is not None:
        raise invalid("Invalid path")
    path = artifacts.check_path(folder.path)
    if folder.run_id is None:
        return await _store_proxied(scope, folder, path, content, content_type)
    digest = hashlib.sha256()

    async def hashed() -> AsyncIterator[bytes]:
        async for piece in content:
            digest.update(piece)
            yield piece

    artifact, _ = await artifacts.save(
        scope.pool, scope.store, folder.run_id, path, hashed(), content_type, True, scope.workspace
    )
    if artifact.sha256 != digest.hexdigest():
        raise MlflowError(
            "RESOURCE_CONFLICT",
            f"{path} of run {folder.run_id} was stored by the run itself, and holds other bytes; use another name",
        )
    return artifact.size


async def _store_proxied(
    scope: Scope, folder: Folder, path: str, content: AsyncIterable[bytes], content_type: str | None
) -> int:
    parts = path.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts))]
    other = await scope.pool.fetchval(_IN_THE_WAY, scope.workspace, above, path + "/")
    if other is not None:
        raise MlflowError(
            "RESOURCE_CONFLICT",
            f"{path} cannot be stored beside {other}: one would be a folder; use another name",
        )
    file = await asyncio.to_thread(scope.store.create, folder.place(scope.workspace, path))
    try:
        size, digest = await artifacts.receive(file, content)
        async with scope.pool.acquire() as connection, connection.transaction():
            await connection.execute(_HOLD, scope.workspace, path, size, digest, content_type)
            await asyncio.to_thread(file.commit)
    finally:
        await asyncio.shield(asyncio.to_thread(file.abort))  # does nothing after the commit
    return size


async def delete(scope: Scope, folder: Folder) -> None:
    """Delete a file, or all below a folder."""
    if not folder.path or folder.version is not None:
        raise invalid("Invalid path")
    statement = _DELETE_FILES if folder.run_id is None else _DELETE_RUN_FILES
    whose = scope.workspace if folder.run_id is None else folder.run_id
    async with scope.pool.acquire() as connection, connection.transaction():
        # Within the transaction: whoever stores the name again meanwhile waits for its end.
        for row in await connection.fetch(statement, whose, folder.path):
            await asyncio.to_thread(scope.store.delete, folder.place(scope.workspace, row["path"]))


def pieces_of(scope: Scope, file: File) -> AsyncIterator[bytes]:
    """The bytes of a file."""
    return artifacts.read_place(scope.store, file.place, 0, file.size)


async def is_stored(scope: Scope, place: str) -> bool:
    """Whether something lies at a place of the store."""
    there: bool = await asyncio.to_thread(scope.store.exists, place)
    return there
