"""`runstream backup` and `runstream restore`: a consistent copy of database and store, and back again."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .options import performs
from .settings import add_settings, settings_of

if TYPE_CHECKING:
    from ..backup.directory import Manifest

_WHERE = (
    "home", "database", "database_file", "database_ca_file", "database_pgbouncer", "store", "store_endpoint", "store_key",
    "store_key_file", "store_secret", "store_secret_file",
)  # fmt: skip


def add_backup(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream backup` takes."""
    performs(
        parser,
        backup,
        "Everything may run meanwhile. Again into the same directory: only what it lacks is copied, and the new backup\n"
        "takes the place of the old one once it is complete.",
    )
    parser.add_argument("directory", metavar="DIRECTORY", help="where to; made if need be, of nothing else")
    parser.add_argument(
        "--verify", action="store_true", help="take none: read the one in DIRECTORY, and check its digests"
    )
    add_settings(parser, _WHERE)


def add_restore(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream restore` takes."""
    performs(
        parser,
        restore,
        "Into an empty home, or an empty database and store. The whole backup is verified first. Broken off, nothing\n"
        "of it is seen; the same command resumes it.",
    )
    parser.add_argument("directory", metavar="DIRECTORY", help="of a backup")
    add_settings(parser, _WHERE)


def backup(options: argparse.Namespace) -> int:
    """`runstream backup DIRECTORY`."""
    from ..backup.directory import open_directory, verify
    from ..backup.taking import take_backup
    from ..supervision import log_to_stderr, run_blocking
    from ..sync import embedded_database

    directory = Path(options.directory)
    if options.verify:
        manifest = verify(open_directory(directory))
        print(f"{directory}: {_contents(manifest)}, of {manifest.began_at}: whole")
        return 0
    settings = settings_of(options)
    log_to_stderr("WARNING")

    async def whole() -> None:
        report = await take_backup(replace(settings, database=embedded_database(settings)), directory)
        print(
            f"{directory}: {_contents(report.manifest)}; {report.copied} files, {report.copied_bytes} bytes were new"
        )

    run_blocking(whole())
    return 0


def restore(options: argparse.Namespace) -> int:
    """`runstream restore DIRECTORY`."""
    from ..backup.restoring import restore as restored
    from ..supervision import log_to_stderr, run_blocking

    settings = settings_of(options)
    log_to_stderr("WARNING")

    async def whole() -> None:
        manifest = await restored(settings, Path(options.directory))
        where = (
            f"the database and {settings.store_url}"
            if settings.database
            else f"the home {settings.home_path}"
        )
        print(f"{where}: {_contents(manifest)}, as of {manifest.began_at}")

    run_blocking(whole())
    return 0


def _contents(manifest: Manifest) -> str:
    rows = sum(table.lines for table in manifest.tables.values())
    return (
        f"{manifest.tables['runs'].lines} runs, {rows} rows, {manifest.files} files of {manifest.bytes} bytes"
    )
