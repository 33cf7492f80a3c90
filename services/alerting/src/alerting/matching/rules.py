"""The rules in force, and what they match. Pure: fed with documents and events, asked for matches.

A rule that names by lists what it looks at is asked per kind of event, not per event: the answer for one combination of
what such rules look at is remembered until one of them changes. Rules on prices and volumes are kept by what they
watch, those on prices sorted (`levels`): a change of one costs its own instrument a sort, and nobody else anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from alerting.matching.grouped import Grouped
from alerting.matching.levels import Instrument, Levels, Moves, Series, moves_in_order, prices_in_order
from tocsin_common.documents import (
    AlertRule,
    FeedRule,
    IndicatorRule,
    MoveRule,
    OutcomeRule,
    PaperRule,
    PriceRule,
    Rule,
    SignalRule,
    SystemRule,
    VolumeRule,
)
from tocsin_common.events import FeedChanged, OutcomeMeasured, SignalRaised

R = TypeVar("R", bound=Rule)

Facets = tuple[str | None, ...]
"""What an event is in each respect that rules look at; None: not known."""

Criteria = tuple[Sequence[str], ...]
"""What a rule wants of each facet of an event; an empty list means any."""


class Rules:
    """All rules by id; disabled ones are kept and never match."""

    def __init__(self) -> None:
        self._rules: dict[str, AlertRule] = {}
        self._revisions: dict[str, int] = {}
        self._answers: dict[tuple[type[Rule], Facets], list[Any]] = {}
        self._prices = Grouped(_instrument, prices_in_order)
        self._moves = Grouped(_instrument, moves_in_order)
        self._volumes: Grouped[Series, VolumeRule, list[VolumeRule]] = Grouped(_series, list)

    def __len__(self) -> int:
        return len(self._rules)

    def put(self, rule: AlertRule, revision: int = 0) -> None:
        """`revision` names this writing of the rule."""
        self._take_out(rule.rule_id)
        self._rules[rule.rule_id] = rule
        self._revisions[rule.rule_id] = revision
        if rule.enabled:
            group = self._group_of(rule)
            if group is None:
                self._answers.clear()
            else:
                group.put(rule)

    def drop(self, rule_id: str) -> None:
        self._take_out(rule_id)
        self._rules.pop(rule_id, None)
        self._revisions.pop(rule_id, None)

    def _take_out(self, rule_id: str) -> None:
        """Nothing is found of a rule any more; its place in the order stays."""
        rule = self._rules.get(rule_id)
        if rule is None or not rule.enabled:
            return
        group = self._group_of(rule)
        if group is None:
            self._answers.clear()
        else:
            group.drop(rule)

    def _group_of(self, rule: AlertRule) -> Grouped[Any, Any, Any] | None:
        """Where a rule on prices or volumes is kept; None: it is asked per kind of event."""
        match rule:
            case PriceRule():
                return self._prices
            case MoveRule():
                return self._moves
            case VolumeRule():
                return self._volumes
        return None

    def revision(self, rule: AlertRule) -> int:
        """Which writing of a rule in force this is."""
        return self._revisions[rule.rule_id]

    def in_force(self, rule_id: str, revision: int) -> bool:
        """Whether this writing of a rule is the present one."""
        return self._revisions.get(rule_id) == revision

    def for_signal(self, signal: SignalRaised) -> list[SignalRule]:
        """The enabled rules that want this signal, in the order they were made."""
        return [
            rule for rule in self._wanting(SignalRule, facets_of(signal)) if signal.confidence >= rule.min_confidence
        ]

    def for_outcome(self, outcome: OutcomeMeasured) -> Sequence[OutcomeRule]:
        """The enabled rules that want to know how this signal ended."""
        return self._wanting(OutcomeRule, facets_of(outcome))

    def for_feed(self, change: FeedChanged) -> Sequence[FeedRule]:
        """The enabled rules that want to know of this change."""
        return self._wanting(FeedRule, facets_of(change))

    def for_readings(self, series: Series) -> Sequence[IndicatorRule]:
        """The enabled rules that look at indicators of this series."""
        return self._wanting(IndicatorRule, series)

    def for_paper(self, portfolio: str, event: str, symbol: str) -> Sequence[PaperRule]:
        """The enabled rules that want to know of this event of a portfolio (no symbol: of all it holds)."""
        return self._wanting(PaperRule, (portfolio, event, symbol))

    def for_system(self, event: str, service: str, reason: str) -> Sequence[SystemRule]:
        """The enabled rules that want to know of this trouble."""
        return self._wanting(SystemRule, (event, service, reason))

    def on_signals(self, facets: Facets) -> Sequence[SignalRule]:
        """The enabled rules that may have rung for a signal with these facets, as far as they are known."""
        return self._wanting(SignalRule, facets)

    def on_indicators(self) -> list[IndicatorRule]:
        """All enabled rules on indicators."""
        return [rule for rule in self._rules.values() if isinstance(rule, IndicatorRule) and rule.enabled]

    def levels_of(self, instrument: Instrument) -> Levels[PriceRule] | None:
        """The price levels watched on an instrument; None when there are none."""
        return self._prices.get(instrument)

    def moves_of(self, instrument: Instrument) -> dict[int, Moves]:
        """The moves watched on an instrument, by `window_s`."""
        return self._moves.get(instrument) or {}

    def volumes_of(self, series: Series) -> list[VolumeRule]:
        """The rules on the volume of a series."""
        return self._volumes.get(series) or []

    def _wanting(self, kind: type[R], facets: Facets) -> Sequence[R]:
        answer = self._answers.get((kind, facets))
        if answer is None:
            rules = (rule for rule in self._rules.values() if isinstance(rule, kind) and rule.enabled)
            answer = self._answers[kind, facets] = [rule for rule in rules if wants(rule, facets)]
        return answer


def facets_of(event: SignalRaised | OutcomeMeasured | FeedChanged) -> tuple[str, ...]:
    """What rules on such events look at."""
    match event:
        case SignalRaised():
            return event.exchange, event.symbol, event.timeframe, event.strategy, event.side
        case OutcomeMeasured():
            result = event.result.partition("_")[0]
            return event.exchange, event.symbol, event.timeframe, event.strategy, event.side, result
    return event.exchange, event.symbol or "", event.state


def wants(rule: Rule, facets: Facets) -> bool:
    """Whether a rule wants an event with these facets."""
    return all(
        given is None or not wanted or given in wanted for wanted, given in zip(criteria(rule), facets, strict=True)
    )


def criteria(rule: Rule) -> Criteria:
    """The facets that a rule looks at; a rule on prices or volumes looks at none."""
    match rule:
        case SignalRule():
            return rule.exchanges, rule.symbols, rule.timeframes, rule.strategies, rule.sides
        case OutcomeRule():
            return rule.exchanges, rule.symbols, rule.timeframes, rule.strategies, rule.sides, rule.results
        case FeedRule():
            return rule.exchanges, rule.symbols, rule.states
        case IndicatorRule():
            return rule.exchanges, rule.symbols, rule.timeframes
        case PaperRule():
            return rule.portfolios, rule.events, rule.symbols
        case SystemRule():
            return rule.events, rule.services, rule.reasons
    return ()


def _instrument(rule: PriceRule | MoveRule) -> Instrument:
    return rule.exchange, rule.symbol


def _series(rule: VolumeRule) -> Series:
    return rule.exchange, rule.symbol, rule.timeframe
