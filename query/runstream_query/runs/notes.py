"""Notes in Markdown: one of a run, one of an experiment, and reports of a workspace, with their former versions.

Who changes a note says which version was read; if somebody was quicker, nothing is changed, and nobody's words are lost.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, Final, NotRequired, TypedDict

from runstream_schemas.errors import QueryError
from runstream_schemas.limits import check_name

from ..json_values import utc
from ..not_there import NotThere, no_run
from .registry import InTheWay
from .runs import Connection

MAX_TEXT_BYTES = 1 << 20
"""Longest text of a note."""
MOST_VERSIONS = 500
"""Versions of a note that are kept; the oldest goes first."""
MOST_LISTED = 1000
"""Reports of one list, the newest."""

REPORT_ID: Final = "[A-Za-z0-9_-]{1,64}"

_COLUMNS = "n.id, n.title, n.text, n.version, n.author, n.created_at, n.changed_at"
_SUBJECT: Final = {
    "run": "n.run_key = (select key from runs where run_id = $1 and $2::text is null)",
    "experiment": "n.experiment_id = (select id from experiments where name = $1 and workspace = $2)",
    "report": "n.id = $2 || '/' || $1 and n.workspace = $2",
}
_OWNER: Final = {
    "run": "select null::text, null::bigint, key from runs where run_id = $1 and $2::text is null",
    "experiment": "select null::text, id, null::bigint from experiments where name = $1 and workspace = $2",
    "report": "select $2::text, null::bigint, null::bigint where $1::text is not null",
}

LIST: Final = f"""
select {_COLUMNS.replace("n.text", "octet_length(n.text) as bytes")} from notes n
where n.workspace = $1 order by n.changed_at desc, n.id limit {MOST_LISTED}"""
GET: Final = f"select {_COLUMNS} from notes n where {{subject}}"
FORMER: Final = """
select f.note_id as id, f.title, f.text, f.version, f.author, n.created_at, f.changed_at
from former_notes f join notes n on n.id = f.note_id where {subject} and f.version = $3"""
VERSIONS: Final = """
select n.version, n.author, n.changed_at, octet_length(n.text) as bytes from notes n where {subject}
union all
select f.version, f.author, f.changed_at, octet_length(f.text)
from former_notes f join notes n on n.id = f.note_id where {subject}
order by version desc"""
ADD: Final = (
    """
insert into notes as n (id, workspace, experiment_id, run_key, title, text, version, author)
select $3, o.*, $4, $5, 1, $6 from ({owner}) o
on conflict do nothing returning """
    + _COLUMNS
)
KEEP: Final = """
insert into former_notes (note_id, version, title, text, author, changed_at)
select n.id, n.version, n.title, n.text, n.author, n.changed_at from notes n where n.id = $1"""
CHANGE: Final = f"""
update notes n set title = $2, text = $3, author = $4, version = n.version + 1, changed_at = now()
where n.id = $1 returning {_COLUMNS}"""
FORGET_OLDEST: Final = "delete from former_notes where note_id = $1 and version <= $2"
DELETE: Final = "delete from notes n where n.id = $2 || '/' || $1 and n.workspace = $2 returning id"


class Note(TypedDict):
    """A note; a list of reports has its size in place of its text. Version 0: nothing was written yet."""

    id: str
    title: str
    version: int
    author: str
    created_utc: str | None
    changed_utc: str | None
    text: NotRequired[str]
    bytes: NotRequired[int]


class NoteVersion(TypedDict):
    """One version of a note, without its text."""

    version: int
    author: str
    changed_utc: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Subject:
    """What a note is of.

    Attributes:
        kind: `run`, `experiment` or `report`.
        name: id of the run, name of the experiment, id of the report.
        workspace: where the experiment or report is; None: a run.
    """

    kind: str
    name: str
    workspace: str | None = None

    def not_there(self) -> NotThere:
        """What is said where there is no such run, experiment or report."""
        if self.kind == "run":
            return no_run(self.name)
        where = f" in workspace {self.workspace!r:.80}" if self.workspace is not None else ""
        return NotThere(
            f"no {self.kind} {self.name!r:.200}{where}; it may have been deleted: list those there are"
        )


class NoteChanged(InTheWay):
    """Somebody has changed the note since it was read."""


async def list_reports(connection: Connection, workspace: str) -> list[Note]:
    """The reports of a workspace without their texts, the one changed last first."""
    return [{**_head(row), "bytes": row["bytes"]} for row in await connection.fetch(LIST, workspace)]


async def read_note(connection: Connection, subject: Subject, version: int | None = None) -> Note:
    """The note of a subject, or a former version of it; an empty one of version 0 where nothing was written yet.

    Raises:
        NotThere: there is no such subject, or no such version, any more.
    """
    statement, arguments = GET.format(subject=_SUBJECT[subject.kind]), (subject.name, subject.workspace)
    row = await connection.fetchrow(statement, *arguments)
    if row is None:
        if version or subject.kind == "report" or not await _is_there(connection, subject):
            raise subject.not_there()
        return {
            "id": "", "title": "", "version": 0, "author": "", "created_utc": None, "changed_utc": None, "text": ""
        }  # fmt: skip
    if version is not None and version != row["version"]:
        row = await connection.fetchrow(FORMER.format(subject=_SUBJECT[subject.kind]), *arguments, version)
        if row is None:
            raise NotThere(
                f"the note has no version {version}; the newest {MOST_VERSIONS} are kept: list its versions"
            )
    return _whole(row)


async def note_versions(connection: Connection, subject: Subject) -> list[NoteVersion]:
    """Which versions there are, the newest first.

    Raises:
        NotThere: there is no such subject.
    """
    statement = VERSIONS.format(subject=_SUBJECT[subject.kind])
    rows = await connection.fetch(statement, subject.name, subject.workspace)
    if not rows and (subject.kind == "report" or not await _is_there(connection, subject)):
        raise subject.not_there()
    return [
        {
            "version": row["version"],
            "author": row["author"],
            "changed_utc": utc(row["changed_at"]),
            "bytes": row["bytes"],
        }
        for row in rows
    ]


async def write_note(
    connection: Connection, subject: Subject, version: int, title: str, text: str, author: str
) -> Note:
    """Put a new version in place of `version`; 0: nothing was written yet, a report begins. What is written again changes
    nothing.

    Raises:
        NoteChanged: the note has another version by now.
        NotThere: there is no such subject.
        QueryError, LimitExceeded: a title, text or id of a report that cannot be kept.
    """
    _check(title, text)
    if subject.kind == "report" and not re.fullmatch(REPORT_ID, subject.name):
        raise QueryError(f"report {subject.name!r:.80}: expected 1 to 64 letters, digits, _ and -")
    arguments = (subject.name, subject.workspace)
    async with connection.transaction():
        held = GET.format(subject=_SUBJECT[subject.kind]) + " for update"
        row = await connection.fetchrow(held, *arguments)
        if row is None and version == 0:
            new = secrets.token_urlsafe(9)
            if subject.kind == "report":  # each workspace has ids of its own
                new = f"{subject.workspace}/{subject.name}"
            row = await connection.fetchrow(
                ADD.format(owner=_OWNER[subject.kind]), *arguments, new, title, text, author
            )
            if row is not None:
                return _whole(row)
            row = await connection.fetchrow(held, *arguments)  # somebody else was quicker
        if row is None:
            raise subject.not_there()
        if (row["title"], row["text"]) == (title, text) and row["version"] in (version, version + 1):
            return _whole(row)  # as it was, or the request came twice
        if row["version"] != version:
            raise NoteChanged(
                f"the note was changed meanwhile: its version is {row['version']} by {row['author']}, not {version}; "
                "read it again and put both together"
            )
        await connection.execute(KEEP, row["id"])
        await connection.execute(FORGET_OLDEST, row["id"], version + 1 - MOST_VERSIONS)
        return _whole(await connection.fetchrow(CHANGE, row["id"], title, text, author))


async def delete_report(connection: Connection, report_id: str, workspace: str) -> bool:
    """Delete a report with all its versions; whether there was one."""
    return await connection.fetchval(DELETE, report_id, workspace) is not None


async def _is_there(connection: Connection, subject: Subject) -> bool:
    row = await connection.fetchrow(_OWNER[subject.kind], subject.name, subject.workspace)
    return row is not None


def _check(title: str, text: str) -> None:
    if title:
        check_name("title", title)
    if (size := len(text.encode(errors="surrogatepass"))) > MAX_TEXT_BYTES:
        raise QueryError(f"the text has {size:,} bytes, the most is {MAX_TEXT_BYTES:,}; keep less, or a file")
    if "\0" in text + title:
        raise QueryError("the character NUL cannot be kept; remove it from the text")


def _head(row: Any) -> Note:
    return {
        "id": row["id"].rpartition("/")[2],
        "title": row["title"],
        "version": row["version"],
        "author": row["author"],
        "created_utc": utc(row["created_at"]),
        "changed_utc": utc(row["changed_at"]),
    }


def _whole(row: Any) -> Note:
    return {**_head(row), "text": row["text"]}
