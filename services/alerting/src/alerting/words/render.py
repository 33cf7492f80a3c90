"""What an alert says, in words and numbers a person reads at a glance; each channel dresses it in its own markup."""

from __future__ import annotations

from dataclasses import replace

from alerting.matching.causes import Cause, Match, Notice, Personal, Trial
from alerting.matching.indicators import CLOSE, Reached
from alerting.matching.moves import Move
from alerting.matching.paper import Drawdown, Opened
from alerting.matching.prices import Crossing
from alerting.matching.system import Trouble
from alerting.matching.volumes import Spike
from alerting.reports import content as report
from alerting.reports.reported import Reported
from alerting.words.content import Content
from alerting.words.phrases import reason
from alerting.words.render_own import of_drawdown, of_fill, of_opened, of_trouble
from alerting.words.voice import Voice
from alerting.words.wording import change, price, sentence, words
from tocsin_common.events import FeedChanged, OrderFilled, OutcomeMeasured, SignalRaised

ENDS = frozenset({"target", "stop", "expired", "invalidated"})


def of_match(match: Match, voice: Voice) -> Content:
    """Say it in words; one that is more than for information says so."""
    content = of_cause(match.cause, match.rule.name, voice)
    severity = match.rule.severity
    if severity == "info":
        return content
    return replace(content, fields={voice.say("fields.severity"): voice.say(f"severity.{severity}"), **content.fields})


def of_cause(cause: Cause, rule_name: str, voice: Voice) -> Content:
    """Whatever it is."""
    match cause:
        case SignalRaised():
            return of_signal(cause, rule_name, voice)
        case OutcomeMeasured():
            return of_outcome(cause, rule_name, voice)
        case FeedChanged():
            return of_feed(cause, rule_name, voice)
        case Crossing():
            return of_crossing(cause, rule_name, voice)
        case Move():
            return of_move(cause, rule_name, voice)
        case Reached():
            return of_reached(cause, rule_name, voice)
        case Opened():
            return of_opened(cause, rule_name, voice)
        case OrderFilled():
            return of_fill(cause, rule_name, voice)
        case Drawdown():
            return of_drawdown(cause, rule_name, voice)
        case Trouble():
            return of_trouble(cause, rule_name, voice)
        case Reported(summary=told):
            return Content(report.title(told, voice), report.text(told, voice), report.fields(told, voice))
        case Trial():
            return Content(voice.say("test.title"), voice.say("test.text"), {})
        case Notice():
            return Content(voice.say("notice.title"), cause.text, {})
        case Personal():
            return Content(*cause.said(voice), {})
    return of_spike(cause, rule_name, voice)


def of_signal(signal: SignalRaised, rule_name: str, voice: Voice) -> Content:
    """For example: `Long BTC/USDT, 1h: EMA cross`. Reasons that are not known are in the strategy's own words."""
    say = voice.say
    fields = {
        say("fields.entry"): price(signal.entry),
        say("fields.stop"): f"{price(signal.stop)} ({change(signal.entry, signal.stop)})",
    }
    risk = abs(signal.entry - signal.stop)
    for number, target in enumerate(signal.targets, start=1):
        multiple = f", {abs(target - signal.entry) / risk:.1f} R" if risk else ""
        fields[say("fields.target", number=number)] = f"{price(target)} ({change(signal.entry, target)}{multiple})"
    fields |= {
        say("fields.confidence"): say("signal.confidence", number=signal.confidence),
        say("fields.exchange"): signal.exchange,
        say("fields.seen_at"): voice.moment(signal.confirmed_ms),
        say("fields.good_until"): voice.moment(signal.expires_ms),
        say("fields.rule"): rule_name,
    }
    return Content(
        named(signal, voice), " ".join(sentence(reason(one, voice.language)) for one in signal.reasons), fields
    )


def named(signal: SignalRaised | OutcomeMeasured, voice: Voice) -> str:
    """What people call a signal."""
    return voice.say(
        "signal.title",
        side=voice.say(f"side.{signal.side}"),
        symbol=signal.symbol,
        timeframe=signal.timeframe,
        strategy=words(signal.strategy),
    )


def of_crossing(crossing: Crossing, rule_name: str, voice: Voice) -> Content:
    """For example: `BTC/USDT rose above 65,000`."""
    say, now, before = voice.say, price(crossing.price), price(crossing.previous)
    fields = {
        say("fields.price"): now,
        say("fields.before"): before,
        say("fields.exchange"): crossing.exchange,
        say("fields.seen_at"): voice.moment(crossing.ts_ms),
        say("fields.rule"): rule_name,
    }
    title = say(f"price.{crossing.direction}", symbol=crossing.symbol, level=price(crossing.level))
    return Content(title, say("price.text", price=now, previous=before), fields)


def of_move(move: Move, rule_name: str, voice: Voice) -> Content:
    """For example: `BTC/USDT rose 5 % within 15 min`."""
    say, window = voice.say, voice.duration(move.window_s)
    extreme = "low" if move.side == "up" else "high"
    fields = {
        say("fields.price"): price(move.price),
        say(f"fields.{extreme}"): price(move.extreme),
        say("fields.exchange"): move.exchange,
        say("fields.seen_at"): voice.moment(move.ts_ms),
        say("fields.rule"): rule_name,
    }
    far = change(move.extreme, move.price)
    title = say(f"move.{move.side}", symbol=move.symbol, percent=f"{move.percent:g}", window=window)
    return Content(title, say(f"move.from_{extreme}", price=price(move.price), far=far, window=window), fields)


def of_spike(spike: Spike, rule_name: str, voice: Voice) -> Content:
    """For example: `BTC/USDT, 5m: 4.2 times the usual volume`."""
    say, volume, mean = voice.say, price(spike.volume), price(spike.mean)
    fields = {
        say("fields.volume"): volume,
        say("fields.usual"): mean,
        say("fields.close"): price(spike.close),
        say("fields.exchange"): spike.exchange,
        say("fields.seen_at"): voice.moment(spike.ts_ms),
        say("fields.rule"): rule_name,
    }
    times = f"{spike.volume / spike.mean:.1f}"
    title = say("volume.title", symbol=spike.symbol, timeframe=spike.timeframe, times=times)
    return Content(title, say("volume.text", candles=spike.candles, mean=mean, volume=volume), fields)


def of_reached(reached: Reached, rule_name: str, voice: Voice) -> Content:
    """For example: `BTC/USDT, 1h: RSI 14 is below 30`."""
    say, left, right = voice.say, column(reached.left, voice), column(reached.right, voice)
    fields = {left: price(reached.left_value)}
    if isinstance(reached.right, str):
        fields[right] = price(reached.right_value)
    fields |= {
        say("fields.close"): price(reached.close),
        say("fields.exchange"): reached.exchange,
        say("fields.seen_at"): voice.moment(reached.ts_ms),
        say("fields.rule"): rule_name,
    }
    symbol, timeframe = reached.symbol, reached.timeframe
    title = say(f"indicator.{reached.operator}", symbol=symbol, timeframe=timeframe, left=left, right=right)
    return Content(title, say("indicator.text", value=price(reached.left_value)), fields)


def column(name: float | str, voice: Voice) -> str:
    """What people call a column: `rsi_14` is RSI 14."""
    if isinstance(name, str):
        return voice.say("fields.close") if name == CLOSE else words(name)
    return price(name)


def of_outcome(outcome: OutcomeMeasured, rule_name: str, voice: Voice) -> Content:
    """For example: `Long BTC/USDT, 1h: EMA cross reached target 2, +2.0 R`."""
    say = voice.say
    result, _, number = outcome.result.partition("_")
    fields = {
        say("fields.exit"): price(outcome.exit_price),
        say("fields.result"): f"{outcome.r_multiple:+.2f} R",
        say("fields.best"): f"{outcome.mfe_r:+.2f} R",
        say("fields.worst"): f"{outcome.mae_r:+.2f} R",
        say("fields.exchange"): outcome.exchange,
        say("fields.signal_of"): voice.moment(outcome.confirmed_ms),
        say("fields.ended_at"): voice.moment(outcome.ended_ms),
        say("fields.rule"): rule_name,
    }
    multiple = f"{outcome.r_multiple:+.1f}"
    ended = f"outcome.{result if result in ENDS else 'other'}"
    title = say(ended, signal=named(outcome, voice), number=number, multiple=multiple)
    took = voice.duration((outcome.ended_ms - outcome.confirmed_ms) / 1000)
    return Content(title, say("outcome.text", duration=took), fields)


def of_feed(change: FeedChanged, rule_name: str, voice: Voice) -> Content:
    """For example: `binance BTC/USDT: gap found`. The reason is in the feed's own words."""
    say = voice.say
    fields = {say("fields.exchange"): change.exchange}
    if change.symbol:
        fields[say("fields.symbol")] = change.symbol
    if change.from_ms is not None and change.to_ms is not None:
        fields |= {
            say("fields.from"): voice.moment(change.from_ms),
            say("fields.to"): voice.moment(change.to_ms),
        }
    if change.trades is not None:
        fields[say("fields.trades")] = f"{change.trades:,}"
    fields |= {say("fields.seen_at"): voice.moment(change.ts_ms), say("fields.rule"): rule_name}
    name = f"{change.exchange} {change.symbol}" if change.symbol else change.exchange
    title = say("feed.title", name=name, state=say(f"feed.{change.state}"))
    return Content(title, sentence(change.reason.replace("_", " ")), fields)
