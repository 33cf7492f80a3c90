"""What operators have to say to all subscribers: it goes the way of every alert, so quiet hours, mutings, silences and
preferences hold, and every delivery is counted and can be asked about."""

from __future__ import annotations

from alerting.judging.audience import Doorkeeper
from alerting.judging.limits import Rung
from alerting.matching.causes import Match, Notice
from alerting.pipeline import Pipeline
from alerting.sending.opener import Opener
from tocsin_common.documents import SignalRule
from tocsin_common.events import AlertRaised

TEXT_MAX = 1000
"""Characters: what every channel shows in full."""


class Broadcasts:
    """Opens the deliveries of notices. Named and sent again under the same id, a notice goes out once."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def audience(self) -> list[str]:
        """Everybody who is switched on."""
        return sorted(name for name, one in self._opener.directory.subscribers.items() if one.enabled)

    async def send(self, notice_id: str, text: str) -> int:
        """Open the deliveries, the alert before them; returns how many subscribers are told. Raises Unreachable."""
        opener, now_ms = self._opener, self._opener.clock_ms()
        rule = SignalRule(rule_id=notice_id, name="", subscribers=self.audience())
        match = Match.of(rule, 0, Notice(notice_id, now_ms, text[:TEXT_MAX]), now_ms)
        door = Doorkeeper(opener.directory.subscribers, opener.directory.silences)
        outbox = Pipeline(door, opener.ttl_ms).run([match], Rung(), {}, now_ms=now_ms)
        await opener.open(match, outbox)
        return sum(len(one.subscribers) for one in outbox.alerts if isinstance(one, AlertRaised))
