"""HTTP for notes: of runs, of experiments, and reports."""

from __future__ import annotations

from typing import TypedDict

import msgspec
from starlette.requests import Request

from ...runs import notes
from ...runs.notes import Note, NoteVersion, Subject
from ..access import grant_of
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..tokens import Role
from .registered import InWorkspace


class VersionQuery(msgspec.Struct, kw_only=True):
    version: int | None = None


class VersionInWorkspace(msgspec.Struct, kw_only=True):
    workspace: str = "default"
    version: int | None = None


class NoteBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new version in place of `version`, which is 0 where nothing was written yet."""

    text: str
    version: int
    title: str = ""


class Versions(TypedDict):
    """Versions of a note, the newest first."""

    versions: list[NoteVersion]


class Reports(TypedDict):
    """Reports of a workspace, the one changed last first."""

    reports: list[Note]


async def _read(request: Request, subject: Subject, version: int | None) -> Note:
    async with server_of(request).pool.acquire() as connection:
        return await notes.read_note(connection, subject, version)


async def _versions(request: Request, subject: Subject) -> Versions:
    async with server_of(request).pool.acquire() as connection:
        return {"versions": await notes.note_versions(connection, subject)}


async def _write(request: Request, subject: Subject, body: NoteBody) -> Note:
    async with server_of(request).pool.acquire() as connection:
        return await notes.write_note(
            connection, subject, body.version, body.title, body.text, grant_of(request).name
        )


@endpoint("GET /api/v1/runs/{run_id}/note", Role.READ, Reach.RUN, "The note of a run")
async def run_note(request: Request, run_id: str, asked: VersionQuery) -> Note:
    """Version 0 and empty where nothing was written yet."""
    return await _read(request, Subject("run", run_id), asked.version)


@endpoint("PUT /api/v1/runs/{run_id}/note", Role.WRITE, Reach.RUN, "Write the note of a run")
async def write_run_note(request: Request, run_id: str, body: NoteBody) -> Note:
    """409 where somebody has changed it since `version`."""
    return await _write(request, Subject("run", run_id), body)


@endpoint("GET /api/v1/runs/{run_id}/note-versions", Role.READ, Reach.RUN, "Versions of the note of a run")
async def run_note_versions(request: Request, run_id: str) -> Versions:
    return await _versions(request, Subject("run", run_id))


@endpoint("GET /api/v1/experiment-notes/{name:path}", Role.READ, Reach.WORKSPACE, "The note of an experiment")
async def experiment_note(request: Request, name: str, asked: VersionInWorkspace) -> Note:
    """Version 0 and empty where nothing was written yet."""
    return await _read(request, Subject("experiment", name, asked.workspace), asked.version)


@endpoint(
    "PUT /api/v1/experiment-notes/{name:path}", Role.WRITE, Reach.WORKSPACE, "Write the note of an experiment"
)
async def write_experiment_note(request: Request, name: str, asked: InWorkspace, body: NoteBody) -> Note:
    """409 where somebody has changed it since `version`."""
    return await _write(request, Subject("experiment", name, asked.workspace), body)


@endpoint(
    "GET /api/v1/experiment-note-versions/{name:path}",
    Role.READ,
    Reach.WORKSPACE,
    "Versions of the note of an experiment",
)
async def experiment_note_versions(request: Request, name: str, asked: InWorkspace) -> Versions:
    return await _versions(request, Subject("experiment", name, asked.workspace))


@endpoint("GET /api/v1/reports", Role.READ, Reach.WORKSPACE, "Reports of a workspace")
async def reports(request: Request, asked: InWorkspace) -> Reports:
    async with server_of(request).pool.acquire() as connection:
        return {"reports": await notes.list_reports(connection, asked.workspace)}


@endpoint("GET /api/v1/reports/{report_id}", Role.READ, Reach.WORKSPACE, "A report")
async def report(request: Request, report_id: str, asked: VersionInWorkspace) -> Note:
    return await _read(request, Subject("report", report_id, asked.workspace), asked.version)


@endpoint("GET /api/v1/reports/{report_id}/versions", Role.READ, Reach.WORKSPACE, "Versions of a report")
async def report_versions(request: Request, report_id: str, asked: InWorkspace) -> Versions:
    return await _versions(request, Subject("report", report_id, asked.workspace))


@endpoint("PUT /api/v1/reports/{report_id}", Role.WRITE, Reach.WORKSPACE, "Begin or change a report")
async def write_report(request: Request, report_id: str, asked: InWorkspace, body: NoteBody) -> Note:
    """Its id is chosen by whoever begins it, with version 0. 409 where somebody has changed it since `version`."""
    return await _write(request, Subject("report", report_id, asked.workspace), body)


@endpoint("DELETE /api/v1/reports/{report_id}", Role.WRITE, Reach.WORKSPACE, "Delete a report")
async def delete_report(request: Request, report_id: str, asked: InWorkspace) -> None:
    async with server_of(request).pool.acquire() as connection:
        if not await notes.delete_report(connection, report_id, asked.workspace):
            raise Subject("report", report_id, asked.workspace).not_there()


ENDPOINTS = (
    run_note,
    write_run_note,
    run_note_versions,
    experiment_note,
    write_experiment_note,
    experiment_note_versions,
    reports,
    report,
    report_versions,
    write_report,
    delete_report,
)
