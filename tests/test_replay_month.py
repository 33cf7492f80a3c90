"""A month of 23 markets through the whole system, to people on four channels, and back over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl
import pytest
from tests.channels import DiscordServer, Recorder, SmtpServer, TelegramServer, WebhookServer
from tests.system import PORTFOLIO, Installation, until

MONTH = "candles/binance_1m_23_symbols_2021-05.parquet"
CANDLES = 1_020_856
SECRET = "whsec_bG9jYWwgdGVzdCBzZWNyZXQgb2YgMjQgYnl0ZXM="

QUICK = 500
"""Messages per second, where the makers of a channel do not say how many it takes."""


@dataclass
class Channels:
    """The local receivers, by channel."""

    telegram: TelegramServer
    email: SmtpServer
    discord: DiscordServer
    webhook: WebhookServer

    def received(self) -> dict[str, int]:
        return {name: len(server.accepted) for name, server in vars(self).items() if isinstance(server, Recorder)}


@asynccontextmanager
async def channels() -> AsyncIterator[Channels]:
    async with AsyncExitStack() as stack:
        yield Channels(
            await stack.enter_async_context(TelegramServer()),
            await stack.enter_async_context(SmtpServer()),
            await stack.enter_async_context(DiscordServer()),
            await stack.enter_async_context(WebhookServer(secret=SECRET)),
        )


def settings(local: Channels) -> dict[str, Any]:
    """One subscriber on all four channels, told of the signals on slow candles; of a price that is often crossed not on
    Discord, which takes five in two seconds."""
    rule = {"subscribers": ["ann"], "name": "rule"}
    signals = {"kind": "signal", "timeframes": ["1h"], "symbols": ["ETH/USDT", "XMR/USDT"]}
    price = {"kind": "price", "exchange": "binance", "symbol": "XMR/USDT", "level": 250.0}
    return {
        "alerting": {
            "telegram": {"token": local.telegram.token, "base_url": local.telegram.origin, "chat_per_s": QUICK},
            "email": {
                "host": local.email.host,
                "port": local.email.port,
                "sender": "a@example.org",
                "tls": "none",
                "per_s": QUICK,
            },
            "webhook": {"allow_private": True},
        },
        "seed": {
            "portfolios": [PORTFOLIO],
            "subscribers": [
                {
                    "subscriber_id": "ann",
                    "name": "Ann",
                    "destinations": [
                        {"channel": "telegram", "address": "42"},
                        {"channel": "email", "address": "ann@example.org"},
                        {"channel": "discord", "address": local.discord.url},
                        {"channel": "webhook", "address": local.webhook.url, "secret": SECRET},
                    ],
                }
            ],
            "alert_rules": [
                {"rule_id": "slow", **signals, **rule},
                {"rule_id": "p", **price, **rule, "channels": ["telegram", "email", "webhook"]},
            ],
        },
    }


@dataclass
class Month:
    installation: Installation
    summary: dict[str, Any]
    received: dict[str, int]


@pytest.fixture(scope="module")
def month(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Month:
    """The whole month, replayed once as fast as possible with real clients and local receivers."""

    async def run() -> Month:
        async with channels() as local:
            installation = Installation.create(tmp_path_factory.mktemp("month"), settings(local))
            summary = await installation.replay([shared_data / MONTH])
            return Month(installation, summary, local.received())

    return asyncio.run(run())


def test_a_month_gives_signals_deliveries_fills_and_outcomes(month: Month) -> None:
    summary = month.summary
    assert summary["candles"]["1m"] == CANDLES
    assert summary["signals"] > 1000
    assert summary["fills"] > 100
    assert 0 < summary["outcomes"] <= summary["signals"]
    assert summary["dead_letters"] == 0


def test_every_receiver_got_what_the_ledger_says_was_sent(month: Month) -> None:
    deliveries = month.summary["deliveries"]
    assert month.received == {channel: states["sent"] for channel, states in deliveries.items()}
    assert {tuple(states) for states in deliveries.values()} == {("sent",)}
    assert month.received["telegram"] == month.received["email"] == month.received["webhook"]
    assert month.summary["alerts_raised"] == month.received["webhook"] > month.received["discord"] > 20


async def test_all_of_it_is_queried_back_over_http(month: Month, shared_data: Path) -> None:
    summary = month.summary
    process = await month.installation.start("up", "--source", "replay", shared_data / MONTH)
    try:
        async with serving(month.installation) as (session, api):
            assert await walk(session, f"{api}/api/v1/signals") == summary["signals"]
            assert await walk(session, f"{api}/api/v1/outcomes") == summary["outcomes"]
            assert await walk(session, f"{api}/api/v1/alerts") == (
                summary["alerts_raised"] + summary["alerts_suppressed"]
            )
            assert await walk(session, f"{api}/api/v1/deliveries") == sum(
                sum(states.values()) for states in summary["deliveries"].values()
            )
            assert await walk(session, f"{api}/api/v1/portfolios/main/fills") == summary["fills"]
            hours = f"{api}/api/v1/candles?exchange=binance&symbol=ETH/USDT&timeframe=1h"
            minutes = pl.read_parquet(shared_data / MONTH).filter(pl.col("symbol") == "ETH/USDT")
            assert await walk(session, hours) == (minutes["ts_ms"] // 3_600_000).n_unique()
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


async def test_the_audit_of_the_month_finds_every_invariant_kept(month: Month) -> None:
    await month.installation.check("audit")


@asynccontextmanager
async def serving(installation: Installation) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Wait until the API of a started system answers."""

    async def answers() -> bool:
        try:
            async with session.get(f"{installation.running().get('api_url')}/api/v1/portfolios") as response:
                return response.status == 200
        except (aiohttp.ClientError, ValueError):
            return False

    async with aiohttp.ClientSession() as session:
        await until(answers, 60)
        yield session, installation.running()["api_url"]


async def walk(session: aiohttp.ClientSession, url: str) -> int:
    """Follow a list to its end and count its items."""
    count, cursor = 0, None
    while True:
        parameters = {"limit": "1000", **({"cursor": cursor} if cursor else {})}
        async with session.get(url, params=parameters) as response:
            page = await response.json()
            assert response.status == 200, page
        count += len(page["items"])
        cursor = page["next_cursor"]
        if not cursor:
            return count
