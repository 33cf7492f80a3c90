"""What a rule wanted and what there was: why it did not match. Pure; it asks what `rules` asks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from alerting.matching.paper import became_of
from alerting.matching.rules import Facets, criteria, facets_of
from alerting.matching.system import Trouble
from alerting.words.voice import Voice
from tocsin_common.documents import FeedRule, OutcomeRule, PaperRule, Rule, SignalRule, SystemRule
from tocsin_common.events import (
    DeadLetter,
    FeedChanged,
    OrderFilled,
    OutcomeMeasured,
    PortfolioOpened,
    RoundsChanged,
    SignalRaised,
    StrategyQuarantined,
)

Happened = (
    SignalRaised
    | OutcomeMeasured
    | FeedChanged
    | PortfolioOpened
    | OrderFilled
    | StrategyQuarantined
    | RoundsChanged
    | DeadLetter
)
"""What rules are asked about that keep nothing in mind."""

RULE_OF: dict[type[Happened], type[Rule]] = {
    SignalRaised: SignalRule,
    OutcomeMeasured: OutcomeRule,
    FeedChanged: FeedRule,
    PortfolioOpened: PaperRule,
    OrderFilled: PaperRule,
    StrategyQuarantined: SystemRule,
    RoundsChanged: SystemRule,
    DeadLetter: SystemRule,
}

NAMES: dict[type[Rule], tuple[str, ...]] = {
    SignalRule: ("exchange", "symbol", "timeframe", "strategy", "side"),
    OutcomeRule: ("exchange", "symbol", "timeframe", "strategy", "side", "result"),
    FeedRule: ("exchange", "symbol", "state"),
    PaperRule: ("portfolio", "event", "symbol"),
    SystemRule: ("event", "service", "reason"),
}
"""The facets in the order of `criteria`."""

SHOWN = 3
"""Of a long list of what a rule wants."""


def unmet(rule: Rule, event: Happened, voice: Voice) -> list[str]:
    """The facets that did not match, for example `the side is long, it wants short`. None: it matches."""
    found = [
        voice.say(
            "unmet.facet",
            facet=voice.say(f"facet.{name}"),
            given=given or voice.say("unmet.none"),
            wanted=_listed(wanted, voice),
        )
        for name, wanted, given in zip(NAMES[type(rule)], criteria(rule), facets(event), strict=True)
        if wanted and given is not None and given not in wanted
    ]
    if isinstance(rule, SignalRule) and isinstance(event, SignalRaised) and event.confidence < rule.min_confidence:
        found.append(voice.say("unmet.confidence", given=event.confidence, wanted=rule.min_confidence))
    return found


def facets(event: Happened) -> Facets:
    """What rules on such events look at; of what holds for a whole portfolio the symbol is not known."""
    match event:
        case PortfolioOpened():
            return event.portfolio, "portfolio_opened", ""
        case OrderFilled():
            return event.portfolio, became_of(event), event.symbol
        case StrategyQuarantined() | RoundsChanged() | DeadLetter():
            trouble = Trouble.of(event, 0)
            return trouble.what, trouble.service, trouble.reason
    return facets_of(event)


def _listed(wanted: Sequence[str], voice: Voice) -> str:
    names = list(wanted[:SHOWN])
    if len(wanted) > SHOWN:
        names.append(voice.say("unmet.others", number=len(wanted) - SHOWN))
    return reduce(lambda one, other: voice.say("unmet.either", one=one, other=other), names)
