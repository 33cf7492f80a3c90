"""What goes on in the market: signals, prices, candles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from alerting.bot import arguments
from alerting.bot.answers import CAPTION_MAX, Answer, fit
from alerting.bot.desk import Desk
from alerting.bot.question import Command, Question
from alerting.gateway import Candle, Page, Signal
from alerting.picture.chart import SLOTS_MAX, Candles, Chart, Market
from alerting.words.wording import change, price, words
from tocsin_common.documents import Timeframe
from tocsin_trading.timeframes import TIMEFRAME_MS

SIGNALS = 10
DAY_CANDLES = 24
CHART_TIMEFRAME = "1h"


async def signals(question: Question, desk: Desk) -> Answer:
    """The latest signals, newest first."""
    found = await desk.gateway.get("/signals", Page[Signal], {"limit": SIGNALS})
    if not found.items:
        raise question.refuse("nothing", "market.no_signals")
    return Answer(fit([question.say("market.signals"), *(row(question, one) for one in found.items)]))


async def signal(question: Question, desk: Desk) -> Answer:
    """The latest signal of a symbol, with its picture."""
    symbol = wanted_symbol(question)
    found = await desk.gateway.get("/signals", Page[Signal], {"symbol": symbol, "limit": 1})
    if not found.items:
        raise question.refuse("nothing", "market.no_signal_of", symbol=symbol)
    [latest] = found.items
    return Answer(fit(details(question, latest), CAPTION_MAX), picture=await desk.draw(latest))


async def price_now(question: Question, desk: Desk) -> Answer:
    """The last price, and what became of it in a day."""
    symbol = wanted_symbol(question)
    last = await latest_candles(question, desk, symbol, "1m", 1)
    day = (await desk.candles(symbol, "1h", DAY_CANDLES)).items
    lines = [question.say("market.price", symbol=symbol, price=price(last[0].close))]
    if day:
        low, high = min(one.low for one in day), max(one.high for one in day)
        moved = change(day[-1].open, last[0].close)
        lines.append(question.say("market.day", change=moved, low=price(low), high=price(high)))
    seen = question.voice.moment(last[0].open_ms + TIMEFRAME_MS["1m"])
    lines.append(question.say("market.source", exchange=desk.settings.exchange, moment=seen))
    return Answer("\n".join(lines))


async def chart(question: Question, desk: Desk) -> Answer:
    """The candles of a symbol, one timeframe, as a picture."""
    symbol = wanted_symbol(question)
    timeframe = question.words[1].lower() if len(question.words) > 1 else CHART_TIMEFRAME
    if timeframe not in get_args(Timeframe):
        known = ", ".join(get_args(Timeframe))
        raise question.refuse("usage", "market.bad_timeframe", timeframe=timeframe, known=known)
    found = (await latest_candles(question, desk, symbol, timeframe, SLOTS_MAX))[::-1]
    last = found[-1]
    market = Market(
        exchange=desk.settings.exchange,
        symbol=symbol,
        timeframe=timeframe,
        candle_open_ms=last.open_ms,
        last=last.close,
    )
    text = question.say(
        "market.chart",
        symbol=symbol,
        timeframe=timeframe,
        exchange=market.exchange,
        price=price(last.close),
        moment=question.voice.moment(market.closed_ms),
    )
    picture = await desk.pictures.of_market(Chart(market, columns(found))) if desk.pictures else None
    return Answer(text if picture else f"{text}\n{question.say('market.no_picture')}", picture=picture)


def columns(found: Sequence[Candle]) -> Candles:
    """Candles, oldest first, as a chart takes them."""
    names = ("open", "high", "low", "close", "volume")
    floats = (np.array([getattr(one, name) for one in found], np.float64) for name in names)
    return Candles(np.array([one.open_ms for one in found], np.int64), *floats)


async def latest_candles(question: Question, desk: Desk, symbol: str, timeframe: str, count: int) -> list[Candle]:
    """Closed candles, newest first. Raises Refusal: there are none."""
    found = await desk.candles(symbol, timeframe, count)
    if not found.items:
        raise question.refuse("nothing", "market.no_candles", symbol=symbol, exchange=desk.settings.exchange)
    return found.items


def wanted_symbol(question: Question) -> str:
    """The first word as a symbol. Raises Refusal."""
    if not question.words:
        raise question.refuse("usage", "market.usage_symbol", command=question.name)
    symbol = arguments.symbol(question.words[0])
    if symbol is None:
        raise question.refuse("usage", "market.bad_symbol", symbol=question.words[0])
    return symbol


def row(question: Question, one: Signal) -> str:
    arrow = "\N{BLACK UP-POINTING TRIANGLE}" if one.side == "long" else "\N{BLACK DOWN-POINTING TRIANGLE}"
    return question.say(
        "market.row",
        arrow=arrow,
        symbol=one.symbol,
        timeframe=one.timeframe,
        strategy=words(one.strategy),
        confidence=one.confidence,
        state=state(question, one),
    )


def state(question: Question, one: Signal) -> str:
    """`active`, or how it ended: `target 1, +1.5 R`."""
    if one.outcome is None:
        return question.say.plain("market.active")
    result, _, number = one.outcome.result.partition("_")
    return question.say.plain(f"market.ended_{result}", number=number, multiple=f"{one.outcome.r_multiple:+.1f} R")


def details(question: Question, one: Signal) -> list[str]:
    """Headline and fields, in the words of an alert."""
    say, voice = question.say, question.voice
    fields = {
        voice.say("fields.entry"): price(one.entry),
        voice.say("fields.stop"): f"{price(one.stop)} ({change(one.entry, one.stop)})",
    }
    for number, target in enumerate(one.targets, start=1):
        fields[voice.say("fields.target", number=number)] = f"{price(target)} ({change(one.entry, target)})"
    fields |= {
        voice.say("fields.confidence"): say.plain("market.confidence_of", confidence=one.confidence),
        voice.say("fields.seen_at"): voice.moment(one.confirmed_ms),
        say.plain("market.state"): state(question, one),
    }
    headline = say(
        "market.headline",
        side=voice.say(f"side.{one.side}"),
        symbol=one.symbol,
        timeframe=one.timeframe,
        strategy=words(one.strategy),
    )
    return [headline, *(say("market.field", name=name, value=value) for name, value in fields.items())]


COMMANDS = {
    "signals": Command(signals, anywhere=True),
    "signal": Command(signal, anywhere=True),
    "price": Command(price_now, anywhere=True),
    "chart": Command(chart, anywhere=True),
}
