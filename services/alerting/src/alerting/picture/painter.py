"""A process that draws: `Painter` starts it, gives it a drawing at a time, and starts another when it dies or hangs.

Drawing takes some 100 ms of a core, much of it with Python's lock held: in a thread it was seen to hold up the event
loop for 60 ms, and with it every webhook. The process is nice to the rest and ends when its input does, so also when
the service was killed. Messages both ways are four bytes of length and as many of content; an empty answer: not drawn.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
import numpy as np
import structlog

from alerting.picture.chart import Candles, Chart, Market
from alerting.picture.draw import draw
from alerting.picture.report import Page, draw_report
from alerting.picture.themes import ThemeName
from tocsin_common import logs
from tocsin_common.events import Language, SignalRaised, Summary

log = structlog.get_logger()

DRAW_S = 5.0
"""A drawing that takes longer hangs."""

NICE = 10

LENGTH = struct.Struct("<I")


class ChartOrder(msgspec.Struct, frozen=True, kw_only=True, tag="chart"):
    """A chart on its way to the process; columns as bytes of int64 (time) and float64."""

    signal: SignalRaised | Market
    theme: ThemeName
    columns: tuple[bytes, bytes, bytes, bytes, bytes, bytes]
    lines: dict[str, bytes]

    @classmethod
    def of(cls, chart: Chart, theme: ThemeName) -> ChartOrder:
        rows = chart.candles
        prices = (rows.open.tobytes(), rows.high.tobytes(), rows.low.tobytes(), rows.close.tobytes())
        lines = {name: values.tobytes() for name, values in chart.lines.items()}
        columns = (rows.open_ms.tobytes(), *prices, rows.volume.tobytes())
        return cls(signal=chart.signal, theme=theme, columns=columns, lines=lines)

    def chart(self) -> Chart:
        open_ms, *rest = self.columns
        floats = [np.frombuffer(column, np.float64) for column in rest]
        lines = {name: np.frombuffer(values, np.float64) for name, values in self.lines.items()}
        return Chart(self.signal, Candles(np.frombuffer(open_ms, np.int64), *floats), lines)

    def drawn(self) -> bytes:
        return draw(self.chart(), self.theme)


class PageOrder(msgspec.Struct, frozen=True, kw_only=True, tag="page"):
    """A report on its way to the process."""

    report: Summary
    theme: ThemeName
    language: Language

    def drawn(self) -> bytes:
        return draw_report(self.report, self.theme, self.language)


Drawing = Chart | Page
Order = ChartOrder | PageOrder


def ordered(drawing: Drawing, theme: ThemeName) -> Order:
    if isinstance(drawing, Page):
        return PageOrder(report=drawing.report, theme=theme, language=drawing.language)
    return ChartOrder.of(drawing, theme)


class Painter:
    """Draws one after another; the process lives as long as the context. `process` None: it is to be started."""

    def __init__(self, theme: ThemeName) -> None:
        self._theme = theme
        self.process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self.process = await start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._end()

    async def draw(self, drawing: Drawing) -> bytes | None:
        """The PNG; None when it could not be drawn, or not within DRAW_S."""
        order = msgspec.msgpack.encode(ordered(drawing, self._theme))
        async with self._turn:
            try:
                async with asyncio.timeout(DRAW_S):
                    if self.process is None:
                        self.process = await start()
                    return await exchange(self.process, order) or None
            except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
                log.warning("the painter is started anew", error=type(error).__name__)
                await self._end()
                return None
            except asyncio.CancelledError:  # half a message may be under way
                await self._end()
                raise

    async def _end(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def start() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-m", __spec__.name, stdin=pipe, stdout=pipe)


async def exchange(process: asyncio.subprocess.Process, order: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(LENGTH.pack(len(order)) + order)
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    return await process.stdout.readexactly(length)


def paint(orders: BinaryIO, pictures: BinaryIO) -> None:
    """Draw what comes until nothing comes. What cannot be drawn is told on stderr; the next one may be."""
    decoder: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
    while len(head := orders.read(LENGTH.size)) == LENGTH.size:
        order = decoder.decode(orders.read(*LENGTH.unpack(head)))
        try:
            picture = order.drawn()
        except Exception as error:  # whatever is wrong with one, the others are drawn
            log.error("not drawn", about=type(order).__name__, exc_info=error)
            picture = b""
        pictures.write(LENGTH.pack(len(picture)) + picture)
        pictures.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, meant for the service, which ends our input
    logs.configure("alerting-painter", level="warning")
    os.nice(NICE)
    paint(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
