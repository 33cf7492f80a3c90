"""Rules of which nothing was stated when something happened: what of it they did not want."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from alerting.directory import Directory
from alerting.kinds import RULE
from alerting.why.causes import Cause, words_of
from alerting.why.facets import RULE_OF, unmet
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Rule
from tocsin_common.requests.management import Evidence, Verdict


async def unmatched(
    bus: Bus, directory: Directory, cause: Cause, stated: Collection[str], whom: str | None
) -> list[Verdict]:
    """A verdict for each rule on such events (of one subscriber, or all) that is not among the `stated`."""
    rules = [held.document for held in directory.held(RULE).values()]
    on_such = [rule for rule in rules if isinstance(rule, RULE_OF[type(cause.event)])]
    theirs = [rule for rule in on_such if whom is None or whom in rule.subscribers]
    silent = [rule for rule in theirs if rule.rule_id not in stated]
    if not theirs and not stated:
        nobody = f"{whom} has" if whom else "There is"
        return [_verdict(cause, whom, "", f"{nobody} no rule on a {words_of(cause)}.")]
    seen = (await bus.durable_state(cause.durable)).ack_floor_seq >= cause.message.seq
    return [_verdict(cause, whom, rule.rule_id, _sentence(rule, cause, seen=seen)) for rule in silent]


def _sentence(rule: Rule, cause: Cause, *, seen: bool) -> str:
    name, problems = f"The rule {rule.name!r}", unmet(rule, cause.event)
    if problems:
        return f"{name} did not match: {'; '.join(problems)}."
    if not rule.enabled:
        return f"{name} matches, but it is switched off."
    if not seen:
        return f"{name} matches, but alerting has not come to this {words_of(cause)} yet."
    return (
        f"{name} matches as it is now, but did not then: it was written, or switched on, after the {words_of(cause)}."
    )


def _verdict(cause: Cause, whom: str | None, rule_id: str, sentence: str) -> Verdict:
    message = cause.message
    event = msgspec.to_builtins(cause.event)
    proof = Evidence(stream=message.stream, seq=message.seq, stored_ms=message.stored_ms, event=event)
    return Verdict(
        subscriber_id=whom, rule_id=rule_id, alert_id="", outcome="no_match", sentence=sentence, evidence=[proof]
    )
