"""Live trades through the real ccxt.pro, from local exchanges that speak the real protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.exchange import BinanceExchange, BybitExchange, Exchange, OkxExchange, Row, Spoil

from market_ingest.config import ExchangeSettings, LiveSettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.live import LiveSource
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.errors import ConfigError

PATIENCE_S = 60.0


class Narrow(OkxExchange):
    """Its ids skip, so nobody sees from them what ccxt dropped because it keeps too few trades."""

    def options(self) -> dict[str, Any]:
        found = super().options()
        return {**found, "options": {**found.get("options", {}), "tradesLimit": 100}}


VENUES = [BinanceExchange, OkxExchange, BybitExchange]


@pytest.mark.parametrize("venue", VENUES)
async def test_every_trade_arrives_once_and_in_order(
    memory_bus: MemoryBus, ingesting: Any, venue: Callable[..., Exchange]
) -> None:
    async with venue() as exchange, ingesting(memory_bus, exchange) as running:
        await exchange.until_subscribed(*exchange.markets, timeout_s=PATIENCE_S)
        for number in range(50):
            await exchange.trade("BTC/USDT", 60_000 + number, "0.1")
            await exchange.trade("ETH/USDT", 3_000 + number, "0.2")
        await running.until_stored(exchange)
        assert await running.states() == ["connected"]
        assert await running.repaired("BTC/USDT") == []


async def test_what_no_longer_fits_into_the_caches_of_ccxt_is_fetched(memory_bus: MemoryBus, ingesting: Any) -> None:
    async with Narrow() as exchange, ingesting(memory_bus, exchange) as running:
        await begin(exchange, running)
        await exchange.trades([Row("BTC/USDT", 60_000 + number) for number in range(400)])
        await running.until_stored(exchange)
        assert running.metric("rejected_total", kind="trades", reason="overflow") >= 1
        assert len(await running.repaired("BTC/USDT")) > 200
        assert await running.states() == ["connected"]


@pytest.mark.parametrize("venue", VENUES)
async def test_what_traded_while_the_connection_was_down_is_fetched(
    memory_bus: MemoryBus, ingesting: Any, venue: Callable[..., Exchange]
) -> None:
    async with venue() as exchange, ingesting(memory_bus, exchange) as running:
        await exchange.until_subscribed(*exchange.markets, timeout_s=PATIENCE_S)
        await exchange.trade("BTC/USDT", 60_000, "0.1")
        await exchange.trade("ETH/USDT", 3_000, "0.1")
        await running.until_stored(exchange)
        exchange.drop()
        for number in range(10):
            await exchange.trade("BTC/USDT", 60_001 + number, "0.1")
        missed = exchange.ledger.ids_of("BTC/USDT")[1:]
        await exchange.until_subscribed(*exchange.markets, timeout_s=PATIENCE_S)
        await exchange.trade("BTC/USDT", 61_000, "0.1")
        await running.until_stored(exchange)
        assert await running.repaired("BTC/USDT") == missed

        async def told() -> bool:
            return await running.states("BTC/USDT") == ["gap_found", "gap_filled"]

        await running.until(told)
        *_, filled = await running.feeds("BTC/USDT")
        assert filled.trades == 10
        assert await running.states("ETH/USDT") == []
        assert await running.states() == ["connected", "disconnected", "connected"]


async def test_a_missing_id_is_found_and_fetched_while_the_connection_lives(
    memory_bus: MemoryBus, ingesting: Any
) -> None:
    async with BinanceExchange() as exchange, ingesting(memory_bus, exchange) as running:
        await begin(exchange, running)
        exchange.spoil(Spoil.LOSE, 3)
        for number in range(6):
            await exchange.trade("BTC/USDT", 60_001 + number, "0.1")
        await running.until_stored(exchange)
        assert await running.repaired("BTC/USDT") == ["2", "3", "4"]
        found, filled = await running.feeds("BTC/USDT")
        assert (found.state, found.from_id, found.to_id, found.reason) == ("gap_found", "1", "5", "gap")
        assert (filled.state, filled.trades) == ("gap_filled", 3)
        assert await running.states() == ["connected"]
        assert running.metric("gaps_open", exchange="binance") == 0
        assert running.metric("trades_repaired_total", exchange="binance") == 3
        assert running.metric("rest_requests_total", exchange="binance", outcome="ok") >= 1


async def test_trades_that_changed_places_or_came_twice_are_put_right(memory_bus: MemoryBus, ingesting: Any) -> None:
    async with BinanceExchange() as exchange, ingesting(memory_bus, exchange) as running:
        await begin(exchange, running)
        exchange.spoil(Spoil.REORDER)
        exchange.spoil(Spoil.DUPLICATE)
        for number in range(4):
            await exchange.trade("BTC/USDT", 60_001 + number, "0.1")
        await running.until_stored(exchange)
        assert running.metric("trades_duplicate_total") == 1
        assert await running.states("BTC/USDT") == []


@pytest.mark.parametrize("spoil", [Spoil.TRUNCATE, Spoil.NAN, Spoil.HUGE])
@pytest.mark.parametrize("venue", VENUES)
async def test_after_a_frame_that_cannot_be_read_trades_flow_again_within_five_seconds(
    memory_bus: MemoryBus, ingesting: Any, venue: Callable[..., Exchange], spoil: Spoil
) -> None:
    async with venue() as exchange, ingesting(memory_bus, exchange) as running:
        await begin(exchange, running)
        exchange.spoil(spoil)
        await exchange.trade("BTC/USDT", 60_001, "0.1")
        await exchange.trade("BTC/USDT", 60_002, "0.1")
        await running.until_stored(exchange, seconds=5.0)


async def test_what_a_busy_connection_lost_in_a_pause_is_fetched_before_the_candles_close(
    memory_bus: MemoryBus, ingesting: Any, time_passes: Any
) -> None:
    rare = "RARE/USDT"

    async def busy(exchange: BinanceExchange, seconds: float) -> None:
        ends_s = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < ends_s:
            await exchange.trade("BTC/USDT", 60_000, "0.1")
            await time_passes(0.01)

    async with (
        BinanceExchange(["BTC/USDT", rare]) as exchange,
        ingesting(memory_bus, exchange, seconds=True) as running,
    ):
        await begin(exchange, running)
        await exchange.trade(rare, 1, "1")
        await busy(exchange, 1.0)
        exchange.stall()
        lost = await exchange.trade(rare, 2, "1")
        await time_passes(0.8)
        exchange.unstall()
        await busy(exchange, 4.5)
        assert await running.repaired(rare) == [lost.id]
        assert await running.states(rare) == ["gap_found", "gap_filled"]
        assert await running.states() == ["connected"]
        ours = await running.candles(rare, "1s")
        theirs = {one.open_ms: one.trades for one in exchange.ledger.candles(rare, "1s")}
        assert {open_ms: ours[open_ms][-1] for open_ms in theirs} == theirs


async def test_a_symbol_nobody_asked_for_is_counted_and_disturbs_nothing(memory_bus: MemoryBus, ingesting: Any) -> None:
    async with BinanceExchange() as exchange, ingesting(memory_bus, exchange) as running:
        await begin(exchange, running)
        exchange.spoil(Spoil.UNKNOWN)
        await exchange.trade("BTC/USDT", 60_001, "0.1")
        await running.until_stored(exchange)
        assert running.metric("rejected_total", kind="trades", reason="unknown_symbol") == 1


@pytest.mark.parametrize("venue", VENUES)
async def test_ten_thousand_trades_in_one_write_are_all_stored(
    memory_bus: MemoryBus, ingesting: Any, venue: Callable[..., Exchange]
) -> None:
    async with venue() as exchange, ingesting(memory_bus, exchange) as running:
        await begin(exchange, running)
        side = ("buy", "sell")
        await exchange.trades([Row("BTC/USDT", 60_000 + n, "0.1", side[n % 2]) for n in range(10_000)])
        await running.until_stored(exchange)
        assert await running.repaired("BTC/USDT") == []


async def test_a_connection_that_falls_silent_is_replaced_and_its_trades_are_fetched(
    memory_bus: MemoryBus, ingesting: Any
) -> None:
    async with BinanceExchange() as exchange, ingesting(memory_bus, exchange) as running:
        await begin(exchange, running)
        exchange.stall(exchange.connections[0])
        await exchange.trade("BTC/USDT", 60_001, "0.1")
        await running.until_stored(exchange, seconds=15.0)
        assert await running.repaired("BTC/USDT") == ["2"]


async def test_a_symbol_whose_trades_do_not_arrive_is_noticed_and_its_connection_replaced(
    memory_bus: MemoryBus, ingesting: Any
) -> None:
    async with BybitExchange() as exchange, ingesting(memory_bus, exchange, stale_after_s=1.0) as running:
        await begin(exchange, running)
        deaf, accepted = exchange.connections[0], exchange.accepted
        exchange.unsubscribe(deaf, list(exchange.trade_topics("BTC/USDT")))
        await exchange.trade("BTC/USDT", 60_001, "0.1", ts_ms=exchange.now_ms)
        await running.until_stored(exchange)
        await exchange.trade("BTC/USDT", 60_002, "0.1")
        await running.until_stored(exchange)
        assert exchange.accepted >= accepted


async def test_a_quiet_market_is_looked_up_and_left_alone(memory_bus: MemoryBus, ingesting: Any) -> None:
    async with BinanceExchange() as exchange, ingesting(memory_bus, exchange, stale_after_s=0.5) as running:
        await begin(exchange, running)

        async def looked_up() -> bool:
            return running.metric("rest_requests_total", exchange="binance", outcome="ok") >= 2

        await running.until(looked_up)
        assert exchange.accepted == 1
        assert await running.states() == ["connected"]


async def test_rest_that_refuses_is_left_alone_as_long_as_it_says(memory_bus: MemoryBus, ingesting: Any) -> None:
    async with BinanceExchange() as exchange, ingesting(memory_bus, exchange) as running:
        await begin(exchange, running)
        exchange.rest.refuse_next(1, status=429, retry_after_s=2.0)
        exchange.spoil(Spoil.LOSE)
        await exchange.trade("BTC/USDT", 60_001, "0.1")
        await exchange.trade("BTC/USDT", 60_002, "0.1")
        await running.until_stored(exchange)
        first, second = [one.at_s for one in exchange.rest.asked if one.path.endswith("historicalTrades")][:2]
        assert second - first >= 2.0


@pytest.mark.parametrize("venue", VENUES)
async def test_what_rest_does_not_reach_is_announced_and_trading_goes_on(
    memory_bus: MemoryBus, ingesting: Any, venue: Callable[..., Exchange]
) -> None:
    async with venue() as exchange, ingesting(memory_bus, exchange) as running:
        await begin(exchange, running)
        exchange.rest.reach = 3
        exchange.drop()
        for number in range(20):
            await exchange.trade("BTC/USDT", 60_001 + number, "0.1")
        await exchange.until_subscribed(*exchange.markets, timeout_s=PATIENCE_S)
        ledger = exchange.ledger.ids_of("BTC/USDT")

        async def stored() -> bool:
            return await running.ids("BTC/USDT") == [ledger[0], *ledger[-3:]]

        await running.until(stored)

        async def told() -> bool:
            return await running.states("BTC/USDT") == ["gap_found", "gap_unfilled", "gap_filled"]

        await running.until(told)
        unfilled = (await running.feeds("BTC/USDT"))[1]
        ordered = venue is not BybitExchange
        assert (unfilled.from_id, unfilled.to_id) == ((ledger[0], ledger[-3]) if ordered else (None, None))


async def test_when_rest_is_down_the_gap_is_given_up_and_trading_goes_on(memory_bus: MemoryBus, ingesting: Any) -> None:
    async with BinanceExchange() as exchange, ingesting(memory_bus, exchange, repair_s=1.0) as running:
        await begin(exchange, running)
        exchange.rest.down = True
        exchange.spoil(Spoil.LOSE)
        for number in range(3):
            await exchange.trade("BTC/USDT", 60_001 + number, "0.1")

        async def stored() -> bool:
            return await running.ids("BTC/USDT") == ["1", "3", "4"]

        await running.until(stored)
        assert await running.states("BTC/USDT") == ["gap_found", "gap_unfilled"]


async def test_one_exchange_down_does_not_disturb_the_other(memory_bus: MemoryBus, ingesting: Any) -> None:
    async with BinanceExchange() as one, OkxExchange() as other, ingesting(memory_bus, one, other) as running:
        await begin(one, running)
        await other.until_subscribed(*other.markets, timeout_s=PATIENCE_S)
        one.rest.down = True
        one.refuse(60.0)
        one.drop()

        async def noticed() -> bool:
            return "binance" in (await running.source.problem() or "")

        await running.until(noticed)
        await other.trade("BTC/USDT", 50_000, "0.1")

        async def stored() -> bool:
            return other.ledger.ids_of("BTC/USDT")[0] in await running.ids("BTC/USDT")

        await running.until(stored, 5.0)
        assert "okx" not in (await running.source.problem() or "")


async def test_markets_are_found_by_pattern_taken_up_when_listed_and_let_go_when_delisted(
    memory_bus: MemoryBus, ingesting: Any
) -> None:
    async with (
        BinanceExchange(["BTC/USDT", "ETH/USDT", "ETH/BTC"]) as exchange,
        ingesting(memory_bus, exchange, symbols=["*/USDT"], refresh_s=0.5) as running,
    ):
        await exchange.until_subscribed("BTC/USDT", "ETH/USDT", timeout_s=PATIENCE_S)
        exchange.list_market("NEW/USDT")
        await exchange.until_subscribed("NEW/USDT", timeout_s=PATIENCE_S)
        for symbol in ("BTC/USDT", "ETH/USDT", "NEW/USDT", "ETH/BTC"):
            await exchange.trade(symbol, 100, "1")
        await running.until_stored(exchange, "BTC/USDT", "ETH/USDT", "NEW/USDT")
        assert await running.ids("ETH/BTC") == []
        exchange.delist("NEW/USDT")

        async def told() -> bool:
            return [(one.state, one.reason) for one in await running.feeds("NEW/USDT")] == [
                ("disconnected", "delisted")
            ]

        await running.until(told)
        assert [one.symbol for one in running.source.instruments] == ["BTC/USDT", "ETH/USDT"]


async def test_the_largest_markets_are_chosen_by_volume(memory_bus: MemoryBus, ingesting: Any) -> None:
    async with BinanceExchange(["A/USDT", "B/USDT", "C/USDT"]) as exchange:
        for symbol, amount in (("A/USDT", 1), ("B/USDT", 100), ("C/USDT", 10)):
            await exchange.trade(symbol, 1, amount)
        async with ingesting(memory_bus, exchange, symbols=["*/USDT"], top=2) as running:
            await exchange.until_subscribed("B/USDT", "C/USDT", timeout_s=PATIENCE_S)
            assert sorted(one.symbol for one in running.source.instruments) == ["B/USDT", "C/USDT"]


async def test_an_exchange_ccxt_does_not_know_is_wrong_configuration() -> None:
    settings = LiveSettings(kind="live", exchanges={"nosuch": ExchangeSettings(symbols=["BTC/USDT"])})
    chunks = LiveSource(settings, IngestMetrics(CollectorRegistry())).chunks(0)
    with pytest.raises(ConfigError, match=r"exchanges\.nosuch: not an exchange"):
        await anext(chunks)


async def begin(exchange: Exchange, running: Any) -> None:
    """Connected, and one trade of each symbol is stored: from here on something can be missing."""
    await exchange.until_subscribed(*exchange.markets, timeout_s=PATIENCE_S)
    for symbol in exchange.markets:
        await exchange.trade(symbol, 60_000, "0.1")
    await running.until_stored(exchange)
