"""Reports are made when they are due, stated once, and delivered like any other alert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.bot import ApiServer
from tests.channels.record import WEB_PAGE, Fault
from tests.reports import DAY_MS, HOUR_MS, MINUTE_MS, MONDAY_MS, WEEKLY, ReportWorld, a_report

from alerting.gateway import Away
from alerting.picture.report import draw_report
from alerting.reports import content
from alerting.reports.condense import condensed, thinned
from alerting.words.voice import Voice
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus, Stored
from tocsin_common.events import AlertRaised, AlertSuppressed, Event
from tocsin_common.streams import ALERTS, DELIVERIES, DIGESTS, SEND, SNAPSHOTS, Stream

DUE = WEEKLY.last(MONDAY_MS)


async def stored(bus: Bus, stream: Stream) -> list[Any]:
    return [message.event() for message in await bus.page(stream, ">")]


async def sent(world: ReportWorld) -> None:
    """Wait until something is to be sent."""
    async with asyncio.timeout(10):
        while True:
            if await stored(world.bus, SEND):
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> AsyncIterator[ReportWorld]:
    """Ann asks for weekly reports on Telegram and by webhook, Bob for none."""
    async with ApiServer() as api:
        world = ReportWorld(MemoryBus(), api)
        await world.has_history()
        await world.subscribe("ann", "telegram", "webhook")
        await world.subscribe("bob", reports=[])
        yield world


async def test_who_asks_for_it_gets_it_once_with_its_figures_and_a_picture_where_pictures_are_shown(
    world: ReportWorld,
) -> None:
    async with world.office() as office:
        for _ in range(3):
            await office.make_due()
            world.now_ms += HOUR_MS
    [alert] = await stored(world.bus, ALERTS)
    assert (alert.kind, alert.exchange, alert.symbol, alert.subscribers) == ("report", "report", "weekly", ["ann"])
    assert alert.title.startswith("Weekly report, ")
    assert alert.title.endswith(": +19.2 R")
    assert "74 of 128 signals that ended won, 58 %: with 95 % confidence" in alert.text
    assert "Unusual: 18 signals on SOL/USDT, where 7 are usual." in alert.text
    assert alert.fields["Result"] == "+19.2 R (before: +3.3 R)"
    assert alert.fields["Best strategy"] == "EMA cross, +0.61 R each of 20"
    assert alert.fields["Worst strategy"] == "Mean reversion, -0.47 R each of 20"
    assert alert.fields["Portfolio main"] == "+2.30 %, now 10,230.12 USDT"
    assert {due.channel: due.report for due in await stored(world.bus, SEND)} == {
        "telegram": alert.report,
        "webhook": None,
    }
    assert [change.state for change in await stored(world.bus, DELIVERIES)] == ["queued", "queued"]
    [(path, asked)] = world.api.asked_for
    assert (path, asked["from_ms"], asked["zone"]) == ("/report", str(DUE.from_ms), "Asia/Jakarta")


async def test_every_week_has_its_own(world: ReportWorld) -> None:
    async with world.office() as office:
        for _ in range(3):
            await office.make_due()
            world.now_ms = WEEKLY.next(world.now_ms).due_ms
    alerts = await stored(world.bus, ALERTS)
    assert [alert.report.from_ms for alert in alerts] == [DUE.from_ms + n * 7 * DAY_MS for n in range(3)]
    assert len({due.delivery_id for due in await stored(world.bus, SEND)}) == 6


async def test_operators_get_every_report_and_those_who_want_none_are_spared_with_the_reason(
    world: ReportWorld,
) -> None:
    await world.subscribe("cleo", preferences={"report": "off"})
    async with world.office(operators=frozenset({"bob"})) as office:
        await office.make_due()
    spared, alert = await stored(world.bus, ALERTS)
    assert isinstance(spared, AlertSuppressed)
    assert spared.subscriber_id == "cleo"
    assert alert.subscribers == ["ann", "bob"]


async def test_where_nobody_asks_for_it_nobody_is_asked(world: ReportWorld) -> None:
    await world.subscribe("ann", reports=["daily"])
    async with world.office() as office:
        await office.make_due()
        await world.subscribe("ann")
        await office.make_due()  # it was due when nobody wanted it
    assert (world.api.asked_for, await stored(world.bus, ALERTS)) == ([], [])


async def test_there_is_nothing_to_report_of_the_time_before_the_first_signal() -> None:
    async with ApiServer() as api:
        world = ReportWorld(MemoryBus(), api)
        await world.subscribe("ann")
        async with world.office() as office:
            await office.make_due()
        assert world.api.asked_for == []


async def test_a_missed_report_is_made_late_and_says_so_or_not_at_all_when_the_next_is_nearer(
    world: ReportWorld,
) -> None:
    world.now_ms = MONDAY_MS + 5 * HOUR_MS
    async with world.office() as office:
        await office.make_due()
        world.now_ms = MONDAY_MS + 11 * DAY_MS
        await office.make_due()
    [alert] = await stored(world.bus, ALERTS)
    assert alert.text.endswith("This comes 5.0 h late: the figures were not there before.")
    assert world.registry.get_sample_value("alerting_reports_left_out_total", {"period": "weekly"}) == 1


FAULTS: dict[str, Any] = {
    "server_error": Fault(status=503),
    "denied": Fault(status=401),
    "refused": Fault(status=422),
    "timeout": Fault(hang=True),
    "senseless": Fault(page=WEB_PAGE),
}
ANSWERS: dict[str, tuple[str, Any]] = {
    "another period": ("senseless", {"to_ms": DUE.to_ms + 1}),
    "no money": ("senseless", {"portfolios": [replace(a_report(DUE).portfolios[0], equity="sNaN")]}),
    "astronomical money": ("senseless", {"portfolios": [replace(a_report(DUE).portfolios[0], equity="1e999999")]}),
    "too much": ("too_large", {"results": {f"target_{n}" + "x" * 500: n for n in range(3_000)}}),
    "not all projected": ("behind", {"behind": 1_001}),
    "no numbers": ("senseless", {"active": "many"}),
}


@pytest.mark.parametrize("reason", FAULTS)
async def test_a_gateway_that_is_away_delays_the_report(world: ReportWorld, reason: str) -> None:
    world.api.faults.append(FAULTS[reason])
    async with world.office(timeout_s=0.2) as office:
        with pytest.raises(Away) as away:
            await office.make_due()
        assert away.value.reason == reason
        assert await stored(world.bus, ALERTS) == []
        world.now_ms += 20 * MINUTE_MS
        await office.make_due()
    [alert] = await stored(world.bus, ALERTS)
    assert "20 min late" in alert.text


@pytest.mark.parametrize("wrong", ANSWERS)
async def test_an_answer_that_makes_no_sense_is_no_report(world: ReportWorld, wrong: str) -> None:
    reason, world.given = ANSWERS[wrong]
    async with world.office() as office:
        with pytest.raises(Away) as away:
            await office.make_due()
    assert away.value.reason == reason
    assert await stored(world.bus, ALERTS) == []


async def test_the_office_tries_again_until_it_has_the_figures(world: ReportWorld) -> None:
    world.api.faults.extend([Fault(status=503)] * 3)
    stop = asyncio.Event()
    async with world.office(retry_s=0.01) as office:
        running = asyncio.create_task(office.run(stop))
        await sent(world)
        stop.set()
        await running
    assert world.registry.get_sample_value("alerting_reports_delayed_total", {"reason": "server_error"}) == 3
    assert world.registry.get_sample_value("alerting_reports_made_total", {"period": "weekly"}) == 1


async def test_of_several_replicas_one_makes_it(world: ReportWorld) -> None:
    stop = asyncio.Event()
    async with world.office() as first, world.office() as second:
        running = [asyncio.create_task(office.run(stop)) for office in (first, second)]
        await sent(world)
        stop.set()
        await asyncio.gather(*running)
    assert len(world.api.asked_for) == 1


class Killed(Exception):
    """The process is no more."""


class MortalBus(MemoryBus):
    """Stores go through one by one, until `left` are done: the next one is the last thing that happens, or does not."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None

    async def publish(self, events: Sequence[Event], **more: Any) -> list[Stored]:
        receipts = []
        for event in events:
            self.step()
            receipts += await super().publish([event], **more)
            self.step()
        return receipts

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


async def test_killed_between_any_two_writes_it_is_told_once_to_everybody_as_it_was_first_stated() -> None:
    for steps in range(40):
        async with ApiServer() as api:
            bus = MortalBus()
            world = ReportWorld(bus, api)
            await world.has_history()
            await world.subscribe("ann", "telegram", "webhook")
            await world.subscribe("bob", "email")
            await world.subscribe("cleo", preferences={"report": "off"})
            bus.left = steps
            died = await lived(world)
            bus.left, world.given = None, {"active": 15}  # who asks again is told something else
            world.now_ms += HOUR_MS
            await lived(world)
            alerts, opened = await stored(bus, ALERTS), await stored(bus, DELIVERIES)
            due = await stored(bus, SEND) + await stored(bus, DIGESTS)  # an hour later it joins a digest of late ones
        [raised] = [alert for alert in alerts if isinstance(alert, AlertRaised)]
        assert [alert.subscriber_id for alert in alerts if isinstance(alert, AlertSuppressed)] == ["cleo"]
        assert len(opened) == len(due) == len({one.delivery_id for one in due}) == 3
        assert {one.delivery_id for one in opened} == {one.delivery_id for one in due}
        assert {one.text for one in due} == {raised.text}
        if not died:
            return
    pytest.fail("never lived long enough")


async def lived(world: ReportWorld) -> bool:
    """Whether a replica was killed before it had done everything."""
    async with world.office() as office:
        try:
            await office.make_due()
        except Killed:
            return True
    return False


async def test_what_was_stated_is_delivered_although_the_gateway_is_away(world: ReportWorld) -> None:
    async with world.office() as office:
        await office.make_due()
    first = {due.delivery_id for due in await stored(world.bus, SEND)}
    await world.bus.bucket(SNAPSHOTS).delete("alerting-reports")
    world.api.faults.append(Fault(status=503))
    async with world.office() as office:
        await office.make_due()
    assert len(world.api.asked_for) == 1
    assert {due.delivery_id for due in await stored(world.bus, SEND)} == first


@pytest.mark.parametrize("language", ["en", "id"])
def test_with_its_picture_it_fits_below_a_photo_of_telegram(language: Any) -> None:
    """Telegram takes 1024 characters there; names are of usual length, and there is all there can be."""
    report = a_report(DUE)
    summary = condensed(
        replace(report, changes=report.changes * 2, portfolios=report.portfolios * 2), DUE, delayed_s=7200
    )
    voice = Voice(language)
    fields = content.fields(summary, voice)
    shown = content.title(summary, voice) + content.text(summary, voice)
    assert len(shown) + sum(len(name) + len(value) + 3 for name, value in fields.items()) < 1024


def test_a_week_without_outcomes_says_so_and_compares_nothing() -> None:
    from tests.reports import figures_of, ranking_of

    empty = figures_of(0, 0)
    report = a_report(DUE, now=empty, before=empty, strategies=ranking_of(), symbols=ranking_of(), hours=ranking_of())
    summary = condensed(replace(report, changes=[], portfolios=[], curve=[]), DUE)
    assert content.text(summary, Voice()) == "No signal ended in this time."
    assert list(content.fields(summary, Voice())) == ["Result", "Signals", "Alerts"]
    assert content.title(summary, Voice()).endswith(": 0.0 R")
    assert draw_report(summary)


def test_points_are_left_out_evenly_and_never_the_ends() -> None:
    for count in (1, 2, 95, 96, 97, 240, 1000):
        points = list(range(count))
        kept = thinned(points, 96)
        assert len(kept) == min(count, 96)
        assert (kept[0], kept[-1]) == (0, count - 1)
        assert kept == sorted(set(kept))
