"""Alerts in words: what a rule rings for."""

from __future__ import annotations

from collections.abc import Sequence

from alerting.bot.phrases import Phrases
from alerting.words.voice import Voice
from alerting.words.wording import price
from tocsin_common.documents import AlertRule, MoveRule, OutcomeRule, PriceRule, SignalRule, VolumeRule


def what(rule: AlertRule, say: Phrases, voice: Voice) -> str:
    """For example `BTC/USDT rises above 65,000`; plain text. A rule of another kind goes by its name."""
    match rule:
        case PriceRule():
            return say.plain(f"what.price_{rule.direction}", symbol=rule.symbol, level=price(rule.level))
        case MoveRule():
            window = voice.duration(rule.window_s)
            return say.plain("what.move", symbol=rule.symbol, percent=f"{rule.percent:g}", window=window)
        case VolumeRule():
            factor = f"{rule.factor:g}"
            return say.plain("what.volume", symbol=rule.symbol, timeframe=rule.timeframe, factor=factor)
        case SignalRule():
            key = "what.signal_sure" if rule.min_confidence else "what.signal"
            return say.plain(key, symbol=any_of(rule.symbols, say), confidence=rule.min_confidence)
        case OutcomeRule() if rule.results in ([], ["target"], ["stop"]):
            key = "_".join(["what.outcome", *rule.results])
            return say.plain(key, symbol=any_of(rule.symbols, say))
    return say.plain("what.other", name=rule.name)


def any_of(symbols: Sequence[str], say: Phrases) -> str:
    return ", ".join(symbols) or say.plain("menu.any_symbol")
