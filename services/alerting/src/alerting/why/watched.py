"""What a rule wants of prices, volumes, indicators and portfolios, and what was seen of them last. Pure.

What was seen is what the intakes remember, as they last kept it. No sentence: what was seen would ring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from alerting.matching.indicators import Reading, beyond
from alerting.matching.levels import rearmed_at
from alerting.matching.rules import wants
from alerting.matching.volumes import mean_of
from alerting.matching.watch import Memory
from alerting.why.facets import SHOWN
from alerting.words.voice import Voice
from alerting.words.wording import price
from tocsin_common.documents import IndicatorRule, MoveRule, PaperRule, PriceRule, VolumeRule

Watching = PriceRule | MoveRule | VolumeRule | IndicatorRule
"""Rules that keep something in mind of what they look at, and of nothing else."""


def of_watched(rule: Watching, revision: int, memories: Sequence[Memory], voice: Voice) -> list[str]:
    """What is not as the rule wants it, with both values; one sentence alone where nothing was seen at all."""
    match rule:
        case PriceRule():
            found = _price(rule, revision, memories, voice)
        case MoveRule():
            found = _moves(rule, revision, memories, voice)
        case VolumeRule():
            found = _volume(rule, memories, voice)
        case IndicatorRule():
            return list(_indicators(rule, revision, memories, voice))
    return list(found) if found is not None else [voice.say("unmet.nothing")]


def seen_ms(rule: Watching, memories: Sequence[Memory]) -> int | None:
    """The market time of the last price that a rule looked at; None: it looks at candles, or at nothing yet."""
    last = _last_price(rule, memories) if isinstance(rule, PriceRule | MoveRule) else None
    return last[1] if last else None


def _last_price(rule: PriceRule | MoveRule, memories: Sequence[Memory]) -> tuple[float, int] | None:
    prices = [
        (value, ts_ms)
        for memory in memories
        for exchange, symbol, value, ts_ms in memory.prices
        if (exchange, symbol) == (rule.exchange, rule.symbol)
    ]
    return max(prices, key=lambda one: one[1], default=None)


def _price(rule: PriceRule, revision: int, memories: Sequence[Memory], voice: Voice) -> list[str] | None:
    last = _last_price(rule, memories)
    if last is None:
        return None
    given = {"symbol": rule.symbol, "price": price(last[0]), "level": price(rule.level)}
    if any((rule.rule_id, revision, "") in memory.spent for memory in memories):
        far = f"{abs(last[0] / rule.level - 1) * 100:.2f}"
        return [voice.say("unmet.price_unarmed", **given, far=far, wanted=f"{rule.rearm_percent:g}")]
    return [voice.say(f"unmet.price_{rule.direction}", **given)]


def _moves(rule: MoveRule, revision: int, memories: Sequence[Memory], voice: Voice) -> list[str] | None:
    key = (rule.exchange, rule.symbol, rule.window_s)
    windows = [window for memory in memories for *one, window in memory.windows if tuple(one) == key]
    if not windows:
        return None
    window = max(windows, key=lambda one: one.pieces[-1].number if one.pieces else 0)
    far = {"up": (window.rise - 1) * 100, "down": (1 - 1 / window.fall) * 100}
    given = {"symbol": rule.symbol, "window": voice.duration(rule.window_s)}
    found = []
    for side in ("up", "down"):
        spent = any((rule.rule_id, revision, side) in memory.spent for memory in memories)
        if rule.direction in (side, "either") and (spent or far[side] < rule.percent):
            key_of, wanted = ("move_unarmed", rearmed_at(rule.percent)) if spent else (f"move_{side}", rule.percent)
            found.append(voice.say(f"unmet.{key_of}", **given, far=f"{far[side]:.2f}", wanted=f"{wanted:g}"))
    return found


def _volume(rule: VolumeRule, memories: Sequence[Memory], voice: Voice) -> list[str] | None:
    series = (rule.exchange, rule.symbol, rule.timeframe)
    recent = [volumes for memory in memories for *one, _, volumes in memory.volumes if tuple(one) == series]
    if not recent or not recent[0]:
        return None
    *before, last = recent[0]
    mean = mean_of(tuple(before), rule.candles)
    if not mean:
        return [voice.say("unmet.volume_few", symbol=rule.symbol, given=len(recent[0]), wanted=rule.candles)]
    if last >= rule.factor * mean:
        return []
    given = {"volume": price(last), "times": f"{last / mean:.2f}", "mean": price(mean), "wanted": f"{rule.factor:g}"}
    return [voice.say("unmet.volume", symbol=rule.symbol, **given)]


def _indicators(rule: IndicatorRule, revision: int, memories: Sequence[Memory], voice: Voice) -> Iterator[str]:
    readings = {tuple(one): reading for memory in memories for *one, reading in memory.readings}
    looked_at = [series for series in sorted(readings) if wants(rule, series)]
    if not looked_at:
        yield voice.say("unmet.nothing")
    for series in looked_at[:SHOWN]:
        exchange, symbol, timeframe = series
        spent = any((rule.rule_id, revision, exchange, symbol, timeframe) in memory.reached for memory in memories)
        yield from _indicator(rule, (symbol, timeframe), readings[series], voice, spent=spent)


def _indicator(
    rule: IndicatorRule, series: tuple[str, str], now: Reading, voice: Voice, *, spent: bool
) -> Iterator[str]:
    given = {"symbol": series[0], "timeframe": series[1], "left": rule.left}
    left, right = now.get(rule.left), now.get(rule.right)
    if left is None or right is None:
        unknown = rule.left if left is None else rule.right
        yield voice.say("unmet.indicator_unread", **given | {"left": unknown})
        return
    named = price(right)
    if isinstance(rule.right, str):
        named = voice.say("unmet.with_value", name=rule.right, value=named)
    if spent:
        percent = f"{rule.rearm_percent:g}"
        yield voice.say("unmet.indicator_unarmed", **given, value=price(left), right=named, percent=percent)
    elif rule.operator.startswith("crosses") or beyond(rule, left, right) <= 0:
        wanted = voice.say(f"unmet.{rule.operator}", right=named)
        yield voice.say("unmet.indicator", **given, value=price(left), wanted=wanted)


def of_drawdowns(
    rule: PaperRule, revision: int, memories: Sequence[Memory], equities: Mapping[str, Decimal], voice: Voice
) -> list[str]:
    """Portfolios that are not as far below their peaks as a rule wants; `equities` are the last ones."""
    found = []
    peaks = [one for memory in memories for one in memory.peaks if one[0] in equities and one[1] > 0]
    for portfolio, peak in peaks[:SHOWN]:
        fallen = max(0.0, float((1 - equities[portfolio] / peak) * 100))
        spent = any((rule.rule_id, revision, portfolio) in memory.fallen for memory in memories)
        if spent or fallen < rule.drawdown_percent:
            key, wanted = "drawdown", rule.drawdown_percent
            if spent:
                key, wanted = "drawdown_unarmed", rearmed_at(wanted)
            found.append(voice.say(f"unmet.{key}", portfolio=portfolio, given=f"{fallen:.2f}", wanted=f"{wanted:g}"))
    return found
