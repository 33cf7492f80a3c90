"""What an alert says of Tocsin's own doings: of paper portfolios, and of the system itself."""

from __future__ import annotations

from alerting.matching.paper import Drawdown, Opened
from alerting.matching.system import Trouble
from alerting.words.content import Content
from alerting.words.voice import Voice
from alerting.words.wording import money, price, sentence, words
from tocsin_common.events import DeadLetter, OrderFilled, RoundsChanged, StrategyQuarantined


def of_opened(opened: Opened, rule_name: str, voice: Voice) -> Content:
    """For example: `Portfolio main starts with 10,000.00 USDT`."""
    event, say = opened.event, voice.say
    fields = {
        say("fields.portfolio"): event.portfolio,
        say("fields.seen_at"): voice.moment(event.ts_ms),
        say("fields.rule"): rule_name,
    }
    title = say("paper.opened", portfolio=event.portfolio, cash=money(event.cash), currency=event.currency)
    return Content(title, "", fields)


def of_fill(fill: OrderFilled, rule_name: str, voice: Voice) -> Content:
    """For example: `Portfolio main sold 0.5 BTC/USDT at 64,000, +120.50`. The reason is in the trader's own words."""
    say, amount, at = voice.say, price(float(fill.amount)), price(float(fill.price))
    title = say(f"paper.{fill.side}", portfolio=fill.portfolio, amount=amount, symbol=fill.symbol, price=at)
    fields = {
        say("fields.portfolio"): fill.portfolio,
        say("fields.amount"): amount,
        say("fields.price"): at,
        say("fields.fee"): money(fill.fee),
    }
    if not fill.position_amount:
        fields[say("fields.result")] = result = money(fill.realised_pnl, signed=True)
        title = f"{title}, {result}"
    fields |= {
        say("fields.cash"): money(fill.cash_after),
        say("fields.exchange"): fill.exchange,
        say("fields.seen_at"): voice.moment(fill.ts_ms),
        say("fields.rule"): rule_name,
    }
    return Content(title, sentence(words(fill.reason)), fields)


def of_drawdown(drawdown: Drawdown, rule_name: str, voice: Voice) -> Content:
    """For example: `Portfolio main is 12.3 % below its peak`."""
    say, equity, peak = voice.say, money(drawdown.equity), money(drawdown.peak)
    fields = {
        say("fields.portfolio"): drawdown.portfolio,
        say("fields.equity"): equity,
        say("fields.peak"): peak,
        say("fields.seen_at"): voice.moment(drawdown.ts_ms),
        say("fields.rule"): rule_name,
    }
    percent = f"{(1 - drawdown.equity / drawdown.peak) * 100:.1f}"
    title = say("paper.drawdown", portfolio=drawdown.portfolio, percent=percent)
    return Content(title, say("paper.worth", equity=equity, peak=peak), fields)


def of_trouble(trouble: Trouble, rule_name: str, voice: Voice) -> Content:
    """For example: `Strategy ema_cross is off: too slow`. Nothing of a message that was given up is shown."""
    event, say = trouble.event, voice.say
    fields = {say("fields.service"): trouble.service}
    reason, text = words(trouble.reason).lower(), ""
    match event:
        case StrategyQuarantined():
            title = say("system.quarantine", strategy=event.strategy, reason=reason)
            text = sentence(event.error)
        case RoundsChanged():
            title = say(f"system.{event.pace}", rounds=event.rounds)
            fields |= {
                say("fields.waited"): voice.duration(event.waited_ms / 1000),
                say("fields.took"): voice.duration(event.took_ms / 1000),
                say("fields.candles"): f"{event.candles:,}",
                say("fields.longest"): f"{event.longest}, {voice.duration(event.longest_ms / 1000)}",
            }
        case DeadLetter():
            title = say("system.dead_letter", service=trouble.service, reason=reason)
            fields |= {
                say("fields.stream"): event.stream,
                say("fields.sequence"): f"{event.seq}",
                say("fields.subject"): event.original_subject,
            }
    fields |= {say("fields.seen_at"): voice.moment(trouble.ts_ms), say("fields.rule"): rule_name}
    return Content(title, text, fields)
