"""Why a rule does not ring now: what it wants, and what was seen last, for rules of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from alerting.directory import Directory
from alerting.judging.hours import within
from alerting.kinds import RULE, SILENCE
from alerting.matching.watch import Memory
from alerting.snapshots import Snapshots
from alerting.unpublished import missing
from alerting.why.facets import Happened, unmet
from alerting.why.sentences import hours_at
from alerting.why.watched import Watching, of_drawdowns, of_watched, seen_ms
from alerting.words.voice import Voice
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.documents import (
    AlertRule,
    FeedRule,
    IndicatorRule,
    MoveRule,
    OutcomeRule,
    PaperEvent,
    PaperRule,
    PriceRule,
    Rule,
    SignalRule,
    Silence,
    VolumeRule,
)
from tocsin_common.errors import Malformed
from tocsin_common.events import EquityMarked, IndicatorsOffered
from tocsin_common.streams import (
    ALERTING_CANDLES,
    ALERTING_INDICATORS,
    ALERTING_PAPER,
    ALERTING_TRADES,
    DEAD,
    ENGINE,
    FEEDS,
    OUTCOMES,
    PAPER,
    SIGNALS,
    Durable,
    Stream,
)
from tocsin_common.subjects import INDICATORS_OFFERED, encode_token, paper

REMEMBERING: dict[type[Rule], tuple[Durable, ...]] = {
    PriceRule: (ALERTING_TRADES, ALERTING_CANDLES),
    MoveRule: (ALERTING_TRADES, ALERTING_CANDLES),
    VolumeRule: (ALERTING_CANDLES,),
    IndicatorRule: (ALERTING_INDICATORS,),
    PaperRule: (ALERTING_PAPER,),
}
"""Whose intakes remember what rules look at."""

BECAME: dict[PaperEvent, str] = {"portfolio_opened": "opened", "position_opened": "fill", "position_closed": "fill"}
"""Under which subject of a portfolio its events are."""

TROUBLE = {
    "quarantine": (ENGINE, "engine.quarantine.*"),
    "rounds": (ENGINE, "engine.rounds.*"),
    "dead_letter": (DEAD, "dead.>"),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What keeps a rule from ringing (nothing: what was seen last is as it wants), and the event that shows it."""

    problems: list[str]
    message: Received | None = None


class Present:
    """Looks at what is set and what was seen last; speaks in one voice."""

    def __init__(self, bus: Bus, directory: Directory, voice: Voice, now_ms: int) -> None:
        self._bus, self._directory, self._voice, self._now_ms = bus, directory, voice, now_ms

    async def of(self, rule: AlertRule) -> Standing:
        """How it stands with a rule in force. Raises Unreachable."""
        found = await self._of_kind(rule)
        return Standing([*self._barred(rule), *await self._unpublished(rule), *found.problems], found.message)

    def _barred(self, rule: Rule) -> Iterator[str]:
        """What keeps it from ringing whatever happens."""
        say, moment = self._voice.say, self._voice.moment
        if not rule.enabled:
            yield say("unmet.off")
        if rule.expires_ms is not None and rule.expires_ms <= self._now_ms:
            yield say("unmet.over", moment=moment(rule.expires_ms))
        if rule.active_hours and not within(rule.active_hours, self._now_ms):
            yield say("unmet.hours", hours=hours_at(rule.active_hours, self._now_ms, self._voice, inside=False))
        for held in self._directory.held(SILENCE).values():
            if _silences(held.document, rule, self._now_ms):
                ends = moment(held.document.ends_ms)
                yield say("unmet.silenced", silence=held.document.silence_id, moment=ends)

    async def _unpublished(self, rule: Rule) -> list[str]:
        last = await self._bus.last(ENGINE, INDICATORS_OFFERED) if isinstance(rule, IndicatorRule) else None
        offer = last.event() if last else None
        if not isinstance(rule, IndicatorRule) or not isinstance(offer, IndicatorsOffered):
            return []
        detail = missing(rule, offer, self._voice)
        return [self._voice.say("unmet.not_published", detail=detail)] if detail else []

    async def _of_kind(self, rule: AlertRule) -> Standing:
        match rule:
            case PriceRule() | MoveRule() | VolumeRule() | IndicatorRule():
                return await self._watched(rule)
            case PaperRule():
                return await self._paper(rule)
            case SignalRule():
                wanted = (rule.exchanges, rule.symbols, rule.timeframes, rule.strategies)
                return await self._last(rule, [(SIGNALS, f"signals.{_tokens(*wanted)}"), (SIGNALS, SIGNALS.events)])
            case OutcomeRule():
                wanted = (rule.exchanges, rule.symbols, rule.timeframes, rule.strategies)
                return await self._last(rule, [(OUTCOMES, f"outcomes.{_tokens(*wanted)}"), (OUTCOMES, "outcomes.>")])
            case FeedRule():
                return await self._last(rule, [(FEEDS, f"market.feed.{_tokens(rule.exchanges)}")])
        return await self._newest(rule, [TROUBLE[event] for event in rule.events or TROUBLE])

    async def _watched(self, rule: Watching) -> Standing:
        memories = await self._memories(rule)
        problems = of_watched(rule, self._revision(rule), memories, self._voice)
        at_ms = seen_ms(rule, memories)
        return Standing([self._dated("; ".join(problems), at_ms)] if problems and at_ms else problems)

    async def _paper(self, rule: PaperRule) -> Standing:
        events: list[PaperEvent] = rule.events or [*BECAME, "drawdown"]
        portfolio = _tokens(rule.portfolios)
        subjects = dict.fromkeys(f"paper.{portfolio}.{BECAME[event]}" for event in events if event in BECAME)
        found = await self._newest(rule, [(PAPER, subject) for subject in subjects]) if subjects else Standing([])
        if "drawdown" not in events:
            return found
        memories = await self._memories(rule)
        names = [name for memory in memories for name, _ in memory.peaks]
        equities = await self._equities([name for name in names if not rule.portfolios or name in rule.portfolios])
        fallen = of_drawdowns(rule, self._revision(rule), memories, equities, self._voice)
        return Standing([*found.problems, *fallen], found.message)

    async def _equities(self, portfolios: Sequence[str]) -> dict[str, Decimal]:
        found = {}
        for name in portfolios:
            last = await self._bus.last(PAPER, paper(name, "equity"))
            marked = last.event() if last else None
            if isinstance(marked, EquityMarked):
                found[name] = marked.equity
        return found

    async def _last(self, rule: Rule, places: Sequence[tuple[Stream, str]]) -> Standing:
        """By the last event at the first of these places where there is one."""
        for place in places:
            if (last := await self._bus.last(*place)) is not None:
                return self._judged(rule, last)
        return Standing([self._voice.say("unmet.nothing")])

    async def _newest(self, rule: Rule, places: Sequence[tuple[Stream, str]]) -> Standing:
        """By the last event at any of these places."""
        found = [last for place in places if (last := await self._bus.last(*place)) is not None]
        if not found:
            return Standing([self._voice.say("unmet.nothing")])
        return self._judged(rule, max(found, key=lambda message: message.stored_ms))

    def _judged(self, rule: Rule, last: Received) -> Standing:
        try:
            event = last.event()
        except Malformed:  # a dead letter tells its reader's operator; here it is as good as nothing
            return Standing([self._voice.say("unmet.nothing")])
        problems = unmet(rule, event, self._voice) if isinstance(event, Happened) else []
        return Standing([self._dated("; ".join(problems), last.stored_ms)] if problems else [], last)

    def _dated(self, problems: str, at_ms: int) -> str:
        return self._voice.say("unmet.last", problems=problems, moment=self._voice.moment(at_ms))

    async def _memories(self, rule: Rule) -> list[Memory]:
        kept = [await Snapshots(self._bus, durable.name).load() for durable in REMEMBERING[type(rule)]]
        return [snapshot.memory for snapshot in kept if snapshot is not None]

    def _revision(self, rule: Rule) -> int:
        return self._directory.held(RULE)[rule.rule_id].revision


def _tokens(*wanted: Sequence[str]) -> str:
    """The part of a subject that names what a rule wants, where it wants one."""
    return ".".join(encode_token(names[0]) if len(names) == 1 else "*" for names in wanted)


def _silences(silence: Silence, rule: Rule, now_ms: int) -> bool:
    """Whether everything that a rule could ring is silenced for everybody now."""
    narrow = (silence.subscribers, silence.exchanges, silence.symbols, silence.strategies)
    of_rule = (not silence.rules or rule.rule_id in silence.rules) and (
        not silence.severities or rule.severity in silence.severities
    )
    return silence.starts_ms <= now_ms < silence.ends_ms and of_rule and not any(narrow)
