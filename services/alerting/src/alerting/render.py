"""What an alert says, in words and numbers a person reads at a glance; each channel dresses it in its own markup."""

from __future__ import annotations

from dataclasses import dataclass, replace

from alerting.causes import Cause, Match
from alerting.moves import Move
from alerting.prices import Crossing
from alerting.volumes import Spike
from alerting.wording import change, duration, moment, price, sentence, words
from tocsin_common.events import FeedChanged, OutcomeMeasured, SignalRaised


@dataclass(frozen=True, slots=True)
class Content:
    """Plain text only: `title` one line, `text` some sentences, `fields` label to value in reading order."""

    title: str
    text: str
    fields: dict[str, str]


def of_match(match: Match) -> Content:
    """Say it in words; one that is more than for information says so."""
    content = of_cause(match.cause, match.rule.name)
    if match.rule.severity == "info":
        return content
    return replace(content, fields={"Severity": words(match.rule.severity), **content.fields})


def of_cause(cause: Cause, rule_name: str) -> Content:
    """Whatever it is."""
    match cause:
        case SignalRaised():
            return of_signal(cause, rule_name)
        case OutcomeMeasured():
            return of_outcome(cause, rule_name)
        case FeedChanged():
            return of_feed(cause, rule_name)
        case Crossing():
            return of_crossing(cause, rule_name)
        case Move():
            return of_move(cause, rule_name)
    return of_spike(cause, rule_name)


def of_signal(signal: SignalRaised, rule_name: str) -> Content:
    """For example: `Long BTC/USDT, 1h: EMA cross`."""
    fields = {
        "Entry": price(signal.entry),
        "Stop": f"{price(signal.stop)} ({change(signal.entry, signal.stop)})",
    }
    risk = abs(signal.entry - signal.stop)
    for number, target in enumerate(signal.targets, start=1):
        multiple = f", {abs(target - signal.entry) / risk:.1f} R" if risk else ""
        fields[f"Target {number}"] = f"{price(target)} ({change(signal.entry, target)}{multiple})"
    fields |= {
        "Confidence": f"{signal.confidence} of 100",
        "Exchange": signal.exchange,
        "Seen at": moment(signal.confirmed_ms),
        "Good until": moment(signal.expires_ms),
        "Rule": rule_name,
    }
    title = f"{signal.side.capitalize()} {signal.symbol}, {signal.timeframe}: {words(signal.strategy)}"
    return Content(title, " ".join(sentence(reason) for reason in signal.reasons), fields)


def of_crossing(crossing: Crossing, rule_name: str) -> Content:
    """For example: `BTC/USDT rose above 65,000`."""
    verb = "rose above" if crossing.direction == "above" else "fell below"
    fields = {
        "Price": price(crossing.price),
        "Before": price(crossing.previous),
        "Exchange": crossing.exchange,
        "Seen at": moment(crossing.ts_ms),
        "Rule": rule_name,
    }
    text = f"It is at {price(crossing.price)} now, after {price(crossing.previous)}."
    return Content(f"{crossing.symbol} {verb} {price(crossing.level)}", text, fields)


def of_move(move: Move, rule_name: str) -> Content:
    """For example: `BTC/USDT rose 5 % within 15 min`."""
    verb, extreme = ("rose", "Low") if move.side == "up" else ("fell", "High")
    window = duration(move.window_s)
    fields = {
        "Price": price(move.price),
        extreme: price(move.extreme),
        "Exchange": move.exchange,
        "Seen at": moment(move.ts_ms),
        "Rule": rule_name,
    }
    far = change(move.extreme, move.price)
    text = f"It is at {price(move.price)} now, {far} from the {extreme.lower()} of {window}."
    return Content(f"{move.symbol} {verb} {move.percent:g} % within {window}", text, fields)


def of_spike(spike: Spike, rule_name: str) -> Content:
    """For example: `BTC/USDT, 5m: 4.2 times the usual volume`."""
    fields = {
        "Volume": price(spike.volume),
        "Usual": price(spike.mean),
        "Close": price(spike.close),
        "Exchange": spike.exchange,
        "Seen at": moment(spike.ts_ms),
        "Rule": rule_name,
    }
    text = f"The {spike.candles} candles before it had {price(spike.mean)} each, it had {price(spike.volume)}."
    times = f"{spike.volume / spike.mean:.1f}"
    return Content(f"{spike.symbol}, {spike.timeframe}: {times} times the usual volume", text, fields)


def of_outcome(outcome: OutcomeMeasured, rule_name: str) -> Content:
    """For example: `Long BTC/USDT, 1h: EMA cross reached target 2, +2.0 R`."""
    result, _, number = outcome.result.partition("_")
    ended = {"target": f"reached target {number}", "stop": "was stopped", "expired": "expired"}.get(result, result)
    fields = {
        "Exit": price(outcome.exit_price),
        "Result": f"{outcome.r_multiple:+.2f} R",
        "Best": f"{outcome.mfe_r:+.2f} R",
        "Worst": f"{outcome.mae_r:+.2f} R",
        "Exchange": outcome.exchange,
        "Signal of": moment(outcome.confirmed_ms),
        "Ended at": moment(outcome.ended_ms),
        "Rule": rule_name,
    }
    name = f"{outcome.side.capitalize()} {outcome.symbol}, {outcome.timeframe}: {words(outcome.strategy)}"
    text = f"It took {duration((outcome.ended_ms - outcome.confirmed_ms) / 1000)}."
    return Content(f"{name} {ended}, {outcome.r_multiple:+.1f} R", text, fields)


def of_feed(change: FeedChanged, rule_name: str) -> Content:
    """For example: `binance BTC/USDT: gap found`."""
    fields = {"Exchange": change.exchange}
    if change.symbol:
        fields["Symbol"] = change.symbol
    if change.from_ms is not None and change.to_ms is not None:
        fields |= {"From": moment(change.from_ms), "To": moment(change.to_ms)}
    if change.trades is not None:
        fields["Trades"] = f"{change.trades:,}"
    fields |= {"Seen at": moment(change.ts_ms), "Rule": rule_name}
    name = f"{change.exchange} {change.symbol}" if change.symbol else change.exchange
    return Content(f"{name}: {change.state.replace('_', ' ')}", sentence(change.reason.replace("_", " ")), fields)
