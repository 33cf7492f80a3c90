"""Times as a person writes and reads them, UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from tocsin.console import UsageError


def moment(at_ms: int) -> str:
    """A time as a person reads it."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def moment_ms(option: str, text: str) -> int:
    """Milliseconds of a day or moment that an option gives. Raises UsageError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no day or moment, such as 2024-01-01 or 2024-01-01T12:00.") from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
