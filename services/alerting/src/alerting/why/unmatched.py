"""Rules of which nothing was stated when something happened: what of it they did not want."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from alerting.directory import Directory
from alerting.kinds import RULE
from alerting.why.causes import Cause
from alerting.why.facets import RULE_OF, unmet
from alerting.words.voice import Voice
from tocsin_common.bus.protocol import Bus
from tocsin_common.documents import Rule
from tocsin_common.events import DocumentChanged
from tocsin_common.requests.management import Evidence, Verdict
from tocsin_common.streams import MANAGEMENT
from tocsin_common.subjects import management


class Unmatched:
    """Speaks of rules to one who asks."""

    def __init__(self, bus: Bus, directory: Directory, voice: Voice) -> None:
        self._bus, self._directory, self._voice = bus, directory, voice

    async def verdicts(self, cause: Cause, stated: Collection[str], whom: str | None) -> list[Verdict]:
        """One for each rule on such events (of one subscriber, or all) that is not among the `stated`."""
        rules = [held.document for held in self._directory.held(RULE).values()]
        on_such = [rule for rule in rules if isinstance(rule, RULE_OF[type(cause.event)])]
        theirs = [rule for rule in on_such if whom is None or whom in rule.subscribers]
        silent = [rule for rule in theirs if rule.rule_id not in stated]
        if not theirs and not stated:
            said = self._voice.say("why.none" if whom else "why.nobody", name=whom, event=cause.words(self._voice))
            return [_verdict(cause, whom, "", said)]
        seen = (await self._bus.durable_state(cause.durable)).ack_floor_seq >= cause.message.seq
        return [_verdict(cause, whom, rule.rule_id, await self._sentence(rule, cause, seen=seen)) for rule in silent]

    async def _sentence(self, rule: Rule, cause: Cause, *, seen: bool) -> str:
        say, event = self._voice.say, cause.words(self._voice)
        if problems := unmet(rule, cause.event, self._voice):
            return say("why.unmet", rule=rule.name, problems="; ".join(problems))
        if not rule.enabled:
            return say("why.off", rule=rule.name)
        if not seen:
            return say("why.unseen", rule=rule.name, event=event)
        written_ms = await written(self._bus, rule.rule_id)
        if written_ms <= cause.message.stored_ms:
            return say("why.later", rule=rule.name, event=event)
        return say("why.written", rule=rule.name, event=event, moment=self._voice.moment(written_ms))


async def written(bus: Bus, rule_id: str) -> int:
    """When a rule was written as it is now, ms; 0: not known. Raises Unreachable."""
    last = await bus.last(MANAGEMENT, management("rule", rule_id))
    change = last.event() if last else None
    return change.at_ms if isinstance(change, DocumentChanged) else 0


def _verdict(cause: Cause, whom: str | None, rule_id: str, sentence: str) -> Verdict:
    message = cause.message
    event = msgspec.to_builtins(cause.event)
    proof = Evidence(stream=message.stream, seq=message.seq, stored_ms=message.stored_ms, event=event)
    return Verdict(
        subscriber_id=whom, rule_id=rule_id, alert_id="", outcome="no_match", sentence=sentence, evidence=[proof]
    )
