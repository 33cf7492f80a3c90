"""What a rule wanted and what there was: why it did not match. Pure; it asks what `rules` asks."""

from __future__ import annotations

from alerting.rules import criteria, facets_of
from tocsin_common.documents import FeedRule, OutcomeRule, Rule, SignalRule
from tocsin_common.events import FeedChanged, OutcomeMeasured, SignalRaised

Event = SignalRaised | OutcomeMeasured | FeedChanged
"""What rules are asked about that do not keep prices in mind."""

RULE_OF: dict[type[Event], type[Rule]] = {
    SignalRaised: SignalRule,
    OutcomeMeasured: OutcomeRule,
    FeedChanged: FeedRule,
}

NAMES: dict[type[Rule], tuple[str, ...]] = {
    SignalRule: ("exchange", "symbol", "timeframe", "strategy", "side"),
    OutcomeRule: ("exchange", "symbol", "timeframe", "strategy", "side", "result"),
    FeedRule: ("exchange", "symbol", "state"),
}
"""The facets in the order of `criteria`."""

SHOWN = 3
"""Of a long list of what a rule wants."""


def unmet(rule: Rule, event: Event) -> list[str]:
    """The facets that did not match, for example `the side is long, it wants short`. None: it matches."""
    compared = zip(NAMES[type(rule)], criteria(rule), facets_of(event), strict=True)
    found = [
        f"the {name} is {given or 'none'}, it wants {_listed(wanted)}"
        for name, wanted, given in compared
        if wanted and given not in wanted
    ]
    if isinstance(rule, SignalRule) and isinstance(event, SignalRaised) and event.confidence < rule.min_confidence:
        found.append(f"the confidence is {event.confidence}, it wants {rule.min_confidence} or more")
    return found


def _listed(wanted: object) -> str:
    names = list(wanted) if isinstance(wanted, list) else []
    more = f" or {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    return " or ".join(names[:SHOWN]) + more
