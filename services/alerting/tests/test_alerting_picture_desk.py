"""Each signal is drawn once, by a process of its own, and no alert waits long for its picture."""

from __future__ import annotations

import asyncio
import io
import signal as signals
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from alerting.metrics import Metrics
from alerting.picture.chart import SLOTS_MAX, Candles, Chart
from alerting.picture.desk import KEPT, WAITING_MAX, Draws, Pictures
from alerting.picture.painter import ChartOrder, Painter, exchange, start
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.errors import Rejected
from tocsin_common.events import IndicatorsComputed, SignalRaised
from tocsin_common.requests import HISTORY, HistoryReply, HistoryRequest

HOUR_MS = 3_600_000

LONG = SignalRaised(
    strategy="ema_cross",
    strategy_version="1",
    params_hash="p",
    exchange="binance",
    symbol="BTC/USDT",
    timeframe="1h",
    candle_open_ms=1_723_161_600_000,
    confirmed_ms=1_723_165_200_000,
    side="long",
    confidence=72,
    entry=64_000.0,
    stop=63_000.0,
    targets=[65_500.0],
    expires_ms=1_723_251_600_000,
    reasons=["rose"],
)


def candles(count: int, *, end_ms: int = LONG.candle_open_ms) -> Candles:
    """Candles that rise steadily, the last one at `end_ms`."""
    close = 60_000.0 + np.arange(count)
    open_ms = end_ms - HOUR_MS * np.arange(count - 1, -1, -1)
    return Candles(open_ms, close - 1, close + 2, close - 2, close, np.ones(count))


def signal_number(number: int) -> SignalRaised:
    opened_ms = LONG.candle_open_ms + number * HOUR_MS
    return msgspec.structs.replace(LONG, candle_open_ms=opened_ms, confirmed_ms=opened_ms + HOUR_MS)


@dataclass
class Market:
    """Answers for history: `count` candles up to the end of what was asked for."""

    count: int = 80
    asked: list[HistoryRequest] = field(default_factory=list)

    async def answer(self, question: HistoryRequest) -> HistoryReply:
        self.asked.append(question)
        if question.symbol == "NO/SUCH":
            raise Rejected("no_such_market")
        rows = candles(self.count, end_ms=question.to_ms - HOUR_MS)
        columns = (rows.open, rows.high, rows.low, rows.close, rows.volume)
        names = ("open", "high", "low", "close", "volume")
        return HistoryReply(
            exchange=question.exchange,
            symbol=question.symbol,
            timeframe=question.timeframe,
            open_ms=rows.open_ms.tolist(),
            **{name: column.tolist() for name, column in zip(names, columns, strict=True)},
            origin=["trades"] * self.count,
            revision=[0] * self.count,
        )


@dataclass
class Sketcher:
    """Draws names instead of pictures, once `open` is set."""

    drawn: list[Chart] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def draw(self, chart: Chart) -> bytes | None:
        await self.open.wait()
        self.drawn.append(chart)
        return chart.signal.signal_id.encode() if len(chart.candles.open_ms) > 1 else None


@dataclass
class Desk:
    market: Market
    sketcher: Sketcher
    bus: MemoryBus
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def pictures(self, painter: Draws | None = None, wait_s: float = 5.0) -> Pictures:
        return Pictures(self.bus, painter or self.sketcher, Metrics(self.registry), wait_s=wait_s)

    def missing(self, reason: str) -> float:
        return self.registry.get_sample_value("alerting_pictures_missing_total", {"reason": reason}) or 0.0


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(Market(), Sketcher(), MemoryBus())
    desk.sketcher.open.set()
    async with desk.bus.serve(HISTORY, desk.market.answer):
        yield desk


async def test_however_many_ask_a_signal_is_drawn_once(desk: Desk) -> None:
    async with desk.pictures() as pictures:
        asked = [pictures.of(signal_number(number % 2)) for number in range(20)]
        assert len(set(await asyncio.gather(*asked))) == 2
        assert await pictures.of(signal_number(0)) == signal_number(0).signal_id.encode()
    assert len(desk.sketcher.drawn) == len(desk.market.asked) == 2
    assert desk.registry.get_sample_value("alerting_pictures_drawn_total") == 2


async def test_the_candles_asked_for_end_with_the_signals_own(desk: Desk) -> None:
    async with desk.pictures() as pictures:
        await pictures.of(LONG)
    [question] = desk.market.asked
    assert (question.exchange, question.symbol, question.timeframe) == ("binance", "BTC/USDT", "1h")
    assert question.to_ms == LONG.candle_open_ms + HOUR_MS
    assert question.to_ms - question.from_ms == SLOTS_MAX * HOUR_MS
    [chart] = desk.sketcher.drawn
    assert chart.candles.open_ms[-1] == LONG.candle_open_ms
    assert np.array_equal(chart.candles.close, candles(80).close)


async def test_published_indicators_that_are_prices_are_drawn_as_lines(desk: Desk) -> None:
    closes = candles(80)
    await desk.bus.publish(
        [
            IndicatorsComputed(
                exchange="binance",
                symbol="BTC/USDT",
                timeframe="1h",
                open_ms=opened_ms,
                close=close,
                values={
                    "ema_20": close,
                    "bollinger_upper_20_2": close + 1,
                    "rsi_14": 50.0,
                    "supertrend_side_10_3": 1.0,
                },
            )
            for opened_ms, close in list(zip(closes.open_ms.tolist(), closes.close.tolist(), strict=True))[:-1]
        ]
    )
    async with desk.pictures() as pictures:
        await pictures.of(LONG)
    [chart] = desk.sketcher.drawn
    assert list(chart.lines) == ["Bollinger upper 20 2", "EMA 20"]
    assert np.array_equal(chart.lines["EMA 20"][:-1], closes.close[:-1])
    assert np.isnan(chart.lines["EMA 20"][-1])


async def test_indicators_of_other_candles_give_no_lines(desk: Desk) -> None:
    about = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}
    await desk.bus.publish([IndicatorsComputed(**about, open_ms=0, close=1.0, values={"ema_20": 1.0})])
    async with desk.pictures() as pictures:
        assert await pictures.of(LONG)
    assert not desk.sketcher.drawn[0].lines


@pytest.mark.parametrize(
    "signal",
    [
        msgspec.structs.replace(LONG, symbol="NO/SUCH"),
        msgspec.structs.replace(LONG, timeframe="7m"),
        msgspec.structs.replace(LONG, candle_open_ms=-HOUR_MS * 500),
    ],
    ids=["unknown market", "unknown timeframe", "before all time"],
)
async def test_without_candles_there_is_no_picture_and_it_is_counted(desk: Desk, signal: SignalRaised) -> None:
    async with desk.pictures() as pictures:
        assert await pictures.of(signal) is None
    assert desk.missing("no_candles") == 1


async def test_where_nobody_answers_for_history_there_is_no_picture() -> None:
    desk = Desk(Market(), Sketcher(), MemoryBus())
    async with desk.pictures() as pictures:
        assert await pictures.of(LONG) is None
    assert desk.missing("no_candles") == 1


async def test_an_empty_history_gives_no_picture(desk: Desk) -> None:
    desk.market.count = 0
    async with desk.pictures() as pictures:
        assert await pictures.of(LONG) is None
    assert desk.missing("no_candles") == 1


async def test_what_could_not_be_drawn_is_counted(desk: Desk) -> None:
    desk.market.count = 1
    async with desk.pictures() as pictures:
        assert await pictures.of(LONG) is None
    assert desk.missing("not_drawn") == 1


class Clumsy:
    """Has a mistake."""

    async def draw(self, chart: Chart) -> bytes | None:
        raise ZeroDivisionError(chart.signal.symbol)


async def test_a_mistake_in_drawing_costs_the_picture_and_nothing_else(desk: Desk) -> None:
    async with desk.pictures(Clumsy()) as pictures:
        assert await pictures.of(LONG) is None
    assert desk.missing("not_drawn") == 1


async def test_who_waited_long_enough_goes_without_and_who_comes_later_has_it(desk: Desk) -> None:
    desk.sketcher.open.clear()
    async with desk.pictures(wait_s=0.01) as pictures:
        assert await pictures.of(LONG) is None
        assert desk.missing("late") == 1
        desk.sketcher.open.set()
        async with asyncio.timeout(5):
            while not desk.sketcher.drawn:  # noqa: ASYNC110  the sketcher announces nothing
                await asyncio.sleep(0)
        assert await pictures.of(LONG) == LONG.signal_id.encode()
    assert len(desk.sketcher.drawn) == 1


async def test_one_who_gives_up_does_not_take_the_picture_from_the_others(desk: Desk) -> None:
    desk.sketcher.open.clear()
    async with desk.pictures() as pictures:
        first, second = (asyncio.ensure_future(pictures.of(LONG)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        desk.sketcher.open.set()
        assert await second == LONG.signal_id.encode()


async def test_more_than_can_be_drawn_soon_goes_without(desk: Desk) -> None:
    desk.sketcher.open.clear()
    async with desk.pictures() as pictures:
        waiting = [asyncio.ensure_future(pictures.of(signal_number(n))) for n in range(WAITING_MAX)]
        await asyncio.sleep(0)
        assert await pictures.of(signal_number(WAITING_MAX)) is None
        assert desk.missing("busy") == 1
        desk.sketcher.open.set()
        assert all(await asyncio.gather(*waiting))


async def test_only_so_many_pictures_are_kept_and_the_oldest_goes_first(desk: Desk) -> None:
    async with desk.pictures() as pictures:
        for number in range(KEPT + 1):
            await pictures.of(signal_number(number))
        await pictures.of(signal_number(1))
        assert len(desk.sketcher.drawn) == KEPT + 1
        await pictures.of(signal_number(0))
        assert len(desk.sketcher.drawn) == KEPT + 2


async def test_the_painter_draws_from_what_the_market_answers(desk: Desk) -> None:
    async with Painter("light") as painter, desk.pictures(painter, wait_s=20.0) as pictures:
        picture = await pictures.of(LONG)
    assert picture is not None
    assert Image.open(io.BytesIO(picture)).size == (2000, 1200)


async def test_a_painter_that_was_killed_is_replaced() -> None:
    chart = Chart(LONG, candles(10))
    async with Painter("dark") as painter:
        assert painter.process is not None
        painter.process.kill()
        await painter.process.wait()
        assert await painter.draw(chart) is None
        assert await painter.draw(chart) is not None


async def test_a_chart_that_cannot_be_drawn_leaves_the_painter_alive() -> None:
    unknown = msgspec.structs.replace(LONG, timeframe="7m")
    async with Painter("dark") as painter:
        before = painter.process
        assert await painter.draw(Chart(unknown, candles(10))) is None
        assert await painter.draw(Chart(LONG, candles(10), {"line": candles(10).close})) is not None
        assert painter.process is before


async def test_a_painter_outlives_the_interrupt_of_a_terminal_and_ends_when_the_service_is_gone() -> None:
    process, order = await start(), msgspec.msgpack.encode(ChartOrder.of(Chart(LONG, candles(10)), "dark"))
    assert await exchange(process, order)
    process.send_signal(signals.SIGINT)
    assert await exchange(process, order)
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 20) == 0
