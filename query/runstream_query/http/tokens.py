"""Who may do what: the server's own token, and the tokens it gave out, each with a role and perhaps for one workspace only.

A token given out is 256 random bits, shown once; the table `access_tokens` keeps its digest. A browser holds the secret of a
session instead (see `sessions`), which remembers the digest of the token it began with, and ends when that is replaced. What
was looked up is believed for `BELIEVED` seconds, so a revocation is in force everywhere after that long.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass, field, replace
from enum import IntEnum
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import asyncpg

BELIEVED = 10.0
"""Seconds between two looks at one token in the database."""
PREFIX = "rst_"
SESSION_PREFIX = "rss_"
MOST_BELIEVED = 10_000
FAILURES, FAILURES_SECONDS = 30, 60.0
"""Different wrong tokens from one address, and uses of one wrong token, within so many seconds, after which the next wrong
ones are answered 429. Good ones never are: many who share a proxy's address may have one among them who guesses. And one
program that keeps using a token that was revoked is no guesser: it is counted by that token, not against its neighbours."""
_NETWORK_OF_ONE = 64  # bits of an IPv6 address: the rest is for one customer to choose
LOOKUPS = 2
"""Tokens not seen before that are looked up at once, so that made-up ones take a part of the database's pool only."""
_FIND = """
select id, name, role, workspace, $1::bytea as digest, null::bigint as session from access_tokens
where (sha256 = $1 or (previous_sha256 = $1 and previous_until > now()))
  and revoked_at is null and (expires_at is null or expires_at > now())"""
_OF_SESSION = """
select t.id, t.name, t.role, t.workspace, s.token_sha256 as digest, s.id as session
from access_sessions s left join access_tokens t on t.id = s.token_id
where {} and s.expires_at > now() and (
    (s.token_id is null and s.token_sha256 = $2)
    or (t.revoked_at is null and (t.expires_at is null or t.expires_at > now())
        and (s.token_sha256 = t.sha256 or (s.token_sha256 = t.previous_sha256 and t.previous_until > now()))))"""
_FIND_SESSION, _SESSION_OF_ID = _OF_SESSION.format("s.sha256 = $1"), _OF_SESSION.format("s.id = $1")
_SESSION_USED = """
update access_sessions set used_at = now() where id = $1 and used_at < now() - interval '1 hour'"""
_USED = """
update access_tokens set used_at = now() where id = $1 and (used_at is null or used_at < now() - interval '1 hour')"""


class Role(IntEnum):
    """What a token allows; each includes those before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do.

    Attributes:
        id: the id of the row in `access_tokens`; 0: the server's own token.
        workspace: the only one; None: all.
        digest: the digest of the token's secret; empty where none was sent.
        session: the browser's, in `access_sessions`; None: it was no browser's session.
    """

    id: int
    name: str
    role: Role
    workspace: str | None
    digest: bytes = b""
    session: int | None = None


OWNER = Grant(0, "the server's own token", Role.ADMIN, None)


@dataclass(slots=True)
class Tokens:
    """The server's own token, those given out, and browsers' sessions, as the database has them.

    Attributes:
        own: the server's own token; '': it has none.
    """

    pool: asyncpg.Pool[Any]
    own: str = ""
    _believed: dict[bytes | int, tuple[float, Grant | None]] = field(default_factory=dict)
    _failures: dict[str | bytes, tuple[int, float]] = field(default_factory=dict)
    _lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKUPS))

    @property
    def own_digest(self) -> bytes:
        return hashlib.sha256(self.own.encode()).digest()

    async def of(self, secret: str, address: str) -> Grant | None:
        """What a token, or a browser's session, allows; None: nothing.

        Raises:
            TooManyFailures: it is wrong, and came too often, or too many wrong ones came from that address.
        """
        if self.own and hmac.compare_digest(secret.encode(), self.own.encode()):
            return replace(OWNER, digest=self.own_digest)
        digest = hashlib.sha256(secret.encode()).digest()
        known, grant = self._known(digest)
        if not known and secret.startswith((PREFIX, SESSION_PREFIX)):
            async with self._lookups:
                if secret.startswith(PREFIX):
                    grant = await self._look(digest, _FIND, digest)
                else:
                    grant = await self._look(digest, _FIND_SESSION, digest, self.own_digest)
        if grant is None:
            self._failed(address, digest)
        return grant

    async def of_digest(self, token_id: int | None, digest: bytes) -> Grant | None:
        """What a token allows, by its number (None: the server's own) and the digest of its secret."""
        if token_id is None:
            return replace(OWNER, digest=digest) if self.own and digest == self.own_digest else None
        known, grant = self._known(digest)
        grant = grant if known else await self._look(digest, _FIND, digest)
        return grant if grant is not None and grant.id == token_id else None

    async def still(self, grant: Grant) -> bool:
        """Whether what was granted to somebody who is still sending, or being answered, is so now."""
        if grant.session is not None:
            known, stored = self._known(grant.session)
            if not known:
                stored = await self._look(grant.session, _SESSION_OF_ID, grant.session, self.own_digest)
            return _same(grant, stored)
        if not grant.digest or grant.digest == self.own_digest:
            return True
        known, stored = self._known(grant.digest)
        return _same(grant, stored if known else await self._look(grant.digest, _FIND, grant.digest))

    def forget(self) -> None:
        """Look again at the next use."""
        self._believed.clear()

    def _known(self, key: bytes | int) -> tuple[bool, Grant | None]:
        until, grant = self._believed.get(key, (0.0, None))
        return until > time.monotonic(), grant

    async def _look(self, key: bytes | int, statement: str, *values: object) -> Grant | None:
        row = await self.pool.fetchrow(statement, *values)
        grant = None if row is None else _granted(row)
        if grant is not None and grant.session is not None:
            await self.pool.execute(_SESSION_USED, grant.session)
        if grant is not None and grant.id:
            await self.pool.execute(_USED, grant.id)
        if len(self._believed) >= MOST_BELIEVED:
            self._believed.clear()
        self._believed[key] = time.monotonic() + BELIEVED, grant
        return grant

    def _failed(self, address: str, digest: bytes) -> None:
        again = self._count_failure(digest, 1)
        if max(again, self._count_failure(_network(address), 1 if again == 1 else 0)) > FAILURES:
            raise TooManyFailures

    def _count_failure(self, key: str | bytes, more: int) -> int:
        now = time.monotonic()
        count, since = self._failures.get(key, (0, now))
        if now - since > FAILURES_SECONDS:
            count, since = 0, now
        if len(self._failures) >= MOST_BELIEVED:
            self._failures.clear()
        self._failures[key] = count + more, since
        return count + more


def _network(address: str) -> str:
    """Whom an address belongs to: nobody gets only one of IPv6."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a name, or nothing, that a trusted proxy gave
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, _NETWORK_OF_ONE), strict=False))
    return str(parsed)


def _same(grant: Grant, now: Grant | None) -> bool:
    return now is not None and (now.role, now.workspace) == (grant.role, grant.workspace)


def _granted(row: Any) -> Grant:
    if row["id"] is None:
        return replace(OWNER, digest=row["digest"], session=row["session"])
    role = Role[row["role"].upper()]
    return Grant(row["id"], row["name"], role, row["workspace"], row["digest"], row["session"])


class TooManyFailures(Exception):
    """One address sent too many wrong tokens, or the same wrong one came too often."""


@dataclass(slots=True)
class Rate:
    """At most `per_second` requests of one client on average, and ten seconds' worth at once; 0: any number."""

    per_second: float
    _levels: dict[object, tuple[float, float]] = field(default_factory=dict)

    def wait(self, client: object) -> float:
        """Seconds until the next request of that client would be taken; 0.0: this one is."""
        if not self.per_second:
            return 0.0
        now = time.monotonic()
        level, at = self._levels.get(client, (0.0, now))
        level = max(0.0, level - (now - at) * self.per_second)
        most = max(10 * self.per_second, 1.0)
        if level + 1 > most:
            return (level + 1 - most) / self.per_second
        if len(self._levels) >= MOST_BELIEVED:
            self._levels.clear()
        self._levels[client] = level + 1, now
        return 0.0
