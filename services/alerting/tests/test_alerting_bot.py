"""The bot answers each update once, whoever polls, whatever Telegram does, wherever it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.bot import ADA, BOB, EVE, GROUP, BotWorld, bot_world
from tests.channels import WEB_PAGE, Fault
from tests.hostile import CLEANED, TEXTS

from alerting.bot.commands.table import TABLE
from alerting.channels import Message
from alerting.channels.telegram import Telegram
from alerting.config import AlertingSection, Settings, TelegramSection
from alerting.metrics import Metrics
from alerting.sending.gates import Gates
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination
from tocsin_common.runtime import Service

KNOWN_COMMANDS = set(TABLE.typed)


@pytest.fixture
async def world(memory_bus: MemoryBus) -> AsyncIterator[BotWorld]:
    async with bot_world(memory_bus) as world:
        yield world


async def test_an_update_is_answered_recorded_and_confirmed(world: BotWorld) -> None:
    async with world.running():
        update = world.telegram.say(ADA, "/help")
        [answer] = await world.telegram.wait_for(1)
        await world.telegram.wait_confirmed()
    assert answer.address == str(ADA)
    assert "/price" in answer.text
    entries = await world.entries()
    assert [(one.state, one.command, one.outcome) for one in entries] == [
        ("answering", "help", "ok"),
        ("answered", "help", "ok"),
    ]
    assert {one.update_id for one in entries} == {update}
    assert {one.subscriber_id for one in entries} == {"ada"}
    assert str(ADA) not in str(entries)


async def test_updates_are_answered_in_the_order_of_their_person(world: BotWorld) -> None:
    symbols = [f"S{number}/USDT" for number in range(5)]
    world.api.answers["/signals"] = {"items": []}
    for symbol in symbols:
        for person in (ADA, BOB):
            world.telegram.say(person, f"/signal {symbol}")
    async with world.running():
        answers = await world.telegram.wait_for(10)
    for person in (ADA, BOB):
        texts = [one.text for one in answers if one.address == str(person)]
        assert [symbol in text for symbol, text in zip(symbols, texts, strict=True)] == [True] * 5


async def test_an_update_that_comes_again_is_not_answered_again(world: BotWorld) -> None:
    """Telegram gives what a request for later updates has not confirmed to whoever asks, again and again."""
    async with world.running():
        update = world.telegram.say(ADA, "/help")
        await world.telegram.wait_for(1)
        await world.telegram.wait_confirmed()
    world.telegram.pending.append({"update_id": update, "message": message_of(ADA, "/help")})
    async with world.running():
        world.telegram.say(ADA, "/help")
        await world.telegram.wait_for(2)
        await world.telegram.wait_confirmed()
    assert len(world.telegram.accepted) == 2


async def test_after_a_week_of_silence_telegram_may_count_from_a_lower_number(world: BotWorld) -> None:
    async with world.running():
        world.telegram.say(ADA, "/help")
        await world.telegram.wait_for(1)
        await world.telegram.wait_confirmed()
    world.telegram._next_id = 12
    async with world.running():
        world.telegram.say(ADA, "/help")
        await world.telegram.wait_for(2)


async def test_of_two_replicas_one_polls_and_the_other_takes_over(world: BotWorld) -> None:
    async with world.running() as second_to_stop:
        world.telegram.say(ADA, "/help")
        await world.telegram.wait_for(1)
        async with world.running() as idle:
            assert polling(idle) == 0
            assert polling(second_to_stop) == 1
            second_to_stop.stop.set()
            await until(lambda: polling(idle) == 1)
            world.telegram.say(ADA, "/help")
            await world.telegram.wait_for(2)
    assert world.telegram.conflicts <= 1
    assert len(world.telegram.accepted) == 2


async def test_answers_and_the_alerts_of_another_replica_share_the_limits_of_telegram(
    jetstream_bus: JetStreamBus,
) -> None:
    async with bot_world(jetstream_bus, answers_per_minute=100) as world, AsyncExitStack() as stack:
        world.limits = {"per_s": 20, "chat_per_s": 1.9}
        settings = AlertingSection(telegram=TelegramSection(per_s=20, chat_per_s=1.9))
        gates = Gates(jetstream_bus, settings, Metrics(CollectorRegistry()))
        server = world.telegram
        channel = Telegram(server.token, base_url=server.origin, timeout_s=5.0, connections=8)
        stack.push_async_callback(channel.close)

        async def alert(chat: int) -> None:
            to = Destination(channel="telegram", address=str(chat))
            message = Message("d", "a", f"alert {chat}", "", {}, 0)
            await gates.ask("telegram", to.address, lambda: channel.send(message, to))

        await stack.enter_async_context(world.running())
        for _ in range(3):
            for person in (ADA, BOB):
                world.telegram.say(person, "/help")
        await asyncio.gather(*(alert(chat) for chat in [ADA, *range(20)]))
        received = await world.telegram.wait_for(6 + 21)
        await world.telegram.wait_confirmed()
        steps = await world.entries()
    moments = sorted(one.at_s for one in received)
    assert all(later - sooner >= 1 for sooner, later in zip(moments, moments[20:], strict=False))
    for person in (ADA, BOB):
        own = sorted(one.at_s for one in received if one.address == str(person))
        assert all(later - sooner >= 1 / 1.9 for sooner, later in pairwise(own))
    assert len([one for one in received if one.address == str(ADA)]) == 4
    ends = {one.update_id: one.at_ms for one in steps if one.state == "answered"}
    took_ms = [ends[one.update_id] - one.at_ms for one in steps if one.state == "answering"]
    assert median(took_ms) < 400  # what an answer waits for it waits for before it is recorded


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=409),
        Fault(status=429, retry_after_s=1),
        Fault(status=502),
        Fault(page=WEB_PAGE, status=502),
        Fault(page=WEB_PAGE),
        Fault(reset=True),
    ],
    ids=["409", "429", "502", "page", "page as success", "reset"],
)
async def test_polling_goes_on_after_whatever_telegram_does(world: BotWorld, fault: Fault) -> None:
    world.telegram.poll_faults.append(fault)
    async with world.running() as replica:
        world.telegram.say(ADA, "/help")
        await world.telegram.wait_for(1)
    assert failures(replica) == 1


async def test_an_answer_that_telegram_surely_did_not_take_is_sent_again(world: BotWorld) -> None:
    async with world.running():
        await world.telegram.wait_until(lambda: world.telegram.polls)
        world.telegram.faults.extend([Fault(status=503), Fault(status=429, retry_after_s=1)])
        world.telegram.say(ADA, "/help")
        await world.telegram.wait_confirmed()
    assert len(world.telegram.accepted) == 1
    assert [one.state for one in await world.entries()] == ["answering", "answered"]


@pytest.mark.parametrize(
    ("faults", "state", "reason", "taken"),
    [
        ([Fault(reset=True, after_accept=True)], "unknown", "connection_lost", 1),
        ([Fault(status=403)], "failed", "forbidden", 0),
        ([Fault(status=429, retry_after_s=600)], "failed", "rate_limited", 0),
        ([Fault(status=503)] * 3, "failed", "server_error", 0),
    ],
    ids=["lost after it was taken", "blocked", "told to wait for long", "down"],
)
async def test_an_answer_that_may_have_been_taken_is_never_sent_again(
    world: BotWorld, faults: list[Fault], state: str, reason: str, taken: int
) -> None:
    async with world.running():
        await world.telegram.wait_until(lambda: world.telegram.polls)
        world.telegram.faults.extend(faults)
        world.telegram.say(ADA, "/help")
        await world.telegram.wait_until(lambda: not world.telegram.pending)
    last = (await world.entries())[-1]
    assert (last.state, last.reason) == (state, reason)
    assert len(world.telegram.accepted) == taken


async def test_an_answer_that_hangs_is_given_up(world: BotWorld) -> None:
    async with world.running():
        await world.telegram.wait_until(lambda: world.telegram.polls)
        world.telegram.faults.append(Fault(hang=True))
        world.telegram.say(ADA, "/help")
        world.telegram.say(BOB, "/help")
        await world.telegram.wait_confirmed()
    assert [one.address for one in world.telegram.accepted] == [str(BOB)]
    assert sorted(one.state for one in await world.entries())[-1] == "unknown"


GARBAGE: list[dict[str, Any]] = [
    {},
    {"message": {"message_id": "x", "date": "yesterday", "chat": 7}},
    {"message": {"message_id": 1, "date": 1, "chat": {"id": ADA, "type": "private"}}},
    {"callback_query": {"id": "cb", "from": {"id": ADA, "is_bot": False, "first_name": "A"}, "chat_instance": "1"}},
    {"channel_post": {"message_id": 1, "date": 1, "chat": {"id": -5, "type": "channel"}, "text": "/help"}},
    {"edited_message": {"message_id": 1, "date": 1, "chat": {"id": ADA, "type": "private"}, "text": "/help"}},
    {"unheard_of": {"deep": [[[[]]]]}},
]


async def test_what_cannot_be_read_is_passed_over_and_the_others_are_heard(world: BotWorld) -> None:
    for content in GARBAGE:
        world.telegram.push(content)
    async with world.running():
        world.telegram.say(ADA, "/help")
        await world.telegram.wait_for(1)
        await world.telegram.wait_confirmed()
    assert len(await world.entries()) == 2


HOSTILE = [
    "/price <b>BTC</b>",
    "/price " + "A" * 4000,
    "/signal \u202eTDSU/CTB",
    "/chart \U0001f600\U0001f600/USDT",
    "/why &lt;script&gt; <a href='tg://user?id=1'>x</a>",
    "/winrate -1",
    "/winrate 1e9",
    "/winrate \u0663",
    "/nonsense<i>",
    "/" + "x" * 4000,
    "/",
    "//",
    "/help\nBTC",
    "hello <script>",
    "\x00\x01\x02",
    "/price " + "\u0301" * 1000,
    *(f"/price {text}" for text in (*TEXTS, *CLEANED) if "\ud800" not in text),
]


async def test_whatever_is_written_gets_an_answer_that_telegram_takes(world: BotWorld) -> None:
    """The server refuses HTML that is not Telegram's, and too long texts, as the real one does."""
    world.settings["answers_per_minute"] = 600
    async with world.running():
        for text in HOSTILE:
            answer = await world.answer(ADA, text, name=f"<b>Eve</b> & </code> \u202e{text[7:64]}")
            assert "<b>Eve" not in answer
        await world.telegram.wait_confirmed()
    assert [one.state for one in await world.entries()] == ["answering", "answered"] * len(HOSTILE)
    assert {one.command for one in await world.entries()} <= {*KNOWN_COMMANDS, "unknown", "text"}


async def test_strangers_learn_how_to_begin_and_nothing_else(world: BotWorld) -> None:
    world.settings["contact"] = "desk@example.org"
    async with world.running():
        for text in ("/price BTC/USDT", "/signals", "/portfolio"):
            assert "desk@example.org" in await world.answer(EVE, text)
    assert world.api.asked_for == []
    assert {one.reason for one in await world.entries()} == {"stranger"}
    assert {one.subscriber_id for one in await world.entries()} == {""}


async def test_in_groups_only_commands_are_heard_and_only_what_is_no_secret_is_said(world: BotWorld) -> None:
    world.api.answers["/portfolios"] = {"items": []}
    async with world.running():
        world.telegram.say(ADA, "good morning", chat=GROUP)
        world.telegram.say(ADA, "/start@another_bot", chat=GROUP)
        world.telegram.say(ADA, "/unheard_of", chat=GROUP)
        assert "no paper portfolios" in await world.answer(ADA, "/portfolio@tocsin_local_bot", chat=GROUP)
        assert "not a subscriber" in await world.answer(EVE, "/portfolio", chat=GROUP)
        await world.telegram.wait_confirmed()
    assert {one.address for one in world.telegram.accepted} == {str(GROUP)}
    assert {one.chat for one in await world.entries()} == {"group"}
    assert len(await world.entries()) == 4


async def test_bots_and_people_who_speak_as_a_group_are_not_heard(world: BotWorld) -> None:
    async with world.running():
        world.telegram.say(ADA, "/help", is_bot=True)
        world.telegram.push(
            {"message": {**message_of(ADA, "/help"), "sender_chat": {"id": GROUP, "type": "supergroup"}}}
        )
        world.telegram.say(BOB, "/help")
        await world.telegram.wait_confirmed()
    assert [one.address for one in world.telegram.accepted] == [str(BOB)]


async def test_who_asks_too_much_is_told_once_and_then_left_alone(world: BotWorld) -> None:
    world.settings["answers_per_minute"] = 3
    async with world.running():
        for _ in range(8):
            world.telegram.say(ADA, "/help")
        world.telegram.say(BOB, "/help")
        await world.telegram.wait_confirmed()
    texts = [one.text for one in world.telegram.accepted if one.address == str(ADA)]
    assert len(texts) == 4
    assert "minute" in texts[-1]
    assert len([one for one in world.telegram.accepted if one.address == str(BOB)]) == 1
    states = [one.state for one in await world.entries() if one.reason == "too_many"]
    assert states.count("done") == 4


async def test_buttons_that_nobody_was_shown_do_nothing(world: BotWorld) -> None:
    forged = ["?", "x", "al:", "AAAAAAAAAAA:al:price", "\U0001f600" * 16, ":" * 64]
    async with world.running():
        await world.answer(ADA, "/help")
        for data in forged:
            callback = world.telegram.press(ADA, data)
            await world.telegram.wait_until(lambda callback=callback: callback in world.telegram.toasts)
            assert "too old" in world.telegram.toasts[callback]
        await world.telegram.wait_confirmed()
    assert world.telegram.edits == []
    assert [one.reason for one in await world.entries()].count("stale_button") == 2 * len(forged)


async def test_nothing_of_a_person_or_the_token_is_in_events_logs_or_metrics(
    world: BotWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    world.telegram.poll_faults.append(Fault(status=502))
    async with world.running() as replica:
        await world.telegram.wait_until(lambda: world.telegram.polls)
        world.telegram.faults.append(Fault(status=503))
        await world.answer(EVE, "/price my-secret-plan", name="Eve Evil")
        await world.telegram.wait_confirmed()
    said = "".join(capfd.readouterr()) + generate_latest(replica.registry).decode() + str(await world.entries())
    for secret in (world.telegram.token, str(EVE), "Eve Evil", "my-secret-plan"):
        assert secret not in said


def message_of(user: int, text: str) -> dict[str, Any]:
    sender = {"id": user, "is_bot": False, "first_name": "Ada"}
    return {"message_id": 1, "date": 1, "chat": {"id": user, "type": "private"}, "from": sender, "text": text}


def polling(replica: Service[Settings]) -> float:
    return replica.registry.get_sample_value("alerting_bot_polling") or 0.0


def failures(replica: Service[Settings]) -> float:
    found = [one for metric in replica.registry.collect() for one in metric.samples]
    return sum(one.value for one in found if one.name == "alerting_bot_poll_failures_total")


async def until(condition: Callable[[], bool], wait_s: float = 10.0) -> None:
    async with asyncio.timeout(wait_s):
        while not condition():  # noqa: ASYNC110  a metric announces nothing
            await asyncio.sleep(0.01)
