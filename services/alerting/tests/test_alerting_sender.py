"""One delivery after another through a real channel to a real server, with the ledger in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from random import Random

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.channels import DiscordServer, Fault, WebhookServer

from alerting.channels import Channel, Sent
from alerting.channels.discord import Discord
from alerting.channels.http import Outbound
from alerting.channels.webhook import Webhook
from alerting.config import AlertingSection
from alerting.directory import Directory
from alerting.metrics import Metrics
from alerting.pipeline import deliveries
from alerting.sending.breaker import FAILURES
from alerting.sending.gates import Gates
from alerting.sending.sender import Sender
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination, Subscriber
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.events import ChannelName, DeliveryChanged, SendDue
from tocsin_common.streams import DELIVERIES, SEND
from tocsin_common.subjects import delivery as delivery_subject

TTL_S = 600.0


@dataclass
class Desk:
    """A sender of one channel with its bus, a clock one can set, and the subscriber `ada`."""

    name: ChannelName
    channel: Channel | None
    bus: MemoryBus
    max_attempts: int = 3
    live: bool = False
    """Its clock is the one on the wall."""
    now_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        metrics = Metrics(self.registry)
        clock_ms = (lambda: time.time_ns() // 1_000_000) if self.live else (lambda: self.now_ms)
        self.directory = Directory(self.bus, metrics)
        settings = AlertingSection.model_validate({self.name: {"workers": 2}})
        self.gates = Gates(self.bus, settings, metrics, clock_ms=clock_ms)
        self.sender = Sender(
            self.bus,
            self.name,
            self.channel,
            self.directory,
            metrics,
            self.gates,
            ttl_s=TTL_S,
            max_attempts=self.max_attempts,
            random=Random(1),
            clock_ms=clock_ms,
        )

    def subscribe(self, address: str, **given: str) -> None:
        destination = Destination(channel=self.name, address=address, **given)  # type: ignore[arg-type]
        ada = Subscriber(subscriber_id="ada", name="Ada", destinations=[destination])
        self.directory.subscribers["ada"] = ada

    async def queue(self, alert_id: str = "alert") -> Incoming:
        """Queue one delivery to Ada, as the pipeline does."""
        anyone = Subscriber(subscriber_id="ada", name="", destinations=[Destination(channel=self.name, address="x")])
        [(delivery_id, _, _)] = deliveries(alert_id, anyone)
        about = {"delivery_id": delivery_id, "alert_id": alert_id, "subscriber_id": "ada", "channel": self.name}
        queued = DeliveryChanged(**about, state="queued", attempt=0, at_ms=self.now_ms)  # type: ignore[arg-type]
        due = SendDue(
            **about,  # type: ignore[arg-type]
            title=f"title of {alert_id}",
            text="text",
            fields={"Entry": "1"},
            ts_ms=self.now_ms,
            queued_ms=self.now_ms,
            deadline_ms=self.now_ms + int(TTL_S * 1000),
        )
        await self.bus.publish([queued, due])
        message = await self.bus.last(SEND, due.subject)
        assert message is not None
        return Incoming(due, message)

    async def begin(self, alert_id: str = "alert") -> Incoming:
        """Queue one delivery, and hand it over at once."""
        incoming = await self.queue(alert_id)
        assert isinstance(incoming.event, SendDue)
        opened = await self.bus.last(DELIVERIES, delivery_subject(self.name, incoming.event.delivery_id))
        assert opened is not None
        change = opened.event()
        assert isinstance(change, DeliveryChanged)
        self.sender.begin(incoming.event, change, opened.seq)
        return incoming

    async def states(self, incoming: Incoming) -> list[tuple[str, int, str]]:
        """The delivery's ledger: state, attempt, reason."""
        assert isinstance(incoming.event, SendDue)
        subject = delivery_subject(self.name, incoming.event.delivery_id)
        last = (await self.bus.stream_state(DELIVERIES)).last_seq
        messages = await self.bus.reader(DELIVERIES, after=0).through(last)
        changes = [message.event() for message in messages if message.subject == subject]
        return [(c.state, c.attempt, c.reason) for c in changes if isinstance(c, DeliveryChanged)]

    async def until_settled(self, incoming: Incoming) -> list[float]:
        """Handle, waiting (on the desk's clock) whenever told to; returns the waits in seconds."""
        waits = []
        while True:
            try:
                await self.sender.handle(incoming)
            except Retryable as again:
                waits.append(again.retry_after_s or 0.0)
                self.now_ms += int(waits[-1] * 1000) + 1
            else:
                return waits

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"alerting_{name}", {"channel": self.name, **labels}) or 0.0


@pytest.fixture
async def hook(memory_bus: MemoryBus) -> AsyncIterator[tuple[Desk, WebhookServer]]:
    async with WebhookServer() as server:
        channel = Webhook(Outbound(timeout_s=1.0, allow_private=True, connections=8))
        desk = Desk("webhook", channel, memory_bus)
        desk.subscribe(server.url)
        yield desk, server
        await channel.close()


@pytest.fixture
async def discord(memory_bus: MemoryBus) -> AsyncIterator[tuple[Desk, DiscordServer]]:
    async with DiscordServer() as server:
        channel = Discord(Outbound(timeout_s=1.0, allow_private=True, connections=8))
        desk = Desk("discord", channel, memory_bus)
        desk.subscribe(server.url)
        yield desk, server
        await channel.close()


async def test_a_delivery_is_recorded_before_and_after_it_is_sent(discord: tuple[Desk, DiscordServer]) -> None:
    desk, server = discord
    incoming = await desk.queue()
    await desk.sender.handle(incoming)
    assert await desk.states(incoming) == [("queued", 0, ""), ("attempting", 1, ""), ("sent", 1, "")]
    last = (await desk.bus.last(DELIVERIES, "deliveries.discord.*")).event()  # type: ignore[union-attr]
    assert isinstance(last, DeliveryChanged)
    assert last.provider_ref == server.accepted[0].ref
    assert desk.count("deliveries_sent_total") == 1


async def test_news_answer_the_first_of_its_originals_that_was_sent(discord: tuple[Desk, DiscordServer]) -> None:
    desk, server = discord
    first, unsent = await desk.queue("signal"), await desk.queue("unsent")
    await desk.sender.handle(first)
    news = await desk.queue("outcome")
    ids = [one.event.delivery_id for one in (unsent, first) if isinstance(one.event, SendDue)]
    assert isinstance(news.event, SendDue)
    await desk.sender.handle(Incoming(replace(news.event, answers=["unheard-of", *ids]), news.message))
    assert [accepted.raw["embeds"][0].get("url") for accepted in server.accepted] == [
        None,
        f"https://discord.com/channels/7/1/{server.accepted[0].ref}",
    ]


async def test_work_given_twice_is_done_once(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    incoming = await desk.queue()
    results = await asyncio.gather(*(desk.sender.handle(incoming) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results].count(Retryable) == 2
    await desk.sender.handle(incoming)
    assert len(server.accepted) == 1
    assert [state for state, *_ in await desk.states(incoming)] == ["queued", "attempting", "sent"]


async def test_work_handed_over_is_begun_at_once_and_its_message_only_waits_for_it(
    hook: tuple[Desk, WebhookServer],
) -> None:
    desk, server = hook
    incoming = await desk.begin()
    await desk.sender.handle(incoming)
    assert len(server.accepted) == 1
    assert await desk.states(incoming) == [("queued", 0, ""), ("attempting", 1, ""), ("sent", 1, "")]


async def test_what_fails_at_once_is_taken_up_by_the_queue_when_its_time_has_come(
    hook: tuple[Desk, WebhookServer],
) -> None:
    desk, server = hook
    server.faults.append(Fault(status=429, retry_after_s=42))
    incoming = await desk.begin()
    await desk.sender.finish()
    assert await desk.until_settled(incoming) == [42.0]
    assert len(server.accepted) == 1
    assert [state for state, *_ in await desk.states(incoming)] == [
        "queued",
        "attempting",
        "retrying",
        "attempting",
        "sent",
    ]


async def test_what_fails_at_once_is_not_tried_again_at_once_by_the_queue(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    server.faults.append(Fault(status=503))
    incoming = await desk.begin()
    await desk.sender.finish()
    with pytest.raises(Retryable) as caught:
        await desk.sender.handle(incoming)
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s > 0
    assert server.requests == 1


async def test_with_all_hands_full_work_is_left_to_the_queue(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    begun = [await desk.begin(f"alert {number}") for number in range(4)]
    await desk.sender.finish()
    assert len(server.accepted) == 2
    for incoming in begun:
        await desk.sender.handle(incoming)
    assert sorted(message.raw["data"]["alert_id"] for message in server.accepted) == [f"alert {n}" for n in range(4)]


async def test_of_two_processes_only_one_attempts(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    other = Desk("webhook", desk.channel, desk.bus, now_ms=desk.now_ms + 1)
    other.subscribe(server.url)
    incoming = await desk.queue()
    await asyncio.gather(desk.sender.handle(incoming), other.sender.handle(incoming), return_exceptions=True)
    assert len(server.accepted) == 1
    assert [state for state, *_ in await desk.states(incoming)] == ["queued", "attempting", "sent"]


async def test_a_time_to_wait_is_honoured_and_counted(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    server.faults.append(Fault(status=429, retry_after_s=42))
    incoming = await desk.queue()
    assert await desk.until_settled(incoming) == [42.0]
    assert await desk.states(incoming) == [
        ("queued", 0, ""),
        ("attempting", 1, ""),
        ("retrying", 1, "rate_limited"),
        ("attempting", 2, ""),
        ("sent", 2, ""),
    ]
    assert desk.count("deliveries_retried_total", reason="rate_limited") == 1


async def test_who_is_told_to_wait_is_not_asked_for_another_alert_either(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    server.faults.append(Fault(status=429, retry_after_s=42))
    first, second = await desk.queue("first"), await desk.queue("second")
    with pytest.raises(Retryable):
        await desk.sender.handle(first)
    desk.now_ms += 2_000
    with pytest.raises(Retryable) as caught:
        await desk.sender.handle(second)
    assert caught.value.retry_after_s == 40
    assert server.requests == 1
    assert await desk.states(second) == [("queued", 0, "")]
    desk.now_ms += 40_000
    await desk.sender.handle(second)
    assert len(server.accepted) == 1


async def test_what_one_replica_is_told_of_when_to_come_back_all_replicas_keep_to(
    hook: tuple[Desk, WebhookServer],
) -> None:
    desk, server = hook
    others = [Desk("webhook", desk.channel, desk.bus, now_ms=desk.now_ms) for _ in range(2)]
    server.faults.append(Fault(status=429, retry_after_s=42))
    async with following(others[0]):
        with pytest.raises(Retryable):
            await desk.sender.handle(await desk.queue("first"))
        async with following(others[1]):  # one that starts later knows it as well
            for number, other in enumerate(others):
                other.subscribe(server.url)
                await until_closed(other)
                with pytest.raises(Retryable) as told:
                    await other.sender.handle(await other.queue(f"alert {number}"))
                assert told.value.retry_after_s == pytest.approx(42, abs=1)
                other.now_ms += 42_001
                await other.sender.handle(await other.queue(f"later {number}"))
    assert server.requests == 3


@asynccontextmanager
async def following(desk: Desk) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(desk.gates.follow(stop))
        yield
        stop.set()


async def until_closed(desk: Desk) -> None:
    async with asyncio.timeout(10):
        while not desk.registry.get_sample_value("alerting_receivers_closed"):  # noqa: ASYNC110  a metric announces nothing
            await asyncio.sleep(0.001)


async def test_what_discord_says_of_its_limit_is_kept_to_without_being_refused(
    discord: tuple[Desk, DiscordServer],
) -> None:
    desk, server = discord
    server.limit, server.window_s = 2, 0.3
    live = Desk("discord", desk.channel, desk.bus, live=True)
    live.subscribe(server.url)
    for number in range(5):
        await live.sender.handle(await live.queue(f"alert {number}"))
    assert (len(server.accepted), server.over) == (5, 0)
    arrived_s = [message.at_s for message in server.accepted]
    assert all(later - sooner > 0.25 for sooner, later in zip(arrived_s, arrived_s[2:], strict=False))


async def test_a_refusal_of_discord_for_everybody_holds_for_all_webhooks_and_another_for_its_own_threads(
    discord: tuple[Desk, DiscordServer],
) -> None:
    desk, server = discord
    elsewhere = server.url.replace(server.webhook_id, "1100000000000000002")
    server.faults.extend([Fault(status=429, retry_after_s=30)] * 2)
    for everybody, asked in ((False, 2), (True, 3)):
        server.everybody = everybody
        desk.subscribe(server.url)
        with pytest.raises(Retryable):
            await desk.sender.handle(await desk.queue(f"told {everybody}"))
        desk.subscribe(f"{server.url}?thread_id=7")
        with pytest.raises(Retryable):
            await desk.sender.handle(await desk.queue(f"thread {everybody}"))
        desk.subscribe(elsewhere)
        with pytest.raises(Retryable) if everybody else nullcontext():
            await desk.sender.handle(await desk.queue(f"elsewhere {everybody}"))
        assert server.requests == asked
        desk.now_ms += 30_001


async def test_a_receiver_that_keeps_failing_is_given_up_in_the_end(
    hook: tuple[Desk, WebhookServer],
) -> None:
    desk, server = hook
    server.always = Fault(status=503)
    incoming = await desk.queue()
    waits = await desk.until_settled(incoming)
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2
    assert (await desk.states(incoming))[-1] == ("failed", 3, "server_error")
    assert desk.count("deliveries_failed_total", state="failed", reason="server_error") == 1


async def test_a_receiver_that_is_down_is_left_alone_without_using_up_attempts(
    hook: tuple[Desk, WebhookServer],
) -> None:
    desk, server = hook
    server.always = Fault(status=503)
    for number in range(FAILURES):
        with pytest.raises(Retryable):
            await desk.sender.handle(await desk.queue(f"alert {number}"))
    incoming = await desk.queue("one more")
    for _ in range(3):
        with pytest.raises(Retryable) as told:
            await desk.sender.handle(incoming)
        assert told.value.reason == "circuit_open"
    assert await desk.states(incoming) == [("queued", 0, ""), ("retrying", 0, "circuit_open")]
    assert server.requests == FAILURES
    server.always = None
    await desk.until_settled(incoming)
    assert (await desk.states(incoming))[-2:] == [("attempting", 1, ""), ("sent", 1, "")]


async def test_what_waits_for_a_circuit_expires_in_its_time(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    server.always = Fault(status=503)
    incoming = await desk.queue("old")
    desk.now_ms += int(TTL_S * 1000) - 3_000
    for number in range(FAILURES):
        with pytest.raises(Retryable):
            await desk.sender.handle(await desk.queue(f"alert {number}"))
    assert await desk.until_settled(incoming) == [3.0]
    assert await desk.states(incoming) == [
        ("queued", 0, ""),
        ("retrying", 0, "circuit_open"),
        ("expired", 0, "deadline"),
    ]
    assert server.requests == FAILURES


async def test_a_rejection_is_final(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    server.faults.append(Fault(status=410))
    incoming = await desk.queue()
    await desk.sender.handle(incoming)
    assert (await desk.states(incoming))[-1] == ("failed", 1, "gone")


async def test_doubt_is_resent_where_the_receiver_recognises_copies(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    server.faults.append(Fault(after_accept=True))
    incoming = await desk.queue()
    await desk.until_settled(incoming)
    assert (await desk.states(incoming))[-1] == ("sent", 2, "")
    assert len(server.accepted) == 2
    assert len(server.ids) == 1


async def test_doubt_is_stated_where_a_copy_would_be_a_second_message(discord: tuple[Desk, DiscordServer]) -> None:
    desk, server = discord
    server.faults.append(Fault(after_accept=True))
    incoming = await desk.queue()
    await desk.sender.handle(incoming)
    assert (await desk.states(incoming))[-1] == ("unknown", 1, "connection_lost")
    assert len(server.accepted) == 1


async def test_doubt_is_resent_where_the_subscriber_prefers_two_to_none(discord: tuple[Desk, DiscordServer]) -> None:
    desk, server = discord
    desk.subscribe(server.url, on_unknown="resend")
    server.faults.append(Fault(hang=True))
    incoming = await desk.queue()
    await desk.until_settled(incoming)
    assert (await desk.states(incoming))[-1] == ("sent", 2, "")


async def test_after_its_deadline_nothing_is_sent(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    incoming = await desk.queue()
    desk.now_ms += int(TTL_S * 1000)
    await desk.sender.handle(incoming)
    assert (await desk.states(incoming))[-1] == ("expired", 0, "deadline")
    assert server.requests == 0


async def test_a_late_alert_says_that_it_is_late(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    incoming = await desk.queue()
    desk.now_ms += 300_000
    await desk.sender.handle(incoming)
    assert "Late by: 5 min" in server.accepted[0].text


async def test_a_channel_without_configuration_fails_with_that_reason(memory_bus: MemoryBus) -> None:
    desk = Desk("telegram", None, memory_bus)
    desk.subscribe("4242")
    incoming = await desk.queue()
    await desk.sender.handle(incoming)
    assert (await desk.states(incoming))[-1] == ("failed", 0, "channel_not_configured")


async def test_a_destination_that_was_removed_meanwhile_ends_the_delivery(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    incoming = await desk.queue()
    desk.directory.subscribers.clear()
    await desk.sender.handle(incoming)
    assert (await desk.states(incoming))[-1] == ("failed", 0, "destination_gone")
    assert server.requests == 0


@pytest.mark.parametrize(
    ("since", "reason"), [({"enabled": False}, "unsubscribed"), ({"verified": False}, "not_verified")]
)
async def test_who_unsubscribed_since_gets_nothing_of_what_was_queued(
    hook: tuple[Desk, WebhookServer], since: dict[str, bool], reason: str
) -> None:
    desk, server = hook
    incoming = await desk.queue()
    ada = desk.directory.subscribers["ada"]
    places = [replace(place, **since) for place in ada.destinations]
    desk.directory.subscribers["ada"] = replace(ada, destinations=places)
    await desk.sender.handle(incoming)
    assert (await desk.states(incoming))[-1] == ("failed", 0, reason)
    assert server.requests == 0


async def test_an_address_corrected_meanwhile_is_used(hook: tuple[Desk, WebhookServer]) -> None:
    desk, server = hook
    desk.subscribe("http://127.0.0.1:9/nowhere")
    incoming = await desk.queue()
    with pytest.raises(Retryable):
        await desk.sender.handle(incoming)
    desk.subscribe(server.url)
    await desk.until_settled(incoming)
    assert len(server.accepted) == 1


async def test_a_bug_in_a_channel_is_a_doubt_with_a_name_and_shows_no_secret(
    memory_bus: MemoryBus, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        dedupes = False

        async def send(self, *_: object) -> Sent:
            raise KeyError("https://example.org/SECRET")

        async def close(self) -> None: ...

    desk = Desk("webhook", Broken(), memory_bus)
    desk.subscribe("https://example.org")
    incoming = await desk.queue()
    await desk.sender.handle(incoming)
    assert (await desk.states(incoming))[-1] == ("unknown", 1, "channel_bug")
    out, _ = capsys.readouterr()
    assert "KeyError" in out
    assert "https://example.org/SECRET" not in out.replace('raise KeyError("https://example.org/SECRET")', "")


async def test_a_stopping_service_does_not_wait_for_a_receiver_that_hangs(
    memory_bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerting.sending.requests.STOP_S", 0.01)
    async with WebhookServer(always=Fault(hang=True)) as server:
        channel = Webhook(Outbound(timeout_s=20.0, allow_private=True, connections=1))
        desk = Desk("webhook", channel, memory_bus)
        desk.subscribe(server.url)
        incoming, stop = await desk.queue(), asyncio.Event()
        hurrying = asyncio.create_task(desk.sender.hurry_after(stop))
        sending = asyncio.create_task(desk.sender.handle(incoming))
        await server.wait_for_requests(1)
        stop.set()
        with pytest.raises(Retryable):
            await asyncio.wait_for(sending, 5)
        await hurrying
        assert (await desk.states(incoming))[-1] == ("retrying", 1, "timeout")
        await channel.close()


async def test_what_is_no_work_for_this_channel_is_rejected(hook: tuple[Desk, WebhookServer]) -> None:
    desk, _ = hook
    foreign = Desk("discord", None, desk.bus)
    with pytest.raises(Rejected):
        await desk.sender.handle(await foreign.queue())
