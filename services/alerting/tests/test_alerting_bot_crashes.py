"""The bot is killed at every step, and what was said to it is done once and answered at most once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from tests.bot import ADA, BotWorld, bot_world

from alerting.bot.wiring import LEASE
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import FenceOf, Stored
from tocsin_common.decoding import decode
from tocsin_common.documents import Subscriber
from tocsin_common.events import BotAsked, Event
from tocsin_common.streams import ALERT_RULES, LEASES, SUBSCRIBERS


class Killed(BaseException):
    """The process is gone."""


class MortalBus(MemoryBus):
    """Kills whoever makes the write number `dies_at`, just before or just after it is stored; 0: nobody."""

    def __init__(self, dies_at: int, *, after: bool) -> None:
        super().__init__()
        self.dies_at, self.after = dies_at, after
        self.writes = 0

    async def publish(self, events: Sequence[Event], *, fence_of: FenceOf | None = None) -> list[Stored]:
        self._pass(after=False)
        stored = await super().publish(events, fence_of=fence_of)
        self._pass(after=True)
        return stored

    async def append(self, event: Event, *, expected_last: int) -> Stored:
        self._pass(after=False)
        stored = await super().append(event, expected_last=expected_last)
        self._pass(after=True)
        return stored

    def _pass(self, *, after: bool) -> None:
        self.writes += not after
        if self.writes == self.dies_at and after == self.after:
            raise Killed


async def until_killed(world: BotWorld) -> None:
    """Run a replica until the bus kills it; its lease ends in its own time, which is not waited for."""
    with pytest.RaisesGroup(Killed, flatten_subgroups=True):
        async with world.running():
            await asyncio.Event().wait()
    await world.bus.bucket(LEASES).delete(LEASE)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", [1, 2, 3])
async def test_what_was_said_is_done_once_wherever_the_bot_is_killed(dies_at: int, after: bool) -> None:
    """Three writes: that the document changed, that an answer is being sent, and that it was."""
    bus = MortalBus(dies_at, after=after)
    async with bot_world(bus) as world:
        said_s = int(time.time())
        world.telegram.say(ADA, "/mute 2h", date=said_s)
        await until_killed(world)
        bus.dies_at = 0
        async with world.running():
            await world.telegram.wait_confirmed()
        entry = await bus.bucket(SUBSCRIBERS).get("ada")
        assert entry is not None
        assert entry.value is not None
        assert decode(entry.value, Subscriber).muted_until_ms == (said_s + 7200) * 1000
        sent_before_recorded = (dies_at, after) in {(2, True), (3, False)}
        assert len(world.telegram.accepted) == ((dies_at, after) != (2, True))
        states = [one.state for one in await world.entries()]
        assert states == ["answering", "unknown" if sent_before_recorded else "answered"]


async def test_an_alert_that_is_made_while_the_bot_is_killed_is_made_once() -> None:
    bus = MortalBus(0, after=True)
    async with bot_world(bus) as world:
        async with world.running():
            await world.answer(ADA, "/alert move BTC/USDT 5 1h")
        world.telegram.press(ADA, world.telegram.buttons()["Make it"])
        bus.dies_at = bus.writes + 1
        await until_killed(world)
        bus.dies_at = 0
        async with world.running():
            await world.telegram.wait_confirmed()
        assert len(await bus.bucket(ALERT_RULES).all()) == 1
        assert [one.state for one in await world.entries()].count("answered") == 2


async def test_a_replica_that_was_overtaken_while_it_thought_says_nothing() -> None:
    """Paused between the question and its answer, it lost its lease, and another replica has answered."""
    async with bot_world(MemoryBus()) as world:
        update = world.telegram.say(ADA, "/signals")
        theirs = BotAsked(
            bot="123456",
            update_id=update,
            state="answered",
            who="w",
            subscriber_id="ada",
            chat="private",
            command="signals",
            outcome="ok",
            at_ms=1,
            took_ms=1,
        )
        writes: list[asyncio.Task[Stored]] = []

        def meanwhile(_params: object) -> dict[str, list[str]]:
            writes.append(asyncio.ensure_future(world.bus.append(theirs, expected_last=0)))
            return {"items": []}

        world.api.answers["/signals"] = meanwhile
        async with world.running():
            await world.telegram.wait_confirmed()
        assert len(writes) == 1
        assert world.telegram.accepted == []
        assert await world.entries() == [theirs]
