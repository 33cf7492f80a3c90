"""What the streams hold is read with the time at which the market's clock stood."""

from __future__ import annotations

import msgspec

from signal_engine.excuses import Live
from tocsin.streamed import live_of
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import CandlesClosed, ClockAdvanced

MINUTE_MS = 60_000


def candle(symbol: str, minute: int) -> CandlesClosed:
    columns = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    opened = {"open_ms": [minute * MINUTE_MS], **columns}
    return CandlesClosed(exchange="test", symbol=symbol, timeframe="1m", origin="trades", **opened)  # type: ignore[arg-type]


async def minute_of(bus: MemoryBus, minute: int, *symbols: str) -> None:
    """Candles, and a mark that says that everything before the end of this minute is there."""
    receipts = await bus.publish([candle(symbol, minute) for symbol in symbols])
    market = ClockAdvanced(
        stage="market",
        source="live",
        time_ms=(minute + 1) * MINUTE_MS,
        trades_seq=0,
        candles_seq=receipts[-1].seq,
        cursor=receipts[-1].seq,
    )
    await bus.publish([market, msgspec.structs.replace(market, stage="signals")])


def behind(live: Live) -> list[tuple[str, int, int]]:
    rows = live.recording.frame().drop_nulls("passed_ms").select("symbol", "open_ms", "passed_ms")
    return [(symbol, open_ms // MINUTE_MS, passed_ms // MINUTE_MS) for symbol, open_ms, passed_ms in rows.iter_rows()]


async def test_a_candle_behind_its_mark_is_known_by_the_marks() -> None:
    bus = MemoryBus()
    await minute_of(bus, 0, "A/USDT", "B/USDT")
    await minute_of(bus, 1, "A/USDT")
    await bus.publish([candle("B/USDT", 1)])
    await minute_of(bus, 2, "A/USDT", "B/USDT")
    assert behind(await live_of(bus, {"1m"}, {}, with_marks=True)) == [("B/USDT", 1, 2)]
    assert behind(await live_of(bus, {"1m"}, {})) == []
