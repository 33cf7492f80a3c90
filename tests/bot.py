"""The Telegram bot against local servers: Telegram's Bot API, and the HTTP API with figures that a test gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from tests.channels.http_server import HttpServer
from tests.channels.telegram_bot import BotServer
from tests.managed import usual_quotas

from alerting.bot.wiring import Parts, run_bot
from alerting.broadcasts import Broadcasts
from alerting.channels import Channel
from alerting.channels.open import open_challenge
from alerting.config import AlertingSection, Settings
from alerting.directory import Directory
from alerting.management.core import Management
from alerting.metrics import Metrics
from alerting.picture.desk import Pictures
from alerting.picture.draw import draw
from alerting.picture.painter import Drawing
from alerting.picture.report import Page, draw_report
from alerting.sending.gates import Gates
from alerting.sending.opener import Opener
from alerting.verification.core import Verification
from alerting.verification.metrics import AddressMetrics
from alerting.verification.opened import Opened
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Destination, Subscriber, encode
from tocsin_common.events import BotAsked, ChannelName
from tocsin_common.health import Health
from tocsin_common.metrics import BusMetrics
from tocsin_common.requests.management import Actor
from tocsin_common.runtime import Service
from tocsin_common.streams import BOT, SUBSCRIBERS

ADA, BOB, EVE, OPERATOR, GROUP = 4242424242, 4343434343, 6666666666, 1001, -100200300
KEY = "tcs_abc_0123456789abcdef"


class Pure:
    """Draws where it stands."""

    async def draw(self, drawing: Drawing) -> bytes | None:
        if isinstance(drawing, Page):
            return draw_report(drawing.report, language=drawing.language)
        return draw(drawing)


@dataclass
class ApiServer(HttpServer):
    """The gateway's reading side: `answers` by path, 404 for others; `asked_for` is what was wanted."""

    key: str = KEY
    answers: dict[str, Any] = field(default_factory=dict)
    asked_for: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/api/v1/{path:.*}", self._get)

    def error(self, status: int, retry_after_s: float | None) -> web.Response:
        return web.json_response({"title": "no", "status": status}, status=status)

    async def _get(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return self.error(401, None)
        path, params = f"/{request.match_info['path']}", dict(request.query)
        self.asked_for.append((path, params))
        if (response := await self.commit(self.next_fault(), request)) is not None:
            return response
        if path not in self.answers:
            return self.error(404, None)
        found = self.answers[path]
        return web.json_response(found(params) if callable(found) else found)


@dataclass
class BotWorld:
    """One Telegram, one bus, one API (a gateway, or what stands for one); `running` starts a replica. Its pace is no
    concern, but for `limits`."""

    bus: Bus
    telegram: BotServer
    api: Any
    settings: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Service[Settings]]:
        """A replica with the bot and nothing else; it is stopped as a service is."""
        bot = {"enabled": True, "operators": [OPERATOR], **self.settings}
        api = {"url": self.api.origin, "key": self.api.key}
        telegram = {"token": self.telegram.token, "base_url": self.telegram.origin, "timeout_s": 1}
        telegram |= {"per_s": 1000, "chat_per_s": 1000, "group_per_min": 1000, **self.limits}
        settings = Settings.model_validate({"alerting": {"api": api, "bot": bot, "telegram": telegram}})
        registry, stop = CollectorRegistry(), asyncio.Event()
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            service = Service(
                "alerting", settings, self.bus, registry, Health(registry), stop, stack, tasks, BusMetrics(registry)
            )
            metrics = Metrics(registry)
            directory = Directory(self.bus, metrics)
            await directory.load()
            service.spawn(directory.follow(stop))
            service.spawn(run_bot(service, await self._parts(stack, directory, metrics, settings.alerting)))
            try:
                yield service
            finally:
                stop.set()

    async def _parts(
        self, stack: AsyncExitStack, directory: Directory, metrics: Metrics, settings: AlertingSection
    ) -> Parts:
        management = Management(self.bus, directory, metrics, usual_quotas(directory))
        challenge = open_challenge(settings)
        stack.push_async_callback(challenge.close)
        channels: dict[ChannelName, Channel] = {"telegram": challenge}
        counted, gates = AddressMetrics(CollectorRegistry()), Gates(self.bus, settings, metrics)
        verification = Verification(management, Opened(self.bus), channels, challenge, None, metrics, gates, counted)
        pictures = Pictures(self.bus, Pure(), metrics, wait_s=10.0)
        await stack.enter_async_context(pictures)
        broadcasts = Broadcasts(Opener(self.bus, directory, metrics, ttl_s=60))
        return Parts(directory, management, verification, broadcasts, pictures, gates)

    async def code_for(self, subscriber_id: str) -> str:
        """The code that `tocsin` gives an operator for a subscriber's first Telegram destination."""
        metrics = Metrics(CollectorRegistry())
        async with AsyncExitStack() as stack:
            parts = await self._parts(stack, Directory(self.bus, metrics), metrics, AlertingSection())
            operator = Actor(role="operator", via="test")
            return (await parts.verification.ask(operator, subscriber_id, "telegram", 0)).code

    async def subscribe(self, subscriber_id: str, chat: int, **about: Any) -> None:
        """Somebody who is told on Telegram."""
        destinations = about.pop("destinations", [Destination(channel="telegram", address=str(chat))])
        subscriber = Subscriber(subscriber_id=subscriber_id, name=subscriber_id, destinations=destinations, **about)
        await self.bus.bucket(SUBSCRIBERS).put(subscriber_id, encode(subscriber))

    async def entries(self) -> list[BotAsked]:
        """Everything on the stream BOT."""
        last = (await self.bus.stream_state(BOT)).last_seq
        found = [message.event() for message in await self.bus.reader(BOT, after=0).through(last)]
        return [entry for entry in found if isinstance(entry, BotAsked)]

    async def answer(self, user: int, text: str, **about: Any) -> str:
        """What the bot says to a message."""
        count = len(self.telegram.accepted)
        self.telegram.say(user, text, **about)
        return (await self.telegram.wait_for(count + 1))[count].text


@asynccontextmanager
async def bot_world(bus: Bus, **settings: Any) -> AsyncIterator[BotWorld]:
    """A world in which Ada and Bob are subscribers, and Eve is a stranger."""
    async with BotServer() as telegram, ApiServer() as api:
        world = BotWorld(bus, telegram, api, settings)
        await world.subscribe("ada", ADA)
        await world.subscribe("bob", BOB)
        yield world
