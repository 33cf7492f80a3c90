"""Everything is drawn once: whoever asks first has candles fetched and drawn, or a report; the others get the same
picture.

Nobody waits longer than WAIT_S for a picture. What takes longer is drawn all the same, for those who come later.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import structlog

from alerting.metrics import Metrics
from alerting.picture.chart import SLOTS_MAX, Candles, Chart
from alerting.picture.painter import Drawing
from alerting.picture.readings import lines, readings
from alerting.picture.report import Page
from alerting.reasons import NoPicture
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import TocsinError
from tocsin_common.events import SendDue, SignalRaised
from tocsin_common.ids import derive
from tocsin_common.requests import HISTORY, HistoryReply, HistoryRequest
from tocsin_trading.timeframes import TIMEFRAME_MS

log = structlog.get_logger()

WAIT_S = 1.5
"""How much later an alert may be for its picture's sake: on a boundary some ten signals are drawn in that time."""

CANDLES_S = 1.0
"""The share of it that the candles may take."""

KEPT = 128
"""Pictures kept: about 13 MB."""

WAITING_MAX = 32
"""Signals in hand at a time; the next ones go without a picture."""


About = Callable[[], Awaitable[Drawing | None]]
"""Gets what is to be drawn; None: there are no candles."""


class Draws(Protocol):
    """What draws: the painter, or the pure function in a test."""

    async def draw(self, drawing: Drawing) -> bytes | None: ...


class Pictures:
    """Pictures by what they are of. What is under way is given up when the context ends."""

    def __init__(self, bus: Bus, painter: Draws, metrics: Metrics, *, wait_s: float = WAIT_S) -> None:
        self._bus = bus
        self._painter = painter
        self._metrics = metrics
        self._wait_s = wait_s
        self._tasks: OrderedDict[str, asyncio.Task[bytes | NoPicture]] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def of_work(self, due: SendDue) -> bytes | None:
        """The PNG of what an alert is about; None where it is about nothing that is drawn."""
        if due.report is not None:
            return await self.of_report(Page(due.report, due.language))
        return await self.of(due.signal) if due.signal else None

    async def of(self, signal: SignalRaised) -> bytes | None:
        """The PNG of a signal, drawn at the first asking; None where there is none in time, which is counted."""
        return await self._counted(signal.signal_id, lambda: self._chart(signal))

    async def of_market(self, chart: Chart) -> bytes | None:
        """The PNG of a market alone, as `of` gives that of a signal."""
        about = chart.signal

        async def itself() -> Chart:
            return chart

        key = derive("market", about.exchange, about.symbol, about.timeframe, about.candle_open_ms)
        return await self._counted(key, itself)

    async def of_report(self, page: Page) -> bytes | None:
        """The PNG of a report, as `of` gives that of a signal."""

        async def itself() -> Page:
            return page

        return await self._counted(page.page_id, itself)

    async def _counted(self, key: str, about: About) -> bytes | None:
        found = await self._soon(key, about)
        if isinstance(found, bytes):
            return found
        self._metrics.pictures_missing.labels(found).inc()
        return None

    async def _soon(self, key: str, about: About) -> bytes | NoPicture:
        task = self._tasks.get(key) or self._begin(key, about)
        if task is None:
            return NoPicture.BUSY
        done, _ = await asyncio.wait([task], timeout=self._wait_s)
        return task.result() if done else NoPicture.LATE

    def _begin(self, key: str, about: About) -> asyncio.Task[bytes | NoPicture] | None:
        """Have something drawn, in place of the oldest picture; None when too much is in hand."""
        if sum(not task.done() for task in self._tasks.values()) >= WAITING_MAX:
            return None
        if len(self._tasks) >= KEPT:
            oldest = next(key for key, task in self._tasks.items() if task.done())
            del self._tasks[oldest]
        task = self._tasks[key] = asyncio.create_task(self._outcome(key, about))
        return task

    async def _outcome(self, key: str, about: About) -> bytes | NoPicture:
        try:
            return await self._draw(about)
        except Exception as error:  # a mistake of ours must not cost the text
            log.error("no picture", of=key, exc_info=error)
            return NoPicture.NOT_DRAWN

    async def _draw(self, about: About) -> bytes | NoPicture:
        with self._metrics.picture_seconds.time():
            drawing = await about()
            if drawing is None:
                return NoPicture.NO_CANDLES
            picture = await self._painter.draw(drawing)
        if picture is None:
            return NoPicture.NOT_DRAWN
        self._metrics.pictures_drawn.inc()
        return picture

    async def _chart(self, signal: SignalRaised) -> Chart | None:
        """The candles up to the signal's own, with lines; None when nobody has the candles in time."""
        try:
            asked = question(signal)
            reply, found = await asyncio.gather(
                self._bus.request(HISTORY, asked, timeout_s=CANDLES_S),
                readings(self._bus, signal, since_ms=asked.from_ms, wait_s=CANDLES_S),
            )
        except (TocsinError, ValueError) as error:
            log.info("no candles for a picture", signal_id=signal.signal_id, error=str(error))
            return None
        candles = candles_of(reply)
        return Chart(signal, candles, lines(found, candles.open_ms)) if reply.open_ms else None


def question(signal: SignalRaised) -> HistoryRequest:
    """As many candles as a picture shows, the last one the signal's own. Raises ValueError for no range of time."""
    length_ms = TIMEFRAME_MS.get(signal.timeframe, 0)
    end_ms = signal.candle_open_ms + length_ms
    return HistoryRequest(
        exchange=signal.exchange,
        symbol=signal.symbol,
        timeframe=signal.timeframe,
        from_ms=max(end_ms - SLOTS_MAX * length_ms, 0),
        to_ms=end_ms,
        limit=SLOTS_MAX,
    )


def candles_of(reply: HistoryReply) -> Candles:
    floats = (reply.open, reply.high, reply.low, reply.close, reply.volume)
    return Candles(np.array(reply.open_ms, np.int64), *(np.array(column, np.float64) for column in floats))
