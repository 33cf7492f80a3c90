"""Real trades and candles: every candle against plain grouping, and against what the exchanges themselves say."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from market_ingest import pipeline
from market_ingest.candles import CandleBuilder, Closed
from market_ingest.columns import Candles, Instrument, uncounted
from market_ingest.config import IngestSection, ReplaySettings
from market_ingest.ingest import CANDLE_ROWS, TRADE_ROWS, live_events
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.chunk import LiveTrades
from market_ingest.sources.replay import ReplaySource, check_files
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import AnyEvent, CandlesClosed, ClockAdvanced, FeedChanged, TradesReceived
from tocsin_common.streams import CANDLES, CLOCK, FEEDS, TRADES, Stream
from tocsin_trading.timeframes import TIMEFRAME_MS, TIMEFRAMES

MINUTE_MS = 60_000
LENGTHS_MS = {timeframe: TIMEFRAME_MS[timeframe] for timeframe in TIMEFRAMES}
GAP_MS = 15 * MINUTE_MS
SETTINGS = IngestSection(max_lag_marks=0)

Key = tuple[str, str, str, int]
Row = tuple[float, float, float, float, float, int]
Found = dict[Key, Row]


async def replay(bus: Bus, files: Iterable[Path]) -> None:
    source = ReplaySource(ReplaySettings(kind="replay", files=list(files)))
    await pipeline.run(source, bus, SETTINGS, asyncio.Event(), IngestMetrics(CollectorRegistry()))


async def events(bus: Bus, stream: Stream) -> list[AnyEvent]:
    reader = bus.reader(stream, after=0)
    messages = await reader.through((await bus.stream_state(stream)).last_seq)
    await reader.close()
    return [message.event() for message in messages]


async def candles_on(bus: Bus) -> Found:
    found: Found = {}
    for event in await events(bus, CANDLES):
        assert isinstance(event, CandlesClosed)
        counts = event.trades or [0] * len(event.open_ms)
        columns = (event.open, event.high, event.low, event.close, event.volume, counts)
        for open_ms, *row in zip(event.open_ms, *columns, strict=True):
            key = (event.exchange, event.symbol, event.timeframe, open_ms)
            assert key not in found, f"{key} is there twice"
            found[key] = tuple(row)
    return found


async def test_no_message_holds_more_rows_than_a_consumer_takes_at_once(memory_bus: MemoryBus, tmp_path: Path) -> None:
    rows = [f"binance,BTC/USDT,{1_700_000_000_000 + 60_000 * number},{100 + number},1" for number in range(1200)]
    (tmp_path / "trades.csv").write_text("\n".join(["exchange,symbol,ts_ms,price,amount", *rows]))
    await replay(memory_bus, [tmp_path / "trades.csv"])
    trades = [len(event.ts_ms) for event in await events(memory_bus, TRADES) if isinstance(event, TradesReceived)]
    candles = [len(event.open_ms) for event in await events(memory_bus, CANDLES) if isinstance(event, CandlesClosed)]
    assert trades == [TRADE_ROWS] * 9 + [48]
    assert max(candles) == CANDLE_ROWS


def test_live_trades_are_cut_in_the_same_way_and_none_is_left_out() -> None:
    count = 2 * TRADE_ROWS + 1
    numbers, ones, ids = list(range(count)), [1.0] * count, [str(number) for number in range(count)]
    step = LiveTrades(
        Instrument("binance", "BTC/USDT"),
        received_ms=9,
        ts_ms=numbers,
        price=ones,
        amount=ones,
        side="b" * count,
        trade_id=ids,
        repaired=False,
    )
    messages = list(live_events(step, "live", 0))
    assert [len(message.ts_ms) for message in messages] == [TRADE_ROWS, TRADE_ROWS, 1]
    assert [name for message in messages for name in message.trade_id] == ids


def trades_in(files: Iterable[Path]) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in files]).sort("ts_ms", maintain_order=True)


def grouped(trades: pl.DataFrame) -> Found:
    """Candles by grouping trades, timeframe by timeframe, and the flat ones of silences up to the bound."""
    found: Found = {}
    for timeframe, length_ms in LENGTHS_MS.items():
        price, key = pl.col("price"), ["exchange", "symbol", "open_ms"]
        groups = trades.group_by(key_columns(length_ms), maintain_order=True).agg(
            price.first().alias("o"), price.max().alias("h"), price.min().alias("l"), price.last().alias("c"), "amount"
        )
        for exchange, symbol, open_ms, *ohlc, amounts in groups.select(*key, "o", "h", "l", "c", "amount").iter_rows():
            volume = float(sum(map(Decimal, map(repr, amounts)), Decimal()))
            found[exchange, symbol, timeframe, open_ms] = (*ohlc, volume, len(amounts))
    minutes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for exchange, symbol, timeframe, open_ms in found:
        if timeframe == "1m":
            minutes[exchange, symbol].append(open_ms)
    for market, traded in minutes.items():
        for before, after in itertools.pairwise(sorted(traded)):
            if MINUTE_MS < after - before <= GAP_MS + MINUTE_MS:
                level = found[*market, "1m", before][3]
                for silent_ms in range(before + MINUTE_MS, after, MINUTE_MS):
                    for timeframe, length_ms in LENGTHS_MS.items():
                        flat_key = (*market, timeframe, silent_ms // length_ms * length_ms)
                        found.setdefault(flat_key, (level, level, level, level, 0.0, 0))
    return found


def key_columns(length_ms: int) -> list[pl.Expr]:
    return [pl.col("exchange"), pl.col("symbol"), (pl.col("ts_ms") // length_ms * length_ms).alias("open_ms")]


@pytest.fixture
def trade_files(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "trades").glob("*.parquet"))


async def test_all_real_trades_end_up_in_the_candles_of_plain_grouping(
    jetstream_bus: Bus, trade_files: list[Path]
) -> None:
    await replay(jetstream_bus, trade_files)
    trades = trades_in(trade_files)
    on_trades = [event for event in await events(jetstream_bus, TRADES) if isinstance(event, TradesReceived)]
    *_, mark = await events(jetstream_bus, CLOCK)
    assert isinstance(mark, ClockAdvanced)
    candles = await candles_on(jetstream_bus)
    inside = sum(row[5] for (_, _, timeframe, _), row in candles.items() if timeframe == "1m")

    assert candles == grouped(trades)
    assert sum(len(event.ts_ms) for event in on_trades) == trades.height == inside + mark.totals["trades_late"]
    assert mark.totals["trades_read"] == mark.totals["trades_published"] == trades.height
    assert mark.totals["candles_closed"] == len(candles)
    assert mark.ended
    assert mark.source == check_files(trade_files).source_id
    assert {event.source for event in on_trades} == {mark.source}


async def test_sessions_years_apart_are_gaps_and_the_clock_goes_on(
    memory_bus: MemoryBus, trade_files: list[Path]
) -> None:
    await replay(memory_bus, trade_files)
    gaps = [event for event in await events(memory_bus, FEEDS) if isinstance(event, FeedChanged)]
    assert {event.state for event in gaps} == {"gap_found"}
    assert all((event.to_ms or 0) - (event.from_ms or 0) > GAP_MS for event in gaps)
    marks = [event for event in await events(memory_bus, CLOCK) if isinstance(event, ClockAdvanced)]
    assert [mark.time_ms for mark in marks] == sorted({mark.time_ms for mark in marks})


async def test_a_second_replay_of_the_same_files_publishes_nothing(
    memory_bus: MemoryBus, trade_files: list[Path]
) -> None:
    await replay(memory_bus, trade_files)
    before = [await memory_bus.stream_state(stream) for stream in (TRADES, CANDLES, CLOCK, FEEDS)]
    await replay(memory_bus, reversed(trade_files))
    assert [await memory_bus.stream_state(stream) for stream in (TRADES, CANDLES, CLOCK, FEEDS)] == before


async def test_older_trades_of_another_file_count_as_late(
    memory_bus: MemoryBus, trade_files: list[Path], tmp_path: Path
) -> None:
    (sparse,) = (file for file in trade_files if "sparse" in file.name)
    frame = pl.read_parquet(sparse).filter(pl.col("exchange") == "kraken").sort("ts_ms")
    older, newer = tmp_path / "older.parquet", tmp_path / "newer.parquet"
    frame.head(300).write_parquet(older)
    frame.tail(300).write_parquet(newer)
    await replay(memory_bus, [newer])
    await replay(memory_bus, [older])
    *_, mark = await events(memory_bus, CLOCK)
    assert isinstance(mark, ClockAdvanced)
    assert mark.totals["trades_late"] == mark.totals["trades_published"] == 300
    assert await candles_on(memory_bus) == grouped(frame.tail(300))


async def test_minutes_equal_those_another_program_made(memory_bus: MemoryBus, shared_data: Path) -> None:
    await replay(memory_bus, [shared_data / "trades" / "binance_xrp_eth_2019-10.parquet"])
    found = await candles_on(memory_bus)
    theirs = pl.read_parquet(shared_data / "candles" / "mixed_5m_12_symbols_2018-2019.parquet").filter(
        pl.col("timeframe") == "1m"
    )
    expected = {open_ms: tuple(row) for open_ms, *row in ohlcv(theirs)}
    traded = {key[3]: row[:5] for key, row in found.items() if key[2] == "1m" and row[5]}
    assert len(expected) == 2469
    assert traded == expected


async def test_five_minutes_equal_the_exchanges_own(memory_bus: MemoryBus, shared_data: Path) -> None:
    await replay(memory_bus, [shared_data / "trades" / "binance_btc_eth_2024-08-08.parquet"])
    found = await candles_on(memory_bus)
    theirs = pl.read_parquet(shared_data / "candles" / "binance_5m_14_symbols_2024.parquet")
    for symbol in ("BTC/USDT", "ETH/USDT"):
        for open_ms in (1_723_161_300_000, 1_723_161_600_000):
            (row,) = ohlcv(theirs.filter(pl.col("symbol") == symbol, pl.col("ts_ms") == open_ms))
            assert (open_ms, *found["binance", symbol, "5m", open_ms][:5]) == row


def test_hours_made_of_five_minutes_equal_the_exchanges_own(shared_data: Path) -> None:
    shorter = pl.read_parquet(shared_data / "candles" / "binance_5m_14_symbols_2024.parquet")
    longer = pl.read_parquet(shared_data / "candles" / "binance_1h_136_symbols_2024.parquet")
    symbols = sorted(set(shorter["symbol"]) & set(longer["symbol"]))
    assert symbols
    for symbol in symbols:
        made = hours_of(shorter.filter(pl.col("symbol") == symbol))
        theirs = {row[0]: row for row in ohlcv(longer.filter(pl.col("symbol") == symbol))}
        overlapping = made.keys() & theirs.keys()
        assert len(overlapping) > 5_000
        wrong = [open_ms for open_ms in sorted(overlapping) if made[open_ms] != theirs[open_ms]]
        assert not wrong, f"{symbol}: {len(wrong)} hours differ, first {made[wrong[0]]} and {theirs[wrong[0]]}"


def hours_of(five_minutes: pl.DataFrame) -> dict[int, tuple[float, ...]]:
    out, market = Closed(), Instrument("binance", five_minutes["symbol"][0])
    names = ("ts_ms", "open", "high", "low", "close", "volume")
    open_ms, first, high, low, close, volume = (five_minutes[name].to_numpy() for name in names)
    candles = Candles(open_ms, first, high, low, close, volume, uncounted(len(open_ms)))
    made = CandleBuilder(gap_ms=GAP_MS, grace_ms=0, flats_by_clock=False).of(market)
    made.add_candles("5m", "exchange", candles, out)
    hours = [rows.candles for rows in out.candles if rows.timeframe == "1h"]
    columns = [(part.open_ms, part.open, part.high, part.low, part.close, part.volume) for part in hours]
    rows = [row for part in columns for row in zip(*(column.tolist() for column in part), strict=True)]
    return {row[0]: row for row in rows}


def ohlcv(frame: pl.DataFrame) -> list[tuple[float, ...]]:
    return frame.select("ts_ms", "open", "high", "low", "close", "volume").rows()
