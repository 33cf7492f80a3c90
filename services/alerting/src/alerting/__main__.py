"""`python -m alerting`: wiring only."""

from __future__ import annotations

from collections.abc import Mapping, Set
from random import Random

from alerting.bot.wiring import Parts, run_bot
from alerting.broadcasts import Broadcasts
from alerting.channels import SHOW_PICTURES, Channel
from alerting.channels.open import links_of, open_challenge, open_channels
from alerting.config import Settings
from alerting.digests.keeper import LEASE_KEY, Keeper
from alerting.directory import Directory
from alerting.gateway import Gateway
from alerting.intake import HandOver, Intake
from alerting.judging.audience import Doorkeeper
from alerting.judging.counting import Counting
from alerting.judging.quotas import Quotas
from alerting.management.core import Management
from alerting.management.serving import serve as serve_management
from alerting.management.stating import Stating
from alerting.management.trials import Trials
from alerting.metrics import Metrics
from alerting.picture.desk import Pictures
from alerting.picture.painter import Painter
from alerting.pipeline import Pipeline
from alerting.reports.office import run_reports
from alerting.sending.gate import WAITING
from alerting.sending.gates import Gates
from alerting.sending.opener import Opener
from alerting.sending.sender import Sender
from alerting.unpublished import Unpublished
from alerting.verification.core import Verification
from alerting.verification.leaving import Leaving
from alerting.verification.metrics import AddressMetrics
from alerting.verification.opened import Opened
from alerting.verification.serving import serve as serve_doorway
from alerting.why.answers import Why
from tocsin_common.bus.holding import holder_name
from tocsin_common.bus.leases import Lease
from tocsin_common.events import CHANNELS, ChannelName, DeliveryChanged, SendDue
from tocsin_common.runtime import Service, main
from tocsin_common.streams import ALERTING, ALERTING_SEND, LEASES


async def serve(service: Service[Settings]) -> None:
    """Rules, subscribers and silences first, then a sender pool per channel, then an intake per stream, and
    the keeper of digests."""
    settings, bus = service.settings.alerting, service.bus
    metrics = Metrics(service.registry)
    directory = Directory(bus, metrics)
    await directory.load()
    service.spawn(directory.follow(service.stop))
    opener = Opener(bus, directory, metrics, ttl_s=settings.delivery.ttl_s)
    quotas = Quotas(directory.subscribers, settings.quotas)
    service.spawn(Counting(bus, quotas, opener).watch(service.stop))
    management = Management(bus, directory, metrics, quotas)
    gateway = Gateway.of(settings.api, timeout_s=2.0)  # who asks why waits 5 s
    service.stack.push_async_callback(gateway.close)
    await serve_management(service.stack, bus, management, Trials(opener), Why(bus, directory, gateway))

    channels = open_channels(settings)
    for channel in channels.values():
        service.stack.push_async_callback(channel.close)
    gates = Gates(bus, settings, metrics)
    service.spawn(gates.follow(service.stop))
    verification = await open_doorway(service, management, channels, metrics, gates)
    pictures = await open_pictures(service, channels.keys(), metrics)
    hand_over = open_senders(service, channels, directory, metrics, gates, pictures)

    parts = Parts(directory, management, verification, Broadcasts(opener), pictures, gates)
    service.spawn(run_bot(service, parts))
    pipeline = Pipeline(
        Doorkeeper(directory.subscribers, directory.silences, quotas), ttl_ms=int(settings.delivery.ttl_s * 1000)
    )
    service.spawn(run_reports(service, directory, pipeline))
    service.spawn(Stating(bus, metrics).watch(service.stop))
    service.spawn(Unpublished(bus, opener, metrics).watch(service.stop))
    for durable in ALERTING:
        intake = Intake(bus, durable, directory.rules, pipeline, metrics, hand_over)
        service.spawn(service.consume_in_order(durable, intake.handle, after=await intake.start()))
    lease = Lease(bus.bucket(LEASES), LEASE_KEY, holder_name())
    service.spawn(Keeper(bus, lease, metrics).run(service.stop))


def open_senders(
    service: Service[Settings],
    channels: Mapping[ChannelName, Channel],
    directory: Directory,
    metrics: Metrics,
    gates: Gates,
    pictures: Pictures | None,
) -> HandOver:
    """A pool for every channel, also for one that is not configured: it says so. Returns who takes work at once."""
    settings, bus = service.settings.alerting, service.bus
    senders: dict[ChannelName, Sender] = {}
    for name in CHANNELS:
        sender = senders[name] = Sender(
            bus,
            name,
            channels.get(name),
            directory,
            metrics,
            gates,
            ttl_s=settings.delivery.ttl_s,
            max_attempts=settings.delivery.max_attempts,
            random=Random(),
            pictures=pictures,
        )
        service.stack.push_async_callback(sender.finish)
        service.spawn(sender.hurry_after(service.stop))
    for (name, _), durable in ALERTING_SEND.items():
        service.spawn(service.consume_queue(durable, senders[name].handle, workers=settings.workers(name) * WAITING))

    def hand_over(due: SendDue, opened: DeliveryChanged, seq: int) -> None:
        senders[due.channel].begin(due, opened, seq)

    return hand_over


async def open_doorway(
    service: Service[Settings],
    management: Management,
    channels: Mapping[ChannelName, Channel],
    metrics: Metrics,
    gates: Gates,
) -> Verification:
    """Where addresses are confirmed and unsubscribed."""
    settings, bus = service.settings.alerting, service.bus
    links, challenge = links_of(settings.links), open_challenge(settings)
    service.stack.push_async_callback(challenge.close)
    counted = AddressMetrics(service.registry)
    verification = Verification(management, Opened(bus), channels, challenge, links, metrics, gates, counted)
    await serve_doorway(service.stack, bus, verification, Leaving(management, links, counted))
    return verification


async def open_pictures(service: Service[Settings], channels: Set[ChannelName], metrics: Metrics) -> Pictures | None:
    """A painter of its own, where a channel shows pictures and they are wanted."""
    section = service.settings.alerting.picture
    if not section.enabled or not SHOW_PICTURES & channels:
        return None
    painter = await service.stack.enter_async_context(Painter(section.theme))
    return await service.stack.enter_async_context(Pictures(service.bus, painter, metrics))


if __name__ == "__main__":
    main("alerting", Settings, serve)
