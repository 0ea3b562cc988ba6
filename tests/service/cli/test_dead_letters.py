"""What a home's service could not store: listed, looked at, and stored once the reason is mended."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from runstream_service.servers.postgres import PostgresServer

from ..conftest import Shell

SCRIPT = """
from runstream.core import Experiment, Workspace
run = Experiment(Workspace(), "test").start_logging(run_id="r", outputs=False)
run.log("loss", 1.0)
run.tag("colour", "grey")
run.complete()
"""


def execute(shell: Shell, statement: str) -> Any:
    async def once() -> Any:
        connection = await asyncpg.connect(PostgresServer(shell.home.postgres).dsn)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    return asyncio.run(once())


def test_listed_looked_at_and_sent_again(shell: Shell) -> None:
    shell.run("up")
    assert shell.json("dead-letters", "list") == []
    # A rule that tags break, as a table of another version might have one; what is logged beside them is stored.
    execute(shell, "create table colours (name text primary key)")
    execute(shell, "alter table tags add foreign key (value) references colours (name)")
    process = shell.start_python(SCRIPT)
    assert process.wait(60) == 0
    (letter,) = shell.wait_until(lambda: shell.json("dead-letters", "list"), what="the dead letter")
    assert letter["run_id"] == "r"
    assert "ForeignKeyViolation" in letter["reason"]

    shown = shell.json("dead-letters", "show", letter["id"], "--save", str(shell.root / "bytes"))
    assert shown["event"]["topic"] == "tags"
    assert (shell.root / "bytes").stat().st_size == letter["bytes"]
    kept = shell.run("dead-letters", "show", letter["id"], "--save", str(shell.root / "bytes"), check=False)
    assert kept.returncode == 1
    assert "File exists" in kept.stderr

    again = shell.run("dead-letters", "send", "--all", check=False)
    assert again.returncode == 1
    assert "refused again" in again.stdout
    assert shell.json("dead-letters", "list") == [letter]

    execute(shell, "insert into colours values ('grey')")
    assert f"stored: {letter['id']}" in shell.run("dead-letters", "send", letter["id"]).stdout
    assert shell.json("dead-letters", "list") == []
    assert shell.json("run", "show", "-r", "r")["tags"] == {"colour": "grey"}

    unknown = shell.run("dead-letters", "send", letter["id"], check=False)
    assert unknown.returncode == 1
    assert "`runstream dead-letters list` shows those there are" in unknown.stderr
    for words in (["send"], ["send", letter["id"], "--all"]):
        refused = shell.run("dead-letters", *words, check=False)
        assert refused.returncode == 1
        assert "name one ID or several" in refused.stderr
