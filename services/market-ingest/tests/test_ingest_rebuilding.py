"""Open candles made again from the streams by somebody else, at any moment: what follows is the same."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from market_ingest.candles import CandleBuilder, Closed
from market_ingest.columns import Instrument, TradeRows, Trades
from market_ingest.ingest import Ingest, Progress, trade_events
from market_ingest.rebuilding import rebuild
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import CandlesClosed, Event
from tocsin_trading.timeframes import TIMEFRAME_MS

MARKET = Instrument("binance", "XRP/ETH")


def builder(*, seconds: bool) -> CandleBuilder:
    timeframes = [name for name in TIMEFRAME_MS if seconds or name != "1s"]
    return CandleBuilder(gap_ms=900_000, grace_ms=2_000, flats_by_clock=True, timeframes=timeframes)


def trades_of(data: Path) -> Trades:
    frame = pl.read_parquet(data / "trades" / "binance_xrp_eth_2019-10.parquet").sort("ts_ms", maintain_order=True)
    side = frame["side"].replace_strict({"buy": ord("b"), "sell": ord("s")}, default=ord("-"), return_dtype=pl.UInt8)
    columns = (frame[name].to_numpy() for name in ("ts_ms", "price", "amount"))
    return Trades(*columns, side.to_numpy(), frame["trade_id"].to_list())


def take(made: CandleBuilder, trades: Trades) -> list[Event]:
    """The candles that these trades close."""
    out = Closed()
    made.of(MARKET).add_trades(trades, out)
    return closed(made, out)


def closed(made: CandleBuilder, out: Closed) -> list[Event]:
    return Ingest("live", made, Progress(), live=True).take_stored([], out)


def rows(events: list[Event]) -> dict[tuple[str, int], Any]:
    found: dict[tuple[str, int], Any] = {}
    for event in events:
        assert isinstance(event, CandlesClosed)
        columns = (event.open_ms, event.open, event.high, event.low, event.close, event.volume, event.trades or [])
        for open_ms, *row in zip(*columns, strict=True):
            assert (event.timeframe, open_ms) not in found
            found[event.timeframe, open_ms] = row
    return found


@pytest.mark.parametrize("seconds", [False, True], ids=["from minutes", "with seconds"])
async def test_whoever_takes_over_at_any_trade_goes_on_exactly(shared_data: Path, seconds: bool) -> None:
    trades = trades_of(shared_data)
    chance = random.Random(7)
    cuts = sorted(chance.sample(range(1, len(trades)), 12))
    bus, ours = MemoryBus(), builder(seconds=seconds)
    whole = builder(seconds=seconds)
    for begin, end in itertools.pairwise([0, *cuts, len(trades)]):
        for at in range(begin, end, 40):
            some = trades.rows(at, min(at + 40, end))
            await bus.publish(trade_events(TradeRows(MARKET, some), "live", 0, 0))
            events = take(ours, some)
            assert rows(events) == rows(take(whole, some)), f"after {begin}, {at}"
            is_last = at + 40 >= end
            if not (is_last and chance.random() < 0.5):  # it may die before its candles are stored
                await bus.publish(events)
                events = []
        ours = builder(seconds=seconds)
        rebuilt = await rebuild(bus, ours, [MARKET])
        assert rows(closed(ours, rebuilt.closed)) == rows(events), f"after {end}"
        assert rebuilt.closed.late == 0
        assert rebuilt.trades[-1][0].trade_id[-1] == trades.trade_id[end - 1]
        await bus.publish(events)


async def test_of_an_instrument_that_was_never_there_nothing_is_found(memory_bus: MemoryBus) -> None:
    made = builder(seconds=False)
    rebuilt = await rebuild(memory_bus, made, [MARKET])
    assert (rebuilt.trades, rebuilt.candles) == ([], [])
