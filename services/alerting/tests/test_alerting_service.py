"""The service as a process: from a signal on a real stream to real sockets, and out again on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest
from tests.alerts import a_signal
from tests.channels import DiscordServer, NtfyServer, PushServer, SmtpServer, TelegramServer, WebhookServer

from alerting.channels.vapid import new_keys
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.documents import Destination, PriceRule, SignalRule, Subscriber, encode
from tocsin_common.events import CHANNELS, AlertSuppressed, AnyEvent, CandlesClosed, DeliveryChanged, SignalRaised
from tocsin_common.requests import HISTORY, HistoryReply, HistoryRequest
from tocsin_common.requests.management import Actor
from tocsin_common.requests.verification import (
    CONFIRM,
    UNSUBSCRIBE,
    VERIFY,
    ConfirmRequest,
    UnsubscribeRequest,
    VerifyRequest,
)
from tocsin_common.streams import ALERT_RULES, ALERTS, DELIVERIES, SEND, SUBSCRIBERS

CONFIG = """
nats: {{url: "{nats}"}}
alerting:
  telegram: {{token: "{token}", base_url: "{telegram}", per_s: 1000, chat_per_s: 1000}}
  email: {{host: 127.0.0.1, port: {smtp}, sender: alerts@example.org, tls: none}}
  webhook: {{allow_private: true}}
  webpush: {{vapid_key: "{vapid}", contact: "mailto:ops@example.org"}}
  links: {{public_url: "https://alerts.example.org", key: "a-key-of-at-least-thirty-two-characters"}}
"""
VAPID = new_keys()
SIGNALS, SIGNALS_MAX = 6, 40


def raised(number: int) -> SignalRaised:
    return a_signal((number + 1) * 60_000, timeframe="1m", side="short", stop=110.0, targets=[90.0], reasons=["fell"])


def candles() -> CandlesClosed:
    closes = [99.0, 101.0, 99.0]
    return CandlesClosed(
        exchange="binance",
        symbol="ETH/USDT",
        timeframe="1m",
        origin="exchange",
        open_ms=[0, 60_000, 120_000],
        open=closes,
        high=closes,
        low=closes,
        close=closes,
        volume=closes,
    )


@dataclass
class World:
    bus: JetStreamBus
    telegram: TelegramServer
    smtp: SmtpServer
    discord: DiscordServer
    webhook: WebhookServer
    push: PushServer
    ntfy: NtfyServer
    config: Path

    @property
    def log(self) -> Path:
        """What the service writes to its standard error."""
        return self.config.with_name("log")

    async def ended(self, process: asyncio.subprocess.Process) -> bytes:
        """The log of a service that has been told to stop, once it has."""
        assert await asyncio.wait_for(process.wait(), 10) == 0, self.log.read_text()
        return self.log.read_bytes()

    @asynccontextmanager
    async def service(self) -> AsyncIterator[asyncio.subprocess.Process]:
        environ = {**os.environ, "TOCSIN_CONFIG": str(self.config)}
        with self.log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "alerting", env=environ, stderr=log)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def stated(self, count: int) -> list[AnyEvent]:
        """Wait until so much was decided about alerts."""
        async with asyncio.timeout(30):
            while len(found := await self.bus.page(ALERTS, ">")) < count:  # noqa: ASYNC110  no event on this side
                await asyncio.sleep(0.01)
        return [message.event() for message in found]

    async def ledger(self) -> Counter[tuple[str, str]]:
        last = (await self.bus.stream_state(DELIVERIES)).last_seq
        changes = [message.event() for message in await self.bus.reader(DELIVERIES, after=0).through(last)]
        return Counter((c.channel, c.state) for c in changes if isinstance(c, DeliveryChanged))


@pytest.fixture
async def world(jetstream_bus: JetStreamBus, nats_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        telegram = await stack.enter_async_context(TelegramServer())
        smtp = await stack.enter_async_context(SmtpServer())
        discord = await stack.enter_async_context(DiscordServer())
        webhook = await stack.enter_async_context(WebhookServer(secret="whsec_c2VjcmV0"))
        ntfy = await stack.enter_async_context(NtfyServer())
        push = await stack.enter_async_context(PushServer(vapid_public=VAPID.public))
        config = tmp_path / "tocsin.yaml"
        ours = {"token": telegram.token, "telegram": telegram.origin, "smtp": smtp.port, "vapid": VAPID.private}
        config.write_text(CONFIG.format(nats=nats_url, **ours))
        ada = Subscriber(
            subscriber_id="ada",
            name="Ada",
            destinations=[
                Destination(channel="console", address="here"),
                Destination(channel="telegram", address="4242"),
                Destination(channel="email", address="ada@example.org"),
                Destination(channel="discord", address=discord.url),
                Destination(channel="webhook", address=webhook.url, secret="whsec_c2VjcmV0"),
                Destination(channel="webpush", address=push.url, secret=push.keys),
                Destination(channel="apprise", address=ntfy.url),
            ],
        )
        everything = SignalRule(rule_id="all", name="all", subscribers=["ada"])
        level = PriceRule(
            rule_id="level", name="l", subscribers=["ada"], exchange="binance", symbol="ETH/USDT", level=100.0
        )
        await jetstream_bus.bucket(SUBSCRIBERS).put("ada", encode(ada))
        for rule in (everything, level):
            await jetstream_bus.bucket(ALERT_RULES).put(rule.rule_id, encode(rule))
        yield World(jetstream_bus, telegram, smtp, discord, webhook, push, ntfy, config)


async def test_signals_and_prices_reach_every_channel_and_the_ledger_says_so(world: World) -> None:
    await world.bus.publish([raised(number) for number in range(SIGNALS)])
    await world.bus.publish([candles()])
    expected = SIGNALS + 2
    async with world.service() as process:
        for server in (world.telegram, world.smtp, world.discord, world.webhook, world.push, world.ntfy):
            await server.wait_for(expected, timeout_s=30)
        async with asyncio.timeout(10):
            while (await world.bus.stream_state(SEND)).messages:  # noqa: ASYNC110  the queue announces nothing
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        log = await world.ended(process)
    ledger = await world.ledger()
    for channel in CHANNELS:
        assert [ledger[channel, state] for state in ("queued", "attempting", "sent")] == [expected] * 3
    assert sum(ledger.values()) == expected * 3 * len(CHANNELS)
    assert log.count(b'"event": "alert"') == expected
    assert len(world.webhook.ids) == expected
    for secret in (
        world.telegram.token,
        world.discord.token,
        "whsec_",
        "ada@example.org",
        VAPID.private,
        world.push.keys,
        world.ntfy.token,
    ):
        assert secret.encode() not in log


async def test_an_address_gets_alerts_from_when_it_is_confirmed_until_it_leaves(world: World) -> None:
    bob = Destination(channel="email", address="bob@example.org", verified=False)
    subscriber = Subscriber(subscriber_id="bob", name="Bob", destinations=[bob], language="id", zone="Asia/Jakarta")
    rule = SignalRule(rule_id="bobs", name="bobs", subscribers=["bob"])
    await world.bus.bucket(SUBSCRIBERS).put("bob", encode(subscriber))
    for ours in ("all", "level"):
        await world.bus.bucket(ALERT_RULES).delete(ours)
    await world.bus.bucket(ALERT_RULES).put("bobs", encode(rule))
    operator = Actor(role="operator", via="test")
    async with world.service() as process:
        await world.bus.publish([raised(1)])
        await world.stated(1)
        await world.bus.request(VERIFY, VerifyRequest(actor=operator, subscriber_id="bob", channel="email"))
        [code] = re.findall(r"/confirm/(\w+)", world.smtp.accepted[0].text)
        await world.bus.request(CONFIRM, ConfirmRequest(token=code))
        await world.bus.publish([raised(2)])
        alert = (await world.smtp.wait_for(2, timeout_s=30))[1]
        assert alert.text.startswith("Jual BTC/USDT")
        [token] = re.findall(rb"\r\nList-Unsubscribe: <[^>]+/([^/>]+)>\r\n", world.smtp.wire[1])
        await world.bus.request(UNSUBSCRIBE, UnsubscribeRequest(token=token.decode()))
        await world.bus.publish([raised(3)])
        stated = await world.stated(3)
        process.send_signal(signal.SIGTERM)
        log = await world.ended(process)
    reasons = [event.reason if isinstance(event, AlertSuppressed) else "raised" for event in stated]
    assert reasons == ["not_verified", "raised", "unsubscribed"]
    assert len(world.smtp.accepted) == 2
    for secret in (code, token.decode(), "bob@example.org", "a-key-of-at-least"):
        assert secret.encode() not in log


async def history(question: HistoryRequest) -> HistoryReply:
    open_ms = list(range(question.from_ms, question.to_ms, 60_000))
    closes = [100.0 + minute % 7 for minute in range(len(open_ms))]
    return HistoryReply(
        exchange=question.exchange,
        symbol=question.symbol,
        timeframe=question.timeframe,
        open_ms=open_ms,
        open=closes,
        high=closes,
        low=closes,
        close=closes,
        volume=closes,
        origin=["trades"] * len(open_ms),
        revision=[0] * len(open_ms),
    )


def pictures(mail: EmailMessage) -> list[object]:
    return [part.get_content() for part in mail.walk() if part.get_content_type() == "image/png"]


async def test_signals_are_seen_on_telegram_and_in_the_mail(world: World) -> None:
    """The first ones may go without a picture, while the painter is starting."""
    async with world.bus.serve(HISTORY, history), world.service() as process:
        for number in range(1, SIGNALS_MAX):
            await world.bus.publish([raised(200 + number)])
            for server in (world.telegram, world.smtp, world.webhook):
                await server.wait_for(number, timeout_s=30)
            if "photo" in world.telegram.accepted[-1].raw and pictures(world.smtp.accepted[-1].raw):
                break
        process.send_signal(signal.SIGTERM)
        await world.ended(process)
    assert pictures(world.smtp.accepted[-1].raw) == [world.telegram.accepted[-1].raw["photo"]]
    assert "picture" not in world.webhook.accepted[-1].raw["data"]
