"""The line for a receiver's slots in this process: the most urgent first, whoever came when."""

from __future__ import annotations

import asyncio
from bisect import insort
from heapq import heappop, heappush
from itertools import count

from alerting.reasons import Undelivered
from alerting.sending.book import Book
from alerting.sending.clock import ClockMs, until
from tocsin_common.errors import Retryable

AHEAD_MS = 400
"""Slots are reserved this far ahead: many with one write, and few are lost when a replica dies."""

LEAD_MS = 60
"""A slot is given out this long before its moment: meanwhile the attempt is recorded."""


class Line:
    """Deliveries that wait for slots. `room`: more than so many are told to come back."""

    def __init__(self, book: Book, clock_ms: ClockMs, *, room: int) -> None:
        self._book = book
        self._now_ms = clock_ms
        self._room = room
        self._slots: list[int] = []
        self._waiting: list[tuple[int, int, asyncio.Future[int]]] = []
        self._order = count()
        self._giving: asyncio.Task[None] | None = None

    @property
    def late_ms(self) -> int:
        return self._book.late_ms

    @property
    def idle(self) -> bool:
        return self._giving is None and self._book.forgotten

    async def slot(self, rank: int, *, stays: bool = False) -> int:
        """The moment of a slot that is yours; it may be up to LEAD_MS ahead.

        Raises Retryable when there is no room in the line, but for who `stays`.
        """
        if len(self._waiting) >= self._room and not stays:
            come_back_s = self._book.come_back_s(behind=self._room // 2)
            raise Retryable(Undelivered.RATE_LIMITED, "no room in the line", retry_after_s=come_back_s)
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._order), waiter))
        if self._giving is None:
            self._giving = asyncio.create_task(self._give_all())
        return await waiter

    def give_back(self, slot: int) -> None:
        """Somebody cannot use it; the next one may."""
        insort(self._slots, slot)

    def passed(self, slot: int) -> None:
        """Nobody used it in time: it does not count."""
        self._book.give_back(slot)

    async def _give_all(self) -> None:
        try:
            while self._waiting:
                if not self._slots:
                    self._slots = await self._reserved()
                slot = self._slots[0]
                await until(self._now_ms, slot - LEAD_MS)
                self._give(self._slots.pop(0))
        except Exception as error:
            while self._waiting:
                *_, waiter = heappop(self._waiting)
                if not waiter.done():
                    waiter.set_exception(error)
        finally:
            self._giving = None

    def _give(self, slot: int) -> None:
        """To the most urgent one, unless it is too late for it."""
        while self._waiting and slot + self.late_ms >= self._now_ms():
            *_, waiter = heappop(self._waiting)
            if not waiter.done():
                waiter.set_result(slot)
                return
        self.passed(slot)

    async def _reserved(self) -> list[int]:
        """The next slots, at least one, for those who wait."""
        while True:
            now_ms = self._now_ms()
            until_ms = now_ms + AHEAD_MS
            if found := await self._book.reserve(len(self._waiting), from_ms=now_ms, until_ms=until_ms):
                return found
            await asyncio.sleep((self._book.next_ms(now_ms) - until_ms + AHEAD_MS // 2) / 1000)
