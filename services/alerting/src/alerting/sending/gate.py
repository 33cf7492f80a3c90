"""Before every request: a permit of each receiver that limits us, then one of the channel's connections.

Who waits here is in hand, but holds no connection. A destination of its own pace never keeps the others waiting: few
wait for it here, the rest is told to come back. What a receiver says about when to come back is kept to by everybody.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from alerting.reasons import Undelivered
from alerting.sending.book import Book
from alerting.sending.clock import ClockMs, until
from alerting.sending.closures import Closures
from alerting.sending.line import Line
from alerting.sending.rates import Route, Scope
from alerting.sending.turns import Turns
from tocsin_common.bus.protocol import KeyValue
from tocsin_common.errors import Retryable

WAITING = 4
"""For each connection, this many deliveries are in hand and wait."""

HELD = 4
"""So many wait here for one destination, and no longer than HOLD_MS for its next slot."""

HOLD_MS = 3_000

RENEW_S = 5.0
"""An attempt whose slot has passed waits this long for another one."""

PRESSING = -1
"""The rank of who has a connection already."""

KNOWN_MAX = 10_000
"""Destinations remembered before those that are idle are forgotten."""


@dataclass(frozen=True, slots=True)
class Permit:
    """To send between two moments. `shared_ms` is the slot taken of the shared limits, if there are any."""

    route: Route
    rank: int
    from_ms: int
    until_ms: float
    shared_ms: int | None = None


class Gate:
    """The permits and connections of one channel. `rank` 0 is the most urgent."""

    def __init__(self, bucket: KeyValue, closures: Closures, *, workers: int, clock_ms: ClockMs) -> None:
        self.workers = workers
        self._bucket = bucket
        self._closures = closures
        self._now_ms = clock_ms
        self._connections = Turns(workers)
        self._room = workers * WAITING
        self._lines: dict[str, Line] = {}
        self._own: dict[str, tuple[Book, Turns]] = {}

    def connection(self, rank: int) -> AbstractAsyncContextManager[None]:
        """One of the channel's connections."""
        return self._connections.turn(rank)

    async def permit(self, route: Route, rank: int, *, stays: bool = False) -> Permit:
        """Wait for one. Raises Retryable for who waits better elsewhere, unless it `stays`, and Unreachable."""
        self._look_closed(route, hold_ms=HOLD_MS if route.own.limits else 0)
        if not route.own.limits:
            return await self._of_line(route, rank, stays=stays)
        book, turns = self._book(route.own)
        if turns.waiting >= HELD and rank > 0:
            raise self._elsewhere(book)
        async with turns.turn(rank):
            return await self._of_both(book, route, rank, stays=stays)

    async def ready(self, permit: Permit) -> None:
        """Wait for the permit's moment; one that has passed is replaced.

        Raises Retryable if that is not soon, or the receiver has asked for patience in the meantime.
        """
        try:
            async with asyncio.timeout(RENEW_S):
                while self._now_ms() > permit.until_ms:
                    permit = await self._renewed(permit)
                    await until(self._now_ms, permit.from_ms)
                await until(self._now_ms, permit.from_ms)
        except TimeoutError:
            raise Retryable(Undelivered.RATE_LIMITED, "no permit in time") from None
        self._look_closed(permit.route, hold_ms=0)

    async def _renewed(self, permit: Permit) -> Permit:
        """Who has a connection already waits for nobody. What passed unused is given back: many permits of one moment
        may pass together, and their successors would find the next moments taken by them."""
        if permit.shared_ms is not None:
            self._line(permit.route.shared).passed(permit.shared_ms)
        if not permit.route.own.limits:
            return await self._of_line(permit.route, PRESSING, stays=True)
        book, _ = self._book(permit.route.own)
        book.give_back(permit.from_ms)
        return await self._of_both(book, permit.route, PRESSING, stays=True)

    async def _of_both(self, book: Book, route: Route, rank: int, *, stays: bool) -> Permit:
        """A slot of the line, and at the same time one of the destination's."""
        while True:
            self._look_closed(route, hold_ms=HOLD_MS)
            next_ms = book.next_ms(self._now_ms()) - book.late_ms // 2
            if next_ms > self._now_ms() + HOLD_MS:
                raise self._elsewhere(book)
            await until(self._now_ms, max(next_ms, self._closed_until_ms(route)))
            permit = await self._of_line(route, rank, stays=stays)
            until_ms = min(permit.until_ms, permit.from_ms + book.late_ms)
            if slots := await book.reserve(1, from_ms=permit.from_ms, until_ms=int(until_ms)):
                return replace(permit, from_ms=slots[0], until_ms=min(permit.until_ms, slots[0] + book.late_ms))
            if route.shared.limits:
                self._line(route.shared).give_back(permit.from_ms)

    async def _of_line(self, route: Route, rank: int, *, stays: bool) -> Permit:
        if not route.shared.limits:
            return Permit(route, rank, self._now_ms(), float("inf"))
        line = self._line(route.shared)
        slot = await line.slot(rank, stays=stays)
        return Permit(route, rank, slot, slot + line.late_ms, shared_ms=slot)

    def _closed_until_ms(self, route: Route) -> int:
        return max(self._closures.until_ms(route.shared.key), self._closures.until_ms(route.own.key))

    def _look_closed(self, route: Route, *, hold_ms: int) -> None:
        """Raises Retryable while the receiver is closed for longer than one may wait here."""
        wait_ms = self._closed_until_ms(route) - self._now_ms()
        if wait_ms > hold_ms:
            raise Retryable(Undelivered.RATE_LIMITED, "it asked for patience", retry_after_s=wait_ms / 1000)

    def _elsewhere(self, book: Book) -> Retryable:
        come_back_s = book.come_back_s(behind=HELD // 2)
        return Retryable(Undelivered.RATE_LIMITED, "others wait for it already", retry_after_s=come_back_s)

    def _line(self, scope: Scope) -> Line:
        if scope.key not in self._lines:
            if len(self._lines) >= KNOWN_MAX:
                self._lines = {key: line for key, line in self._lines.items() if not line.idle}
            book = Book(self._bucket, scope.key, scope.limits, self._now_ms)
            room = self._room if scope.alone else self._room // 4
            self._lines[scope.key] = Line(book, self._now_ms, room=room)
        return self._lines[scope.key]

    def _book(self, scope: Scope) -> tuple[Book, Turns]:
        if scope.key not in self._own:
            if len(self._own) >= KNOWN_MAX:
                self._own = {key: own for key, own in self._own.items() if own[1].used or not own[0].forgotten}
            self._own[scope.key] = Book(self._bucket, scope.key, scope.limits, self._now_ms), Turns(1)
        return self._own[scope.key]
