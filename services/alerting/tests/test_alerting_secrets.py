"""The real process, with a secret in every place for one, through success and every kind of failure; then whatever it
said anywhere is searched for them, also as they look in base64, in URLs and in JSON.

Receivers answer the worst they can: with the whole request, its address and headers, also as the reason of a redirect.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote, quote_plus

import aiohttp
import msgspec
import pytest
from aiohttp import web
from tests.alerts import a_signal
from tests.channels import Fault, PushServer, SmtpServer
from tests.channels.http_server import HttpServer

from alerting.channels.vapid import new_keys
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.documents import Destination, SignalRule, Subscriber, encode
from tocsin_common.errors import Rejected, Retryable, TocsinError
from tocsin_common.events import DocumentKind, SignalRaised
from tocsin_common.requests.endpoint import Endpoint
from tocsin_common.requests.management import (
    DELIVERY_LOG,
    GET,
    LIST,
    PUT,
    SEND_TEST,
    WHY,
    Actor,
    DeliveriesRequest,
    GetRequest,
    ListRequest,
    PutRequest,
    SendTestRequest,
    WhyRequest,
)
from tocsin_common.requests.verification import CONFIRM, VERIFY, ConfirmRequest, VerifyRequest
from tocsin_common.streams import ALERT_RULES, ALERTING_SIGNALS, BUCKETS, SEND, STREAMS, SUBSCRIBERS

OPERATOR = Actor(role="operator", via="test")
VAPID, PUSH = new_keys(), PushServer()
TOKEN = "987654:S3CR3T-telegram-token-AAH"
SECRETS = {
    "bot token": TOKEN,
    "SMTP password": "S3CR3T-smtp-p@ssword/1",
    "right SMTP password": "S3CR3T-right-smtp",
    "VAPID key": VAPID.private,
    "links key": "S3CR3T-links-key-of-many-characters+/1",
    "API key": "S3CR3T-api-key-of-the-gateway",
    "NATS password": "S3CR3T-nats-password",
    "Postgres password": "S3CR3T-postgres-password",
    "Discord token": "S3CR3T-discord-token",
    "webhook path": "S3CR3T-webhook-path",
    "webhook password": "S3CR3T-webhook-user-password",
    "signing secret": "whsec_" + base64.b64encode(b"S3CR3T-signing-secret").decode(),
    "push endpoint": "S3CR3T-push-endpoint",
    "push keys": PUSH.keys.split()[1],
    "Apprise token": "tk_S3CR3Tapprisetoken",
    "chat": "4242424242",
    "mail address": "s3cr3t.ada@example.org",
    "refused address": "S3CR3T-refused-address",
    "unreadable address": "S3CR3T-unreadable-address",
}

REASONS = {"server_error", "unauthorized", "redirected", "bad_reply", "connection_failed", "bad_address", "bad_secret"}
"""How deliveries fail here, at least."""

CONFIG = """
nats: {{url: "{nats}"}}
log: {{level: debug}}
postgres: {{url: "postgresql://u:{postgres}@127.0.0.1:1/x"}}
alerting:
  picture: {{enabled: false}}
  delivery: {{max_attempts: 2, ttl_s: 8}}
  telegram: {{token: "{token}", base_url: "{http}", per_s: 1000, chat_per_s: 1000, timeout_s: 1}}
  email: {{host: 127.0.0.1, port: {smtp}, sender: alerts@example.org, tls: none, user: u, password: "{password}"}}
  discord: {{timeout_s: 1}}
  webhook: {{allow_private: true, timeout_s: 1}}
  webpush: {{vapid_key: "{vapid}", contact: "mailto:ops@example.org", timeout_s: 1}}
  apprise: {{timeout_s: 2}}
  api: {{url: "{http}", key: "{api}"}}
  bot: {{enabled: true}}
  links: {{public_url: "https://alerts.example.org", key: "{links}"}}
"""


@dataclass
class Echo(HttpServer):
    """Everything that speaks HTTP. Each path gets these answers in turn, then 200 (299: one that makes no sense)."""

    statuses: tuple[int, ...] = (503, 200, 401, 302, 299, 200, 400)
    asked_for: Counter[str] = field(default_factory=Counter)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_route("*", "/{tail:.*}", self._answer)

    def error(self, status: int, retry_after_s: float | None) -> web.Response:
        return web.Response(status=status)

    async def _answer(self, request: web.Request) -> web.Response:
        place = request.path
        number, self.asked_for[place] = self.asked_for[place], self.asked_for[place] + 1
        await self.asked()
        if place.endswith("/getUpdates") and number:
            await self.until_closing()
        status = self.statuses[number] if number < len(self.statuses) else 200
        status = 200 if number and place.endswith("/getMe") else status
        said = f"{request.method} {request.url} {dict(request.headers)} {(await request.read())!r}"
        if status == 200:
            return web.json_response(self._success(request.path))
        headers = {"Location": str(request.url)} if status == 302 else {}
        body = {"ok": False, "error_code": status, "description": said, "message": said, "error": said, "detail": said}
        return web.json_response(body, status=200 if status == 299 else status, reason="S", headers=headers)

    def _success(self, path: str) -> dict[str, object]:
        bot = {"id": 987654, "is_bot": True, "first_name": "T", "username": "t_bot"}
        message = {"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}, "text": "x"}
        results = {"getme": bot, "sendmessage": message}
        return {"ok": True, "id": "1", "result": results.get(path.rpartition("/")[2].lower(), [])}


def forms_of(secret: str) -> set[str]:
    """How a secret may look: as it is, in a URL, in JSON, and in base64 wherever in a longer text it stands."""
    found = {secret, quote(secret, ""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    found |= {secret.encode().hex()}
    for before in range(3):
        coded = base64.b64encode(b"x" * before + secret.encode()).decode()
        middle = coded[(0, 2, 3)[before] : len(coded) // 4 * 4 - 4]
        found |= {middle, middle.replace("+", "-").replace("/", "_")}
    return found


def test_a_secret_is_recognised_in_all_its_forms() -> None:
    for secret in SECRETS.values():
        for before in ("", "a", "ab", "abc"):
            for coded in (base64.b64encode, base64.urlsafe_b64encode):
                text = coded(f"{before}{secret}:x".encode()).decode()
                assert [one for one in forms_of(secret) if one in text], secret


@dataclass
class World:
    """`said`: whatever the process told anybody, by where."""

    bus: JetStreamBus
    echo: Echo
    smtp: SmtpServer
    config: Path
    said: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def service(self) -> AsyncIterator[None]:
        """The process. While it runs, its health server is asked; at its end, its output is read."""
        environ = {**os.environ, "TOCSIN_CONFIG": str(self.config)}
        with self.log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "alerting", env=environ, stdout=out, stderr=out
            )
        try:
            await self.started()
            yield
            self.said |= await scraped(self.log.read_text())
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 10) == 0, self.log.read_text()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self.said["output"] = self.log.read_text()

    @property
    def log(self) -> Path:
        return self.config.with_name("output")

    async def asked(self, about: str, endpoint: Endpoint[Any, Any], question: Any) -> None:
        """An answer of the management, or the refusal."""
        try:
            reply = await self.bus.request(endpoint, question)
            self.said[about] = msgspec.json.encode(reply).decode()
        except (Rejected, Retryable, TocsinError) as error:
            self.said[about] = f"{error!r} {error}"

    async def settled(self) -> None:
        """Wait until every signal was decided about and no delivery is due."""
        async with asyncio.timeout(30):
            while True:  # nothing announces that a queue is empty
                state = await self.bus.durable_state(ALERTING_SIGNALS)
                waiting = (await self.bus.stream_state(SEND)).messages
                if not state.pending and not state.ack_pending and not waiting:
                    return
                await asyncio.sleep(0.02)

    async def started(self) -> None:
        """Wait until it has begun."""
        async with asyncio.timeout(30):
            while b"rules loaded" not in self.log.read_bytes():  # noqa: ASYNC110  a file announces nothing
                await asyncio.sleep(0.02)


async def scraped(log: str) -> dict[str, str]:
    started = next(json.loads(line) for line in log.splitlines() if '"started"' in line)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{started['health_port']}") as session:
        paths = ("/livez", "/readyz", "/metrics")
        return {path: await (await session.get(path)).text() for path in paths}


@pytest.fixture
async def world(jetstream_bus: JetStreamBus, nats_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        echo = await stack.enter_async_context(Echo())
        smtp = await stack.enter_async_context(SmtpServer(user="u", password=SECRETS["SMTP password"]))
        ours = {
            "nats": nats_url.replace("://", f"://user:{SECRETS['NATS password']}@"),
            "postgres": SECRETS["Postgres password"],
            "token": TOKEN,
            "http": echo.origin,
            "smtp": smtp.port,
            "password": SECRETS["SMTP password"],
            "vapid": VAPID.private,
            "api": SECRETS["API key"],
            "links": SECRETS["links key"],
        }
        config = tmp_path / "tocsin.yaml"
        config.write_text(CONFIG.format(**ours))
        await seeded(jetstream_bus, echo.port)
        yield World(jetstream_bus, echo, smtp, config)


async def seeded(bus: JetStreamBus, port: int) -> None:
    """`ada` has every channel; `bob` the same where nobody is, where TLS is wanted of who knows none, and where no name
    can lead."""
    secret = SECRETS
    signing, keys, path = secret["signing secret"], PUSH.keys, secret["webhook path"]
    ada = destinations(f"http://x:{secret['webhook password']}@127.0.0.1:{port}", f"127.0.0.1:{port}")
    nobody = [
        Destination(channel="webhook", address=f"{place}/{path}", secret=signing)
        for place in (
            "http://127.0.0.1:1",
            f"https://127.0.0.1:{port}",
            f"http://{'a' * 70}.test",
            "http://[::1",
            "x:y",
        )
    ]
    nobody += [
        Destination(channel="discord", address=f"https://127.0.0.1:{port}/{secret['Discord token']}"),
        Destination(channel="webpush", address=f"http://127.0.0.1:1/{secret['push endpoint']}", secret=keys),
        Destination(channel="webpush", address=f"nothing {secret['push endpoint']}", secret=f"{keys} x"),
        Destination(channel="webhook", address=f"http://127.0.0.1:{port}/{path}", secret=f"{signing}?"),
        Destination(channel="apprise", address=f"ntfys://{secret['Apprise token']}@127.0.0.1:{port}/x"),
        Destination(channel="apprise", address=f"json://{secret['Apprise token']}@127.0.0.1:{port}/x"),
        Destination(channel="email", address=f"{secret['mail address']}\r\nx"),
    ]
    for name, places in {"ada": ada, "bob": nobody}.items():
        one = Subscriber(subscriber_id=name, name=name, destinations=places)
        await bus.bucket(SUBSCRIBERS).put(name, encode(one))
    unreadable = {"subscriber_id": "eve", "name": "e", "destinations": [secret["unreadable address"]]}
    await bus.bucket(SUBSCRIBERS).put("eve", json.dumps(unreadable).encode())
    for rule in (
        SignalRule(rule_id="ada", name="ada", subscribers=["ada", "eve"]),
        SignalRule(rule_id="bob", name="bob", subscribers=["bob"], sides=["long"]),
    ):
        await bus.bucket(ALERT_RULES).put(rule.rule_id, encode(rule))


def destinations(webhook: str, host: str) -> list[Destination]:
    secret = SECRETS
    return [
        Destination(channel="console", address="here"),
        Destination(channel="telegram", address=secret["chat"], on_unknown="resend"),
        Destination(channel="email", address=secret["mail address"]),
        Destination(channel="discord", address=f"http://{host}/api/webhooks/7/{secret['Discord token']}"),
        Destination(channel="webhook", address=f"{webhook}/{secret['webhook path']}", secret=secret["signing secret"]),
        Destination(channel="webpush", address=f"http://{host}/push/{secret['push endpoint']}", secret=PUSH.keys),
        Destination(channel="apprise", address=f"ntfy://{secret['Apprise token']}@{host}/topic"),
        Destination(channel="webhook", address=f"http://{host}/2/{secret['webhook path']}", verified=False),
        Destination(channel="email", address=secret["mail address"], verified=False),
    ]


def raised(number: int, **given: Any) -> SignalRaised:
    return a_signal((number + 1) * 60_000, timeframe="1m", **given)


async def test_no_secret_is_said_anywhere_whatever_happens(world: World) -> None:
    world.smtp.password = SECRETS["right SMTP password"]
    async with world.service():
        await world.bus.publish([raised(0), raised(1, side="short")])
        await world.settled()
        world.smtp.password = SECRETS["SMTP password"]
        world.smtp.faults.extend([Fault(status=503), Fault(status=400), Fault(after_accept=True)])
        await world.bus.publish([raised(number, side="short") for number in range(2, 5)])
        await world.settled()
        await asked_about(world)
    await collect(world)
    leaks = [
        f"{what} in {where}: ...{text[max(0, text.index(form) - 150) : text.index(form) + 30]}..."
        for what, secret in SECRETS.items()
        for form in forms_of(secret)
        for where, text in world.said.items()
        if form in text
    ]
    assert not leaks
    assert seen_in(world.said["DELIVERIES"]) >= {"sent", "failed", "unknown", "aside"}
    assert seen_in(world.said["DELIVERIES"], "reason") >= REASONS
    assert "alerting_" in world.said["/metrics"]


async def asked_about(world: World) -> None:
    """What the management answers, also to what is wrong."""
    for kind in get_args(DocumentKind):
        await world.asked(f"list {kind}", LIST, ListRequest(actor=OPERATOR, kind=kind))
    for name in ("ada", "bob", "eve"):
        await world.asked(f"get {name}", GET, GetRequest(actor=OPERATOR, kind="subscriber", id=name))
        await world.asked(f"log {name}", DELIVERY_LOG, DeliveriesRequest(actor=OPERATOR, subscriber_id=name))
        await world.asked(f"why {name}", WHY, WhyRequest(actor=OPERATOR, id=raised(0).signal_id, subscriber_id=name))
        await world.asked(f"test {name}", SEND_TEST, SendTestRequest(actor=OPERATOR, subscriber_id=name))
    refused = {"channel": "webhook", "address": SECRETS["refused address"], "secret": SECRETS["signing secret"], "x": 1}
    for number, destination in enumerate((refused, SECRETS["refused address"], {**refused, "channel": "x"})):
        document = {"name": "eve", "destinations": [destination]}
        request = PutRequest(actor=OPERATOR, kind="subscriber", id="mallory", document=document, revision=0)
        await world.asked(f"put {number}", PUT, request)
    for place, channel in ((1, "webhook"), (1, "email")):
        question = VerifyRequest(actor=OPERATOR, subscriber_id="ada", channel=channel, place=place)  # type: ignore[arg-type]
        await world.asked(f"verify {channel}", VERIFY, question)
    await world.asked("confirm", CONFIRM, ConfirmRequest(token="ABCD-EFGH-IJKL-MNOP"))


async def collect(world: World) -> None:
    """All that is on the streams, and in the buckets that are not for addresses."""
    for stream in STREAMS:
        last = (await world.bus.stream_state(stream)).last_seq
        found = await world.bus.reader(stream, after=0).through(last) if last else []
        world.said[stream.name] = "\n".join(f"{one.subject} {one.message_id} {one.data!r}" for one in found)
    for bucket in BUCKETS:
        if bucket is not SUBSCRIBERS:
            entries = await world.bus.bucket(bucket).all()
            world.said[bucket.name] = "\n".join(f"{key} {entry.value!r}" for key, entry in entries.items())


def seen_in(ledger: str, name: str = "state") -> set[str]:
    return set(re.findall(f'"{name}":"([a-z_]+)"', ledger))
