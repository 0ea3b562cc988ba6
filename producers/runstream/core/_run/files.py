"""A run's files as `Run` offers them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from typing import IO, Any

from ...client import files
from ...client.upload_sources import path_of
from ...exceptions import AzureMLException, UserErrorException
from .handle import RunHandle

_log = logging.getLogger("runstream")


class RunFiles(RunHandle):
    """The part of `Run` that is about files. They go over HTTP: the service has to be there."""

    def upload_file(
        self, name: str, path_or_stream: str | os.PathLike[str] | IO[Any], datastore_name: str | None = None
    ) -> Any:
        """Store a file with the run; returns when it is stored. The same bytes under the same name are accepted again.

        While the service is away the file is kept in the home, with a warning, and stored by whoever runs next. A large one
        resumes where it stopped after an interruption, and shows a bar on a terminal.

        Args:
            name: path among the run's files, with `/`.
            path_or_stream: a path, or an open stream.

        Returns:
            `UploadResult` with the stored files.

        Raises:
            UserErrorException: another type, or a name that leads out of the run's folder.
            FileNotFoundError: there is no such file.
            AzureMLAggregatedException: the name is taken by other bytes.
            ServiceException: the service has no room (status_code 507), or could not store it.
        """
        return self._upload([(name, path_or_stream)])

    def upload_files(
        self,
        names: Sequence[str],
        paths: Sequence[str | os.PathLike[str]],
        return_artifacts: bool = False,
        timeout_seconds: float | None = None,
        datastore_name: str | None = None,
    ) -> Any:
        """Store several files, some of them at a time; as `upload_file`.

        Args:
            names: paths among the run's files.
            paths: the files, as many.
            return_artifacts: return a pair, the second a dictionary by name.
            timeout_seconds: no further file is begun after that time.

        Raises:
            TypeError: lengths that differ.
            AzureMLAggregatedException: names that are taken by other bytes; the other files are stored.
            AzureMLException: not all were stored within `timeout_seconds`.
        """
        if len(names) != len(paths):
            raise TypeError(f"upload_files: {len(names)} names but {len(paths)} paths")
        if len(set(map(files.normalised, names))) != len(names):
            _log.warning("upload_files: a name occurs more than once")
        result = self._upload(zip(names, paths, strict=True), timeout_seconds)
        return (result, result.artifacts) if return_artifacts else result

    def upload_folder(
        self, name: str, path: str | os.PathLike[str], datastore_name: str | None = None
    ) -> Any:
        """Store all files below a folder as `<name>/<path below it>`, some of them at a time; as `upload_file`.

        Links are followed, in no loop. Pipes, sockets and devices are left out, with a warning.

        Raises:
            UserErrorException: there is no such folder.
            AzureMLAggregatedException: names that are taken by other bytes; the other files are stored.
        """
        if not isinstance(name, str):
            raise UserErrorException(f"upload_folder: name: expected a text, got {type(name).__name__}")
        if not path_of("path", path).is_dir():
            raise UserErrorException(f"upload_folder: there is no directory {path}; give one that is there")
        left_out: list[str] = []
        result = self._upload(files.folder_files(name, path, left_out))
        if left_out:
            _log.warning(
                "upload_folder: %d things in %s are left out: %s",
                len(left_out),
                path,
                "; ".join(left_out[:5]),
            )
        return result

    def _upload(
        self, pairs: Iterable[tuple[str, Any]], timeout_seconds: float | None = None
    ) -> files.UploadResult:
        from ...client.file_batch import upload_all

        return upload_all(self._client, self._id, list(pairs), timeout_seconds)

    def get_file_names(self) -> list[str]:
        """Paths of the run's files.

        Raises:
            ServiceException: the service is away.
        """
        self._wait_delivered()
        return [file["path"] for file in files.list_files(self._client, self._id)]

    def _wait_delivered(self) -> None:
        from ...client.outbox import wait_delivered

        wait_delivered(self._client, self._id)

    def download_file(
        self,
        name: str,
        output_file_path: str | os.PathLike[str] | None = None,
        _validate_checksum: bool = False,
    ) -> None:
        """Fetch a file of the run, over an existing one.

        Args:
            name: its path among the run's files.
            output_file_path: where to; a directory (one that is there, or a path that ends with a slash), or default the
                current one: under the last part of its name.

        Raises:
            UserErrorException: the run has no such file; the message lists those it has.
            ServiceException: the service is away.
        """
        target = path_of("output_file_path", "." if output_file_path is None else output_file_path)
        folder = output_file_path is not None and os.fspath(output_file_path).endswith(("/", os.sep))
        if folder or target.is_dir():
            target = target / files.normalised(name).rsplit("/", 1)[-1]
        self._wait_delivered()
        files.download(self._client, self._id, name, target, _validate_checksum)

    def download_files(
        self,
        prefix: str | None = None,
        output_directory: str | os.PathLike[str] | None = None,
        output_paths: Sequence[str | os.PathLike[str]] | None = None,
        batch_size: int = 100,
        append_prefix: bool = True,
        timeout_seconds: float | None = None,
    ) -> None:
        """Fetch all files of the run, or those of one of its folders.

        Args:
            prefix: the folder; an unknown one fetches nothing.
            output_directory: where to; default the current directory.
            output_paths: a path for each file instead, if as many and all different.
            append_prefix: False leaves the prefix out below `output_directory`.
            timeout_seconds: no further file is begun after that time.

        Raises:
            AzureMLException: not all were fetched within `timeout_seconds`.
            ServiceException: the service is away.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        if prefix is not None and not isinstance(prefix, str):
            raise UserErrorException(f"download_files: prefix: expected a text, got {type(prefix).__name__}")
        below = files.normalised(prefix) + "/" if prefix and prefix.strip("./") else ""
        directory = path_of("output_directory", output_directory or ".")
        names = [name for name in self.get_file_names() if name.startswith(below)]
        if output_paths and len(set(map(str, output_paths))) == len(output_paths) == len(names):
            targets = [path_of("output_paths", path) for path in output_paths]
        else:
            strip = len(below) if output_directory is not None and not append_prefix else 0
            targets = [files.inside(directory, name[strip:]) for name in names]
        for number, (name, target) in enumerate(zip(names, targets, strict=True)):
            if deadline is not None and time.monotonic() > deadline:
                raise AzureMLException(
                    f"download_files: {number} of {len(names)} files were fetched within {timeout_seconds:g} seconds"
                    "; wait longer with timeout_seconds="
                )
            files.download(self._client, self._id, name, target)
