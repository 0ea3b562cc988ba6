"""Files of a run of W&B, and where they go: console output, what was saved, what artifacts hold."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from functools import partial
from pathlib import Path
from typing import IO, Any

from ..client import files
from ..client.folder_contents import contents
from ..client.http import ServiceClient
from ..exceptions import AzureMLException, LimitExceeded, ServiceException, UserErrorException
from ..spool.live_runs import LiveRun
from ..spool.writing.writer import RunWriter
from ..wandb.mapping import ARTIFACT_PROPERTY, artifact_folder
from .wandb_records import Artifact, File, RunInfo

CONSOLE = "user_logs/std_log.txt"
"""The console output among the run's files."""
_TABLES = "run_table"  # the artifact W&B makes of a table: its rows are taken over
_md5 = partial(hashlib.md5, usedforsecurity=False)


class Keeping:
    """Stores files of one run. What is stored already costs a request and changes nothing."""

    def __init__(self, live: LiveRun, client: ServiceClient) -> None:
        self._client, self._live, self._run_id = client, live, live.run_id

    def console(self, at: int, text: bytes) -> None:
        """Add console output at its place.

        Raises:
            ServiceException: the service is away, or has less of the file than was added.
        """
        end = at + len(text)
        place = at
        while place < end:
            piece = text[place - at : place - at + files.PIECE]
            size = files.append(self._client, self._run_id, CONSOLE, place, piece)
            if size < at or size == place:
                raise ServiceException(
                    f"{CONSOLE} of run {self._run_id} ends at byte {size}, not at {place}; "
                    "another process writes it: import again when that has ended",
                    409,
                )
            place = size

    def text(self, name: str, text: str) -> None:
        """Store a text under a name, in place of an earlier one."""
        self._put(name, io.BytesIO(text.encode("utf-8", "replace")))

    def folder(self, folder: Path, known: dict[str, Any], console: bool) -> tuple[int, list[str]]:
        """Store the files of a folder that have changed, but for media, which the history has.

        Args:
            known: name to size and time of what is stored; what is stored now is added.
            console: the run's console output came with its records.

        Returns:
            How many are stored, and why others are not.
        """
        kept = 0
        refusals: list[str] = []
        left_out: list[str] = []
        for name, path in contents(folder, left_out):
            if name.startswith("media/") or (console and name == "output.log"):
                continue
            try:
                status = path.stat()
                mark = [status.st_size, status.st_mtime_ns]
                if known.get(name) == mark:
                    continue
                with path.open("rb") as stream:
                    self._put(name, stream)
            except (OSError, AzureMLException) as error:
                refusals.append(f"files: {name}: {getattr(error, 'message', error)}"[:300])
                continue
            known[name] = mark
            kept += 1
        return kept, refusals + [f"files: {line}"[:300] for line in left_out]

    def artifact(self, artifact: Artifact) -> tuple[int, list[str]]:
        """Store an artifact: its files, and what it is.

        Returns:
            How many files are stored, and why others are not.
        """
        if artifact.type == _TABLES:
            return 0, []
        kept, refusals = 0, []
        folder = artifact_folder(artifact.name, artifact.digest)
        if artifact.manifest_file and not artifact.files:
            refusals.append("artifacts whose list of files lies elsewhere")
        for file in artifact.files:
            why = self._artifact_file(folder, file)
            kept += not why
            refusals += [why] if why else []
        document = {
            name: getattr(artifact, name) for name in ("type", "name", "digest", "description", "aliases")
        }
        document["metadata"] = artifact.metadata
        document["references"] = {file.path: file.reference for file in artifact.files if file.reference}
        try:
            self.text(f"{folder}.json", json.dumps(document, indent=1, ensure_ascii=False))
            self._live.writer.add_property(f"{ARTIFACT_PROPERTY}{artifact.name}", "logged")
        except (AzureMLException, LimitExceeded) as error:
            refusals.append(f"artifacts: {error}"[:300])
        return kept, refusals

    def _artifact_file(self, folder: str, file: File) -> str:
        """Store a file of an artifact; why it is not, or nothing."""
        if file.reference:
            return "artifacts: references (they are named in the JSON beside the artifact)"
        try:
            with open(file.local, "rb") as stream:
                # The record names any path of this machine: only the very bytes that were logged are taken.
                if base64.b64encode(hashlib.file_digest(stream, _md5).digest()).decode() != file.digest:
                    return "artifacts: files that have changed since they were logged"
                stream.seek(0)
                self._put(f"{folder}/{file.path}", stream)
        except (OSError, ValueError):
            return "artifacts: files that are not on this machine any more"
        except UserErrorException as error:
            return f"artifacts: {error.message}"[:300]
        return ""

    def _put(self, name: str, stream: IO[bytes]) -> None:
        files.put(self._client, self._run_id, name, stream, captured=True)


def write_info(writer: RunWriter, info: RunInfo) -> str:
    """Write a run's name, notes, tags and facts; what could not be written and why, or nothing."""
    if info.name:
        writer.set_field("display_name", info.name)
    if info.notes:
        writer.set_field("description", info.notes)
    facts = {"forked_from": info.forked_from, "git_commit": info.commit, "git_remote": info.remote}
    pairs = {"group": info.group, "job_type": info.job_type, "sweep": info.sweep}
    try:
        for key, text in facts.items():
            if text:
                writer.add_property(f"wandb.{key}", text)
        for tag in info.tags:
            writer.tag(tag)
        for key, text in pairs.items():
            if text:
                writer.tag(key, text)
    except LimitExceeded as error:
        return f"tags: {error}"[:200]
    return ""
