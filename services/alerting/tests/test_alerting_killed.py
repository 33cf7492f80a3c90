"""The real process is killed at named points, again and again, and nobody is forgotten or told what never was.

Real NATS, the real client libraries, local servers for all channels that write down whatever they accepted, also where
their answer is lost. A point is named by what others see: the n-th time something is published (before or after the
server has it), or a receiver has accepted something. Seeded: `TOCSIN_ALERT_RUNS=100` makes a hundred runs, and a
failing seed reproduces with `pytest -k 'killed and 17'`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from tests.alerts import CONFIRMED_MS, a_signal
from tests.channels import DiscordServer, Fault, PushServer, SmtpServer, TelegramServer, WebhookServer
from tests.channels.record import Recorder
from tests.channels.smtp import self_signed
from tests.nats_proxy import NatsProxy

from alerting.channels.vapid import new_keys
from tocsin_common.bus import provision
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.documents import Destination, SignalRule, Subscriber, encode
from tocsin_common.events import TERMINAL_STATES, ChannelName, DeliveryChanged
from tocsin_common.streams import ALERT_RULES, ALERTING_SEND, ALERTING_SIGNALS, DELIVERIES, SEND, SUBSCRIBERS

RUNS = int(os.environ.get("TOCSIN_ALERT_RUNS", "3"))
SIGNALS = 3
LIFE_S = 60.0
VAPID = new_keys()

IMPATIENT = """
import runpy
from alerting import delivery
from alerting.sending import breaker, requests
delivery.LEASE_S, requests.ATTEMPT_LIMIT_S, breaker.OPEN_FIRST_S, breaker.FAILURES = 1.2, 0.9, 0.3, 3
runpy.run_module("alerting", run_name="__main__")
"""
"""The service with times a twentieth as long: what a crash leaves in doubt is taken up again that much sooner."""

ACK_WAIT_S = 2
"""The same of the queues."""

CONFIG = """
nats: {{url: "{nats}"}}
alerting:
  picture: {{enabled: false}}
  telegram: {{token: "{token}", base_url: "{telegram}", per_s: 1000, chat_per_s: 1000, timeout_s: 0.8}}
  email: {{host: localhost, port: {smtp}, sender: alerts@example.org, tls: starttls, timeout_s: 0.8}}
  discord: {{timeout_s: 0.8}}
  webhook: {{allow_private: true, timeout_s: 0.8}}
  webpush: {{vapid_key: "{vapid}", contact: "mailto:ops@example.org", timeout_s: 0.8}}
"""

FAULTS = [
    Fault(status=429),
    Fault(status=429, retry_after_s=1),
    Fault(status=503),
    Fault(status=502, html=True),
    Fault(reset=True),
    Fault(after_accept=True),
    Fault(hang=True),
]
POINTS = ["alerts.raised", "deliveries.", "send.", "$JS.ACK.SIGNALS", "$JS.ACK.SEND", "$KV.permits", "accepted"]


@dataclass
class Executioner:
    """Kills the process at its point."""

    point: str = ""
    moment: str = ""
    left: int = 0
    process: asyncio.subprocess.Process | None = None

    def sees(self, moment: str, what: str) -> None:
        if self.process is None or not self.point or moment != self.moment or not what.startswith(self.point):
            return
        self.left -= 1
        if self.left == 0 and self.process.returncode is None:
            self.process.kill()


@dataclass
class World:
    bus: JetStreamBus
    servers: dict[ChannelName, Recorder]
    executioner: Executioner
    config: Path
    environ: dict[str, str]
    log: bytearray = field(default_factory=bytearray)

    async def live(self) -> None:
        """One life of the service: until nothing is left to be done, or until it is killed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", IMPATIENT, env=self.environ, stderr=asyncio.subprocess.PIPE
        )
        self.executioner.process = process
        assert process.stderr is not None
        reading = asyncio.create_task(process.stderr.read())
        done = asyncio.create_task(self._until_done())
        try:
            async with asyncio.timeout(LIFE_S):
                await asyncio.wait({asyncio.ensure_future(process.wait()), done}, return_when="FIRST_COMPLETED")
        finally:
            done.cancel()
            if process.returncode is None:
                process.kill()
            self.log += await reading

    async def _until_done(self) -> None:
        while True:
            signals = await self.bus.durable_state(ALERTING_SIGNALS)
            waiting = (await self.bus.stream_state(SEND)).messages
            if not waiting and not signals.pending and not signals.ack_pending:
                return
            await asyncio.sleep(0.02)

    async def ledgers(self) -> dict[str, list[DeliveryChanged]]:
        last = (await self.bus.stream_state(DELIVERIES)).last_seq
        found: dict[str, list[DeliveryChanged]] = {}
        for message in await self.bus.reader(DELIVERIES, after=0).through(last):
            change = message.event()
            assert isinstance(change, DeliveryChanged)
            found.setdefault(change.delivery_id, []).append(change)
        return found


@asynccontextmanager
async def a_world(bus: JetStreamBus, nats_url: str, folder: Path) -> AsyncIterator[World]:
    executioner = Executioner()
    tls, trusted = self_signed(folder)
    async with AsyncExitStack() as stack:
        telegram = await stack.enter_async_context(TelegramServer())
        smtp = await stack.enter_async_context(SmtpServer(tls=tls))
        discord = await stack.enter_async_context(DiscordServer())
        webhook = await stack.enter_async_context(WebhookServer())
        push = await stack.enter_async_context(PushServer(vapid_public=VAPID.public))
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
        ours = {"token": telegram.token, "telegram": telegram.origin, "smtp": smtp.port, "vapid": VAPID.private}
        config = folder / "tocsin.yaml"
        config.write_text(CONFIG.format(nats=proxy.url, **ours))
        environ = {**os.environ, "TOCSIN_CONFIG": str(config), "SSL_CERT_FILE": str(trusted)}
        ada = Subscriber(
            subscriber_id="ada",
            name="Ada",
            destinations=[
                Destination(channel="telegram", address="4242", on_unknown="resend"),
                Destination(channel="email", address="ada@example.org"),
                Destination(channel="discord", address=discord.url, on_unknown="resend"),
                Destination(channel="webhook", address=webhook.url),
                Destination(channel="webpush", address=push.url, secret=push.keys),
            ],
        )
        soon = [replace(durable, ack_wait_s=ACK_WAIT_S) for durable in ALERTING_SEND.values()]
        await provision.apply(bus.connection, provision.declared(streams=(), buckets=(), durables=soon))
        await bus.bucket(SUBSCRIBERS).put("ada", encode(ada))
        await bus.bucket(ALERT_RULES).put("all", encode(SignalRule(rule_id="all", name="all", subscribers=["ada"])))
        yield World(bus, servers, executioner, config, environ)


def in_doubt(ledger: list[DeliveryChanged]) -> int:
    """Attempts that may have been taken though nothing says so: interrupted, or without an answer to believe."""
    doubted = 0
    for change, after in zip(ledger, [*ledger[1:], None], strict=True):
        if change.state == "attempting" and (after is None or after.state in ("attempting", "unknown")):
            doubted += 1
        elif change.state == "attempting" and after is not None and after.state == "retrying":
            doubted += after.reason in ("timeout", "connection_lost", "bad_reply", "circuit_open")
    return doubted


@pytest.mark.parametrize("seed", range(RUNS))
async def test_a_killed_service_forgets_nobody_and_invents_nothing(
    jetstream_bus: JetStreamBus, nats_url: str, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    async with a_world(jetstream_bus, nats_url, tmp_path) as world:
        for server in world.servers.values():
            server.faults.extend(random.choice(FAULTS) for _ in range(random.randrange(3)))
        symbols = [f"COIN{number}/USDT" for number in range(SIGNALS)]
        await world.bus.publish([a_signal(CONFIRMED_MS + n, symbol=symbol) for n, symbol in enumerate(symbols)])
        deaths = []
        for _ in range(random.randrange(1, 3)):
            point, left = random.choice(POINTS), random.randrange(1, 8)
            moment = "after" if point == "accepted" else random.choice(["before", "after"])
            deaths.append((moment, point, left))
            world.executioner.moment, world.executioner.point, world.executioner.left = deaths[-1]
            await world.live()
        world.executioner.point = ""
        await world.live()
        ledgers = await world.ledgers()
        print(f"seed {seed}: killed {deaths}")
        check(world, ledgers, symbols)


def check(world: World, ledgers: dict[str, list[DeliveryChanged]], symbols: list[str]) -> None:
    """Every expected message was accepted once, or once more for each attempt in doubt; the ledger says the same."""
    assert len(ledgers) == len(symbols) * len(world.servers)
    for channel, server in world.servers.items():
        of_channel = [ledger for ledger in ledgers.values() if ledger[0].channel == channel]
        assert len(of_channel) == len(symbols)
        accepted = Counter(next(s for s in symbols if s in message.text) for message in server.accepted)
        assert set(accepted) == set(symbols), f"{channel}: {accepted}"
        assert len(server.accepted) <= len(symbols) + sum(map(in_doubt, of_channel)), channel
        for ledger in of_channel:
            states = [change.state for change in ledger]
            assert states[0] == "queued"
            assert states[-1] == "sent"
            assert sum(state in TERMINAL_STATES for state in states) == 1
            assert states.count("attempting") == max(change.attempt for change in ledger)
        refs = {ledger[-1].provider_ref for ledger in of_channel}
        assert channel not in ("telegram", "discord") or refs <= {message.ref for message in server.accepted}
