"""The PostgreSQL edge: connections with limits on everything, and asyncpg's errors turned into ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import asyncpg
from asyncpg import exceptions

from tocsin_common.errors import Rejected, Retryable, Unreachable

CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
ACQUIRE_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 60.0
READ_TIMEOUT_MS = 10_000
"""A read that takes longer is ended by the server: somebody is waiting for an answer."""

WRITE_TIMEOUT_MS = 50_000
IDLE_IN_TRANSACTION_MS = 30_000

PROJECTOR_LOCK = 7_234_918_001
"""Advisory lock of whoever may write projections: the running projector, or a rebuild."""

MIGRATION_LOCK = 7_234_918_002
RETRY_AFTER_S = 1.0

_AWAY_CLASSES = frozenset({"08", "25", "40", "53", "55", "57", "58"})
"""SQLSTATE classes that pass: connection, transaction state, conflict, resources, lock, shutdown, disk."""
_REJECTED_CLASSES = frozenset({"22", "23"})
_MISSING_SCHEMA = frozenset({"42P01", "42703"})


def shown(dsn: str) -> str:
    """The server of a connection URL without user, password and parameters: safe to log."""
    parts = urlsplit(dsn)
    host = parts.hostname or "(local socket)"
    return f"postgresql://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


async def connect(dsn: str, *, statement_timeout_ms: int = 0) -> asyncpg.Connection:
    """One connection. Raises Unreachable naming the server and the remedy; 0: statements may take as long as needed."""
    try:
        return await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT_S, server_settings=_server_settings(statement_timeout_ms)
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise unreachable(dsn, error) from error


async def open_pool(dsn: str, *, size: int, statement_timeout_ms: int) -> asyncpg.Pool:
    """A pool that connects when it is first used, so that a service starts while PostgreSQL is still away."""
    try:
        pool = asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            reset=_keep_session,
            server_settings=_server_settings(statement_timeout_ms),
        )
        return await pool
    except (OSError, asyncpg.InterfaceError, ValueError) as error:
        raise unreachable(dsn, error) from error


async def _keep_session(_conn: asyncpg.Connection) -> None:
    """Spare the round trip that resets a session between users: ours only ever change settings inside transactions."""


async def close_pool(pool: asyncpg.Pool) -> None:
    """Close a pool; connections that do not finish in time are dropped."""
    try:
        await asyncio.wait_for(pool.close(), CLOSE_TIMEOUT_S)
    except (TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
        pool.terminate()


def unreachable(dsn: str, error: BaseException) -> Unreachable:
    cause = str(error) or type(error).__name__
    return Unreachable(
        f"PostgreSQL at {shown(dsn)} cannot be used ({cause}); connecting was given {CONNECT_TIMEOUT_S:g} s. "
        "Check that the server runs and that postgres.url is right."
    )


@contextmanager
def errors_of_ours() -> Iterator[None]:
    """Turn asyncpg's exceptions into Retryable (the server is away or busy) or Rejected (the data cannot be stored).

    Anything else is a bug of ours and passes.
    """
    try:
        yield
    except exceptions.DataError as error:
        raise Rejected("not_storable", str(error)) from error
    except exceptions.PostgresError as error:
        raise _translate(error) from error
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # The last: the server ended the session between two statements, and its words are still being read.
        raise Retryable("postgres_away", _cause(error), retry_after_s=RETRY_AFTER_S) from error


def _translate(error: exceptions.PostgresError) -> Exception:
    state = error.sqlstate or ""
    if isinstance(error, exceptions.QueryCanceledError):
        return Retryable("too_slow", str(error), retry_after_s=RETRY_AFTER_S)
    if isinstance(error, exceptions.InvalidCachedStatementError):
        return Retryable("schema_changed", str(error), retry_after_s=RETRY_AFTER_S)
    if state in _MISSING_SCHEMA:
        return Retryable("schema_missing", f"{error}; run: tocsin migrate", retry_after_s=RETRY_AFTER_S)
    if state[:2] in _REJECTED_CLASSES:
        return Rejected("not_storable", str(error))
    if state[:2] in _AWAY_CLASSES:
        return Retryable("postgres_away", str(error), retry_after_s=RETRY_AFTER_S)
    return error


def _cause(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _server_settings(statement_timeout_ms: int) -> dict[str, str]:
    return {
        "application_name": "tocsin-api-gateway",
        "statement_timeout": str(statement_timeout_ms),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
        "jit": "off",
        "timezone": "UTC",
    }
