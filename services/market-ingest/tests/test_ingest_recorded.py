"""Frames that exchanges really sent, through the real ccxt.pro and the live source, to the trades they mean.

What is expected is read from the same frames by another decoder; no figure is typed in.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.recorded import SESSIONS, Answer, RecordedExchange, Session, Traded, kraken_v1, trades

from market_ingest.config import ExchangeSettings, LiveSettings
from market_ingest.metrics import IngestMetrics
from market_ingest.sources.chunk import Chunk, LiveTrades
from market_ingest.sources.live import LiveSource

PATIENCE_S = 60.0
"""Importing ccxt.pro alone takes seconds, more on a busy machine."""

SIDES = {"b": "buy", "s": "sell"}


@dataclass
class Heard:
    """What the live source made of a session."""

    trades: dict[str, list[Traded]] = field(default_factory=dict)
    """By unified symbol, in the order they were released."""
    rejected: Counter[str] = field(default_factory=Counter)
    states: list[str] = field(default_factory=list)
    duplicates: int = 0
    repaired: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.trades.values())) + self.duplicates

    def take(self, chunk: Chunk) -> None:
        for step in chunk.steps:
            if not isinstance(step, LiveTrades):
                continue
            symbol = step.instrument.symbol
            self.repaired += len(step.ts_ms) if step.repaired else 0
            columns = (step.ts_ms, step.price, step.amount, step.side, step.trade_id)
            for *values, side, name in zip(*columns, strict=True):
                self.trades.setdefault(symbol, []).append(Traded(symbol, *values, SIDES[side], str(name)))
        self.rejected.update(chunk.trades_rejected)
        self.duplicates += chunk.duplicates
        self.states += [change.state for change in chunk.feeds]


def by_symbol(session: Session) -> dict[str, list[Traded]]:
    """What the frames say, with our symbols, in the order they were sent."""
    expected: dict[str, list[Traded]] = {}
    for trade in session.trades():
        symbol = session.symbols[trade.market]
        expected.setdefault(symbol, []).append(trade._replace(market=symbol))
    return expected


def in_order(trades: list[Traded]) -> list[Traded]:
    """By number where ids are numbers, otherwise as they came."""
    return sorted(trades, key=lambda trade: int(trade.trade_id)) if trades[0].trade_id.isdigit() else trades


async def hear(session: Session, trades: int) -> tuple[Heard, RecordedExchange]:
    """Let the live source listen to a session until so many trades have come and nothing follows."""
    ccxt: Any = importlib.import_module("ccxt.pro")
    heard = Heard()
    async with RecordedExchange(session.answers, session.frames) as server:
        plain = getattr(ccxt, session.exchange)()
        options = plain.deep_extend(server.options(plain), session.options)
        exchanges = {session.exchange: ExchangeSettings(symbols=list(session.symbols.values()), options=options)}
        settings = LiveSettings(kind="live", exchanges=exchanges, stale_after_s=PATIENCE_S)
        source = LiveSource(settings, IngestMetrics(CollectorRegistry()))
        chunks = source.chunks(0)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while len(heard) < trades or not server.sent.is_set():
                    heard.take(await anext(chunks))
                heard.take(await anext(chunks))
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]  # an async generator, said to be an iterator
            await source.close()
            await plain.close()
    return heard, server


@pytest.mark.parametrize("name", SESSIONS)
async def test_recorded_frames_become_the_trades_they_mean(name: str, shared_data: Path) -> None:
    session = SESSIONS[name](shared_data / "frames")
    expected = by_symbol(session)
    heard, server = await hear(session, sum(map(len, expected.values())))
    assert expected
    assert heard.trades.keys() == expected.keys()
    for symbol, traded in expected.items():
        assert heard.trades[symbol] == in_order(traded), symbol
    assert not heard.rejected, "other messages between the trades are nobody's business"
    assert heard.states == ["connected"]
    assert not heard.repaired
    assert not server.unanswered


@pytest.mark.parametrize("name", ["binance USD-M aggregated", "bybit linear", "coinbase", "okx"])
async def test_what_is_sent_again_is_taken_once(name: str, shared_data: Path) -> None:
    session = SESSIONS[name](shared_data / "frames")
    expected = by_symbol(session)
    twice = replace(session, frames={address: [*frames, *frames] for address, frames in session.frames.items()})
    heard, _ = await hear(twice, 2 * sum(map(len, expected.values())))
    assert heard.trades == {symbol: in_order(trades) for symbol, trades in expected.items()}
    assert heard.duplicates == sum(map(len, expected.values()))
    assert not heard.rejected


async def test_coinbase_finds_a_lost_frame_by_id_and_fetches_its_trades(shared_data: Path) -> None:
    session = SESSIONS["coinbase"](shared_data / "frames")
    expected = {symbol: in_order(trades) for symbol, trades in by_symbol(session).items()}
    [(address, frames)] = session.frames.items()
    lost, frames = halfway(frames, session)
    again = replace(session, frames={address: frames}, answers=[*session.answers, *recent_trades(session)])
    heard, _ = await hear(again, sum(map(len, expected.values())))
    assert heard.trades == expected
    assert heard.repaired == len(lost)
    assert heard.states == ["connected", "gap_found", "gap_filled"]


def halfway(frames: list[str], session: Session) -> tuple[list[Traded], list[str]]:
    """The trades of a frame in the middle of a session, and the frames without it."""
    trading = [at for at, frame in enumerate(frames) if trades([frame], session.decode)]
    lost = trading[len(trading) // 2]
    return trades([frames[lost]], session.decode), frames[:lost] + frames[lost + 1 :]


def recent_trades(session: Session) -> list[Answer]:
    """What Coinbase's REST would say of its recorded trades, newest first, in the form of its documentation."""
    answers = []
    for market in session.symbols:
        rows = sorted(
            (row for row in raw_trades(session) if row["product_id"] == market), key=lambda row: -int(row["trade_id"])
        )
        address = f"api.coinbase.com/api/v3/brokerage/market/products/{market}/ticker"
        answers.append(Answer(address, json.dumps({"trades": rows, "best_bid": "1", "best_ask": "2"})))
    return answers


def raw_trades(session: Session) -> list[dict[str, str]]:
    """The trades of Coinbase's frames as they are there."""
    messages = [json.loads(frame) for frames in session.frames.values() for frame in frames]
    events = [event for message in messages if message["channel"] == "market_trades" for event in message["events"]]
    return [trade for event in events for trade in event["trades"]]


async def test_formats_ccxt_does_not_read_bring_nothing_and_disturb_nothing(shared_data: Path) -> None:
    kraken = kraken_v1(shared_data / "frames")
    assert kraken.trades()
    coin_m = SESSIONS["binance COIN-M"](shared_data / "frames")
    combined = [f'{{"stream":"btcusd_perp@trade","data":{frame}}}' for frame in coin_m.frames["dstream.binance.com/"]]
    for session in (kraken, replace(coin_m, frames={"dstream.binance.com/": combined[:500]})):
        heard, server = await hear(session, 0)
        assert not heard.trades
        assert not heard.rejected
        assert heard.states == ["connected"]
        assert server.asked
