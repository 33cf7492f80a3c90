"""Between two rounds: columns are carried to the candles that come next. It only saves time, so it waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from signal_engine.engine import Engine
from signal_engine.metrics import Metrics

CARRIED_AT_ONCE = 128
"""Windows prepared at a time: some 15 ms, for which the next round may have to wait; after a start some 50 ms."""


class WorkAhead:
    """Prepares an engine for the next round, from `begin` until there is nothing left to do or somebody wants it to
    `end`; `breathe` lets others go on."""

    def __init__(self, engine: Engine, metrics: Metrics, breathe: Callable[[], Awaitable[None]]) -> None:
        self._engine, self._metrics, self._breathe = engine, metrics, breathe
        self._work: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """What the last round found goes out meanwhile."""
        self._work = asyncio.create_task(self._carry())

    async def end(self) -> None:
        """Afterwards the engine is the caller's. Raises what went wrong."""
        if self._work is not None:
            work, self._work = self._work, None
            await work

    async def _carry(self) -> None:
        while self._work is not None and self._engine.carry(CARRIED_AT_ONCE):
            await self._breathe()
        self._metrics.spent({"carrying": self._engine.evaluation.spent.pop("carrying", 0.0)})
