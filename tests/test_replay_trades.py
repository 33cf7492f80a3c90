"""All real trades through the whole system: nothing lost, nothing twice, every candle what the trades say."""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.system import PORTFOLIO, Installation, quiet_settings

LENGTHS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000}
GAP_MS = 900_000
KEY = ["exchange", "symbol", "timeframe", "open_ms"]
VALUES = ["open", "high", "low", "close", "volume", "trades"]

Replayed = tuple[Installation, dict[str, Any]]


@pytest.fixture(scope="module")
def replayed(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """Every real trade, replayed once as fast as possible.

    The sessions long enough to warm strategies up are in ether, dollars and euros, so a portfolio in ether follows.
    """
    portfolios = [PORTFOLIO, {**PORTFOLIO, "portfolio_id": "ether", "currency": "ETH"}]
    installation = Installation.create(tmp_path_factory.mktemp("trades"), quiet_settings(portfolios=portfolios))
    files = sorted((shared_data / "trades").glob("*.parquet"))
    return installation, asyncio.run(installation.replay(files))


def test_every_trade_is_on_the_stream_and_in_a_candle_or_counted_late(replayed: Replayed, shared_data: Path) -> None:
    _, summary = replayed
    recorded = sum(pl.read_parquet(file).height for file in (shared_data / "trades").glob("*.parquet"))
    assert summary["trades_in"] == recorded
    assert summary["trades_rejected"] == 0
    assert summary["trades_published"] == recorded
    assert summary["trades_in_candles"] + summary["trades_late"] == recorded
    assert summary["signals"] > 100
    assert summary["fills"] > 0


async def test_every_candle_equals_the_one_computed_from_the_trades(replayed: Replayed, shared_data: Path) -> None:
    installation, _ = replayed
    rows = await installation.rows(f"select {', '.join(KEY + VALUES)} from candles")
    stored = pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col("open_ms", "trades").cast(pl.Int64))
    trades = pl.concat(pl.read_parquet(file) for file in sorted((shared_data / "trades").glob("*.parquet")))
    expected = pl.concat(computed(trades, timeframe) for timeframe in LENGTHS).sort(KEY)
    traded = stored.filter(pl.col("trades") > 0).select(KEY + VALUES).sort(KEY)
    assert traded.height == expected.height
    assert traded.equals(expected), first_difference(traded, expected)

    flat = stored.filter((pl.col("trades") == 0) & (pl.col("timeframe") == "1m"))
    assert flat.filter((pl.col("volume") != 0) | (pl.col("high") != pl.col("low"))).is_empty()
    assert set(flat.select([*KEY[:2], "open_ms"]).iter_rows()) == silent_minutes(expected)


async def test_the_candles_equal_what_other_programs_made_of_the_same_trades(
    replayed: Replayed, shared_data: Path
) -> None:
    installation, _ = replayed
    ripple = await installation.rows(
        "select open_ms, open, high, low, close, volume from candles where timeframe = '1m' and symbol = 'XRP/ETH' "
        "and trades > 0 order by open_ms"
    )
    mixed = pl.read_parquet(shared_data / "candles" / "mixed_5m_12_symbols_2018-2019.parquet")
    oracle = mixed.filter((pl.col("symbol") == "XRP/ETH") & (pl.col("timeframe") == "1m")).sort("ts_ms")
    assert len(ripple) == 2469
    assert [tuple(row.values()) for row in ripple] == oracle.select("ts_ms", *VALUES[:5]).rows()

    exchange = pl.read_parquet(shared_data / "candles" / "binance_5m_14_symbols_2024.parquet").filter(
        pl.col("symbol").is_in(["BTC/USDT", "ETH/USDT"]) & pl.col("ts_ms").is_in([1723161300000, 1723161600000])
    )
    ours = await installation.rows(
        "select symbol, open_ms, open, high, low, close, volume from candles where timeframe = '5m' "
        "and exchange = 'binance' and open_ms in (1723161300000, 1723161600000) "
        "and symbol in ('BTC/USDT', 'ETH/USDT')"
    )
    expected = sorted(exchange.select("symbol", "ts_ms", *VALUES[:5]).rows())
    assert len(expected) > 0
    assert [row for row in sorted(tuple(row.values()) for row in ours) if row[:2] in {e[:2] for e in expected}] == (
        expected
    )


async def test_the_audit_finds_every_invariant_kept(replayed: Replayed) -> None:
    await replayed[0].check("audit")


async def test_a_rebuild_gives_identical_rows(replayed: Replayed) -> None:
    installation, _ = replayed
    before = await installation.digests()
    await installation.check("rebuild")
    assert await installation.digests() == before


async def test_replaying_again_into_the_same_data_adds_nothing(replayed: Replayed, shared_data: Path) -> None:
    installation, summary = replayed
    again = await installation.replay(sorted((shared_data / "trades").glob("*.parquet")))
    assert {**again, "seconds": 0, "trades_per_s": 0} == {**summary, "seconds": 0, "trades_per_s": 0}


def computed(trades: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Candles straight from the trades, their volume summed as decimals."""
    ordered = trades.sort("exchange", "symbol", "ts_ms", maintain_order=True)
    grouped = ordered.group_by(
        "exchange",
        "symbol",
        (pl.col("ts_ms") // LENGTHS[timeframe] * LENGTHS[timeframe]).alias("open_ms"),
        maintain_order=True,
    ).agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        amounts=pl.col("amount"),
        trades=pl.len().cast(pl.Int64),
    )
    volume = [float(sum(Decimal(repr(amount)) for amount in amounts)) for amounts in grouped["amounts"].to_list()]
    return grouped.with_columns(timeframe=pl.lit(timeframe), volume=pl.Series(volume)).select(KEY + VALUES)


def silent_minutes(candles: pl.DataFrame) -> set[tuple[str, str, int]]:
    """The minutes without a trade between two with one, where the silence is no gap."""
    silent = set()
    minutes = candles.filter(pl.col("timeframe") == "1m").sort("exchange", "symbol", "open_ms")
    for (exchange, symbol), of_one in minutes.group_by("exchange", "symbol"):
        opens = of_one["open_ms"].to_list()
        for before, after in itertools.pairwise(opens):
            if after - (before + 60_000) <= GAP_MS:
                silent |= {(str(exchange), str(symbol), at) for at in range(before + 60_000, after, 60_000)}
    return silent


def first_difference(left: pl.DataFrame, right: pl.DataFrame) -> str:
    for ours, theirs in zip(left.iter_rows(), right.iter_rows(), strict=True):
        if ours != theirs:
            return f"stored {ours}\nexpected {theirs}"
    return "none"
