"""What the bot answers to each command, and what it changes for whom."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.alerts import a_signal
from tests.bot import ADA, BOB, EVE, GROUP, OPERATOR, BotWorld, bot_world
from tests.managed import Managed

from alerting.bot.commands.table import TABLE
from alerting.bot.phrases import phrases
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.decoding import decode
from tocsin_common.documents import (
    AlertRule,
    Destination,
    MoveRule,
    OutcomeRule,
    PriceRule,
    SignalRule,
    Silence,
    Subscriber,
    VolumeRule,
)
from tocsin_common.events import AlertRaised, AlertSuppressed, SendDue
from tocsin_common.streams import ALERT_RULES, ALERTS, SEND, SILENCES, SUBSCRIBERS, Stream

NOW_MS = time.time_ns() // 1_000_000
HOUR_MS = 3_600_000


@pytest.fixture
async def world(memory_bus: MemoryBus) -> AsyncIterator[BotWorld]:
    async with bot_world(memory_bus) as world:
        yield world


def signal(**about: Any) -> dict[str, Any]:
    known = {
        "signal_id": "s1",
        "strategy": "ema_cross",
        "strategy_version": "1",
        "params_hash": "p",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "candle_open_ms": 0,
        "confirmed_ms": HOUR_MS,
        "side": "long",
        "confidence": 72,
        "entry": 64_000.0,
        "stop": 63_000.0,
        "targets": [65_000.0, 66_000.0],
        "expires_ms": 24 * HOUR_MS,
        "reasons": ["fast EMA crossed <above>"],
        "features": {"x": 1.0},
        "state": "active",
        "outcome": None,
    }
    return {**known, **about}


ENDED = {"result": "target_1", "r_multiple": 1.5, "ended_ms": 2 * HOUR_MS, "exit_price": 65_000.0}


def candle(close: float, open_ms: int = 0) -> dict[str, Any]:
    return {"open_ms": open_ms, "open": close - 1, "high": close + 2, "low": close - 2, "close": close, "volume": 3.0}


def figures(**about: Any) -> dict[str, Any]:
    known = {"signals": 90, "outcomes": 80, "wins": 41, "losses": 39, "win_rate": 0.5125, "win_rate_low": 0.405}
    known |= {"win_rate_high": 0.619, "average_r": 0.25, "profit_factor": 1.4, "total_r": 20.0}
    return known | about


def report(**about: Any) -> dict[str, Any]:
    best = {"name": "ema_cross", "enough": True, "now": figures(average_r=0.8), "before": figures()}
    none = {"groups": 0, "best": [], "worst": [], "few": []}
    known = {"from_ms": 0, "to_ms": 7 * 24 * HOUR_MS, "before_from_ms": 0, "zone": "UTC", "min_count": 10, "behind": 0}
    known |= {"now": figures(), "before": figures(signals=70), "active": 4, "results": {"stop": 39}, "curve": []}
    known |= {"strategies": {**none, "groups": 1, "best": [best]}, "symbols": none, "hours": none}
    known |= {"changes": [{"kind": "signals", "name": "BTC/USDT", "before": 10.0, "now": 25.0}]}
    counts = {"raised": 12, "suppressed": {}, "deliveries": {"sent": 11, "failed": 1}}
    return known | {"alerts": counts, "alerts_before": counts, "portfolios": []} | about


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def rules(world: BotWorld) -> dict[str, AlertRule]:
    kind: Any = AlertRule
    stored = (await world.bus.bucket(ALERT_RULES).all()).values()
    found = [decode(entry.value, kind) for entry in stored if entry.value is not None]
    return {rule.rule_id: rule for rule in found}


async def person(world: BotWorld, subscriber_id: str) -> Subscriber:
    entry = await world.bus.bucket(SUBSCRIBERS).get(subscriber_id)
    assert entry is not None
    assert entry.value is not None
    return decode(entry.value, Subscriber)


async def press(world: BotWorld, user: int, label: str) -> str:
    """Press a button of the menu shown last; the text that stands there afterwards, or the toast."""
    edits = len(world.telegram.edits)
    [data] = [data for text, data in world.telegram.buttons().items() if label in text]
    callback = world.telegram.press(user, data)
    await world.telegram.wait_until(lambda: callback in world.telegram.toasts)
    return world.telegram.edits[-1][1] if len(world.telegram.edits) > edits else world.telegram.toasts[callback]


def test_every_command_is_explained_in_both_languages_and_every_explained_one_is_there() -> None:
    for language in ("en", "id"):
        said = phrases(language)
        everybodys = {name for name, one in TABLE.typed.items() if one.who != "operator"}
        assert set(said.section("command")) == everybodys
        assert set(said.section("operator")) == set(TABLE.typed) - everybodys


def test_both_languages_say_the_same_with_the_same_values() -> None:
    english, indonesian = phrases("en"), phrases("id")
    assert english.keys() == indonesian.keys()
    for key in english.keys():  # noqa: SIM118  not a mapping
        places = [sorted(re.findall(r"{(\w+)}", one.text(key))) for one in (english, indonesian)]
        assert places[0] == places[1], key


async def test_the_market_is_shown_as_it_is(world: BotWorld) -> None:
    world.api.answers["/signals"] = {"items": [signal(), signal(side="short", state="target_1", outcome=ENDED)]}
    world.api.answers["/candles"] = lambda asked: {"items": [candle(64_123.5)] if asked["symbol"] == "BTC/USDT" else []}
    async with world.running():
        listed = await world.answer(ADA, "/signals")
        assert "BTC/USDT 1h EMA cross, 72 of 100: active" in listed
        assert "target 1, +1.5 R" in listed
        assert "64,123.5" in await world.answer(ADA, "/price btcusdt")
        assert "24 h: +" in world.telegram.accepted[-1].text
        assert "no candles of DOGE/USDT on binance" in await world.answer(ADA, "/price doge")
        world.api.answers["/signals"] = {"items": [signal()]}
        shown = await world.answer(ADA, "/signal BTC/USDT")
    assert "Long BTC/USDT, 1h: EMA cross" in shown
    assert "Target 2: 66,000 (+3.12 %)" in shown
    assert ("/signals", {"symbol": "BTC/USDT", "limit": "1"}) in world.api.asked_for


async def test_a_chart_is_a_picture_of_the_candles_as_they_came(world: BotWorld) -> None:
    newest = [candle(64_000.0 + number, (100 - number) * HOUR_MS) for number in range(100)]
    world.api.answers["/candles"] = {"items": newest}
    async with world.running():
        assert "BTC/USDT 1h, binance: 64,000 at" in await world.answer(ADA, "/chart btc")
        assert world.telegram.accepted[-1].raw["photo"].startswith(b"\x89PNG")
        assert "is no timeframe: 1m, 5m" in await world.answer(ADA, "/chart btc 2h")
    assert world.api.asked_for[-1][1]["limit"] == "100"


async def test_figures_come_with_how_sure_they_are(world: BotWorld) -> None:
    world.api.answers["/report"] = report()
    stats = {"strategy": "ema_cross", "timeframe": "1h", "signals": 5, "outcomes": 0, "win_rate": None}
    world.api.answers["/stats"] = {"items": [{**stats, "average_r": None}]}
    owned = {"portfolio": "main", "currency": "USDT", "initial_cash": "10000", "cash": "2.50", "equity": "10250.4"}
    world.api.answers["/portfolios"] = {"items": [{**owned, "marked_ms": 1}]}
    async with world.running():
        won = await world.answer(ADA, "/winrate 7")
        assert "51 %" in won
        assert "41 of 80" in won
        assert "between 40 % and 62 %" in won
        assert "+20.00 R from 80 signals" in await world.answer(ADA, "/performance")
        assert "Best: EMA cross, +0.80 R" in world.telegram.accepted[-1].text
        assert "5 signals, 0 ended, \N{EN DASH} won" in await world.answer(ADA, "/signal_stats 7")
        assert "main: 10,250.40 USDT (+2.50 %), cash 2.50" in await world.answer(ADA, "/portfolio")
        world.api.answers["/report"] = report(now=figures(outcomes=0))
        assert "No signal ended in the last 30 days." in await world.answer(ADA, "/winrate")
    asked = next(params for path, params in world.api.asked_for if path == "/report")
    assert int(asked["to_ms"]) - int(asked["from_ms"]) == 7 * 24 * HOUR_MS


async def test_an_api_that_makes_no_sense_is_said_to_be_away(world: BotWorld) -> None:
    unheard_of = {"items": [{**signal(), "outcome": {**ENDED, "result": "<b>"}}]}
    async with world.running():
        assert "cannot look that up" in await world.answer(ADA, "/signals")
        for answer in ("text", {"items": 5}, unheard_of, ["x" * 2_000_000]):
            world.api.answers["/signals"] = answer
            assert "cannot look that up" in await world.answer(ADA, "/signals")
        await world.telegram.wait_confirmed()
    assert {one.outcome for one in await world.entries()} == {"failed"}


async def test_signals_are_subscribed_to_and_let_go(world: BotWorld) -> None:
    async with world.running():
        await world.answer(ADA, "/subscribe")
        await world.answer(ADA, "/subscribe ETH/USDT:USDT")
        await world.answer(ADA, "/subscribe")
        made = await rules(world)
        assert {(rule.owner, tuple(rule.subscribers), rule.enabled) for rule in made.values()} == {
            ("ada", ("ada",), True)
        }
        assert sorted(rule.symbols for rule in made.values() if isinstance(rule, SignalRule)) == [[], ["ETH/USDT:USDT"]]
        await world.answer(ADA, "/unsubscribe")
        assert sorted(rule.enabled for rule in (await rules(world)).values()) == [False, True]
        assert "before either" in await world.answer(BOB, "/unsubscribe")
        await world.answer(ADA, "/unsubscribe all")
        assert not (await person(world, "ada")).destinations[0].enabled
        await world.answer(ADA, "/subscribe")
        [place] = (await person(world, "ada")).destinations
        assert (place.enabled, place.verified) == (True, True)


async def test_peace_is_had_for_a_while_or_in_some_hours(world: BotWorld) -> None:
    async with world.running():
        said_s = int(time.time())
        assert "No alerts until" in await world.answer(ADA, "/mute 2h", date=said_s)
        assert (await person(world, "ada")).muted_until_ms == (said_s + 7200) * 1000
        assert "over already" in await world.answer(ADA, "/mute 2h", date=said_s - 7201)
        await world.answer(ADA, "/mute off")
        assert (await person(world, "ada")).muted_until_ms == 0
        assert "22:00 to 07:00 (Asia/Jakarta)" in await world.answer(ADA, "/quiet 22:00-7:00 Asia/Jakarta")
        quiet = (await person(world, "ada")).quiet_hours
        assert quiet is not None
        assert (quiet.start, quiet.end, quiet.zone) == ("22:00", "07:00", "Asia/Jakarta")
        assert "time zone" in await world.answer(ADA, "/quiet 22:00-07:00 ../../etc/passwd")
        status = await world.answer(ADA, "/status")
        assert "Quiet from 22:00 to 07:00" in status
        assert "They come by telegram" in status
        await world.answer(ADA, "/quiet off")
        assert (await person(world, "ada")).quiet_hours is None
    assert (await person(world, "bob")) == (await person(world, "bob"))


async def test_what_is_no_time_is_explained(world: BotWorld) -> None:
    before = await person(world, "ada")
    wrong = ("/mute", "/mute 0h", "/mute 9999999d", "/mute -2h", "/quiet 25:00-07:00", "/quiet 22-7 UTC x")
    async with world.running():
        for text in wrong:
            assert text.split()[0] in await world.answer(ADA, text)
    assert await person(world, "ada") == before


async def test_the_language_is_chosen_by_word_or_button(world: BotWorld) -> None:
    async with world.running():
        await world.answer(ADA, "/language")
        assert "bahasa Indonesia" in await press(world, ADA, "Bahasa Indonesia")
        assert (await person(world, "ada")).language == "id"
        assert "Apa yang bisa" in await world.answer(ADA, "/help")
        assert "English" in await world.answer(ADA, "/language en")


MADE: dict[str, tuple[list[str], type[AlertRule], dict[str, Any]]] = {  # type: ignore[type-arg]  # a union of types
    "price": (
        ["A price", "BTC/USDT", "+2 %"],
        PriceRule,
        {"symbol": "BTC/USDT", "level": 65280.0, "exchange": "binance"},
    ),
    "move": (["A move", "ETH/USDT", "5 % within 1h"], MoveRule, {"percent": 5.0, "window_s": 3600}),
    "volume": (["Volume", "BTC/USDT", "5 times, 15m"], VolumeRule, {"factor": 5.0, "timeframe": "15m"}),
    "signal": (["Signals", "any symbol", "75 or more"], SignalRule, {"symbols": [], "min_confidence": 75}),
    "outcome": (
        ["Ends of signals", "SOL/USDT", "A target"],
        OutcomeRule,
        {"symbols": ["SOL/USDT"], "results": ["target"]},
    ),
}


@pytest.mark.parametrize("kind", MADE)
async def test_an_alert_is_built_step_by_step(world: BotWorld, kind: str) -> None:
    steps, made, fields = MADE[kind]
    world.api.answers["/candles"] = {"items": [candle(64_000.0)]}
    async with world.running():
        await world.answer(ADA, "/alert")
        for label in steps:
            said = await press(world, ADA, label)
        assert "Ring when" in said
        buttons = world.telegram.buttons()
        assert "I ring when" in await press(world, ADA, "Make it")
        world.telegram.press(ADA, buttons["Make it"])
        await world.telegram.wait_confirmed()
    [rule] = (await rules(world)).values()
    assert isinstance(rule, made)
    assert (rule.owner, rule.subscribers) == ("ada", ["ada"])
    assert {name: getattr(rule, name) for name in fields} == fields


async def test_an_alert_is_typed_at_once(world: BotWorld) -> None:
    async with world.running():
        assert "BTC/USDT crosses 65,000" in await world.answer(ADA, "/alert price btc 65,000")
        await press(world, ADA, "Make it")
        for wrong in (
            "price BTC/USDT -1",
            "price BTC/USDT nan",
            "price BTC/USDT 1e400",
            "move BTC/USDT 5 1y",
            "x y z w",
        ):
            assert "all at once" in await world.answer(ADA, f"/alert {wrong}")
    assert len(await rules(world)) == 1


async def test_alerts_are_switched_and_deleted_by_their_owner_alone(world: BotWorld) -> None:
    async with world.running():
        await world.answer(ADA, "/subscribe")
        await world.answer(BOB, "/subscribe")
        assert "a signal of any symbol" in await world.answer(ADA, "/alerts")
        off = world.telegram.buttons()["1 off"]
        callback = world.telegram.press(BOB, off)
        await world.telegram.wait_until(lambda: callback in world.telegram.toasts)
        assert "not for you" in world.telegram.toasts[callback]
        assert [rule.enabled for rule in (await rules(world)).values()] == [True, True]
        await press(world, ADA, "1 off")
        assert not (await rules(world))["ada:signals"].enabled
        await press(world, ADA, "1 on")
        assert "Delete this alert" in await press(world, ADA, "1 delete")
        await press(world, ADA, "Keep")
        await press(world, ADA, "1 delete")
        assert "no alerts of your own" in await press(world, ADA, "Delete")
    assert list(await rules(world)) == ["bob:signals"]


async def test_many_alerts_come_in_pages(world: BotWorld) -> None:
    async with world.running():
        for number in range(8):
            await world.answer(ADA, f"/subscribe S{number}/USDT")
        assert "Page 1 of 2" in await world.answer(ADA, "/alerts")
        assert "Page 2 of 2" in await press(world, ADA, "\N{BLACK RIGHT-POINTING TRIANGLE}")


async def test_what_is_somebodys_own_is_not_spoken_of_in_groups(world: BotWorld) -> None:
    private = [name for name, command in TABLE.typed.items() if not command.anywhere]
    world.settings["answers_per_minute"] = 100
    async with world.running():
        for name in private:
            assert "between us" in await world.answer(OPERATOR, f"/{name} 2h", chat=GROUP), name
    assert await rules(world) == {}


async def test_operators_are_known_by_their_number_alone(world: BotWorld) -> None:
    async with world.running():
        for name in ("health", "silence 2h", "weekly_report"):
            for somebody in (ADA, EVE):
                assert "Only operators" in await world.answer(somebody, f"/{name}", name="operator")
    assert await world.bus.bucket(SILENCES).all() == {}


async def test_operators_see_the_system_and_silence_it(world: BotWorld) -> None:
    world.api.answers["/health"] = {"status": "ok", "projector": "running", "problems": {}}
    world.api.answers["/counts"] = {"rows": {}, "streams": {"ALERTS": {"last_seq": 9, "projected_seq": 2, "lag": 7}}}
    async with world.running():
        said = await world.answer(OPERATOR, "/health")
        assert "All is well." in said
        assert "ALERTS 7" in said
        said_s = int(time.time())
        assert "No alerts of BTC/USDT" in await world.answer(OPERATOR, "/silence 2h btc", date=said_s)
        [entry] = (await world.bus.bucket(SILENCES).all()).values()
        assert entry.value is not None
        silence = decode(entry.value, Silence)
        assert (silence.starts_ms, silence.ends_ms) == (said_s * 1000, (said_s + 7200) * 1000)
        assert (silence.symbols, silence.subscribers) == (["BTC/USDT"], [])
        assert "over" in await world.answer(OPERATOR, f"/silence off {silence.silence_id}")
        assert "not there any more" in await world.answer(OPERATOR, "/silence off nonsense")
    assert await world.bus.bucket(SILENCES).all() == {}


async def test_operators_get_the_report_of_seven_days_in_words_and_picture(world: BotWorld) -> None:
    def of_the_days_asked_for(params: dict[str, str]) -> dict[str, Any]:
        return report(from_ms=int(params["from_ms"]), to_ms=int(params["to_ms"]))

    world.api.answers["/report"] = of_the_days_asked_for
    await world.subscribe("boss", OPERATOR, zone="Asia/Jakarta")
    async with world.running():
        told = await world.answer(OPERATOR, "/weekly_report")
        world.api.answers["/report"] = report(behind=5_000)
        assert "cannot look that up" in await world.answer(OPERATOR, "/weekly_report")
    assert "+20.0 R (before: +20.0 R)" in told
    assert "41 of 80 signals that ended won, 51 %" in told
    assert "12 raised, 11 sent, 1 undelivered" in told
    assert world.telegram.uploads[0].startswith(b"\x89PNG")
    assert world.telegram.accepted[0].raw["caption"]
    [(_, asked), _] = world.api.asked_for
    assert int(asked["to_ms"]) - int(asked["from_ms"]) == 7 * 24 * HOUR_MS
    assert (asked["zone"], asked["min_count"]) == ("Asia/Jakarta", "10")


async def test_what_operators_write_to_all_is_shown_first_and_goes_out_once(world: BotWorld) -> None:
    await world.subscribe("cleo", 4444, muted_until_ms=2**50)
    await world.subscribe("dan", 4545, enabled=False)
    text = "Upkeep <tonight> & tomorrow"
    async with world.running():
        shown = await world.answer(OPERATOR, f"/broadcast {text}")
        assert shown.startswith("To 3 subscribers")
        assert shown.endswith(f"\n\n{text}")
        send = world.telegram.buttons()["Send"]
        for said in (shown, shown, "something\n\nelse"):
            world.telegram.press(OPERATOR, send, message=len(world.telegram.accepted), text=said)
        world.telegram.press(ADA, send, message=len(world.telegram.accepted), text=shown)
        await world.telegram.wait_confirmed()
        assert "characters" in await world.answer(OPERATOR, "/broadcast " + "x" * 1001)
    due = [one for one in await stored(world.bus, SEND) if isinstance(one, SendDue)]
    assert {(one.subscriber_id, one.title, one.text) for one in due} == {
        (name, "A message from the operators", text) for name in ("ada", "bob")
    }
    assert len(due) == 2
    decided = await stored(world.bus, ALERTS)
    assert [one.reason for one in decided if isinstance(one, AlertSuppressed)] == ["muted"]
    assert [one.kind for one in decided if isinstance(one, AlertRaised)] == ["notice"]


async def test_why_is_answered_for_the_one_who_asks(world: BotWorld) -> None:
    await world.bus.publish([a_signal(HOUR_MS)])
    signal_id = a_signal(HOUR_MS).signal_id
    async with world.running():
        await world.answer(ADA, "/subscribe ETH/USDT")
        managed = await Managed.on(world.bus)
        async with managed.served():
            said = await world.answer(ADA, f"/why {signal_id}")
            assert "the symbol is BTC/USDT, it wants ETH/USDT" in said
            assert "ETH/USDT" not in await world.answer(BOB, f"/why {signal_id}")
            assert "find nothing" in await world.answer(BOB, "/why nonsense")
            assert "Name what it is about" in await world.answer(BOB, "/why")


async def stored(bus: Bus, stream: Stream) -> list[Any]:
    last = (await bus.stream_state(stream)).last_seq
    return [message.event() for message in await bus.reader(stream, after=0).through(last)]


async def test_strangers_become_subscribers_by_themselves_only_where_that_is_allowed(world: BotWorld) -> None:
    async with world.running():
        assert "does not take subscribers" in await world.answer(EVE, "/start")
    world.settings["self_service"] = True
    async with world.running():
        assert "Selamat datang, Eve &" in await world.answer(EVE, "/start", name="Eve & <b>", language="id")
        assert "Selamat datang kembali" in await world.answer(EVE, "/start", name="Eve", language="id")
    subscribers = await world.bus.bucket(SUBSCRIBERS).all()
    [made] = [key for key in subscribers if key not in ("ada", "bob")]
    assert str(EVE) not in made
    eve = [rule for rule in (await rules(world)).values() if rule.owner.startswith("telegram-")]
    assert [rule.enabled for rule in eve] == [True]


async def test_a_code_makes_the_chat_in_which_it_is_given_somebodys_own(world: BotWorld) -> None:
    unknown = Destination(channel="telegram", address="unknown", verified=False)
    await world.subscribe("eve", EVE, destinations=[unknown])
    code = await world.code_for("eve")
    async with world.running():
        assert "between us" in await world.answer(EVE, f"/start {code}", chat=GROUP)
        assert "not a subscriber" in await world.answer(EVE, "/status")
        assert "confirmed" in await world.answer(EVE, f"/start {code}")
        [place] = (await person(world, "eve")).destinations
        assert (place.address, place.verified) == (str(EVE), True)
        assert "Welcome back, eve" in await world.answer(EVE, f"/start {code}")
        assert "Welcome back, bob" in await world.answer(BOB, f"/start {code}")
    assert [one.address for one in (await person(world, "bob")).destinations] == [str(BOB)]


async def test_what_is_no_code_confirms_nothing(world: BotWorld) -> None:
    async with world.running():
        for code in ("x", "A" * 4000, "<b>", "\u202e", "AAAA-BBBB-CCCC-DDDD"):
            assert "not valid" in await world.answer(EVE, f"/start {code}")
