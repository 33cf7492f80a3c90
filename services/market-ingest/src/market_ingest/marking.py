"""Marks on their way while the next trades are handled: a mark is synced to disk, and nobody should wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

M = TypeVar("M")


class Marking(Generic[M]):
    """Stores marks one at a time. A mark covers those before it: of several that wait, the newest goes."""

    def __init__(self, store: Callable[[M], Awaitable[None]]) -> None:
        self._store = store
        self._newest: M | None = None
        self._task: asyncio.Task[None] | None = None

    def note(self, mark: M) -> None:
        """Store this one next. Raises what an earlier one failed with."""
        self._newest = mark
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="marks")

    async def finish(self) -> None:
        """Wait until the newest one is stored. Raises what storing failed with."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while (mark := self._newest) is not None:
            self._newest = None
            await self._store(mark)
