"""What is answered where a request fails, as problem+json: the status, what happened, and what to do."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from math import ceil

import asyncpg
from starlette.exceptions import HTTPException
from starlette.responses import Response

from runstream_schemas.errors import (
    DatabaseError,
    LimitExceeded,
    QueryError,
    RunstreamError,
    StoreError,
    StoreFull,
    lacks_memory,
)

from ..files.artifacts import PathTaken, RunDeleted
from ..not_there import NotThere
from ..runs.deletion import StillActive
from ..runs.registry import InTheWay
from .responses import problem
from .tokens import FAILURES_SECONDS, TooManyFailures

log = logging.getLogger("runstream.server")


def wrong_tokens() -> Response:
    """Of an address that has sent too many wrong tokens."""
    return slow_down(
        "this token is wrong, and so were many before it; set RUNSTREAM_TOKEN to a good one", FAILURES_SECONDS
    )


def slow_down(why: str, seconds: float) -> Response:
    """Of one who asks too much, or too often."""
    return problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too Many Requests",
        f"{why}; try again later",
        {"Retry-After": str(ceil(seconds))},
    )


def ending() -> Response:
    """Of what was under way for longer than a server that ends waits."""
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Service Unavailable",
        "this server is ending, and this was not done in time; ask again, of the next one or when it is back",
        {"Connection": "close", "Retry-After": "1"},
    )


def error_answer(what: str, error: Exception) -> Response:
    """The answer to a request that raised `error`; `what`: its method and path."""
    if isinstance(error, HTTPException):
        title = HTTPStatus(error.status_code).phrase
        return problem(error.status_code, title, error.detail, error.headers)
    if isinstance(error, (PathTaken, InTheWay, StillActive)):
        return problem(409, "Conflict", str(error))
    if isinstance(error, TooManyFailures):
        return wrong_tokens()
    if isinstance(error, RunDeleted):
        return problem(410, "Gone", str(error))
    if isinstance(error, NotThere):
        return problem(404, "Not Found", str(error))
    if isinstance(error, (QueryError, LimitExceeded)):
        return problem(400, "Bad Request", str(error))
    if isinstance(error, (TimeoutError, asyncio.TimeoutError, asyncpg.QueryCanceledError)):
        return problem(504, "Timeout", f"{what} took too long; narrow it, or raise RUNSTREAM_QUERY_TIMEOUT")
    if isinstance(error, asyncpg.DiskFullError):
        log.error("the database has no room left: %s", error)
        return problem(
            HTTPStatus.INSUFFICIENT_STORAGE,
            "Insufficient Storage",
            f"the database has no room left ({error}); nothing was stored. Free some room on its disk, and send it again",
        )
    if _no_memory(error):
        log.error("no memory for %r: %s: %s", what, type(error).__name__, error)
        return problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Service Unavailable",
            f"there is no memory left for it ({type(error).__name__}: {error}); ask again, or give the server more",
            {"Retry-After": "1"},
        )
    away = (
        OSError,
        DatabaseError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,  # of a connection that broke off in the middle
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
    )
    if isinstance(error, (*away, asyncpg.TooManyConnectionsError)):
        log.warning("the database is away: %s: %s", type(error).__name__, error)
        return problem(
            503,
            "Service Unavailable",
            f"the database is away ({type(error).__name__}); try again",
            {"Retry-After": "1"},
        )
    if isinstance(error, (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)):
        return problem(400, "Bad Request", "a text holds NUL, which the database cannot hold; remove it")
    if isinstance(error, (asyncpg.DataError, UnicodeEncodeError)):
        log.warning("%r: %s: %s", what, type(error).__name__, error)
        return problem(
            400,
            "Bad Request",
            f"a value of {what} is out of range or no valid unicode; give one that can be stored",
        )
    if isinstance(error, StoreFull):
        log.error("%s", error)
        return problem(HTTPStatus.INSUFFICIENT_STORAGE, "Insufficient Storage", str(error))
    if isinstance(error, StoreError):
        log.error("%s", error)
        return problem(500, "Store Error", str(error))
    if isinstance(error, RunstreamError):
        log.error("%s", error)
        return problem(500, "Error", str(error))
    log.error("%r failed", what, exc_info=error)
    return problem(500, "Internal Error", f"{type(error).__name__}; see the server's log")


def _no_memory(error: Exception) -> bool:
    """Whether this process, or the database's, has none left."""
    return lacks_memory(error) or isinstance(error, asyncpg.OutOfMemoryError)
