"""Starts programs of Postgres: as a user Postgres accepts, from where that user can run them, ending when we do."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from runstream_schemas.errors import DatabaseError

from . import postgres_child
from .postgres_directory import PostgresDirectory
from .postgres_programs import binaries, copies
from .postgres_users import cannot_become, identities, named_user, server_user


@dataclass(slots=True)
class Launcher:
    """Starts programs for one directory; `choose` first.

    Attributes:
        directory: the directory they work on.
        identity: how to become a user Postgres accepts: `plain`, `namespace` or `drop`; None finds it out.
        lifeline: end the program through a watched pipe instead of the kernel's signal; None: where there is no signal.
        installed: directory of `postgres` and `initdb`; None: those of the wheel.
        programs: where they are run from: `installed`, or a copy.
    """

    directory: PostgresDirectory
    identity: str | None = None
    lifeline: bool | None = None
    installed: Path | None = None
    programs: Path = field(default_factory=Path)
    _write_end: int = -1

    def choose(self) -> int:
        """Find out which identity this system allows, and from where it can run the programs.

        Returns:
            Postgres' major version.

        Raises:
            DatabaseError: none, or from nowhere.
        """
        installed = self.installed or binaries()
        allowed = False
        for identity in [self.identity] if self.identity else identities():
            self.identity = identity
            for self.programs in [installed] if identity != "drop" else chain([installed], copies(installed)):
                process = self.run([str(self.programs / "postgres"), "--version"], output=subprocess.PIPE)
                said, _ = process.communicate()
                self.release()
                if process.returncode == 0:
                    return int(said.split()[-1].split(b".")[0])
                if process.returncode in (postgres_child.CANNOT_UNSHARE, postgres_child.CANNOT_DROP):
                    break
                allowed = True
        self.identity = None
        if not allowed:
            raise DatabaseError(cannot_become())
        raise DatabaseError(
            f"the programs of Postgres in {installed} cannot be run: {self.directory.last_log()}"
            "; install runstream[server] anew"
        )

    def own(self, user: int) -> None:
        """Give the directory to the user the server will be; only root can need that, and only when it changes.

        Raises:
            DatabaseError: it cannot be given.
        """
        if os.geteuid() or self.identity == "plain":
            return
        owner = user if self.identity == "drop" else os.geteuid()
        try:
            if self.directory.path.stat().st_uid == owner and (
                not self.directory.data.exists() or self.directory.data.stat().st_uid == owner
            ):
                return
            for place, folders, files in os.walk(self.directory.path):
                for name in (*folders, *files):
                    os.lchown(os.path.join(place, name), owner, -1)
            os.lchown(self.directory.path, owner, -1)
        except OSError as error:
            raise DatabaseError(
                f"{self.directory.path} cannot be given to user {owner} ({error.strerror}); {cannot_become()}"
            ) from None

    @contextlib.contextmanager
    def reached(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """How the server calls its directory, and descriptors it needs for that.

        Another user than ours may not pass closed directories above it, so that one gets it opened, and nothing else.
        """
        if self.identity != "drop" or sys.platform != "linux":
            yield str(self.directory.path), ()
            return
        descriptor = os.open(self.directory.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}", (descriptor,)
        finally:
            os.close(descriptor)

    def run(
        self,
        argv: list[str],
        keep: tuple[int, ...] = (),
        output: int | None = None,
        user: tuple[int, int] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program.

        Args:
            argv: the program and its arguments.
            keep: descriptors it inherits.
            output: where its output goes; None: to the log.
            user: user and group to become with `drop`; None: nobody else's number.
        """
        assert self.identity is not None
        plan: dict[str, object] = {"identity": self.identity, "argv": argv, "parent": os.getpid()}
        if self.identity == "namespace":  # the number it has inside, which must have a name
            plan["user"], plan["group"] = named_user()
        elif self.identity == "drop":
            plan["user"], plan["group"] = user or (server_user(), server_user())
        lifeline = sys.platform != "linux" if self.lifeline is None else self.lifeline
        if lifeline:
            read_end, self._write_end = os.pipe()
            plan["lifeline"] = read_end
            keep = (*keep, read_end)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
        with _append(self.directory.log_file) as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", postgres_child.__file__, json.dumps(plan)],
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=log,
                pass_fds=keep,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        if lifeline:
            os.close(read_end)
        return process

    def release(self) -> None:
        """Let go of the pipe of a program that has ended."""
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1


@contextlib.contextmanager
def _append(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
