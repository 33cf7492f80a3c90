"""Waiting by a clock that is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

ClockMs = Callable[[], int]
"""Milliseconds UTC."""


async def until(clock_ms: ClockMs, moment_ms: float) -> None:
    """Return when the clock shows the moment; timers alone may be a little early."""
    while (ahead_ms := moment_ms - clock_ms()) > 0:  # noqa: ASYNC110  # time is what is waited for
        await asyncio.sleep(ahead_ms / 1000)
