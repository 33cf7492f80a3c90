"""Addresses are confirmed by whoever reads what arrives there, once, in time, and nobody else's are."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.channels import DiscordServer, Fault, SmtpServer, WebhookServer
from tests.managed import usual_quotas

from alerting.channels import Channel
from alerting.channels.challenge import Challenge
from alerting.channels.discord import Discord
from alerting.channels.email import Email, Server
from alerting.channels.http import Outbound
from alerting.channels.telegram import Telegram
from alerting.config import AlertingSection, EmailSection
from alerting.directory import Directory
from alerting.links import Links
from alerting.management.core import Management
from alerting.metrics import Metrics
from alerting.sending.gates import Gates
from alerting.verification.codes import new_code, spaced, typed
from alerting.verification.core import Verification
from alerting.verification.metrics import AddressMetrics
from alerting.verification.opened import ASKED_MAX, LIFETIME_S, Opened
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Destination, Subscriber, encode
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.events import ChannelName, DestinationChanged, DocumentChanged, Language
from tocsin_common.requests.management import Actor
from tocsin_common.streams import MANAGEMENT, SUBSCRIBERS, VERIFICATIONS

ANN = Actor(role="subscriber", subscriber_id="ann", via="test")
BOB = Actor(role="subscriber", subscriber_id="bob", via="test")
MAIL = Destination(channel="email", address="ann.smith@example.org", verified=False)
LINKS = Links("https://alerts.example.org", "k" * 32)
NOWHERE = "http://127.0.0.1:9"
CODE = re.compile(r"[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}")


def outbound(*, allow_private: bool = True) -> Outbound:
    return Outbound(timeout_s=2.0, allow_private=allow_private, connections=4)


@dataclass
class World:
    """Channels to local servers, subscribers in their bucket, and a clock one can set."""

    bus: Bus
    smtp: SmtpServer
    discord: DiscordServer
    hook: WebhookServer
    allow_private: bool = True
    now_ms: int = 1_723_165_200_000
    opened: list[Channel] = field(default_factory=list)

    async def start(self) -> None:
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        self.directory = Directory(self.bus, metrics)
        await self.directory.load()
        channels: dict[ChannelName, Channel] = {
            "email": Email(Server("127.0.0.1", self.smtp.port, "none", 2.0), sender="alerts@example.org", links=LINKS),
            "discord": Discord(outbound()),
            "telegram": Telegram("1:token", base_url=NOWHERE, timeout_s=1.0, connections=1),
        }
        challenge = Challenge(outbound(allow_private=self.allow_private))
        self.opened += [*channels.values(), challenge]
        clock = {"clock_ms": lambda: self.now_ms}
        management = Management(self.bus, self.directory, metrics, usual_quotas(self.directory), **clock)
        self.verification = Verification(
            management,
            Opened(self.bus, **clock),
            channels,
            challenge,
            LINKS,
            metrics,
            Gates(self.bus, AlertingSection(email=EmailSection(per_s=10)), metrics),
            AddressMetrics(registry),
            **clock,
        )

    async def subscribe(self, name: str, *destinations: Destination, language: Language = "en") -> None:
        document = Subscriber(
            subscriber_id=name, name="Buy at https://evil.example", destinations=list(destinations), language=language
        )
        await self.bus.bucket(SUBSCRIBERS).put(name, encode(document))
        await self.directory.load()

    def verified(self, name: str = "ann") -> list[bool]:
        return [one.verified for one in self.directory.subscribers[name].destinations]

    async def mailed(self, actor: Actor = ANN, place: int = 0) -> str:
        """Ask for a mail; the code in it."""
        reply = await self.verification.ask(actor, actor.subscriber_id, "email", place)
        assert (reply.state, reply.code) == ("sent", "")
        [code] = CODE.findall(self.smtp.accepted[-1].text)
        return str(code)

    async def refused(self, code: str, *, chat: str | None = None) -> str:
        with pytest.raises(Rejected) as caught:
            await self.verification.confirm(code, chat=chat)
        return caught.value.reason


@pytest.fixture
async def world(memory_bus: MemoryBus) -> AsyncIterator[World]:
    async with SmtpServer() as smtp, DiscordServer() as discord, WebhookServer() as hook:
        world = World(memory_bus, smtp, discord, hook)
        await world.start()
        await world.subscribe("ann", MAIL)
        yield world
        for channel in world.opened:
            await channel.close()


async def test_a_mail_brings_the_code_that_confirms_its_address(world: World) -> None:
    code = await world.mailed()
    mail = world.smtp.accepted[0]
    assert LINKS.confirm(code.replace("-", "")) in mail.text
    assert "evil" not in str(mail.raw)
    assert mail.address == MAIL.address
    assert world.verified() == [False]
    confirmed = await world.verification.confirm(f"  {code.lower()} ")
    assert confirmed.destinations == [replace(MAIL, verified=True)]
    assert world.verified() == [True]


async def test_requests_to_confirm_keep_to_the_rates_of_their_channels(world: World) -> None:
    places = [replace(MAIL, address=f"ann{number}@example.org") for number in range(6)]
    hook = Destination(channel="webhook", address=world.hook.url, verified=False)
    await world.subscribe("ann", *places, hook)
    began_s = time.monotonic()
    await asyncio.gather(*(world.verification.ask(ANN, "ann", "email", place) for place in range(6)))
    assert max(mail.at_s for mail in world.smtp.accepted) - began_s >= 0.4  # 10 in a second, in eighths of it
    world.hook.faults.append(Fault(status=429, retry_after_s=30))
    for _ in range(2):
        with pytest.raises(Retryable) as told:
            await world.verification.ask(ANN, "ann", "webhook", 0)
        assert told.value.retry_after_s == pytest.approx(30, abs=1)
    assert world.hook.requests == 1


async def test_who_asked_and_confirmed_what_and_when_is_stated_without_the_address(world: World) -> None:
    await world.verification.confirm(await world.mailed())
    messages = await world.bus.page(MANAGEMENT, ">")
    asked, change, confirmed = (message.event() for message in messages)
    assert isinstance(asked, DestinationChanged)
    assert isinstance(change, DocumentChanged)
    assert isinstance(confirmed, DestinationChanged)
    assert (change.kind, change.id, change.via, change.at_ms) == (
        "subscriber",
        "ann",
        "confirmed email 0",
        world.now_ms,
    )
    about = ("ann", "email", 0)
    assert [(one.subscriber_id, one.channel, one.place) for one in (asked, confirmed)] == [about, about]
    assert (asked.state, asked.actor, asked.via) == ("asked", "ann", "test")
    assert (confirmed.state, confirmed.actor, confirmed.via) == ("confirmed", None, "code")
    assert confirmed.cause == str(change.revision)
    assert MAIL.address not in "".join(str(message.data) for message in messages)


async def test_neither_codes_nor_addresses_are_kept(world: World) -> None:
    code = await world.mailed()
    kept = await world.bus.bucket(VERIFICATIONS).all()
    everything = "".join(f"{entry.key} {entry.value!r}" for entry in kept.values())
    assert len(kept) == 2
    assert code.replace("-", "") not in everything
    assert MAIL.address not in everything


async def test_the_request_is_in_its_readers_language(world: World) -> None:
    await world.subscribe("ann", MAIL, language="id")
    await world.mailed()
    assert world.smtp.accepted[0].text.startswith("Konfirmasi alamat ini\n")


async def test_a_code_is_good_once(world: World) -> None:
    code = await world.mailed()
    await world.verification.look(code)
    await world.verification.confirm(code)
    assert await world.refused(code) == "unknown_code"


async def test_a_confirmation_that_was_cut_off_is_finished_by_the_same_code(world: World) -> None:
    code = await world.mailed()
    await world.subscribe("ann", replace(MAIL, verified=True))  # written, and killed before anything was said of it
    await world.verification.confirm(code)
    stated = [message.event() for message in await world.bus.page(MANAGEMENT, "management.subscriber.ann")]
    assert [one.via for one in stated if isinstance(one, DocumentChanged)] == ["confirmed email 0"]
    assert await world.refused(code) == "unknown_code"


async def test_two_who_give_a_code_at_once_confirm_it_and_break_nothing(world: World) -> None:
    code = await world.mailed()
    found = await asyncio.gather(*(world.verification.confirm(code) for _ in range(2)), return_exceptions=True)
    assert any(isinstance(one, Subscriber) for one in found)
    assert world.verified() == [True]


async def test_a_code_is_good_for_a_day(world: World) -> None:
    code = await world.mailed()
    world.now_ms += LIFETIME_S * 1000
    assert await world.refused(code) == "unknown_code"
    assert world.verified() == [False]


async def test_an_altered_code_is_none(world: World) -> None:
    code = (await world.mailed()).replace("-", "")
    altered = [code[:at] + ("A" if code[at] != "A" else "B") + code[at + 1 :] for at in range(len(code))]
    assert {await world.refused(one) for one in altered} == {"unknown_code"}
    assert world.verified() == [False]


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        " ",
        "A" * 15,
        "A" * 17,
        "A" * 1_000_000,
        "A1B0" * 4,
        "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 16,
        "AAAA\x00AAAAAAAAAAA",
        "../../../../etc/p",
        "code.*",
        ">",
        "'; drop table --",
        "%00" * 5,
    ],
)
async def test_what_is_no_code_confirms_nothing(world: World, garbage: str) -> None:
    await world.mailed()
    assert await world.refused(garbage) == "unknown_code"


async def test_a_changed_address_is_not_confirmed_by_an_old_code(world: World) -> None:
    code = await world.mailed()
    for now in ((replace(MAIL, address="eve@example.org"),), (), (replace(MAIL, address="eve@example.org"), MAIL)):
        await world.subscribe("ann", *now)
        assert await world.refused(code) == "address_changed"
        assert not any(world.verified())


async def test_a_code_is_for_the_subscriber_it_was_asked_by_even_at_the_same_address(world: World) -> None:
    await world.subscribe("bob", MAIL)
    await world.verification.confirm(await world.mailed(BOB))
    assert (world.verified("ann"), world.verified("bob")) == ([False], [True])


async def test_nobody_asks_for_somebody_else(world: World) -> None:
    with pytest.raises(Rejected) as caught:
        await world.verification.ask(BOB, "ann", "email", 0)
    assert caught.value.reason == "not_found"
    assert not world.smtp.accepted


async def test_an_address_is_asked_three_times_a_day_whoever_wants_it(world: World) -> None:
    await world.subscribe("bob", MAIL)
    for actor in (ANN, BOB, ANN):
        await world.mailed(actor)
    for actor in (ANN, BOB):
        with pytest.raises(Rejected) as caught:
            await world.verification.ask(actor, actor.subscriber_id, "email", 0)
        assert caught.value.reason == "asked_too_often"
    assert len(world.smtp.accepted) == ASKED_MAX
    world.now_ms += LIFETIME_S * 1000
    await world.mailed()


async def test_what_could_not_be_sent_is_said_and_counts_all_the_same(world: World) -> None:
    world.smtp.faults.extend([Fault(status=503), Fault(status=404)])
    for expected, reason in ((Retryable, "server_error"), (Rejected, "refused")):
        with pytest.raises(expected) as caught:
            await world.verification.ask(ANN, "ann", "email", 0)
        assert caught.value.reason == reason
        assert MAIL.address not in str(caught.value)
    await world.mailed()
    with pytest.raises(Rejected, match="asked_too_often"):
        await world.verification.ask(ANN, "ann", "email", 0)


async def test_a_discord_channel_shows_the_code(world: World) -> None:
    await world.subscribe("ann", Destination(channel="discord", address=world.discord.url, verified=False))
    assert (await world.verification.ask(ANN, "ann", "discord", 0)).state == "sent"
    [code] = CODE.findall(world.discord.accepted[0].text)
    assert world.discord.accepted[0].raw["embeds"][0]["url"] == LINKS.confirm(code.replace("-", ""))
    await world.verification.confirm(code)
    assert world.verified() == [True]


async def test_a_webhook_is_confirmed_by_answering_with_the_challenge(world: World) -> None:
    world.hook.secret = "whsec_c2VjcmV0"
    await world.subscribe(
        "ann", Destination(channel="webhook", address=world.hook.url, secret=world.hook.secret, verified=False)
    )
    assert (await world.verification.ask(ANN, "ann", "webhook", 0)).state == "confirmed"
    assert world.verified() == [True]
    assert (await world.verification.ask(ANN, "ann", "webhook", 0)).state == "confirmed"
    assert world.hook.requests == 1


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        "yes",
        {"challenge": ""},
        {"challenge": 1},
        {"challenge": "A" * 60_000},
        b'{"challenge": "\xff"}',
        b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
async def test_any_other_answer_of_a_webhook_confirms_nothing(world: World, answer: Any) -> None:
    world.hook.challenged = lambda _event: answer
    await world.subscribe("ann", Destination(channel="webhook", address=world.hook.url, verified=False))
    with pytest.raises(Rejected, match="wrong_answer"):
        await world.verification.ask(ANN, "ann", "webhook", 0)
    assert world.verified() == [False]


async def test_an_echo_is_no_answer(world: World) -> None:
    world.hook.challenged = lambda event: event
    await world.subscribe("ann", Destination(channel="webhook", address=world.hook.url, verified=False))
    with pytest.raises(Rejected, match="wrong_answer"):
        await world.verification.ask(ANN, "ann", "webhook", 0)


async def test_our_own_network_is_not_asked(world: World) -> None:
    world.allow_private = False
    await world.start()
    await world.subscribe("ann", Destination(channel="webhook", address="https://127.0.0.1:8443/x", verified=False))
    with pytest.raises(Rejected, match="forbidden_address"):
        await world.verification.ask(ANN, "ann", "webhook", 0)


async def test_telegram_is_confirmed_in_the_chat_that_gives_the_code_to_the_bot(world: World) -> None:
    await world.subscribe("ann", Destination(channel="telegram", address="?", verified=False))
    reply = await world.verification.ask(ANN, "ann", "telegram", 0)
    assert (reply.state, typed(reply.code)) == ("open", reply.code)
    assert not world.smtp.accepted
    assert await world.refused(reply.code) == "wrong_channel"
    confirmed = await world.verification.confirm(reply.code, chat="4242")
    assert confirmed.destinations == [Destination(channel="telegram", address="4242")]


async def test_a_code_of_a_mail_is_not_for_the_bot(world: World) -> None:
    assert await world.refused(await world.mailed(), chat="4242") == "wrong_channel"


@pytest.mark.parametrize(
    ("destination", "place", "reason"),
    [
        (MAIL, 1, "no_destination"),
        (replace(MAIL, enabled=False), 0, "unsubscribed"),
        (replace(MAIL, channel="console"), 0, "not_verifiable"),
        (replace(MAIL, channel="webpush"), 0, "channel_not_configured"),
    ],
)
async def test_what_cannot_be_asked_is_said(world: World, destination: Destination, place: int, reason: str) -> None:
    await world.subscribe("ann", destination)
    with pytest.raises(Rejected) as caught:
        await world.verification.ask(ANN, "ann", destination.channel, place)
    assert caught.value.reason == reason
    assert not await world.bus.bucket(VERIFICATIONS).all()


async def test_on_a_real_bus_a_code_works_once_and_requests_are_counted(
    jetstream_bus: JetStreamBus, world: World
) -> None:
    world.bus = jetstream_bus
    await world.start()
    await world.subscribe("ann", MAIL, MAIL)
    code = await world.mailed()
    await world.verification.confirm(code)
    assert await world.refused(code) == "unknown_code"
    for _ in range(ASKED_MAX - 1):
        await world.mailed(place=1)
    with pytest.raises(Rejected, match="asked_too_often"):
        await world.mailed(place=1)


def test_codes_are_typed_as_they_are_shown() -> None:
    code = new_code()
    assert typed(spaced(code)) == typed(spaced(code).lower().replace("-", " ")) == code
