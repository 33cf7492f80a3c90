"""The real alerting process, begun and killed again and again, between a NATS and receivers that see what it does."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import uvloop
from tests.channels import DiscordServer, PushServer, SmtpServer, TelegramServer, WebhookServer
from tests.channels.record import Recorder
from tests.channels.smtp import self_signed
from tests.names import PORT_VARIABLE, SUFFIX, Loop, NameServer, getaddrinfo
from tests.nats_proxy import NatsProxy

from alerting.__main__ import serve
from alerting.channels.vapid import new_keys
from alerting.config import Settings
from alerting.sending import breaker, delivery, hands, ledger, requests
from tocsin_common.bus import provision
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.documents import Destination, SignalRule, Subscriber, encode
from tocsin_common.events import AlertRaised, AnyEvent, ChannelName, DeliveryChanged
from tocsin_common.runtime import main
from tocsin_common.streams import (
    ALERT_RULES,
    ALERTING_SEND,
    ALERTING_SIGNALS,
    ALERTS,
    DELIVERIES,
    SEND,
    SUBSCRIBERS,
    Stream,
)

LIFE_S = 60.0
VAPID = new_keys()
ACK_WAIT_S = 1
"""Of the queues: a thirtieth."""

CONFIG = """
nats: {{url: "{nats}"}}
alerting:
  picture: {{enabled: false}}
  telegram: {{token: "{token}", base_url: "{telegram}", per_s: 1000, chat_per_s: 1000, timeout_s: 0.4}}
  email: {{host: {smtp_host}, port: {smtp_port}, sender: alerts@example.org, tls: starttls, timeout_s: 0.4}}
  discord: {{timeout_s: 0.4}}
  webhook: {{allow_private: true, timeout_s: 0.4}}
  webpush: {{vapid_key: "{vapid}", contact: "mailto:ops@example.org", timeout_s: 0.4}}
"""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([serve.__module__])
"""A process that has imported alerting already is forked for each life: importing takes longer than living."""


class Point(NamedTuple):
    """Where the process dies: at the `nth` time that something is published (`before` or `after` the server has it), or
    that a receiver has `accepted` or `refused` something and not yet said so (`after`)."""

    moment: str
    what: str
    holding: bytes = b""
    nth: int = 1


@dataclass
class Executioner:
    """Kills the process at its point."""

    point: Point | None = None
    left: int = 0
    process: BaseProcess | None = None
    killed: int = 0

    def waits(self, point: Point | None) -> None:
        self.point, self.left = point, point.nth if point else 0

    def sees(self, moment: str, what: str, payload: bytes = b"") -> None:
        point = self.point
        if point is None or moment != point.moment or not what.startswith(point.what) or point.holding not in payload:
            return
        self.left -= 1
        if self.left == 0 and self.process is not None and self.process.is_alive():
            self.process.kill()
            self.killed += 1


@dataclass
class World:
    bus: JetStreamBus
    names: NameServer
    servers: dict[ChannelName, Recorder]
    executioner: Executioner
    environ: dict[str, str]
    log: Path

    async def live(self, point: Point | None = None) -> None:
        """One life of the service: until nothing is left to be done, or until it is killed."""
        self.executioner.waits(point)
        process = self.executioner.process = FORKS.Process(target=life, args=(self.environ, self.log))
        process.start()
        ended = asyncio.create_task(asyncio.to_thread(process.join))
        done = asyncio.create_task(self._until_done())
        try:
            async with asyncio.timeout(LIFE_S):
                await asyncio.wait({ended, done}, return_when="FIRST_COMPLETED")
        finally:
            done.cancel()
            process.kill()
            await ended

    async def _until_done(self) -> None:
        while True:
            signals = await self.bus.durable_state(ALERTING_SIGNALS)
            waiting = (await self.bus.stream_state(SEND)).messages
            if not waiting and not signals.pending and not signals.ack_pending:
                return
            await asyncio.sleep(0.02)

    async def ledgers(self) -> dict[str, list[DeliveryChanged]]:
        """All entries, by delivery."""
        found: dict[str, list[DeliveryChanged]] = {}
        for change in await self._stored(DELIVERIES):
            assert isinstance(change, DeliveryChanged)
            found.setdefault(change.delivery_id, []).append(change)
        return found

    async def symbols(self) -> dict[str, str]:
        """What each alert is about."""
        alerts = await self._stored(ALERTS)
        return {alert.alert_id: alert.symbol for alert in alerts if isinstance(alert, AlertRaised)}

    async def _stored(self, stream: Stream) -> list[AnyEvent]:
        last = (await self.bus.stream_state(stream)).last_seq
        return [message.event() for message in await self.bus.reader(stream, after=0).through(last)]


@asynccontextmanager
async def a_world(bus: JetStreamBus, nats_url: str, folder: Path) -> AsyncIterator[World]:
    """Ada, who is told of everything on every channel."""
    executioner = Executioner()
    hosts = {name: f"{name}{SUFFIX}" for name in ("telegram", "email", "discord", "webhook", "webpush")}
    tls, trusted = self_signed(folder, hosts["email"])
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(NameServer())
        telegram = await stack.enter_async_context(TelegramServer(host=hosts["telegram"]))
        smtp = await stack.enter_async_context(SmtpServer(tls=tls))
        discord = await stack.enter_async_context(DiscordServer(host=hosts["discord"]))
        webhook = await stack.enter_async_context(WebhookServer(host=hosts["webhook"]))
        push = await stack.enter_async_context(PushServer(host=hosts["webpush"], vapid_public=VAPID.public))
        proxy = await stack.enter_async_context(NatsProxy(nats_url, executioner.sees))
        servers: dict[ChannelName, Recorder] = {
            "telegram": telegram,
            "email": smtp,
            "discord": discord,
            "webhook": webhook,
            "webpush": push,
        }
        for server in servers.values():
            server.on_accept = lambda: executioner.sees("after", "accepted")
            server.on_refuse = lambda: executioner.sees("after", "refused")
        config = folder / "tocsin.yaml"
        config.write_text(
            CONFIG.format(
                nats=proxy.url,
                token=telegram.token,
                telegram=telegram.origin,
                smtp_host=hosts["email"],
                smtp_port=smtp.port,
                vapid=VAPID.private,
            )
        )
        ada = [
            Destination(channel="telegram", address="4242", on_unknown="resend"),
            Destination(channel="email", address="ada@example.org"),
            Destination(channel="discord", address=discord.url, on_unknown="resend"),
            Destination(channel="webhook", address=webhook.url),
            Destination(channel="webpush", address=push.url, secret=push.keys),
        ]
        soon = [replace(durable, ack_wait_s=ACK_WAIT_S) for durable in ALERTING_SEND.values()]
        await provision.apply(bus.connection, provision.declared(streams=(), buckets=(), durables=soon))
        await bus.bucket(SUBSCRIBERS).put("ada", encode(Subscriber(subscriber_id="ada", name="Ada", destinations=ada)))
        await bus.bucket(ALERT_RULES).put("all", encode(SignalRule(rule_id="all", name="all", subscribers=["ada"])))
        environ = {"TOCSIN_CONFIG": str(config), "SSL_CERT_FILE": str(trusted), PORT_VARIABLE: str(names.port)}
        yield World(bus, names, servers, executioner, environ, folder / "log")


def life(environ: dict[str, str], log: Path) -> None:
    """The service with times a thirtieth as long: what a crash leaves in doubt is taken up again that much sooner."""
    os.environ.update(environ)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    uvloop.Loop = Loop  # type: ignore[misc]  # what asks the operating system for names, and so does
    socket.getaddrinfo = getaddrinfo
    delivery.LEASE_S, requests.ATTEMPT_LIMIT_S, delivery.BACKOFF_FIRST_S = 0.8, 0.6, 0.1
    breaker.OPEN_FIRST_S, breaker.FAILURES = 0.2, 3
    ledger.LOOK_AGAIN_S = hands.LOOK_AGAIN_S = 0.1
    main("alerting", Settings, serve)
