"""The bot of a service: made from its settings, polling until it stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from alerting.bot.api import BotApi
from alerting.bot.commands.table import TABLE
from alerting.bot.desk import Desk
from alerting.bot.dispatch import Dispatch
from alerting.bot.identity import Identity
from alerting.bot.ledger import Ledger
from alerting.bot.metrics import BotMetrics
from alerting.bot.phrases import DEFAULT, LANGUAGES, phrases
from alerting.bot.poller import PEOPLE_AT_ONCE, Poller
from alerting.bot.seals import Seals
from alerting.broadcasts import Broadcasts
from alerting.config import Settings
from alerting.directory import Directory
from alerting.gateway import Gateway
from alerting.management.core import Management
from alerting.picture.desk import Pictures
from alerting.sending.gates import Gates
from alerting.verification.core import Verification
from tocsin_common.bus.consume import pause
from tocsin_common.bus.holding import holder_name
from tocsin_common.bus.leases import Lease
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.runtime import Service
from tocsin_common.streams import LEASES

log = structlog.get_logger()

LEASE = "telegram-bot"
FIRST_TRY_S, LAST_TRY_S = 0.25, 60.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service has that the bot needs; `pictures` None: nothing is drawn."""

    directory: Directory
    management: Management
    verification: Verification
    broadcasts: Broadcasts
    pictures: Pictures | None
    gates: Gates


async def run_bot(service: Service[Settings], parts: Parts) -> None:
    """Answer until the service stops. Does nothing where it is not enabled, or there is no token."""
    settings = service.settings.alerting
    section, telegram = settings.bot, settings.telegram
    if not section.enabled or telegram.token is None:
        return
    token = telegram.token.get_secret_value()
    api = BotApi(token, base_url=telegram.base_url, timeout_s=telegram.timeout_s, connections=PEOPLE_AT_ONCE)
    service.stack.push_async_callback(api.close)
    gateway = Gateway.of(settings.api)
    service.stack.push_async_callback(gateway.close)
    identity = Identity(token, parts.directory.subscribers, section.operators)
    doors = (parts.management, parts.verification, parts.broadcasts)
    desk = Desk(section, gateway, service.bus, *doors, identity, parts.pictures, settings.reports.min_count)
    metrics = BotMetrics(service.registry)
    dispatch = Dispatch(api, Ledger(service.bus, api.bot_id), desk, Seals(token), TABLE, metrics, parts.gates)
    lease = Lease(service.bus.bucket(LEASES), LEASE, holder_name())
    if await introduced(api, desk, service.stop):
        await Poller(api, dispatch, lease, metrics).run(service.stop)


async def introduced(api: BotApi, desk: Desk, stop: asyncio.Event) -> bool:
    """Learn the bot's name and tell Telegram its commands, however long it takes; False: `stop` came first."""
    pause_s = FIRST_TRY_S
    while not stop.is_set():
        try:
            desk.username = await api.username()
            for language in LANGUAGES:
                everybodys = phrases(language).section("command")
                await api.offer(everybodys, "" if language == DEFAULT else language)
            return True
        except (Rejected, Retryable) as error:
            log.error("the bot cannot begin", reason=error.reason, retry_s=pause_s)
            await pause(stop, pause_s)
            pause_s = min(2 * pause_s, LAST_TRY_S)
    return False
