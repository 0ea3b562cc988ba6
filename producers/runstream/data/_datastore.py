"""Datastores: directories under a name, which a workspace's scripts put files into and take files from."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from runstream_schemas.errors import brief
from runstream_schemas.ownership import make_private

from ..client.arguments import path_argument
from ..client.folder_contents import contents
from ..client.session import Session
from ..cloud import CloudCall
from ..exceptions import UserErrorException
from ..home import json_document
from ..printable import say
from ..spool.values import check_text
from ..workspace_type import Workspace
from .data_reference import DataReference

_log = logging.getLogger("runstream")

DEFAULT = "workspaceblobstore"
"""The datastore every workspace has; the reproduced API calls it so."""

_NAME = re.compile(r"[A-Za-z0-9_]{1,255}")
_LOCAL = "Datastore.register_local makes a directory of this machine a datastore"


class Datastore:
    """A directory of this machine, or of a network drive, under a name.

    Every workspace has the one called `workspaceblobstore`, in `datastores` of the home.

    Args:
        workspace: the workspace.
        name: the name of the datastore; default: the workspace's default one.

    Raises:
        UserErrorException: the workspace has no datastore of that name.

    Source: `azureml.core.Datastore`, whose content lies in Azure.
    """

    def __init__(self, workspace: Workspace, name: str | None = None) -> None:
        if name is None:
            name = _entry(workspace).get("default") or DEFAULT
        known = _directories(workspace)
        if name not in known:
            raise UserErrorException(
                f"Could not find datastore {name!r:.80} in workspace {workspace.name}; it has: {', '.join(known)}. {_LOCAL}"
            )
        self._workspace, self._name, self._directory = workspace, name, known[name]

    @property
    def workspace(self) -> Workspace:
        """The workspace it belongs to."""
        return self._workspace

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def datastore_type(self) -> str:
        """`Local`."""
        return "Local"

    @property
    def container_name(self) -> str:
        """Its directory."""
        return str(self._directory)

    # --- a workspace's datastores ---

    @staticmethod
    def get(workspace: Workspace, datastore_name: str) -> Datastore:
        """The datastore of that name.

        Raises:
            UserErrorException: there is none.
        """
        return Datastore(workspace, datastore_name)

    @staticmethod
    def get_default(workspace: Workspace) -> Datastore:
        """The workspace's default datastore."""
        return Datastore(workspace)

    @staticmethod
    def register_local(
        workspace: Workspace, datastore_name: str, path: str | os.PathLike[str], overwrite: bool = False
    ) -> Datastore:
        """Make a directory a datastore.

        Args:
            workspace: the workspace.
            datastore_name: letters, digits and underscores.
            path: the directory, made if need be.
            overwrite: take the place of one of that name; its files stay where they are.

        Raises:
            UserErrorException: the name has another form or is taken.

        Not in the reproduced API.
        """
        if not _NAME.fullmatch(check_text("datastore name", datastore_name)):
            raise UserErrorException(
                f"datastore name {brief(datastore_name, 80)}: expected 1 to 255 letters, digits or underscores"
            )
        directory = path_argument("path", path).expanduser().absolute()
        directory.mkdir(parents=True, exist_ok=True)
        with json_document.change(_path(workspace)) as document:
            named = document.setdefault(workspace.name, {}).setdefault("datastores", {})
            if not overwrite and (datastore_name in named or datastore_name == DEFAULT):
                raise UserErrorException(
                    f"workspace {workspace.name} has a datastore {datastore_name} already; pass overwrite=True to replace it"
                )
            named[datastore_name] = str(directory)
        return Datastore(workspace, datastore_name)

    def set_as_default(self) -> None:
        """Make it the workspace's default datastore."""
        with json_document.change(_path(self._workspace)) as document:
            document.setdefault(self._workspace.name, {})["default"] = self._name

    def unregister(self) -> None:
        """Forget the datastore. Its files stay where they are.

        Raises:
            UserErrorException: it is the one every workspace has.
        """
        with json_document.change(_path(self._workspace)) as document:
            entry = document.setdefault(self._workspace.name, {})
            if entry.get("datastores", {}).pop(self._name, None) is None:
                raise UserErrorException(
                    f"datastore {self._name} comes with the workspace and cannot be unregistered; name another"
                )
            if entry.get("default") == self._name:
                del entry["default"]

    register_azure_blob_container = CloudCall(_LOCAL)
    register_azure_file_share = CloudCall(_LOCAL)
    register_azure_data_lake = CloudCall(_LOCAL)
    register_azure_data_lake_gen2 = CloudCall(_LOCAL)
    register_azure_sql_database = CloudCall(_LOCAL)
    register_azure_postgre_sql = CloudCall(_LOCAL)
    register_azure_my_sql = CloudCall(_LOCAL)
    register_dbfs = CloudCall(_LOCAL)
    register_hdfs = CloudCall(_LOCAL)

    # --- files ---

    def upload(
        self,
        src_dir: str | os.PathLike[str],
        target_path: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Copy all files below a directory into the datastore.

        Args:
            src_dir: the directory.
            target_path: directory of the datastore; default its root.
            overwrite: replace files that are there; else they stay.
            show_progress: print a line a file.

        Returns:
            A reference to `target_path`.

        Raises:
            UserErrorException: there is no such directory, or `target_path` leads out of the datastore.
        """
        source = Path(src_dir)
        if not source.is_dir():
            raise UserErrorException(
                f"Datastore.upload: there is no directory {src_dir}; give one that is there"
            )
        left_out: list[str] = []
        files = [path for _, path in contents(source, left_out)]
        if left_out:
            _log.warning("Datastore.upload: of %s these are left out: %s", src_dir, "; ".join(left_out[:5]))
        return self.upload_files(files, source, target_path, overwrite, show_progress)

    def upload_files(
        self,
        files: Sequence[str | os.PathLike[str]],
        relative_root: str | os.PathLike[str] | None = None,
        target_path: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Copy files into the datastore; as `upload`.

        Args:
            files: the files.
            relative_root: where their paths in the datastore begin; default: the directory they have in common.

        Raises:
            UserErrorException: a file does not exist, or is not below `relative_root`.
        """
        paths = [Path(file).absolute() for file in files]
        for path in paths:
            if not path.is_file():
                raise UserErrorException(
                    f"'{path}' does not point to a file: nothing was uploaded; give paths of files"
                )
        root = Path(relative_root).absolute() if relative_root is not None else _common(paths)
        target = self._inside(target_path)
        for path in paths:
            if not path.is_relative_to(root):
                raise UserErrorException(
                    f"'{path}' does not start with the relative root {root}"
                    "; give a root that all files lie below"
                )
        _copy(((path, target / path.relative_to(root)) for path in paths), overwrite, show_progress, "upload")
        return self.path(target_path)

    def download(
        self,
        target_path: str | os.PathLike[str],
        prefix: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> int:
        """Copy files out of the datastore, with their paths in it.

        Args:
            target_path: directory to copy to; made if need be.
            prefix: only what lies below this directory, or the one file.
            overwrite: replace files that are there; else they stay.
            show_progress: print a line a file.

        Returns:
            How many files were copied.

        Raises:
            UserErrorException: `prefix` leads out of the datastore.
        """
        place = self._inside(prefix)
        files = [place] if place.is_file() else [path for _, path in contents(place)]
        pairs = ((path, Path(target_path) / path.relative_to(self._directory)) for path in files)
        return _copy(pairs, overwrite, show_progress, "download")

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> DataReference:
        """A reference to a file or directory of the datastore, for arguments of scripts and for datasets."""
        return DataReference(self, data_reference_name, path_on_datastore=path)

    def as_mount(self) -> DataReference:
        """A reference to the whole datastore; it is on this machine, so nothing is mounted."""
        return self.path().as_mount()

    def as_download(self, path_on_compute: str | None = None) -> DataReference:
        """A reference to the whole datastore; see `DataReference.as_download`."""
        return self.path().as_download(path_on_compute)

    def as_upload(self, path_on_compute: str | None = None) -> DataReference:
        """A reference to the whole datastore; see `DataReference.as_upload`."""
        return self.path().as_upload(path_on_compute)

    def _inside(self, path: str | None) -> Path:
        """A place in the datastore.

        Raises:
            UserErrorException: it lies outside.
        """
        text = "" if path is None else str(path_argument("path", path))
        parts = PurePosixPath(text.replace("\\", "/").lstrip("/")).parts
        if ".." in parts:
            raise UserErrorException(
                f"path {brief(text, 200)} leads out of the datastore {self._name}; give a path below it"
            )
        return self._directory.joinpath(*parts)

    def __repr__(self) -> str:
        return f"Datastore(workspace={self._workspace.name!r}, name={self._name!r}, directory={str(self._directory)!r})"


def datastores(workspace: Workspace) -> dict[str, Datastore]:
    """A workspace's datastores by name."""
    return {name: Datastore(workspace, name) for name in _directories(workspace)}


def _path(session: Session) -> Path:
    return session._settings.home_path / "datastores.json"


def _entry(session: Session) -> dict[str, Any]:
    entry: dict[str, Any] = json_document.read(_path(session)).get(session.name, {})
    return entry


def _directories(session: Session) -> dict[str, Path]:
    # A workspace may have any name; the dot keeps `..` from being one of a directory.
    own = session._settings.home_path / "datastores" / f"{quote(session.name, safe='')}.workspace" / DEFAULT
    named = _entry(session).get("datastores", {})
    directories = {DEFAULT: own, **{name: Path(directory) for name, directory in named.items()}}
    make_private(directories[DEFAULT])
    return directories


def _common(paths: list[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths])) if paths else Path.cwd()


def _copy(pairs: Iterable[tuple[Path, Path]], overwrite: bool, show: bool, what: str) -> int:
    copied = 0
    for source, target in pairs:
        if target.exists() and not overwrite:
            if show:
                say(f"Target already exists. Skipping {what} for {source} (overwrite=False)")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name[:200]}.{os.getpid()}")
        try:
            shutil.copy2(source, part)
            os.replace(part, target)  # whoever reads sees the old file or the new one
        finally:
            part.unlink(missing_ok=True)
        copied += 1
        if show:
            say(f"{what.capitalize()}ed {source} -> {target}")
    return copied
